"""What becomes of dead letters after they were written: copied to their topic, and deleted when they are old.

A task of its own, with a connection of its own: whatever happens here, records are written all the same. Each consumer
cares for its own partitions. A letter is marked as copied once the brokers have it, so that after a crash in between
it is copied again: at least once, and never not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from forebay_api.state import DeadLetterState
from forebay_api.v1alpha1 import DeadLetterSpec

from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.ports import LetterSession, LetterStore, LetterTopic
from forebay_consumer.records import WriteReceipt
from forebay_consumer.retry import Backoff, Pauses

MIRROR_EVERY_S = 30.0
"""Without new letters: partitions that came from another consumer may bring some."""

MIRROR_REST_S = 1.0
"""Between two rounds while new letters keep coming: each costs a connection."""

PURGE_EVERY_S = 900.0
"""Between two looks for old letters, half as long to half as long again: consumers do not all look at once."""

PURGE_STATEMENTS = 20
"""Most statements of one look: what is left is deleted at the next."""

TROUBLED = Pauses(first_s=2.0, limit_s=60.0, patient_s=60.0)
"""Pauses while the topic, the brokers or the database do not do."""

log = logging.getLogger(__name__)


class Upkeep:
    """The task. partitions: those assigned now. jitter: uniform in [0, 1)."""

    def __init__(
        self,
        *,
        spec: DeadLetterSpec,
        store: LetterStore,
        topic: LetterTopic | None,
        partitions: Callable[[], Collection[int]],
        jitter: Callable[[], float],
    ) -> None:
        self._spec = spec
        self._store = store
        self._topic = topic
        self._partitions = partitions
        self._jitter = jitter
        self._backoff = Backoff(TROUBLED)
        self._wake = asyncio.Event()
        self._state = DeadLetterState()
        self._counted_at = 0.0
        self._purge_at = 0.0

    def on_receipt(self, receipt: WriteReceipt) -> None:
        """A batch was committed."""
        if receipt.dead_letters and self._topic is not None:
            self._wake.set()

    def state(self) -> DeadLetterState:
        """For /state. The age counts on while nothing is heard of the oldest."""
        age_s = self._state.oldest_unmirrored_s
        if age_s is None:
            return self._state
        return replace(self._state, oldest_unmirrored_s=age_s + self._now() - self._counted_at)

    async def run(self) -> None:
        """Until cancelled; returns at once if nothing is to be done for this pipeline."""
        if self._topic is None and self._spec.retention_days is None:
            return
        self._purge_at = self._now() + self._jitter() * PURGE_EVERY_S
        try:
            while True:
                await self._await_partitions()
                await self._round()
        finally:
            if self._topic is not None:
                self._topic.close()

    async def _await_partitions(self) -> None:
        while not self._partitions():
            self._state = replace(self._state, unmirrored=None, oldest_unmirrored_s=None)
            await asyncio.sleep(MIRROR_REST_S)

    async def _round(self) -> None:
        trouble = await self._try_once()
        if trouble != self._state.message:
            log.warning("dead letters kept back", extra={"trouble": trouble})
        self._state = replace(self._state, message=trouble)
        if trouble is not None:
            await asyncio.sleep(self._backoff.next_s(self._jitter()))
            return
        self._backoff.reset()
        await asyncio.sleep(MIRROR_REST_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._choose_pause_s()):
                await self._wake.wait()
        self._wake.clear()

    def _choose_pause_s(self) -> float:
        until_purge_s = max(0.0, self._purge_at - self._now())
        if self._topic is None:
            return until_purge_s
        pause_s = MIRROR_EVERY_S * (0.5 + self._jitter())
        return pause_s if self._spec.retention_days is None else min(pause_s, until_purge_s)

    async def _try_once(self) -> str | None:
        """One round; what kept it from being whole."""
        partitions = frozenset(self._partitions())
        try:
            async with self._store.open() as session:
                trouble = await self._mirror(session, partitions)
                await self._purge(session, partitions)
                return trouble
        except (SinkUnavailable, SinkBroken) as error:
            return f"the database does not give them: {error}"
        except Exception as error:  # at the top of the loop: the records matter more than this task
            log.exception("upkeep of dead letters failed")
            return f"internal error: {error!r}"

    async def _mirror(self, session: LetterSession, partitions: Collection[int]) -> str | None:
        if self._topic is None:
            return None
        trouble, after_id = None, 0
        while letters := await session.read_unmirrored(partitions, after_id):
            delivery = await self._topic.deliver(letters)
            await session.mark_mirrored(delivery.delivered)
            self._state = replace(self._state, mirrored=self._state.mirrored + len(delivery.delivered))
            trouble = delivery.trouble or trouble
            if delivery.is_blocked:
                break
            after_id = letters[-1].id
        unmirrored, age_s = await session.count_unmirrored(partitions)
        self._state = replace(self._state, unmirrored=unmirrored, oldest_unmirrored_s=age_s)
        self._counted_at = self._now()
        return trouble

    async def _purge(self, session: LetterSession, partitions: Collection[int]) -> None:
        days = self._spec.retention_days
        if days is None or self._now() < self._purge_at:
            return
        for _ in range(PURGE_STATEMENTS):
            purged = await session.purge_old(partitions, days=days, only_mirrored=self._topic is not None)
            self._state = replace(self._state, purged=self._state.purged + purged)
            if not purged:
                break
        self._purge_at = self._now() + PURGE_EVERY_S * (0.5 + self._jitter())

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
