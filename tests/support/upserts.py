"""A topic's way into a table of mode Upsert: records as Kafka has them, through the product's decoder and sink."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forebay_api.v1alpha1 import DeleteWhen, Pipeline
from forebay_consumer.decode import build_decoder
from forebay_consumer.postgres_sink import PostgresSink
from forebay_consumer.postgres_sink.upsert_writer import UpsertWriter
from forebay_consumer.records import Claim, RawChunk, WriteReceipt
from forebay_consumer.staging import Staging
from support.rows import advance, rows_batch
from support.sinks import SinkRig, make_pipeline

MARKED = DeleteWhen(path=("op",), values=("d",))

DIRECT = Staging(is_direct=True)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record without value. key: as the producer wrote it."""

    key: Any


Record = Mapping[str, object] | Tombstone | bytes


@dataclass(slots=True)
class Upserting:
    """One consumer that holds some partitions. pieces: chunks that the records of one write are cut into."""

    sink: PostgresSink
    claims: dict[int, Claim]
    decoder: Any
    log: dict[int, list[Record]] = field(default_factory=dict)

    async def write(self, *records: Record, partition: int = 0, pieces: int = 1) -> WriteReceipt:
        """The next records of a partition, as one batch."""
        return await self.write_all({partition: records}, pieces=pieces)

    async def write_all(self, records: Mapping[int, Sequence[Record]], *, pieces: int = 1) -> WriteReceipt:
        """The next records of several partitions, as one batch."""
        chunks = [self._decode(partition, run) for partition, given in records.items() for run in _cut(given, pieces)]
        batch = rows_batch(self.claims, *chunks)
        receipt = await self.sink.write(batch)
        self.claims = advance(self.claims, batch)
        return receipt

    def _decode(self, partition: int, records: Sequence[Record]) -> Any:
        log = self.log.setdefault(partition, [None] * self.claims[partition].next_offset)  # type: ignore[list-item]
        first = len(log)
        log += records
        return self.decoder.decode(
            RawChunk(
                partition=partition,
                claim_id=1,
                offsets=range(first, first + len(records)),
                values=[_value(record) for record in records],
                keys=[_key(record) for record in records],
            )
        )

    @property
    def writer(self) -> UpsertWriter:
        """The connection's writer."""
        writer = self.sink._writer
        assert isinstance(writer, UpsertWriter)
        return writer


async def start(
    rig: SinkRig, *, pipeline: Pipeline | None = None, partitions: Sequence[int] = (0,), staging: Staging | None = None
) -> Upserting:
    """A connected consumer that holds the partitions; staging: what its statements are taken to have met."""
    chosen = pipeline or make_pipeline(key=("id",), delete_when=MARKED)
    sink, claims = await rig.claimed(partitions, chosen)
    assert sink._target is not None
    made = Upserting(sink, claims, build_decoder(sink._target.plan))
    if staging is not None:
        made.writer.staging = staging
    return made


def _cut(records: Sequence[Record], pieces: int) -> list[Sequence[Record]]:
    size = max(1, -(-len(records) // pieces))
    return [records[start : start + size] for start in range(0, len(records), size)]


def _value(record: Record) -> bytes | None:
    if isinstance(record, Tombstone):
        return None
    return record if isinstance(record, bytes) else json.dumps(record).encode()


def _key(record: Record) -> bytes | None:
    if not isinstance(record, Tombstone):
        return None
    return record.key if isinstance(record.key, bytes | None) else json.dumps(record.key).encode()
