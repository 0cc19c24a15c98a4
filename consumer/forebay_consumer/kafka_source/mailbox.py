"""Events on their way from the thread to the event loop, in order. Few and large: each costs a wake-up of the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from forebay_consumer.kafka_source.budget import Budget
from forebay_consumer.ports import PositionLost, Records, SourceEvent


class Mailbox:
    """post(), forget() and resolve() belong to the thread, next_event() to the loop. The list itself is the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: Budget) -> None:
        self._loop = loop
        self._budget = budget
        self._events: deque[SourceEvent] = deque()
        self._filled = asyncio.Event()

    def post(self, event: SourceEvent) -> None:
        """Put an event at the end."""
        self._call(lambda: self._put(event))

    def forget(self, partitions: frozenset[int]) -> None:
        """Drop what waits of these partitions and was not taken yet."""
        self._call(lambda: self._forget(partitions))

    def resolve(self, done: asyncio.Future[None]) -> None:
        """Tell whoever awaits it that everything posted and forgotten before has taken place."""
        self._call(lambda: None if done.done() else done.set_result(None))

    async def next_event(self) -> SourceEvent:
        """Take the first event; waits for one. Cancelling it loses none."""
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        return self._events.popleft()

    def _call(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            if not self._loop.is_closed():  # nobody is left to read what a late thread has to say
                raise

    def _put(self, event: SourceEvent) -> None:
        self._events.append(event)
        self._filled.set()

    def _forget(self, partitions: frozenset[int]) -> None:
        kept = [self._without(event, partitions) for event in self._events]
        self._events = deque(event for event in kept if event is not None)

    def _without(self, event: SourceEvent, forget: frozenset[int]) -> SourceEvent | None:
        if isinstance(event, PositionLost):
            return None if event.partition in forget else event
        if not isinstance(event, Records):
            return event
        kept = tuple(chunk for chunk in event.chunks if chunk.partition not in forget)
        self._budget.release(sum(c.size_bytes for c in event.chunks) - sum(c.size_bytes for c in kept))
        return replace(event, chunks=kept) if kept else None
