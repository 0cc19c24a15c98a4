"""Positions at which nobody can read on: moved, if spec.source.onPositionLost says so, or their partitions stopped."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field

from forebay_consumer.errors import Fenced, SourceUnavailable
from forebay_consumer.lane_status import LaneStatus
from forebay_consumer.loss import Loss, MadeAnew
from forebay_consumer.ports import Beginning, PositionLost, Sink, Source
from forebay_consumer.records import Claim
from forebay_consumer.status import Status
from forebay_consumer.topic_guard import TopicGuard

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Settlement:
    """What waits to be settled, for one connection's partitions.

    skips: SkipToEarliest. lane, totals: what the lane, and the whole consumer, say of themselves.
    drop: forgets what is buffered of partitions. on_fenced: lets go of them.
    first_seen: the position at which each partition was claimed first.
    """

    skips: bool
    source: Source
    sink: Sink
    lane: LaneStatus
    totals: Status
    guard: TopicGuard
    drop: Callable[[Iterable[int]], None]
    on_fenced: Callable[[Collection[int], Fenced], Awaitable[None]]
    first_seen: dict[int, int]
    _waiting: list[PositionLost | MadeAnew] = field(default_factory=list)

    def add(self, events: Iterable[PositionLost | MadeAnew]) -> None:
        """These are to be settled."""
        self._waiting += events

    def clear(self) -> None:
        """The claims are gone: the next ones find out anew."""
        self._waiting.clear()

    async def settle(self) -> None:
        """All that can be settled now. What Kafka does not answer, and what was read before it, is waited for."""
        for event in tuple(self._waiting):
            claim = self.lane.positions.claim_of(event.partition)
            if claim is not None and self.lane.positions.is_current(event):
                if claim.next_offset < event.position:
                    continue  # records before it are read and not written yet
                if not await self._settle(claim, event):
                    continue
            if event in self._waiting:  # a fence may have ended all claims meanwhile
                self._waiting.remove(event)

    async def _settle(self, claim: Claim, event: PositionLost | MadeAnew) -> bool:
        """False when Kafka did not answer."""
        try:
            loss = await self.guard.explain(claim, event)
        except SourceUnavailable as e:
            self.lane.unanswered = e.message
            return False
        if not self.lane.positions.is_current(event):  # taken away while Kafka was asked
            return True
        if loss is None:
            beginning = Beginning(next_offset=claim.next_offset, claim_id=event.claim_id)
            await self.source.begin({claim.partition: beginning})
        elif self.skips and loss.skip_to is not None:
            await self._skip(claim, loss, loss.skip_to)
        else:
            self._stop(claim.partition, loss)
        return True

    async def _skip(self, claim: Claim, loss: Loss, next_offset: int) -> None:
        try:
            moved = await self.sink.skip_to(claim, next_offset, loss.topic_id)
        except Fenced as e:
            await self.on_fenced((claim.partition,), e)
            return
        self.drop((claim.partition,))
        claim_id, _ = self.lane.positions.claimed({claim.partition: moved})
        if loss.is_made_anew:
            self.first_seen[claim.partition] = next_offset
        self.totals.add(lost_records=loss.lost_records, made_anew=int(loss.is_made_anew))
        log.error("position lost, skipped", extra={"partition": claim.partition, "to": next_offset, "why": loss.why})
        self.source.mirror_claims((moved,))
        await self.source.begin({claim.partition: Beginning(next_offset=next_offset, claim_id=claim_id)})

    def _stop(self, partition: int, loss: Loss) -> None:
        log.error("partition stopped", extra={"partition": partition, "why": loss.why})
        self.drop((partition,))
        self.lane.positions.stop(partition, loss.why)
