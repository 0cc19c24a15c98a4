"""When exactly could the primary be written to? Measured by writing, through the port that clients use."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.loop_thread import LoopThread
from forebay_cli.local.ha.sessions import Session, SessionLost, open_session
from forebay_cli.local.postgres_server import ConnectionParts

WHILE_UP_S = 0.05
"""Pause between two commits."""
WHILE_DOWN_S = 0.02
"""Pause between two attempts to connect: how exactly the end of an outage is known."""
CONNECT_S = 1.0
"""A member that HAProxy does not know to be frozen yet accepts and stays silent."""
NOTICEABLE_S = 0.5
"""A commit that took longer than this is an outage, too, though nothing failed: it waited for a standby."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time without a writable primary, on time.monotonic()'s clock.

    lost_at_s: the last commit before. writable_at_s: the first after; None = not yet. failed: a connection broke or
    was refused, else a commit only took long.
    """

    lost_at_s: float
    writable_at_s: float | None
    failed: bool


class PrimaryWatch:
    """Watches from `with` to its end, in a thread of its own; 20 commits a second."""

    def __init__(self, parts: ConnectionParts) -> None:
        """parts: how a role signs in that may call pg_logical_emit_message (HaCluster.admin())."""
        self._parts = parts
        self._lock = threading.Lock()
        self._outages: list[Outage] = []
        self._wrote_at_s: float | None = None
        self._failed = False

    def __enter__(self) -> PrimaryWatch:
        self._loop = LoopThread("forebay-ha-watch")
        self._loop.spawn(self._watch())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.stop()

    def outages(self) -> tuple[Outage, ...]:
        """All since the start, the last perhaps still going on."""
        with self._lock:
            return tuple(self._outages)

    def wrote_at_s(self) -> float | None:
        """When the last commit succeeded; None before the first."""
        with self._lock:
            return self._wrote_at_s

    def wait_writable(self, since_s: float, timeout_s: float) -> float | None:
        """Wait for a commit after since_s (monotonic); return when it succeeded, None when none did in time."""

        def has_written() -> bool:
            at_s = self.wrote_at_s()
            return at_s is not None and at_s > since_s

        return self.wrote_at_s() if wait_until(has_written, timeout_s) else None

    async def _watch(self) -> None:
        while True:
            session: Session | None = None
            try:
                session = await open_session(self._parts, CONNECT_S)
                while True:
                    await session.write_nothing()
                    self._note_commit(time.monotonic())
                    await asyncio.sleep(WHILE_UP_S)
            except SessionLost:
                self._note_failure()
            finally:
                if session is not None:
                    session.abort()
            await asyncio.sleep(WHILE_DOWN_S)

    def _note_failure(self) -> None:
        with self._lock:
            if not self._failed and self._wrote_at_s is not None:
                self._outages.append(Outage(lost_at_s=self._wrote_at_s, writable_at_s=None, failed=True))
            self._failed = True

    def _note_commit(self, at_s: float) -> None:
        with self._lock:
            before_s = self._wrote_at_s
            if self._failed and self._outages:
                self._outages[-1] = replace(self._outages[-1], writable_at_s=at_s)
            elif before_s is not None and at_s - before_s > NOTICEABLE_S:
                self._outages.append(Outage(lost_at_s=before_s, writable_at_s=at_s, failed=False))
            self._failed = False
            self._wrote_at_s = at_s
