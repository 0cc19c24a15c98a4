"""Small TCP proxies, one before each port that members use of each other, so that a member can be cut off or slowed.

A cut is silent, as on a real network: nothing is refused or closed, bytes just do not arrive, and go on after mend().
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.ha.loop_thread import LoopThread

BLOCK = 64 * 1024


class Way:
    """A port that leads to another one; cut, slow and mend may be called from any thread."""

    def __init__(self, port: int, leads_to: int, loop: LoopThread) -> None:
        self.port = port
        self._leads_to = leads_to
        self._loop = loop
        self._passable = asyncio.Event()
        self._passable.set()
        self._s_per_block = 0.0
        self._s_per_byte = 0.0
        self._served: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; in the loop."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port, limit=BLOCK)

    async def close(self) -> None:
        """Listen no more; in the loop."""
        self._server.close()

    def cut(self) -> None:
        """Let nothing through any more."""
        self._loop.call(self._change(passable=False))

    def slow(self, *, delay_s: float, bytes_per_s: float | None) -> None:
        """Delay each piece in each direction, and let no more than bytes_per_s through (None = any)."""
        self._loop.call(self._change(delay_s=delay_s, s_per_byte=1 / bytes_per_s if bytes_per_s else 0.0))

    def mend(self) -> None:
        """Be a wire again."""
        self._loop.call(self._change())

    async def _change(self, *, passable: bool = True, delay_s: float = 0.0, s_per_byte: float = 0.0) -> None:
        self._s_per_block, self._s_per_byte = delay_s, s_per_byte
        (self._passable.set if passable else self._passable.clear)()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._served.add(task)
        task.add_done_callback(self._served.discard)

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            await self._passable.wait()
            far, to_far = await asyncio.open_connection(LOOPBACK, self._leads_to, limit=BLOCK)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._carry(near, to_far))
                    tasks.create_task(self._carry(far, to_near))
            finally:
                to_far.transport.abort()
        except OSError:  # nobody there: the client is told by the end of its connection, below
            pass
        finally:
            to_near.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction, its end included."""
        with suppress(OSError):  # either side has gone: so does the other, as soon as the way is passable
            while block := await reader.read(BLOCK):
                if delay_s := self._s_per_block + len(block) * self._s_per_byte:
                    await asyncio.sleep(delay_s)
                await self._passable.wait()
                writer.write(block)
                await writer.drain()
        await self._passable.wait()
        writer.close()


class Network:
    """The ways of one cluster, by the name of the member that they belong to."""

    def __init__(self) -> None:
        self._loop = LoopThread("forebay-ha-network")
        self._ways: dict[str, list[Way]] = {}

    def lead(self, member: str, to_port: int) -> int:
        """Open a way to a port; return the port that leads there."""
        way = Way(find_free_port(), to_port, self._loop)
        self._loop.call(way.open())
        self._ways.setdefault(member, []).append(way)
        return way.port

    def cut(self, member: str) -> None:
        """Cut the member off: from HAProxy, from etcd, and from those who want to replicate from it."""
        for way in self._ways[member]:
            way.cut()

    def slow(self, member: str, *, delay_s: float, bytes_per_s: float | None) -> None:
        """Slow all its ways down."""
        for way in self._ways[member]:
            way.slow(delay_s=delay_s, bytes_per_s=bytes_per_s)

    def mend(self, members: Iterable[str] | None = None) -> None:
        """Make these members' ways, or all, as good as new."""
        for member in self._ways if members is None else members:
            for way in self._ways[member]:
                way.mend()

    def stop(self) -> None:
        """Close everything."""
        for way in (way for ways in self._ways.values() for way in ways):
            self._loop.call(way.close())
        self._loop.stop()
