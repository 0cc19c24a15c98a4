"""A TCP proxy in the test's own loop that breaks connections at a chosen moment."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum

BLOCK = 64 * 1024


class Way(StrEnum):
    """What happens to connections. PASS: nothing. SILENT: nothing arrives any more. REFUSE: new ones are closed."""

    PASS = "pass"
    SILENT = "silent"
    REFUSE = "refuse"


class FaultProxy:
    """Forwards to one server. port: where clients connect.

    cut_after: bytes from a client, over all its connections, after which everything is cut; None: never.
    deaf_to: bytes in a message that the server still gets, and of whose answer the client hears nothing until cut().
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.port = 0
        self.way = Way.PASS
        self.cut_after: int | None = None
        self.deaf_to: bytes | None = None
        self.sent_bytes = 0
        self.accepted = 0
        self.was_cut = asyncio.Event()
        self._passable = asyncio.Event()
        self._passable.set()
        self._open: set[asyncio.WriteTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def freeze(self) -> None:
        """Nothing goes through any more, in either direction, and nothing is closed."""
        self.way = Way.SILENT
        self._passable.clear()

    def thaw(self) -> None:
        """Let everything through again."""
        self.way = Way.PASS
        self._passable.set()

    def cut(self) -> None:
        """Reset every connection."""
        for transport in list(self._open):
            transport.abort()
        self._open.clear()
        self.was_cut.set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self.accepted += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End everything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            if self.way is not Way.REFUSE:
                await self._forward(client, to_client)
        finally:
            to_client.transport.abort()  # also when it is still waiting for a way through

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        await self._passable.wait()
        server, to_server = await asyncio.open_connection(*self._server, limit=BLOCK)
        pair = {to_client.transport, to_server.transport}
        self._open |= pair
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._from_client(client, to_server))
                tasks.create_task(self._carry(server, to_client))
        finally:
            self._open -= pair
            for transport in pair:
                transport.abort()

    async def _from_client(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while block := await client.read(BLOCK):
                await self._passable.wait()
                self.sent_bytes += len(block)
                if self.deaf_to is not None and self.deaf_to in block:
                    await self._deliver_and_cut(block, to_server)
                    return
                if self.cut_after is not None and self.sent_bytes > self.cut_after:
                    self.cut()
                    return
                to_server.write(block)
                await to_server.drain()
        to_server.close()

    async def _deliver_and_cut(self, block: bytes, to_server: asyncio.StreamWriter) -> None:
        """The server gets it, the client hears nothing of the answer."""
        self._passable.clear()
        to_server.write(block)
        await to_server.drain()
        to_server.write_eof()
        await self.was_cut.wait()
        self._passable.set()

    async def _carry(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while block := await server.read(BLOCK):
                await self._passable.wait()
                to_client.write(block)
                await to_client.drain()
        await self._passable.wait()
        to_client.close()


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator[FaultProxy]:
    """A proxy to host:port until the block ends."""
    proxy = FaultProxy(host, port)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BLOCK)  # inherited: a large COPY has to wait for room
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(proxy.accept, sock=listener, limit=BLOCK)
    proxy.port = int(listener.getsockname()[1])
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await proxy.close()
        await server.wait_closed()
