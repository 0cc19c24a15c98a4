"""Clients that take every connection a server has to give, and keep them."""

from __future__ import annotations

import asyncio

from forebay_cli.local.ha.loop_thread import LoopThread
from forebay_cli.local.ha.sessions import NoSlotLeft, Session, SessionLost, open_session
from forebay_cli.local.postgres_server import ConnectionParts

AT_ONCE = 8
CONNECT_S = 5.0
AGAIN_S = 0.2
"""Pause before the next attempt at a full server: a place that somebody leaves is soon taken. Each costs a process."""


class Crowd:
    """Connects to one server until leave()."""

    def __init__(self, parts: ConnectionParts) -> None:
        """parts: how an ordinary role signs in; the superuser's reserved connections are left alone."""
        self._parts = parts
        self._sessions: list[Session] = []
        self._refusals = 0
        self._loop = LoopThread("forebay-ha-crowd")
        self._tasks: list[asyncio.Task[None]] = []
        self._loop.call(self._gather())

    @property
    def size(self) -> int:
        """Connections that were taken."""
        return len(self._sessions)

    def has_filled(self) -> bool:
        """Tell whether the server had no place left for every one of us."""
        return self._refusals >= AT_ONCE

    def leave(self) -> None:
        """Give all connections back."""
        self._loop.call(self._disperse())
        self._loop.stop()
        self._sessions.clear()

    async def _gather(self) -> None:
        self._tasks = [asyncio.create_task(self._push(stay=number == 0)) for number in range(AT_ONCE)]

    async def _push(self, *, stay: bool) -> None:
        """Connect until there is no place left; stay: and then go on for ever."""
        while True:
            try:
                self._sessions.append(await open_session(self._parts, CONNECT_S))
            except NoSlotLeft:
                self._refusals += 1
                if not stay:
                    return
                await asyncio.sleep(AGAIN_S)
            except SessionLost:
                await asyncio.sleep(AGAIN_S)

    async def _disperse(self) -> None:
        # First of all nobody comes any more: one who took a place just now would keep it.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session in self._sessions:
            session.abort()
