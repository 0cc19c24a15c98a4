"""Takes a source's events and keeps what they said; waits for conditions with a deadline."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from forebay_consumer.ports import (
    Assigned,
    Beginning,
    PositionLost,
    Records,
    Revoked,
    Source,
    SourceEvent,
    SourceTrouble,
)
from forebay_consumer.records import RawChunk, WriteReceipt

DEADLINE_S = 60.0


class SourceReader:
    """Reads one source. assigned: partitions now; chunks: of each partition in order; releases what it takes."""

    def __init__(self, source: Source, *, releases: bool = True) -> None:
        self.source = source
        self.assigned: set[int] = set()
        self.events: list[SourceEvent] = []
        self.chunks: dict[int, list[RawChunk]] = defaultdict(list)
        self.lost: list[PositionLost] = []
        self.trouble: str | None = None
        self.troubles: list[str] = []
        self._releases = releases

    def offsets(self, partition: int, claim_id: int) -> list[int]:
        """What was read under the claim."""
        return [o for c in self.chunks[partition] if c.claim_id == claim_id for o in c.offsets]

    @property
    def assignments(self) -> int:
        """How often partitions were given."""
        return sum(isinstance(event, Assigned) for event in self.events)

    def size_bytes(self) -> int:
        """Of all chunks taken."""
        return sum(chunk.size_bytes for chunks in self.chunks.values() for chunk in chunks)

    async def until(self, condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Take events until the condition holds."""
        async with asyncio.timeout(deadline_s):
            while not condition():
                self._note(await self.source.next_event())

    async def until_quiet(self, quiet_s: float) -> None:
        """Take events until none came for so long."""
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    event = await self.source.next_event()
            except TimeoutError:
                return
            self._note(event)

    async def until_event(self) -> None:
        """Take one event."""
        seen = len(self.events)
        await self.until(lambda: len(self.events) > seen)

    async def until_read(self, partition: int, claim_id: int, records: int) -> None:
        """Take events until so many records were read under the claim."""
        await self.until(lambda: len(self.offsets(partition, claim_id)) >= records)

    async def until_owned(self, partitions: set[int]) -> None:
        """Take events until exactly these are assigned."""
        await self.until(lambda: self.assigned == partitions)

    async def begin(self, claim_id: int, **offsets: int) -> None:
        """begin(7, p0=5): read partition 0 from offset 5 under claim 7."""
        await self.source.begin({int(p[1:]): Beginning(next_offset=o, claim_id=claim_id) for p, o in offsets.items()})

    def _note(self, event: SourceEvent) -> None:
        self.events.append(event)
        match event:
            case Assigned():
                self.assigned.update(event.partitions)
            case Revoked():
                self.assigned.difference_update(event.partitions)
            case Records():
                for chunk in event.chunks:
                    self.chunks[chunk.partition].append(chunk)
                if self._releases:
                    self.source.release(sum(chunk.size_bytes for chunk in event.chunks))
            case PositionLost():
                self.lost.append(event)
            case SourceTrouble():
                self.trouble = event.message
                if event.message is not None:
                    self.troubles.append(event.message)


def make_receipt(**next_offsets: int) -> WriteReceipt:
    """make_receipt(p0=10): proof that partition 0 was written up to 10."""
    offsets = {int(p[1:]): o for p, o in next_offsets.items()}
    return WriteReceipt(next_offsets=offsets, rows=0, dead_letters=0, retries=0, copies=1, commit_s=0.0, took_s=0.0)
