"""A Kafka broker seen through a proxy that can make it list no brokers, as one does that its controller takes for dead.

The real thing happens when a single broker was frozen for longer than broker.session.timeout.ms, and only if a client
asks between its waking up and its being let in again: too rare to wait for.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

METADATA = 3
FIRST_FLEXIBLE = 9
"""Version from which metadata has compact arrays and tags; clients of today ask for later ones."""


class ForgetfulKafka:
    """bootstrap: for clients. is_forgetful: answers for metadata name no brokers. forgotten: how many did."""

    def __init__(self, bootstrap: str, port: int) -> None:
        self.bootstrap = bootstrap
        self.is_forgetful = False
        self.forgotten = 0
        self._port = port

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry one client's connection; answers come in the order of the requests."""
        asked: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        with suppress(ConnectionError, asyncio.IncompleteReadError, ExceptionGroup):
            broker, to_broker = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._carry_requests(client, to_broker, asked))
                    tasks.create_task(self._carry_answers(broker, to_client, asked))
            finally:
                to_broker.transport.abort()
                to_client.transport.abort()

    async def _carry_requests(
        self, client: asyncio.StreamReader, to_broker: asyncio.StreamWriter, asked: asyncio.Queue[tuple[int, int]]
    ) -> None:
        while True:
            request = await _read_frame(client)
            key, version, _ = struct.unpack_from(">hhi", request)
            asked.put_nowait((key, version))
            to_broker.write(struct.pack(">i", len(request)) + request)
            await to_broker.drain()

    async def _carry_answers(
        self, broker: asyncio.StreamReader, to_client: asyncio.StreamWriter, asked: asyncio.Queue[tuple[int, int]]
    ) -> None:
        while True:
            answer = await _read_frame(broker)
            key, version = await asked.get()
            if key == METADATA and self.is_forgetful:
                assert version >= FIRST_FLEXIBLE, f"metadata of version {version} is not understood here"
                answer = forget_brokers(answer)
                self.forgotten += 1
            to_client.write(struct.pack(">i", len(answer)) + answer)
            await to_client.drain()


@asynccontextmanager
async def forgetful_kafka(port: int, behind: int) -> AsyncIterator[ForgetfulKafka]:
    """Listen on port for the broker whose listener is behind, and which tells its clients to come to port."""
    kafka = ForgetfulKafka(f"127.0.0.1:{port}", behind)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(kafka.serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield kafka
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def forget_brokers(answer: bytes) -> bytes:
    """The same answer for metadata (KIP-482 encoding) with an empty list of brokers and no controller."""
    start = 4 + 1 + 4  # correlation id, no tags, throttle time
    at = start
    count, at = _read_varint(answer, at)
    for _ in range(count - 1):
        at += 4  # node id
        at = _skip_string(answer, at) + 4  # host, port
        at = _skip_string(answer, at)  # rack
        tags, at = _read_varint(answer, at)
        assert tags == 0
    cluster = _skip_string(answer, at)
    return answer[:start] + b"\x01" + answer[at:cluster] + struct.pack(">i", -1) + answer[cluster + 4 :]


def _skip_string(data: bytes, at: int) -> int:
    length, at = _read_varint(data, at)
    return at + max(0, length - 1)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)
