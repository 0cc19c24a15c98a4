"""Kafka in memory: FakeKafka is a topic and its one group, FakeSource a member that keeps ports.Source's promises.

It has no thread and no clock: a record reaches next_event() as soon as it was produced, a member that joins or leaves
moves partitions at once. The same contract tests run on it and on a real broker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from forebay_api.v1alpha1 import StartFrom
from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.ports import (
    Assigned,
    Beginning,
    PositionLost,
    Records,
    Revoked,
    SourceEvent,
    SourceTrouble,
    Wanted,
)
from forebay_consumer.records import Claim, Header, RawChunk, WriteReceipt

POLL_RECORDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeRecord:
    """One record of a log."""

    offset: int
    value: bytes | None
    key: bytes | None = None
    timestamp_ms: int | None = None
    headers: tuple[Header, ...] = ()


class FakeKafka:
    """One topic and one group. trouble: what every question is answered with; None: all is well.

    leaderless: partitions for which nobody answers.
    """

    def __init__(self, partitions: int = 1, *, exists: bool = True) -> None:
        self._count = partitions
        self.exists = exists
        self.logs: dict[int, list[FakeRecord]] = {p: [] for p in range(partitions)}
        self.starts: dict[int, int] = dict.fromkeys(range(partitions), 0)
        self.ends: dict[int, int] = dict.fromkeys(range(partitions), 0)
        self.committed: dict[int, int] = {}
        self.topic_id: str | None = "topic-1"
        self.trouble: str | None = None
        self.leaderless: set[int] = set()
        self.members: list[FakeSource] = []

    def produce(
        self,
        partition: int,
        *values: bytes | None,
        key: bytes | None = None,
        timestamp_ms: int | None = None,
        headers: tuple[Header, ...] = (),
    ) -> None:
        """Append records."""
        for value in values:
            offset = self.ends[partition]
            self.logs[partition].append(
                FakeRecord(offset=offset, value=value, key=key, timestamp_ms=timestamp_ms, headers=headers)
            )
            self.ends[partition] = offset + 1
        self.wake()

    def delete_before(self, partition: int, offset: int) -> None:
        """Retention."""
        self.logs[partition] = [record for record in self.logs[partition] if record.offset >= offset]
        self.starts[partition] = offset
        self.wake()

    def make_anew(self) -> None:
        """Delete the topic, and make another of the same name and as many partitions. Nobody is told."""
        for partition in self.logs:
            self.logs[partition], self.starts[partition], self.ends[partition] = [], 0, 0
        number = int(self.topic_id.rpartition("-")[2]) if self.topic_id else 1
        self.topic_id = f"topic-{number + 1}"
        self.wake()

    def create(self) -> None:
        """Make the topic that was missing."""
        self.exists = True
        for member in self.members:
            member.put(SourceTrouble(message=None))
        self.rebalance()

    def set_trouble(self, message: str | None) -> None:
        """Become unreachable, or reachable again."""
        self.trouble = message
        for member in self.members:
            member.put(SourceTrouble(message=message))

    def rebalance(self) -> None:
        """Spread the partitions over the members: first what is taken away, then what is given."""
        members = self.members if self.exists else []
        targets = {id(m): {p for p in self.logs if p % len(members) == i} for i, m in enumerate(members)}
        for member in members:
            member.take_away(member.assigned - targets[id(member)])
        for member in members:
            member.give(targets[id(member)] - member.assigned)

    def wake(self) -> None:
        """Have every member look at the logs."""
        for member in self.members:
            member.wake()


class FakeSource:
    """A member. assigned, reading: what a test may look at; give() and take_away(): what it may do to it."""

    def __init__(self, kafka: FakeKafka, *, buffer_bytes: int = 2**20) -> None:
        self.assigned: set[int] = set()
        self.reading: dict[int, Beginning] = {}
        self.buffered_bytes = 0
        self.closed = False
        self._kafka = kafka
        self._limit = buffer_bytes
        self._wanted = Wanted()
        self._events: deque[SourceEvent] = deque()
        self._changed = asyncio.Event()

    # ---- the port

    async def start(self) -> None:
        """As Source.start."""
        self._kafka.members.append(self)
        if not self._kafka.exists:
            self.put(SourceTrouble(message="topic does not exist: create it or correct spec.source.topic"))
        self._kafka.rebalance()

    async def next_event(self) -> SourceEvent:
        """As Source.next_event."""
        while True:
            self._changed.clear()
            event = self._events.popleft() if self._events else self._read()
            if event is not None:
                return event
            await self._changed.wait()

    def set_wanted(self, wanted: Wanted) -> None:
        """As Source.set_wanted."""
        self._wanted = wanted

    async def begin(self, beginnings: Mapping[int, Beginning]) -> None:
        """As Source.begin."""
        await self.hold(beginnings)
        self.reading.update({p: b for p, b in beginnings.items() if p in self.assigned})
        self.wake()

    async def hold(self, partitions: Iterable[int]) -> None:
        """As Source.hold."""
        held = frozenset(partitions)
        for partition in held:
            self.reading.pop(partition, None)
        self._events = deque(e for e in self._events if not (isinstance(e, PositionLost) and e.partition in held))

    async def leave(self) -> None:
        """As Source.leave."""
        self._kafka.members.remove(self)
        self.take_away(set(self.assigned))
        self._kafka.rebalance()

    async def rejoin(self) -> None:
        """As Source.rejoin."""
        self._kafka.members.append(self)
        self._kafka.rebalance()

    def release(self, size_bytes: int) -> None:
        """As Source.release."""
        self.buffered_bytes = max(0, self.buffered_bytes - size_bytes)
        self.wake()

    async def topic_partitions(self) -> tuple[int, ...]:
        """As Source.topic_partitions."""
        self._answer()
        return tuple(sorted(self._kafka.logs))

    async def topic_id(self) -> str | None:
        """As Source.topic_id."""
        self._answer()
        return self._kafka.topic_id

    async def resolve_start(self, start_from: StartFrom, partitions: Iterable[int]) -> Mapping[int, int]:
        """As Source.resolve_start."""
        bounds = await self.log_bounds(partitions)
        match start_from:
            case StartFrom.EARLIEST:
                return {p: start for p, (start, _) in bounds.items()}
            case StartFrom.LATEST:
                return {p: end for p, (_, end) in bounds.items()}
            case StartFrom.COMMITTED:
                return {p: self._kafka.committed.get(p, start) for p, (start, _) in bounds.items()}

    async def log_bounds(self, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
        """As Source.log_bounds."""
        self._answer()
        partitions = tuple(partitions)
        if not self._kafka.leaderless.isdisjoint(partitions):
            raise SourceUnavailable("leader not available")
        return {p: (self._kafka.starts[p], self._kafka.ends[p]) for p in partitions}

    def commit(self, receipt: WriteReceipt) -> None:
        """As Source.commit."""
        self._mirror(receipt.next_offsets)

    def mirror_claims(self, claims: Iterable[Claim]) -> None:
        """As Source.mirror_claims."""
        self._mirror({claim.partition: claim.next_offset for claim in claims})

    async def close(self, deadline_s: float) -> None:
        """As Source.close."""
        self.closed = True
        if self in self._kafka.members:
            self._kafka.members.remove(self)
            self.take_away(set(self.assigned))
            self._kafka.rebalance()

    # ---- what the group does to a member

    def put(self, event: SourceEvent) -> None:
        """Have next_event() return this after what is already there."""
        self._events.append(event)
        self.wake()

    def wake(self) -> None:
        """Something changed."""
        self._changed.set()

    def give(self, partitions: set[int]) -> None:
        """Assign."""
        if partitions:
            self.assigned |= partitions
            self.put(Assigned(partitions=tuple(sorted(partitions))))

    def take_away(self, partitions: set[int]) -> None:
        """Revoke."""
        gone = partitions & self.assigned
        if gone:
            self.assigned -= gone
            for partition in gone:
                self.reading.pop(partition, None)
            self.put(Revoked(partitions=tuple(sorted(gone))))

    # ---- reading

    def _answer(self) -> None:
        if self._kafka.trouble is not None:
            raise SourceUnavailable(self._kafka.trouble)
        if not self._kafka.exists:
            raise SourceUnavailable("topic does not exist: create it or correct spec.source.topic")

    def _mirror(self, positions: Mapping[int, int]) -> None:
        self._kafka.committed.update({p: offset for p, offset in positions.items() if p in self.assigned})

    def _read(self) -> SourceEvent | None:
        if self._kafka.trouble is not None or self.buffered_bytes >= self._limit:
            return None
        for partition, beginning in list(self.reading.items()):
            start, end = self._kafka.starts[partition], self._kafka.ends[partition]
            if not start <= beginning.next_offset <= end:
                del self.reading[partition]
                return PositionLost(
                    partition=partition,
                    claim_id=beginning.claim_id,
                    position=beginning.next_offset,
                    log_start=start,
                    log_end=end,
                )
        chunks = [chunk for p in list(self.reading) if (chunk := self._read_partition(p)) is not None]
        self.buffered_bytes += sum(chunk.size_bytes for chunk in chunks)
        return Records(chunks=tuple(chunks)) if chunks else None

    def _read_partition(self, partition: int) -> RawChunk | None:
        beginning = self.reading[partition]
        records = [r for r in self._kafka.logs[partition] if r.offset >= beginning.next_offset][:POLL_RECORDS]
        if not records:
            return None
        self.reading[partition] = replace(beginning, next_offset=records[-1].offset + 1)
        wanted = self._wanted
        return RawChunk(
            partition=partition,
            claim_id=beginning.claim_id,
            offsets=[r.offset for r in records],
            values=[r.value for r in records],
            keys=[r.key for r in records] if wanted.keys else None,
            timestamps_ms=[r.timestamp_ms for r in records] if wanted.timestamps else None,
            headers=[r.headers for r in records] if wanted.headers else None,
            first_timestamp_ms=records[0].timestamp_ms,
            size_bytes=sum(len(r.value or b"") for r in records),
        )
