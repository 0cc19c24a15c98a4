"""Kafka to PostgreSQL: intake -> decode -> batch -> write -> commit. Knows ports only.

Two tasks share one event loop. The *intake* takes events from the source, has records decoded in a worker thread and
hands the result to the batch builder. The *writer* owns the sink: it connects, claims, takes batches, writes them, and
after any failure drops everything buffered, and claims again. Dropping is always safe: the position in the
database says where to read on.

What must not live here: Kafka's or PostgreSQL's client, HTTP, metrics, signals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import assert_never

from forebay_api.state import SinkHealth
from forebay_api.v1alpha1 import OnPositionLost, PipelineSpec, StartFrom

from forebay_consumer.batching import BatchPolicy, size_of
from forebay_consumer.breaker import Breaker
from forebay_consumer.errors import CONFLICT, Fenced, SinkBroken, SinkUnavailable, SourceUnavailable
from forebay_consumer.pace import Cap
from forebay_consumer.ports import (
    Assigned,
    Beginning,
    Decoder,
    PositionLost,
    Records,
    Revoked,
    Sink,
    Source,
    SourceEvent,
    SourceTrouble,
)
from forebay_consumer.records import Batch, WriteReceipt
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


class Pipeline:
    """One topic's partitions into one table, until drained."""

    def __init__(
        self, *, spec: PipelineSpec, source: Source, sink: Sink, breaker: Breaker, status: Status, around: Surroundings
    ) -> None:
        self._spec = spec
        self._source = source
        self._sink = sink
        self._breaker = breaker
        self._status = status
        self._around = around
        self._positions = status.positions
        self._builder = status.builder
        rate = spec.consumer.max_rows_per_second
        self._cap = Cap(rate, around.now()) if rate is not None else None
        self._policy = BatchPolicy(ceiling_rows=self._cap.burst_rows if self._cap else None)
        self._decoder: Decoder | None = None
        self._first_seen: dict[int, int] = {}
        self._guard = TopicGuard(source, status.positions)
        self._settlement = Settlement(
            skips=spec.source.on_position_lost is OnPositionLost.SKIP_TO_EARLIEST,
            source=source,
            sink=sink,
            status=status,
            guard=self._guard,
            drop=self._drop,
            on_fenced=self._on_fenced,
            first_seen=self._first_seen,
        )
        self._answered_at = around.now()
        self._away = Backoff(AWAY)
        self._failing = Backoff(FAILING)
        self._broken = Backoff(BROKEN)
        self._wake = asyncio.Event()
        self._drain_asked = asyncio.Event()
        self._arrived_at = around.now()
        self._is_aside = False
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decode")

    async def run(self) -> None:
        """Work until drain(); returns once the transaction under way has ended. Cancelled: its outcome is unknown."""
        await self._source.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                intake = tasks.create_task(self._take_in())
                await self._write_for_ever()
                intake.cancel()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def drain(self) -> None:
        """Finish the transaction under way, start no other. What is buffered is read again by the next owner."""
        self._status.draining = True
        self._drain_asked.set()
        self._wake.set()

    # ---- intake

    async def _take_in(self) -> None:
        while True:
            await self._on_event(await self._source.next_event())

    async def _on_event(self, event: SourceEvent) -> None:
        match event:
            case Records():
                await self._on_records(event)
                return
            case Assigned():
                log.info("partitions assigned", extra={"partitions": list(event.partitions)})
                self._positions.assign(event.partitions)
            case Revoked():
                log.info("partitions revoked", extra={"partitions": list(event.partitions)})
                self._positions.revoke(event.partitions)
                self._drop(event.partitions)
            case PositionLost():
                self._settlement.add((event,))
            case SourceTrouble():
                if event.message != self._status.source_trouble:
                    log.warning("source trouble", extra={"trouble": event.message})
                self._status.source_trouble = event.message
            case _:
                assert_never(event)
        self._wake.set()

    async def _on_records(self, event: Records) -> None:
        fresh = [chunk for chunk in event.chunks if self._positions.accept(chunk)]
        self._source.release(sum(c.size_bytes for c in event.chunks) - sum(c.size_bytes for c in fresh))
        decoder = self._decoder
        if not fresh or decoder is None:
            return
        now = self._around.now()
        self._status.decoding.begin(now)
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._threads, lambda: [decoder.decode(chunk) for chunk in fresh])
        self._policy = self._policy.after_arrival(sum(len(c.offsets) for c in fresh), now - self._arrived_at)
        self._arrived_at = now
        now = self._around.now()
        self._status.decoding.end(now)
        for chunk in encoded:
            if self._positions.is_current(chunk.source):
                self._builder.add(chunk, now)
            else:
                self._source.release(chunk.source.size_bytes)
        self._wake.set()

    # ---- writer

    async def _write_for_ever(self) -> None:
        while not self._drain_asked.is_set():
            backoff = self._away
            try:
                await self._connect()
                await self._come_back()
                backoff = self._failing
                await self._serve()
            except SinkUnavailable as e:
                pause_s = backoff.next_s(self._around.jitter())
                self._policy = self._policy.after_outage()
                if e.outcome_unknown:
                    log.warning("outcome of a commit unknown", extra={"reason": e.reason, "detail": e.message})
                await self._interrupt(SinkHealth.AWAY, e.reason, e.message)
            except SinkBroken as e:
                pause_s = self._broken.next_s(self._around.jitter())
                await self._interrupt(SinkHealth.BROKEN, e.reason, e.message)
            else:
                return
            await _wait(self._drain_asked, pause_s)

    async def _connect(self) -> None:
        plan = await self._sink.connect()
        self._decoder = self._around.decoder_for(plan)
        self._source.set_wanted(self._around.wanted_for(plan))
        self._answered_at = self._around.now()
        self._away.reset()

    async def _come_back(self) -> None:
        """The partitions are another pipeline's to write: a member that may not would only keep them from it."""
        if self._is_aside:
            await self._sink.stored_partitions()
            self._is_aside = False
            await self._source.rejoin()

    async def _interrupt(self, health: SinkHealth, reason: str, message: str) -> None:
        """The connection is gone: forget claims and buffers, keep polling paused, say why."""
        if self._status.sink_changed(health, reason, message):
            log.warning("sink not ready", extra={"health": health, "reason": reason, "detail": message})
        everything = self._positions.assigned
        await self._forget(everything)
        self._settlement.clear()
        self._status.reset_rates(self._around.now())
        if reason == CONFLICT and not self._is_aside:
            self._is_aside = True
            await self._source.leave()

    async def _forget(self, partitions: Iterable[int]) -> None:
        """Drop what is buffered of these partitions and the claims on them; they are claimed again later."""
        partitions = tuple(partitions)
        self._positions.unclaim(partitions)
        self._drop(partitions)
        await self._source.hold(partitions)

    def _drop(self, partitions: Iterable[int]) -> None:
        self._source.release(self._builder.drop(partitions))

    async def _serve(self) -> None:
        while not self._drain_asked.is_set():
            self._wake.clear()
            await self._claim_new()
            await self._settlement.settle()
            await self._check_idle()
            if self._drain_asked.is_set():
                return
            if (batch := await self._next_batch()) is not None:
                await self._write(batch)

    async def _claim_new(self) -> None:
        partitions = self._positions.claimable(self._around.now())
        if partitions and (partitions := await self._initialize(partitions)):
            claims = await self._sink.claim(partitions, await self._ask_topic())
            claim_id, rewound = self._positions.claimed(claims)
            made_anew = self._guard.find_made_anew(claims.values(), claim_id)
            self._settlement.add(made_anew)
            strangers = {each.partition for each in made_anew}
            good = {p: claim for p, claim in claims.items() if p not in strangers}
            for partition, claim in good.items():
                self._first_seen.setdefault(partition, claim.next_offset)
            self._status.add(claims=len(claims), rewound_records=rewound)
            log.info("partitions claimed", extra={"partitions": list(claims), "rewound_records": rewound})
            if rewound:
                log.warning("the database lost commits, reading on from before", extra={"rewound_records": rewound})
            self._source.mirror_claims(claims.values())
            if good:
                await self._source.begin(
                    {p: Beginning(next_offset=claim.next_offset, claim_id=claim_id) for p, claim in good.items()}
                )
        elif self._positions.next_claim_at() is None:
            self._status.unanswered = None
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
        if known := {p: self._first_seen[p] for p in partitions if p not in stored and p in self._first_seen}:
            await self._sink.initialize(known, first_start=False, topic_id=self._guard.topic_id)
            stored |= known.keys()
        try:
            stored |= await self._start(partitions, stored)
            self._status.unanswered = None
        except SourceUnavailable as e:
            self._status.unanswered = e.message
            not_before = self._around.now() + SOURCE_RETRY_S * (0.5 + self._around.jitter())
            self._positions.postpone([p for p in partitions if p not in stored], not_before)
        return tuple(p for p in partitions if p in stored)

    async def _start(self, partitions: tuple[int, ...], stored: frozenset[int]) -> frozenset[int]:
        """By startFrom at the very first start, else at the log's start. Returns what is stored then."""
        if stored.issuperset(partitions):
            return stored
        topic_id = await self._guard.ask()  # before the offsets: of a topic made anew meanwhile they pass for the old's
        if not stored:
            everything = await self._source.topic_partitions()
            offsets = await self._source.resolve_start(self._spec.source.start_from, everything)
            await self._sink.initialize(offsets, first_start=True, topic_id=topic_id)
            stored = await self._sink.stored_partitions()
        if added := [p for p in partitions if p not in stored]:
            offsets = await self._source.resolve_start(StartFrom.EARLIEST, added)
            await self._sink.initialize(offsets, first_start=False, topic_id=topic_id)
        return stored.union(added)

    async def _check_idle(self) -> None:
        if self._around.now() - self._answered_at >= IDLE_CHECK_S:
            await self._sink.stored_partitions()
            await self._ask_topic()
            if self._guard.is_another_than_claimed():
                await self._forget(self._positions.assigned)
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
            pause_s = self._cap.wait_s(now) if self._cap else 0.0
            if pause_s == 0.0:
                return self._builder.take(self._policy, self._positions.claim_of)
            self._status.writing.begin(now)  # waiting at the own cap is being busy
            await _wait(self._wake, min(pause_s, IDLE_CHECK_S))
            return None
        self._status.writing.end(now)
        claim_at = self._positions.next_claim_at()
        waits = [due_s, None if claim_at is None else max(0.0, claim_at - now), IDLE_CHECK_S]
        await _wait(self._wake, min(w for w in waits if w is not None))
        return None

    async def _admit(self, batch: Batch) -> bool:
        """False: Kafka did not say that the topic is still the one whose offsets these are. All is claimed again.

        After a pause: brokers that hear of a new topic late may say now the one and now the other.
        """
        try:
            if await self._guard.admits(batch):
                return True
        except SourceUnavailable as e:
            self._status.unanswered = e.message
        self._source.release(size_of(batch))
        everything = self._positions.assigned
        await self._forget(everything)
        self._positions.postpone(everything, self._around.now() + SOURCE_RETRY_S * (0.5 + self._around.jitter()))
        return False

    async def _write(self, batch: Batch) -> None:
        if not await self._admit(batch):
            return
        self._status.writing.begin(self._around.now())
        if self._cap:
            self._cap.spend(batch.records)
        try:
            receipt = await self._sink.write(batch)
        except Fenced as e:
            await self._on_fenced(batch.claims, e)
            return
        except SinkBroken as e:
            self._status.write_refused(e.reason, e.message, batch.claims)
            raise
        finally:
            self._source.release(size_of(batch))
            if self._cap is None:
                self._status.writing.end(self._around.now())
        self._on_written(batch, receipt)

    def _on_written(self, batch: Batch, receipt: WriteReceipt) -> None:
        now = self._around.now()
        self._on_answer()
        self._positions.written(receipt)
        self._source.commit(receipt)
        self._breaker.written(batch.records, receipt.dead_letters)
        self._status.written(batch, receipt, now, is_small=self._policy.is_small(batch.records, receipt.took_s))
        self._policy = self._policy.after_write(batch.records, receipt.took_s)
        self._ready(written=True)
        self._around.on_receipt(receipt)

    def _ready(self, *, written: bool) -> None:
        if self._status.sink_ready(written=written):
            self._broken.reset()
            log.info("sink ready")

    async def _on_fenced(self, partitions: Collection[int], fence: Fenced) -> None:
        """Somebody else owns some of these: let go of those for a while, claim the others again at once."""
        fenced = fence.partitions or tuple(partitions)
        log.warning("fenced", extra={"partitions": list(fenced)})
        self._status.add(fenced=len(fenced))
        await self._forget(partitions)
        delay_s = FENCE_DELAY_S * (0.5 + self._around.jitter())
        self._positions.fence(fenced, self._around.now(), delay_s)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
