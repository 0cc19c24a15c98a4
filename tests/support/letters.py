"""Dead letters of real sinks: how they come about, and replays of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from forebay_api.v1alpha1 import Pipeline
from forebay_consumer.decode import build_decoder
from forebay_consumer.letters import Selection
from forebay_consumer.postgres_sink import PostgresSink
from forebay_consumer.postgres_sink.letters_admin import LettersAdmin, open_letters
from forebay_consumer.postgres_sink.replay import Replayed
from forebay_consumer.records import Claim, Header, RawChunk, WriteReceipt
from support.rows import advance, rows_batch
from support.sinks import SinkRig

EVERYTHING = Selection()


@asynccontextmanager
async def letters_of(rig: SinkRig, pipeline: Pipeline) -> AsyncIterator[LettersAdmin]:
    """A connection of `forebay dead-letters`."""
    async with open_letters(pipeline, secret_dir=rig.folder) as admin:
        yield admin


async def replay(
    rig: SinkRig, pipeline: Pipeline, selection: Selection = EVERYTHING, *, discard: bool = False
) -> tuple[int, dict[str, int]]:
    """Replay once: how many were written (or discarded), and how many are left by reason."""
    done, waiting = await replay_fully(rig, pipeline, selection, discard=discard)
    assert waiting == 0
    return done.written + done.discarded, dict(done.left)


async def replay_fully(
    rig: SinkRig, pipeline: Pipeline, selection: Selection = EVERYTHING, *, discard: bool = False
) -> tuple[Replayed, int]:
    """The same, with everything that it says."""
    async with letters_of(rig, pipeline) as admin:
        return await admin.replay(selection, discard_superseded=discard)


async def remaining(rig: SinkRig, columns: str = "partition, record_offset, reason") -> list[tuple[Any, ...]]:
    """The letters that are there, by partition and offset."""
    return await rig.query(f"SELECT {columns} FROM forebay.dead_letters ORDER BY partition, record_offset, id")


async def positions(rig: SinkRig) -> list[tuple[Any, ...]]:
    """What a replay must leave alone."""
    return await rig.query("SELECT * FROM forebay.positions ORDER BY partition")


class Feeder:
    """A consumer that holds some partitions and writes whole records to them."""

    def __init__(self, sink: PostgresSink, claims: dict[int, Claim]) -> None:
        assert sink._target is not None
        self.sink = sink
        self.claims = claims
        self._decoder = build_decoder(sink._target.plan)

    async def write(
        self,
        *values: object,
        partition: int = 0,
        keys: Sequence[bytes | None] | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = 1_700_000_000_123,
    ) -> WriteReceipt:
        """The next records of a partition, as one batch. values: None is a tombstone, bytes are sent as they are."""
        first = self.claims[partition].next_offset
        chunk = RawChunk(
            partition=partition,
            claim_id=1,
            offsets=range(first, first + len(values)),
            values=list(map(_encode, values)),
            keys=keys or [None] * len(values),
            timestamps_ms=[timestamp_ms] * len(values),
            headers=[tuple(headers)] * len(values),
        )
        batch = rows_batch(self.claims, self._decoder.decode(chunk))
        receipt = await self.sink.write(batch)
        self.claims = advance(self.claims, batch)
        return receipt


async def feeder(rig: SinkRig, pipeline: Pipeline, partitions: Sequence[int] = (0,)) -> Feeder:
    """A connected consumer that holds the partitions, and refuses no batch however bad."""
    sink, claims = await rig.claimed(partitions, pipeline, admit=lambda _records, _letters, _known: None)
    return Feeder(sink, claims)


def with_version(pipeline: Pipeline, column: str | None) -> Pipeline:
    """The same pipeline with a version column."""
    return replace(pipeline, spec=replace(pipeline.spec, sink=replace(pipeline.spec.sink, version_column=column)))


def _encode(value: object) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
