"""Which partitions this process has, under which claim, how far each is read and written, and what a revoke forgets.

Pure bookkeeping: time comes in as an argument (monotonic seconds). The database's `forebay.positions` is the truth;
this is what the process believes of it, and is thrown away at every revoke, fence and reconnect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from forebay_api.state import PartitionReport, PartitionState

from forebay_consumer.errors import Fatal
from forebay_consumer.loss import MadeAnew
from forebay_consumer.ports import PositionLost
from forebay_consumer.records import Claim, RawChunk, WriteReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One assigned partition.

    claim: None while it is not claimed. read_next: next offset expected from Kafka.
    last_written: highest position this process has known, kept over re-claims: what a failover took back is measured
    by it.
    not_before: a fenced or postponed one is claimed from this moment on. fences: in a row, without a write between.
    stopped: why it is not read at all, for people.
    """

    claim: Claim | None = None
    claim_id: int = 0
    read_next: int = 0
    last_written: int | None = None
    not_before: float = 0.0
    fences: int = 0
    stopped: str | None = None


class Positions:
    """The assigned partitions of one lane.

    claim_ids: for each claim the next; of the whole process, because a partition may move from one lane to another, and
    what was read for the one must not be taken for the other's.
    """

    def __init__(self, claim_ids: Iterator[int]) -> None:
        self._held: dict[int, Held] = {}
        self._claim_ids = claim_ids
        self.gap_records = 0

    def assign(self, partitions: Iterable[int]) -> None:
        """Partitions given to this member; a fresh start even for one that it had before."""
        for partition in partitions:
            self._held[partition] = Held()

    def revoke(self, partitions: Iterable[int]) -> None:
        """Partitions taken away: everything known of them is forgotten."""
        for partition in partitions:
            self._held.pop(partition, None)

    @property
    def assigned(self) -> tuple[int, ...]:
        """All partitions of this member, ascending."""
        return tuple(sorted(self._held))

    def claimable(self, now: float) -> tuple[int, ...]:
        """Assigned, unclaimed, not stopped, and not waiting."""
        return tuple(p for p in self.assigned if _is_claimable(self._held[p]) and self._held[p].not_before <= now)

    def next_claim_at(self) -> float | None:
        """When the first partition that waits may be claimed; None if none waits."""
        return min((h.not_before for h in self._held.values() if _is_claimable(h)), default=None)

    def claimed(self, claims: Mapping[int, Claim]) -> tuple[int, int]:
        """Take claims over under a new claim id. Returns (claim id, records by which positions went backwards).

        Claims of partitions that were revoked meanwhile are ignored.
        """
        claim_id = next(self._claim_ids)
        rewound = 0
        for partition, claim in claims.items():
            held = self._held.get(partition)
            if held is None:
                continue
            if held.last_written is not None:
                rewound += max(0, held.last_written - claim.next_offset)
            self._held[partition] = replace(
                held, claim=claim, claim_id=claim_id, read_next=claim.next_offset, last_written=claim.next_offset
            )
        return claim_id, rewound

    def unclaim(self, partitions: Iterable[int]) -> None:
        """The claims no longer count (reconnect).

        Chunks read under them are dropped, and the partitions are claimable.
        """
        for partition in partitions:
            if partition in self._held:
                self._held[partition] = replace(self._held[partition], claim=None, claim_id=0)

    def fence(self, partitions: Iterable[int], now: float, delay_s: float) -> None:
        """Another process holds them: unclaim, and wait delay_s doubled for each fence in a row (at most 64-fold)."""
        for partition in partitions:
            if held := self._held.get(partition):
                wait_s = delay_s * 2 ** min(held.fences, 6)
                self._held[partition] = replace(
                    held, claim=None, claim_id=0, not_before=now + wait_s, fences=held.fences + 1
                )

    def postpone(self, partitions: Iterable[int], not_before: float) -> None:
        """They cannot be claimed yet."""
        for partition in partitions:
            if held := self._held.get(partition):
                self._held[partition] = replace(held, not_before=not_before)

    def stop(self, partition: int, why: str) -> None:
        """Do not read this partition any more; its position stays."""
        if held := self._held.get(partition):
            self._held[partition] = replace(held, claim=None, claim_id=0, stopped=why)

    def accept(self, chunk: RawChunk) -> bool:
        """Is the chunk read under the present claim? Counts gaps, which compaction and transactions make legal.

        Raises Fatal when the source went backwards inside a claim: dropping a chunk that reaches beyond what was read
        would make a gap of it, and a restart claims and reads anew.
        """
        held = self._held.get(chunk.partition)
        if held is None or held.claim is None or held.claim_id != chunk.claim_id:
            return False
        first, last = chunk.offsets[0], chunk.offsets[-1]
        if first < held.read_next:
            raise Fatal(f"partition {chunk.partition}: read offset {first} again, expected {held.read_next}")
        self.gap_records += (first - held.read_next) + (last - first + 1 - len(chunk.offsets))
        self._held[chunk.partition] = replace(held, read_next=last + 1)
        return True

    def read_up_to(self) -> Mapping[int, tuple[UUID, int]]:
        """For each claimed partition its claim's owner, and the first offset that has not been handed over yet."""
        return {p: (held.claim.owner, held.read_next) for p, held in self._held.items() if held.claim is not None}

    def is_current(self, read: RawChunk | PositionLost | MadeAnew) -> bool:
        """Does the claim under which this was read still hold?"""
        held = self._held.get(read.partition)
        return held is not None and held.claim is not None and held.claim_id == read.claim_id

    def claim_of(self, partition: int) -> Claim | None:
        """The present claim, its next_offset being the position in the database; None if there is none."""
        held = self._held.get(partition)
        return held.claim if held else None

    def claims(self) -> tuple[Claim, ...]:
        """All present ones."""
        return tuple(held.claim for held in self._held.values() if held.claim is not None)

    def written(self, receipt: WriteReceipt) -> None:
        """A batch was committed: its positions are the expected ones from now on."""
        for partition, next_offset in receipt.next_offsets.items():
            held = self._held.get(partition)
            if held is None or held.claim is None:
                continue
            claim = replace(held.claim, next_offset=next_offset)
            self._held[partition] = replace(held, claim=claim, last_written=next_offset, fences=0)

    def reports(self) -> tuple[PartitionReport, ...]:
        """For /state."""
        return tuple(_report(p, self._held[p]) for p in self.assigned)


def _is_claimable(held: Held) -> bool:
    return held.claim is None and held.stopped is None


def _report(partition: int, held: Held) -> PartitionReport:
    if held.stopped is not None:
        state = PartitionState.STOPPED
    else:
        state = PartitionState.RUNNING if held.claim else PartitionState.CLAIMING
    return PartitionReport(
        partition=partition,
        state=state,
        epoch=held.claim.epoch if held.claim else None,
        next_offset=held.claim.next_offset if held.claim else held.last_written,
        why=held.stopped,
    )
