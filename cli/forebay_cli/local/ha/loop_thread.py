"""An event loop in a thread of its own, for what has to go on beside a program that waits and kills."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

CALL_S = 60.0
"""Deadline of one call; far above what any of them takes."""


class LoopThread:
    """Runs coroutines from the moment it is made until stop(), which cancels them."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it there and return its result, or raise what it raises."""
        return self.spawn(coroutine).result(CALL_S)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start it there; the future can be cancelled."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        """Cancel what still runs and wait for its end; a second call does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _work(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # cancels what is left, closes the loop
            runner.run(self._stay())

    async def _stay(self) -> None:
        await self._stopping.wait()
