"""Reads /state of running consumers over HTTP; the only importer of aiohttp here."""

from __future__ import annotations

import json
from types import TracebackType

import aiohttp
from forebay_api.state import ConsumerState, from_json_object

from forebay_operator.model import RunningConsumer

TIMEOUT_S = 2.0
"""A consumer that needs longer is as good as silent: its numbers would be old."""

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""A few hundred bytes a partition; more is no consumer of ours."""


class HttpConsumerReader:
    """ConsumerReader over HTTP. Use it as an async context manager: it owns a connection pool."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpConsumerReader:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read_state(self, consumer: RunningConsumer) -> ConsumerState | None:
        """None when it has no address yet, did not answer in time, or answered what is no state."""
        if self._session is None or consumer.state_url is None:
            return None
        try:
            async with self._session.get(consumer.state_url, allow_redirects=False) as answer:
                if answer.status != 200:
                    return None
                return _decode_state(await _read_body(answer.content))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


async def _read_body(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return b""
    return bytes(body)


def _decode_state(body: bytes) -> ConsumerState | None:
    try:
        return from_json_object(json.loads(body))
    except (ValueError, TypeError, AttributeError):
        return None
