"""Sessions with a database: the only importer of asyncpg for the highly available cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from forebay_cli.local.postgres_server import ConnectionParts

WRITE_NOTHING = "SELECT pg_logical_emit_message(true, 'forebay', '')"
"""A transaction that is written to the WAL and waits for standbys like any other, and leaves nothing behind."""


class SessionLost(Exception):
    """No session could be opened, or it failed; the cause says how."""


class NoSlotLeft(SessionLost):
    """The server has as many connections as it takes (53300)."""


class Session:
    """One connection; make it with open_session()."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def write_nothing(self) -> None:
        """Commit a transaction without effect, however long that takes. Raises SessionLost, also on a standby."""
        try:
            await self._connection.execute(WRITE_NOTHING)
        except Exception as error:  # InternalClientError, OSError, PostgresError, ...: have no other root
            raise SessionLost from error

    def abort(self) -> None:
        """Close the socket without a word."""
        self._connection.terminate()


async def open_session(parts: ConnectionParts, timeout_s: float) -> Session:
    """Connect. Raises NoSlotLeft, SessionLost."""
    try:
        async with asyncio.timeout(timeout_s):
            connection = await asyncpg.connect(
                host=parts.host,
                port=parts.port,
                user=parts.user,
                password=parts.password,
                database=parts.dbname,
                ssl=False,
                timeout=timeout_s,
            )
    except asyncpg.TooManyConnectionsError as error:
        raise NoSlotLeft from error
    except Exception as error:  # as in write_nothing()
        raise SessionLost from error
    return Session(connection)
