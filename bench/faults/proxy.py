"""A TCP proxy that does to connections what networks do to them. Its verbs may be called from any thread.

It works in a loop of its own; a verb returns when it is done. mend() makes it a wire again, release() lets go of what
abandon() kept.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from forebay_cli.local.free_ports import LOOPBACK
from forebay_cli.local.ha.loop_thread import LoopThread

BLOCK = 16 * 1024
"""Bytes that travel at once: a throttled way is even, and a quick one costs little."""
LONG_AGO_S = 3600.0
"""More than any latency: the first piece of a connection comes after a pause."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: close() sends RST and forgets what is unsent."""


class Direction(StrEnum):
    """Which way bytes travel. UP: from client to server."""

    UP = "up"
    DOWN = "down"


BOTH = frozenset(Direction)


@dataclass(slots=True, eq=False, kw_only=True)
class _Link:
    """One connection: the client's side of it and the server's. is_deaf: what the server answers next ends it."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    task: asyncio.Task[None]
    is_deaf: bool = False
    is_abandoned: bool = False


@dataclass(slots=True, kw_only=True)
class _Weather:
    """What the network is like. budgets: bytes that still pass before one connection is cut; None = all.

    latency_s: always; delay_s: more, for a while. Both hold back the first piece after a pause, as a long way does.
    deaf_to: bytes to the server of whose answer the client is to hear nothing.
    """

    passable: dict[Direction, asyncio.Event]
    budgets: dict[Direction, int | None]
    latency_s: float = 0.0
    delay_s: float = 0.0
    s_per_byte: float = 0.0
    deaf_to: bytes | None = None


def _make_weather() -> _Weather:
    passable = {direction: asyncio.Event() for direction in Direction}
    for event in passable.values():
        event.set()
    return _Weather(passable=passable, budgets=dict.fromkeys(Direction))


@dataclass(slots=True, kw_only=True)
class Counts:
    """Since the proxy was opened. moved: bytes that arrived. cuts: connections cut by a budget or robbed of an answer.

    accepted: connections. joined: those for which the server's side was open, too.
    """

    moved: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))
    cuts: int = 0
    accepted: int = 0
    joined: int = 0


class FaultProxy:
    """Listens on one port and leads to another, both of the loopback interface."""

    def __init__(self, port: int, leads_to: int) -> None:
        """Begin to listen. leads_to: nobody needs to listen there yet."""
        self.port = port
        self.counts = Counts()
        self._leads_to = leads_to
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._orphans: list[asyncio.StreamWriter] = []
        self._loop = LoopThread(f"forebay-proxy-{port}")
        self._weather = self._loop.call(self._open())

    async def _open(self) -> _Weather:
        weather = _make_weather()
        await self._listen()
        return weather

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, limit=BLOCK)

    # ---- verbs

    def close(self) -> int:
        """Close every connection, both sides; returns how many."""
        return self._loop.call(self._end_all(reset=False))

    def reset(self) -> int:
        """Reset every connection, both sides; returns how many."""
        return self._loop.call(self._end_all(reset=True))

    def abandon(self) -> int:
        """Reset every connection towards the client, and leave the server's side open until release()."""
        return self._loop.call(self._abandon_all())

    def hole(self, directions: Collection[Direction] = BOTH) -> None:
        """Let nothing through, and close nothing, until fill(). New connections are made and hear nothing."""
        self._loop.call(self._pass(directions, passable=False))

    def fill(self, directions: Collection[Direction] = BOTH) -> None:
        """Let everything through again; what was held back arrives."""
        self._loop.call(self._pass(directions, passable=True))

    def settle(self, latency_ms: int) -> None:
        """Be so long a way in each direction from now on; mend() leaves it so."""
        self._loop.call(self._settle(latency_ms / 1000))

    def slow(self, *, delay_ms: int = 0, bytes_per_s: int | None = None) -> None:
        """Be so much longer a way, and let no more than bytes_per_s through (None = any), in each direction."""
        self._loop.call(self._slow(delay_ms / 1000, 1 / bytes_per_s if bytes_per_s else 0.0))

    def cut_after(self, cut_bytes: int, direction: Direction) -> None:
        """Let so many more bytes pass, over all connections; the connection of the next one ends before it."""
        self._loop.call(self._set_budget(direction, cut_bytes))

    def forget_cut(self, direction: Direction) -> bool:
        """Take cut_after() back; True if nothing was cut."""
        return self._loop.call(self._forget_budget(direction))

    def lose_answer(self, to: bytes | None) -> None:
        """Reset the connection on which these bytes go up, when the server answers; None: no more."""
        self._loop.call(self._set_deaf(to))

    def refuse(self) -> None:
        """Refuse new connections until accept(); those that are open stay."""
        self._loop.call(self._stop_listening())

    def accept(self) -> None:
        """Accept connections again."""
        self._loop.call(self._start_listening())

    def mend(self) -> None:
        """Undo whatever a verb has done to the way itself."""
        self._loop.call(self._mend())

    def release(self) -> None:
        """Close what abandon() kept open."""
        self._loop.call(self._release())

    def stop(self) -> None:
        """End everything."""
        self._loop.call(self._shut())
        self._loop.stop()

    # ---- in the loop

    async def _end_all(self, *, reset: bool) -> int:
        links = list(self._links)
        for link in links:
            _end(link.near, reset=reset)
            _end(link.far, reset=reset)
        return len(links)

    async def _abandon_all(self) -> int:
        links = list(self._links)
        for link in links:
            link.is_abandoned = True
            self._orphans.append(link.far)
            _end(link.near, reset=True)
            link.task.cancel()
        return len(links)

    async def _pass(self, directions: Collection[Direction], *, passable: bool) -> None:
        for direction in directions:
            event = self._weather.passable[direction]
            (event.set if passable else event.clear)()

    async def _settle(self, latency_s: float) -> None:
        self._weather.latency_s = latency_s

    async def _slow(self, delay_s: float, s_per_byte: float) -> None:
        self._weather.delay_s, self._weather.s_per_byte = delay_s, s_per_byte

    async def _set_budget(self, direction: Direction, cut_bytes: int) -> None:
        self._weather.budgets[direction] = cut_bytes

    async def _forget_budget(self, direction: Direction) -> bool:
        left = self._weather.budgets[direction]
        self._weather.budgets[direction] = None
        return left is not None

    async def _set_deaf(self, to: bytes | None) -> None:
        self._weather.deaf_to = to

    async def _stop_listening(self) -> None:
        self._server.close()

    async def _start_listening(self) -> None:
        if not self._server.is_serving():
            await self._listen()

    async def _mend(self) -> None:
        await self._pass(BOTH, passable=True)
        await self._slow(0.0, 0.0)
        for direction in Direction:
            await self._forget_budget(direction)
        await self._set_deaf(None)
        await self._start_listening()

    async def _release(self) -> None:
        for writer in self._orphans:
            _end(writer, reset=False)
        self._orphans.clear()

    async def _shut(self) -> None:
        self._server.close()
        await self._release()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- connections

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.accepted += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        link: _Link | None = None
        try:
            await self._weather.passable[Direction.UP].wait()
            far, to_far = await asyncio.open_connection(LOOPBACK, self._leads_to, limit=BLOCK)
            task = asyncio.current_task()
            assert task is not None, "this runs in a task"
            link = _Link(near=to_near, far=to_far, task=task)
            self._links.add(link)
            self.counts.joined += 1
            for writer in (to_near, to_far):
                writer.transport.set_write_buffer_limits(high=0)  # drain() waits until the kernel has everything
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._carry(link, Direction.UP, near, to_far))
                tasks.create_task(self._carry(link, Direction.DOWN, far, to_near))
        except OSError:  # nobody there: the client is told by the end of its connection
            pass
        finally:
            to_near.transport.abort()
            if link is not None:
                self._links.discard(link)
                if not link.is_abandoned:
                    link.far.transport.abort()

    async def _carry(
        self, link: _Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one direction, its end included."""
        clock = asyncio.get_running_loop().time
        passed_at_s = clock() - LONG_AGO_S
        with suppress(OSError):  # either side has gone, and the other is told below
            while block := await reader.read(BLOCK):
                await self._hold_up(direction, len(block), clock() - passed_at_s)
                passing = self._choose_passing(link, direction, block)
                writer.write(block[:passing])
                await writer.drain()
                passed_at_s = clock()
                self.counts.moved[direction] += passing
                if passing < len(block):
                    self._cut(link, direction)
                    return
        await self._weather.passable[direction].wait()
        with suppress(OSError):
            writer.close()

    async def _hold_up(self, direction: Direction, size: int, since_last_s: float) -> None:
        """since_last_s: pieces that follow each other travel together."""
        weather = self._weather
        delay_s = weather.latency_s + weather.delay_s
        wait_s = (delay_s if since_last_s >= delay_s else 0.0) + size * weather.s_per_byte
        if wait_s:
            await asyncio.sleep(wait_s)
        await weather.passable[direction].wait()

    def _choose_passing(self, link: _Link, direction: Direction, block: bytes) -> int:
        """How many bytes of the block arrive; fewer than all: then the connection ends."""
        weather = self._weather
        if direction is Direction.DOWN and link.is_deaf:
            return 0
        if direction is Direction.UP and weather.deaf_to is not None and weather.deaf_to in block:
            link.is_deaf, weather.deaf_to = True, None
        left = weather.budgets[direction]
        if left is None:
            return len(block)
        passing = min(left, len(block))
        weather.budgets[direction] = left - passing if passing == len(block) else None
        return passing

    def _cut(self, link: _Link, direction: Direction) -> None:
        """End it: who sent learns by a reset; who received gets what has passed, and then the end.

        A client that is not to hear an answer learns by a reset, too.
        """
        self.counts.cuts += 1
        sender, receiver = (link.near, link.far) if direction is Direction.UP else (link.far, link.near)
        _end(sender, reset=not link.is_deaf)
        _end(receiver, reset=link.is_deaf)


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close one side. Bytes that are on their way arrive, unless it is a reset."""
    if reset:
        own: socket.socket | None = writer.get_extra_info("socket")
        with suppress(OSError):  # it is gone already
            if own is not None:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
