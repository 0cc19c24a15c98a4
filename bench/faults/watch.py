"""Looks at the stored positions of one group again and again, straight at the server, whatever happens to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import asyncpg
from forebay_cli.local.ha.loop_thread import LoopThread

LOOK_EVERY_S = 0.05
ANSWER_S = 3.0
_POSITIONS = 'SELECT "partition", next_offset FROM forebay.positions WHERE "group" = $1 AND topic = $2'


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """at_s: when it was answered, on time.monotonic()'s clock. positions: partition -> next offset."""

    at_s: float
    positions: Mapping[int, int]

    @property
    def written(self) -> int:
        """Records of all partitions that are written, where each log begins at 0."""
        return sum(self.positions.values())


class PositionWatch:
    """with PositionWatch(...) as watch: ...; looks are made from then on, in a thread of its own."""

    def __init__(self, dsn: str, *, group: str, topic: str) -> None:
        self._dsn, self._group, self._topic = dsn, group, topic
        self._looks: list[Look] = []

    def __enter__(self) -> Self:
        self._loop = LoopThread("forebay-position-watch")
        self._watching = self._loop.spawn(self._watch())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.stop()

    @property
    def positions(self) -> Mapping[int, int]:
        """As last seen; nothing before the first."""
        return self._looks[-1].positions if self._looks else {}

    def has_begun(self) -> bool:
        """Tell whether anything was written."""
        return bool(self._looks) and self._looks[-1].written > 0

    def find_first_move(self, since_s: float) -> float | None:
        """Return when something was first seen to be written after since_s; None = never."""
        return find_first_move(list(self._looks), since_s)

    def find_end(self, ends: Mapping[int, int]) -> float | None:
        """Return when these positions were first seen to be reached; None = they are not."""
        if self._watching.done():
            self._watching.result()  # it never ends but by an error, which is to be seen
        reached = (look.at_s for look in list(self._looks) if all(look.positions.get(p) == n for p, n in ends.items()))
        return next(reached, None)

    async def _watch(self) -> None:
        while True:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=ANSWER_S, command_timeout=ANSWER_S)
                try:
                    await self._look(connection)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                await asyncio.sleep(LOOK_EVERY_S)  # it is away, or nobody has made the schema yet

    async def _look(self, connection: asyncpg.Connection[Any]) -> None:
        while True:
            rows = await connection.fetch(_POSITIONS, self._group, self._topic)
            self._looks.append(Look(at_s=time.monotonic(), positions={each[0]: each[1] for each in rows}))
            await asyncio.sleep(LOOK_EVERY_S)


def find_first_move(looks: list[Look], since_s: float) -> float | None:
    """Return when a look at or after since_s first shows more than the last one before it; None = none does."""
    before = 0
    for look in looks:
        if look.at_s >= since_s and look.written > before:
            return look.at_s
        before = look.written
    return None
