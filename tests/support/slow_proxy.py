"""A TCP proxy with small buffers and a slow way to the server, so that a client can be met in the middle of sending."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

BLOCK = 16 * 1024


@asynccontextmanager
async def slow_proxy(host: str, port: int, bytes_per_s: float) -> AsyncIterator[int]:
    """Forward connections to host:port until the block ends; yields the port to connect to."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * BLOCK)  # inherited by what is accepted
    listener.bind(("127.0.0.1", 0))

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(host, port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_forward(client, to_server, 1 / bytes_per_s))
                tasks.create_task(_forward(server, to_client, 0.0))
        finally:
            to_client.transport.abort()
            to_server.transport.abort()

    served: set[asyncio.Task[None]] = set()

    def accept(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        served.add(asyncio.create_task(serve(client, to_client)))

    server = await asyncio.start_server(accept, sock=listener, limit=BLOCK)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.close()
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        await server.wait_closed()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, s_per_byte: float) -> None:
    with suppress(ConnectionError):
        while block := await reader.read(BLOCK):
            writer.write(block)
            await writer.drain()
            if s_per_byte:
                await asyncio.sleep(len(block) * s_per_byte)
    writer.close()
