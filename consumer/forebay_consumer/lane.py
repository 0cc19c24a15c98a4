"""One lane: a connection, the partitions that are written on it, and the batches on their way. Knows ports only.

It connects, claims, takes batches, writes them, and after any failure drops everything that it has buffered, and claims
again. Dropping is always safe: the position in the database says where to read on.

What must not live here: Kafka's or PostgreSQL's client, HTTP, metrics, signals, other lanes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from forebay_api.state import SinkHealth
from forebay_api.v1alpha1 import OnPositionLost, SourceSpec, StartFrom

from forebay_consumer.batching import BatchPolicy, size_of
from forebay_consumer.breaker import Breaker
from forebay_consumer.errors import CONFLICT, Fenced, SinkBroken, SinkUnavailable, SourceUnavailable
from forebay_consumer.lane_status import LaneStatus
from forebay_consumer.pace import Cap
from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import Beginning, Decoder, PositionLost, Sink, Source
from forebay_consumer.records import Batch, EncodedChunk, WriteReceipt
from forebay_consumer.retry import AWAY, BROKEN, FAILING, Backoff
from forebay_consumer.settlement import Settlement
from forebay_consumer.status import Status
from forebay_consumer.surroundings import Surroundings
from forebay_consumer.topic_guard import TopicGuard

FENCE_DELAY_S = 1.0
"""A fenced consumer waits this long (jittered, doubled each time) before it claims again if the group still says so."""

SOURCE_RETRY_S = 2.0
"""Pause after Kafka could not answer a question that a claim needs."""

IDLE_CHECK_S = 5.0
"""A connection without traffic does not tell that it is gone, nor that a failover has taken positions back."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the lanes of one process have in common.

    cap: of all of them together; None = no cap. first_seen: partition -> the first position that was ever claimed.
    on_plan: a lane has (re)connected, and found the table so. on_conflict: the group is another pipeline's.
    come_back: lane 0 has a connection by which to see whether it still is.
    """

    spec: SourceSpec
    source: Source
    breaker: Breaker
    status: Status
    around: Surroundings
    cap: Cap | None
    drain_asked: asyncio.Event
    on_plan: Callable[[int, TablePlan], None]
    on_conflict: Callable[[], Awaitable[None]]
    come_back: Callable[[Sink], Awaitable[None]]
    first_seen: dict[int, int] = field(default_factory=dict)


class Lane:
    """See the module. Lane 0 keeps its connection without a partition: somebody has to look whether all is well."""

    def __init__(self, number: int, sink: Sink, shared: Shared) -> None:
        self.number = number
        self.status: LaneStatus = shared.status.lanes[number]
        self.positions = self.status.positions
        self.decoder: Decoder | None = None
        self._sink = sink
        self._shared = shared
        self._source = shared.source
        self._around = shared.around
        self._builder = self.status.builder
        self._policy = BatchPolicy(ceiling_rows=shared.cap.burst_rows if shared.cap else None)
        self._guard = TopicGuard(shared.source, self.positions)
        self._settlement = Settlement(
            skips=shared.spec.on_position_lost is OnPositionLost.SKIP_TO_EARLIEST,
            source=shared.source,
            sink=sink,
            lane=self.status,
            totals=shared.status,
            guard=self._guard,
            drop=self._drop,
            on_fenced=self._on_fenced,
            first_seen=shared.first_seen,
        )
        self._answered_at = self._arrived_at = shared.around.now()
        self._away = Backoff(AWAY)
        self._failing = Backoff(FAILING)
        self._broken = Backoff(BROKEN)
        self._wake = asyncio.Event()

    # ---- what the intake brings

    def assign(self, partitions: Iterable[int]) -> None:
        """They are this lane's to claim."""
        self.positions.assign(partitions)
        self.wake()

    def revoke(self, partitions: Iterable[int]) -> None:
        """They are this lane's no more."""
        partitions = tuple(partitions)
        self.positions.revoke(partitions)
        self._drop(partitions)
        self.wake()

    def lose(self, event: PositionLost) -> None:
        """Kafka has no record at a position."""
        self._settlement.add((event,))
        self.wake()

    def add(self, chunks: Iterable[EncodedChunk], arrived_at: float) -> None:
        """Records under this lane's claims; those that are outdated by now are given back. arrived_at: monotonic."""
        now = self._around.now()
        records = 0
        for chunk in chunks:
            records += len(chunk.source.offsets)
            if self.positions.is_current(chunk.source):
                self._builder.add(chunk, now)
            else:
                self._source.release(chunk.source.size_bytes)
        self._policy = self._policy.after_arrival(records, arrived_at - self._arrived_at)
        self._arrived_at = arrived_at
        self.wake()

    def wake(self) -> None:
        """Something has changed."""
        self._wake.set()

    # ---- the writer

    async def run(self) -> None:
        """Until drained; returns once the transaction under way has ended."""
        while not self._is_draining:
            if self.number and not self.positions.assigned:
                await self._rest()
                continue
            backoff = self._away
            try:
                await self._connect()
                backoff = self._failing
                await self._serve()
                continue
            except SinkUnavailable as e:
                pause_s = backoff.next_s(self._around.jitter())
                self._policy = self._policy.after_outage()
                if e.outcome_unknown:
                    log.warning("outcome of a commit unknown", extra={"reason": e.reason, "detail": e.message})
                await self._interrupt(SinkHealth.AWAY, e.reason, e.message)
            except SinkBroken as e:
                pause_s = self._broken.next_s(self._around.jitter())
                await self._interrupt(SinkHealth.BROKEN, e.reason, e.message)
            await _wait(self._shared.drain_asked, pause_s)

    @property
    def _is_draining(self) -> bool:
        return self._shared.drain_asked.is_set()

    async def _rest(self) -> None:
        """Without partitions: every connection counts at the database, and this one would do nothing."""
        self._wake.clear()
        if not self.status.is_resting:
            await self._sink.close()
            self.status.rest()
        await self._wake.wait()

    async def _connect(self) -> None:
        plan = await self._sink.connect()
        self.decoder = self._around.decoder_for(plan)
        self._shared.on_plan(self.number, plan)
        self._answered_at = self._around.now()
        self._away.reset()
        await self._come_back()

    async def _come_back(self) -> None:
        if self.number == 0:
            await self._shared.come_back(self._sink)

    async def _interrupt(self, health: SinkHealth, reason: str, message: str) -> None:
        """The connection is gone: forget claims and buffers, keep polling paused, say why."""
        if self.status.sink_changed(health, reason, message):
            log.warning("sink not ready", extra={"health": health, "reason": reason, "detail": message})
        await self._forget(self.positions.assigned)
        self._settlement.clear()
        now = self._around.now()
        self.status.reset(now)
        self._shared.status.reset_rates(now)
        if reason == CONFLICT:
            await self._shared.on_conflict()

    async def _forget(self, partitions: Iterable[int]) -> None:
        """Drop what is buffered of these partitions and the claims on them; they are claimed again later."""
        partitions = tuple(partitions)
        self.positions.unclaim(partitions)
        self._drop(partitions)
        await self._source.hold(partitions)

    def _drop(self, partitions: Iterable[int]) -> None:
        self._source.release(self._builder.drop(partitions))

    async def _serve(self) -> None:
        """Until drained, or until there is nothing left to do for a lane that may rest."""
        while not self._is_draining and (self.number == 0 or self.positions.assigned):
            self._wake.clear()
            await self._claim_new()
            await self._settlement.settle()
            await self._check_idle()
            if self._is_draining:
                return
            if (batch := await self._next_batch()) is not None:
                await self._write(batch)

    async def _claim_new(self) -> None:
        partitions = self.positions.claimable(self._around.now())
        if partitions and (partitions := await self._initialize(partitions)):
            claims = await self._sink.claim(partitions, await self._ask_topic())
            claim_id, rewound = self.positions.claimed(claims)
            made_anew = self._guard.find_made_anew(claims.values(), claim_id)
            self._settlement.add(made_anew)
            strangers = {each.partition for each in made_anew}
            good = {p: claim for p, claim in claims.items() if p not in strangers}
            for partition, claim in good.items():
                self._shared.first_seen.setdefault(partition, claim.next_offset)
            self._shared.status.add(claims=len(claims), rewound_records=rewound)
            log.info("partitions claimed", extra={"partitions": list(claims), "rewound_records": rewound})
            if rewound:
                log.warning("the database lost commits, reading on from before", extra={"rewound_records": rewound})
            self._source.mirror_claims(claims.values())
            if good:
                await self._source.begin(
                    {p: Beginning(next_offset=claim.next_offset, claim_id=claim_id) for p, claim in good.items()}
                )
        elif self.positions.next_claim_at() is None:
            self.status.unanswered = None
        self._ready(written=False)

    async def _ask_topic(self) -> str | None:
        """Its id; None also when Kafka does not answer: nothing is written before it has."""
        try:
            return await self._guard.ask()
        except SourceUnavailable:
            return None

    async def _initialize(self, partitions: tuple[int, ...]) -> tuple[int, ...]:
        """Store a position for partitions without one. Returns those that have one; the others are tried again later.

        A failover may have lost even the first positions. Latest is another place by then, and Kafka's copy is ahead.
        """
        stored = await self._sink.stored_partitions()
        first_seen = self._shared.first_seen
        if known := {p: first_seen[p] for p in partitions if p not in stored and p in first_seen}:
            await self._sink.initialize(known, first_start=False, topic_id=self._guard.topic_id)
            stored |= known.keys()
        try:
            stored |= await self._start(partitions, stored)
            self.status.unanswered = None
        except SourceUnavailable as e:
            self.status.unanswered = e.message
            not_before = self._around.now() + self._retry_pause_s()
            self.positions.postpone([p for p in partitions if p not in stored], not_before)
        return tuple(p for p in partitions if p in stored)

    async def _start(self, partitions: tuple[int, ...], stored: frozenset[int]) -> frozenset[int]:
        """By startFrom at the very first start, else at the log's start. Returns what is stored then."""
        if stored.issuperset(partitions):
            return stored
        topic_id = await self._guard.ask()  # before the offsets: of a topic made anew meanwhile they pass for the old's
        if not stored:
            everything = await self._source.topic_partitions()
            offsets = await self._source.resolve_start(self._shared.spec.start_from, everything)
            await self._sink.initialize(offsets, first_start=True, topic_id=topic_id)
            stored = await self._sink.stored_partitions()
        if added := [p for p in partitions if p not in stored]:
            offsets = await self._source.resolve_start(StartFrom.EARLIEST, added)
            await self._sink.initialize(offsets, first_start=False, topic_id=topic_id)
        return stored.union(added)

    async def _check_idle(self) -> None:
        if self._around.now() - self._answered_at >= IDLE_CHECK_S:
            await self._sink.stored_partitions()
            await self._come_back()
            await self._ask_topic()
            if self._guard.is_another_than_claimed():
                await self._forget(self.positions.assigned)
            self._on_answer()

    def _on_answer(self) -> None:
        """The database does more than let itself be claimed."""
        self._answered_at = self._around.now()
        self._failing.reset()

    async def _next_batch(self) -> Batch | None:
        """A batch that is due now; None after waiting for something to change."""
        now = self._around.now()
        due_s = self._builder.due_in(now, self._policy)
        if due_s == 0.0:
            cap = self._shared.cap
            pause_s = cap.wait_s(now) if cap else 0.0
            if pause_s == 0.0:
                batch = self._builder.take(self._policy, self.positions.claim_of)
                if cap and batch:
                    cap.spend(batch.records)  # at once: the other lanes look at it, too
                return batch
            self.status.writing.begin(now)  # waiting at the own cap is being busy
            await _wait(self._wake, min(pause_s, IDLE_CHECK_S))
            return None
        self.status.writing.end(now)
        claim_at = self.positions.next_claim_at()
        waits = [due_s, None if claim_at is None else max(0.0, claim_at - now), IDLE_CHECK_S]
        await _wait(self._wake, min(w for w in waits if w is not None))
        return None

    async def _admit(self, batch: Batch) -> bool:
        """Whether the topic is still the one whose offsets these are; waits for Kafka to say so.

        False: it is not, or the group has taken part of it away meanwhile. Then all is given back and claimed again.
        """
        is_answered = False
        while not is_answered and self._is_owned(batch) and not self._is_draining:
            try:
                if await self._guard.admits(batch):
                    self.status.unanswered = None
                    return True
                is_answered = True
            except SourceUnavailable as e:  # what was read is good: to read it again would only add to the load
                self.status.unanswered = e.message
                self.status.writing.end(self._around.now())  # waiting for Kafka is not being busy
                await _wait(self._shared.drain_asked, self._retry_pause_s())
        self.status.unanswered = None
        self._source.release(size_of(batch))
        everything = self.positions.assigned
        await self._forget(everything)
        if is_answered:  # brokers that hear of a new topic late may say now the one and now the other
            self.positions.postpone(everything, self._around.now() + self._retry_pause_s())
        return False

    def _is_owned(self, batch: Batch) -> bool:
        """The group has taken nothing of it away since it was put together."""
        return all(self.positions.claim_of(partition) is claim for partition, claim in batch.claims.items())

    def _retry_pause_s(self) -> float:
        return SOURCE_RETRY_S * (0.5 + self._around.jitter())

    async def _write(self, batch: Batch) -> None:
        if not await self._admit(batch):
            return
        self.status.writing.begin(self._around.now())
        try:
            receipt = await self._sink.write(batch)
        except Fenced as e:
            await self._on_fenced(batch.claims, e)
            return
        except SinkBroken as e:
            self.status.write_refused(e.reason, e.message, batch.claims)
            raise
        finally:
            self._source.release(size_of(batch))
            if self._shared.cap is None:
                self.status.writing.end(self._around.now())
        self._on_written(batch, receipt)

    def _on_written(self, batch: Batch, receipt: WriteReceipt) -> None:
        now = self._around.now()
        self._on_answer()
        self.positions.written(receipt)
        self._source.commit(receipt)
        self._shared.breaker.written(batch.records, receipt.dead_letters)
        self._shared.status.written(batch, receipt, now)
        self.status.written(receipt, now, is_small=self._policy.is_small(batch.records, receipt.took_s))
        self._policy = self._policy.after_write(batch.records, receipt.took_s)
        self._ready(written=True)
        self._around.on_receipt(receipt)

    def _ready(self, *, written: bool) -> None:
        if self.status.sink_ready(written=written):
            self._broken.reset()
            log.info("sink ready", extra={"lane": self.number})

    async def _on_fenced(self, partitions: Collection[int], fence: Fenced) -> None:
        """Somebody else owns some of these: let go of those for a while, claim the others again at once."""
        fenced = fence.partitions or tuple(partitions)
        log.warning("fenced", extra={"partitions": list(fenced)})
        self._shared.status.add(fenced=len(fenced))
        await self._forget(partitions)
        delay_s = FENCE_DELAY_S * (0.5 + self._around.jitter())
        self.positions.fence(fenced, self._around.now(), delay_s)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
