"""What one lane has, and says of itself. Pure bookkeeping; monotonic time comes in as an argument."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from forebay_api.state import SinkHealth, SinkState

from forebay_consumer.batching import BatchBuilder
from forebay_consumer.pace import WINDOW_S, SmallWrites, Utilisation
from forebay_consumer.positions import Positions
from forebay_consumer.records import WriteReceipt


class LaneStatus:
    """Written by the lane, read by Status. claim_ids: of the whole process."""

    def __init__(self, now: float, claim_ids: Iterator[int], *, is_resting: bool) -> None:
        self.positions = Positions(claim_ids)
        self.builder = BatchBuilder()
        self.writing = Utilisation(now)
        self.is_resting = is_resting
        """Without a partition, and without a connection: nothing of it counts, until it has tried to connect."""
        self.unanswered: str | None = None
        """Why Kafka did not answer a question that a claim waits for."""
        self.sink = SinkState(health=SinkHealth.UNKNOWN)
        self._small_writes = SmallWrites()
        self._refusal: tuple[str, str] | None = None
        self._refused_partitions: frozenset[int] = frozenset()

    def rest(self) -> None:
        """The lane gives its connection back."""
        self.is_resting = True
        self.unanswered = None
        self.sink = SinkState(health=SinkHealth.UNKNOWN)
        self._refusal = None

    def written(self, receipt: WriteReceipt, now: float, *, is_small: bool) -> None:
        """Count a commit. is_small: by BatchPolicy.is_small()."""
        self._small_writes.add(receipt.took_s, is_small=is_small, now=now)

    def reset(self, now: float) -> None:
        """An interruption: what came before says nothing about what this lane can do."""
        self.writing.reset(now)
        self._small_writes.reset()

    def sink_changed(self, health: SinkHealth, reason: str | None, message: str | None) -> bool:
        """Note the sink's health; True when it is news."""
        news = (health, reason) != (self.sink.health, self.sink.reason)
        since = self.sink.since if not news else None
        self.sink = SinkState(health=health, reason=reason, message=message, since=since)
        self.is_resting = False
        return news

    def write_refused(self, reason: str, message: str, partitions: Iterable[int]) -> None:
        """A write was refused for good: only a write that succeeds makes the sink ready again, not a mere claim.

        Unless none of its partitions is this lane's any more: then it is for others to try.
        """
        self._refusal = (reason, message)
        self._refused_partitions = frozenset(partitions)

    def sink_ready(self, *, written: bool) -> bool:
        """The sink worked; True when it is news. After a refused write a claim only brings the refusal back to mind."""
        is_ours = not self._refused_partitions.isdisjoint(self.positions.assigned)
        if self._refusal is not None and is_ours and not written:
            self.sink_changed(SinkHealth.BROKEN, *self._refusal)
            return False
        self._refusal = None
        return self.sink_changed(SinkHealth.READY, None, None)

    def tell_since(self, wall_iso: str) -> None:
        """The first look at the sink's present health is its beginning."""
        if self.sink.since is None:
            self.sink = replace(self.sink, since=wall_iso)

    def has_room(self, now: float, wall_ms: float) -> bool:
        """The lane is at small transactions, and not because the database takes no more: that lets records wait."""
        oldest_ms = self.builder.oldest_timestamp_ms()
        is_late = oldest_ms is not None and (wall_ms - oldest_ms) / 1000 >= WINDOW_S
        return self._small_writes.prevail(now) and not is_late
