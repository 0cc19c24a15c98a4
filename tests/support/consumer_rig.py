"""A Pipeline between a Kafka and a database in memory, in virtual time; the database and the budget are the judges."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from forebay_api.state import ConsumerState
from forebay_api.v1alpha1 import (
    ConsumerSpec,
    DeadLetterSpec,
    OnPositionLost,
    PipelineSpec,
    SecretRef,
    SinkSpec,
    SourceSpec,
    StartFrom,
)
from forebay_consumer.breaker import Breaker
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.pipeline import Pipeline
from forebay_consumer.ports import Beginning, Decoder, Wanted
from forebay_consumer.records import Batch, Claim, DeadLetter, EncodedChunk, RawChunk, Reason, WriteReceipt
from forebay_consumer.status import Status
from forebay_consumer.surroundings import Surroundings
from support.chunks import encoded
from support.fake_sink import FakeDatabase, FakePosition, FakeSink
from support.fake_source import FakeKafka, FakeSource
from support.virtual_time import STEP_S, until

POISON = b"poison"
"""A value that the decoder of these tests cannot read."""


class SimpleDecoder:
    """Rows are the values themselves."""

    def decode(self, chunk: RawChunk) -> EncodedChunk:
        """As Decoder.decode."""
        dead = tuple(
            DeadLetter(
                partition=chunk.partition, offset=offset, reason=Reason.INVALID_JSON, message="broken", value=value
            )
            for offset, value in zip(chunk.offsets, chunk.values, strict=True)
            if value == POISON
        )
        if not dead:
            return encoded(chunk)
        good = [i for i, value in enumerate(chunk.values) if value != POISON]
        part = replace(chunk, offsets=[chunk.offsets[i] for i in good], values=[chunk.values[i] for i in good])
        groups = tuple(replace(g, record_index=type(g.record_index)("Q", good)) for g in encoded(part).groups)
        return EncodedChunk(source=chunk, groups=groups, dead=dead)


class StrictSource(FakeSource):
    """A FakeSource that takes nothing back twice. last_claim_id: the newest that it was told to read under."""

    last_claim_id = 0

    async def begin(self, beginnings: Mapping[int, Beginning]) -> None:
        """As Source.begin."""
        self.last_claim_id = max(self.last_claim_id, *(b.claim_id for b in beginnings.values()))
        await super().begin(beginnings)

    def release(self, size_bytes: int) -> None:
        """As Source.release."""
        assert size_bytes >= 0, "a negative number of bytes was released"
        assert size_bytes <= self.buffered_bytes, "bytes were released twice"
        super().release(size_bytes)


class SlowSink(FakeSink):
    """A FakeSink whose calls take time. claim_s: after the claim; write_s: half before and half after the commit.

    unknown: outcomes of the next writes, each of them reported as unknown: True = committed, False = not.
    """

    def __init__(self, database: FakeDatabase, **options: Any) -> None:
        super().__init__(database, **options)
        self.connect_s = self.claim_s = 0.01
        self.write_s = 0.02
        self.unknown: list[bool] = []
        self.is_writing = False
        self.is_claiming = False
        self.writes = 0
        self.claimed: list[tuple[int, ...]] = []

    async def connect(self) -> Any:
        """As Sink.connect."""
        await asyncio.sleep(self.connect_s)
        return await super().connect()

    async def claim(self, partitions: Iterable[int], topic_id: str | None = None) -> Mapping[int, Claim]:
        """As Sink.claim."""
        claims = await super().claim(partitions, topic_id)
        self.claimed.append(tuple(claims))
        self.is_claiming = True
        await asyncio.sleep(self.claim_s)
        self.is_claiming = False
        return claims

    async def write(self, batch: Batch) -> WriteReceipt:
        """As Sink.write."""
        self.writes += 1
        self.is_writing = True
        try:
            await asyncio.sleep(self.write_s / 2)
            if self.unknown:
                await self._write_unknown(batch, self.unknown.pop(0))
            receipt = await super().write(batch)
            await asyncio.sleep(self.write_s / 2)
            return receipt
        finally:
            self.is_writing = False

    async def _write_unknown(self, batch: Batch, is_committed: bool) -> None:
        if is_committed:
            await super().write(batch)
        await asyncio.sleep(self.write_s / 2)
        self._fail(SinkUnavailable("ConnectionLost", "in COMMIT", outcome_unknown=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What an asynchronous standby had received."""

    positions: dict[int, FakePosition]
    rows: list[tuple[int, int]]
    dead: list[DeadLetter]


class World:
    """One topic and one database. starts: where each partition was to be read from; lost: what retention took."""

    def __init__(self, partitions: int = 2) -> None:
        self.kafka = FakeKafka(partitions)
        self.database = FakeDatabase()
        self.starts: dict[int, int] = {}
        self.lost: set[tuple[int, int]] = set()

    def produce(self, partition: int, count: int, *, poison: int = 0) -> None:
        """Append so many good records and then so many bad ones."""
        first = self.kafka.ends[partition]
        good = [f'{{"id":{n}}}'.encode() for n in range(first, first + count)]
        self.kafka.produce(partition, *good, *[POISON] * poison, timestamp_ms=1_000)

    def position(self, partition: int) -> int | None:
        """The position in the database."""
        stored = self.database.positions.get(partition)
        return stored.next_offset if stored else None

    @property
    def is_drained(self) -> bool:
        """Everything in Kafka has been written."""
        return all(self.position(p) == end for p, end in self.kafka.ends.items())

    def snapshot(self) -> Snapshot:
        """Remember the present content."""
        database = self.database
        return Snapshot(positions=dict(database.positions), rows=list(database.rows), dead=list(database.dead))

    def fail_over(self, standby: Snapshot) -> None:
        """Another server, which knows less, is the primary now; every connection finds its own one gone."""
        database = self.database
        database.positions = dict(standby.positions)
        database.rows, database.dead = list(standby.rows), list(standby.dead)

    def audit(self) -> None:
        """Every record before its position is stored exactly once and in order, and nothing beyond it is."""
        dead = [(letter.partition, letter.offset) for letter in self.database.dead]
        stored = Counter([*self.database.rows, *dead])
        assert not [place for place, times in stored.items() if times > 1], "written twice"
        for partition, end in self.kafka.ends.items():
            position = self.position(partition)
            if position is None:
                continue
            first = self.starts.get(partition, 0)
            expected = {(partition, o) for o in range(first, position)} - self.lost
            assert position <= end
            assert {place for place in stored if place[0] == partition} == expected, "a position skipped records"
            written = [o for p, o in self.database.rows if p == partition]
            assert written == sorted(written), "out of order"


class Consumer:
    """One process' worth: source, sink, status and pipeline."""

    def __init__(
        self, world: World, spec: PipelineSpec, decoder: Decoder, *, buffer_bytes: int, name: str, pipeline: str
    ) -> None:
        loop = asyncio.get_running_loop()
        self.world = world
        self.receipts: list[WriteReceipt] = []
        self.breaker = Breaker(spec.sink.dead_letters)
        self.source = StrictSource(world.kafka, buffer_bytes=buffer_bytes)
        lanes = spec.consumer.lanes or 1
        self.sinks = [SlowSink(world.database, pipeline=pipeline, admit=self.breaker.admit) for _ in range(lanes)]
        self.sink = self.sinks[0]
        self.status = Status(consumer=name, pipeline=pipeline, now=loop.time(), lanes=lanes)
        around = Surroundings(
            now=loop.time,
            jitter=lambda: 0.5,
            decoder_for=lambda _plan: decoder,
            wanted_for=lambda _plan: Wanted(),
            on_receipt=self.receipts.append,
        )
        self.pipeline = Pipeline(
            spec=spec, source=self.source, sinks=self.sinks, breaker=self.breaker, status=self.status, around=around
        )
        self.task = asyncio.create_task(self.pipeline.run())

    @property
    def state(self) -> ConsumerState:
        """What /state says now."""
        now = asyncio.get_running_loop().time()
        return self.status.state(now=now, wall_ms=now * 1000, wall_iso="2026-01-01T00:00:00+00:00")

    @property
    def is_balanced(self) -> bool:
        """Every byte that the source counts lies in the buffer: nothing leaked, nothing was given back twice."""
        return self.source.buffered_bytes == self.status.buffered_bytes

    async def until_drained(self) -> None:
        """Until everything produced is in the database and nothing is held; then audit."""
        await until(lambda: self.task.done() or (self.world.is_drained and self.source.buffered_bytes == 0))
        assert not self.task.done(), self.task
        self.world.audit()

    async def stop(self) -> None:
        """Drain; run() returns, and raises what went wrong."""
        self.pipeline.drain()
        async with asyncio.timeout(600.0):
            await self.task


def build_spec(
    *,
    start_from: StartFrom = StartFrom.EARLIEST,
    on_position_lost: OnPositionLost = OnPositionLost.STOP,
    max_rows_per_second: int | None = None,
    lanes: int | None = None,
    dead_letters: DeadLetterSpec | None = None,
) -> PipelineSpec:
    """The parts of a spec that the pipeline reads."""
    return PipelineSpec(
        source=SourceSpec(
            bootstrap_servers="unused:9092",
            topic="payments",
            group="bank.payments",
            start_from=start_from,
            on_position_lost=on_position_lost,
        ),
        sink=SinkSpec(
            connection_secret_ref=SecretRef(name="db"), table="events", dead_letters=dead_letters or DeadLetterSpec()
        ),
        consumer=ConsumerSpec(max_rows_per_second=max_rows_per_second, lanes=lanes),
    )


@asynccontextmanager
async def running(
    world: World,
    *,
    spec: PipelineSpec | None = None,
    decoder: Decoder | None = None,
    buffer_bytes: int = 2**20,
    name: str = "c-1",
    pipeline: str = "bank/payments",
) -> AsyncIterator[Consumer]:
    """A consumer at work; at the end it drains, and database and budget are audited whatever the test looked at."""
    consumer = Consumer(
        world,
        spec or build_spec(),
        decoder or SimpleDecoder(),
        buffer_bytes=buffer_bytes,
        name=name,
        pipeline=pipeline,
    )
    try:
        yield consumer
        await until(lambda: consumer.task.done() or consumer.is_balanced)
        await consumer.stop()
        assert consumer.is_balanced
        world.audit()
    finally:
        consumer.task.cancel()
        await asyncio.gather(consumer.task, return_exceptions=True)


async def rival(world: World, partitions: Sequence[int]) -> FakeSink:
    """Another consumer's connection, which has claimed these partitions."""
    sink = FakeSink(world.database)
    await sink.connect()
    await sink.claim(partitions)
    return sink


async def pass_time(seconds: float = STEP_S) -> None:
    """Let the loop's time pass."""
    await asyncio.sleep(seconds)
