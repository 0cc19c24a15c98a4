"""One connection to the primary: opening it, sending statements with deadlines, and a COMMIT that nobody cancels."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import asyncpg
from forebay_api.v1alpha1 import TlsMode

from forebay_consumer import sql
from forebay_consumer.copy_stream import CopyStream
from forebay_consumer.credentials import Credentials, stronger_tls
from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.postgres_sink.refused import Refused, as_sink_error, converting

CONNECT_FIRST_S, CONNECT_MOST_S = 0.5, 10.0
"""Seconds for resolving, TCP, TLS and authentication: a stopped server's kernel accepts, and says nothing. See
retry.AnswerLimit."""

SET_UP_S = 10.0
"""Seconds for the first statements of a session."""

STATEMENT_TIMEOUT_S = 30.0
"""Seconds for any statement but COPY and COMMIT; the server's own lock_timeout strikes long before."""

COPY_TIMEOUT_S = 120.0
"""Seconds for one COPY of one batch, or for moving it on from a temporary table: well under a second on a database that
is not drowned."""

COMMIT_LIMIT_S = 60.0
"""Seconds after which a COMMIT (a synchronous standby may be away) is given up: the socket is closed, nothing sent."""

LOCK_TIMEOUT = "2s"
"""Longer than a healthy predecessor holds its positions; short enough to write within 5 s of a frozen one."""

IDLE_IN_TRANSACTION_TIMEOUT = "10s"
"""A consumer never thinks inside a transaction: one that does nothing for so long is frozen."""

CLIENT_CHECK_INTERVAL = "5s"
"""How often a busy backend looks whether its consumer is still connected."""

APPLICATION_NAME_BYTES = 63
"""PostgreSQL cuts application_name there; cut by us it stays valid UTF-8."""

_KEEPALIVES = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)
"""A server that vanished without a word is noticed in 25-30 s (seconds, probes; milliseconds for the last)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The server's side of a connection; (pid, started) identifies it among all there ever were."""

    pid: int
    started: datetime
    user: str
    database: str


class Session:
    """An open connection. Not for concurrent use, except `terminate`. Failures leave as Refused."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], backend: Backend) -> None:
        self._connection = connection
        self.backend = backend
        self._wait_was_cancelled = False
        self._copying: asyncio.Timeout | None = None
        connection.add_log_listener(self._hear)
        connection.add_termination_listener(self._on_end)

    async def fetch(self, statement: str, *args: object) -> list[asyncpg.Record]:
        """Rows of a statement with parameters."""
        with converting():
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                return await self._connection.fetch(statement, *args)

    async def execute(self, statements: str, *, timeout_s: float = STATEMENT_TIMEOUT_S) -> str:
        """One round trip for one or more statements without parameters; the last one's tag."""
        with converting():
            async with asyncio.timeout(timeout_s):
                return await self._connection.execute(statements)

    async def copy(self, stream: CopyStream, *, schema: str, table: str) -> None:
        """COPY the rows into a table. Ends as soon as the connection does.

        Left to itself asyncpg would wait for room in a dead socket until COPY_TIMEOUT_S, or send all rows to nobody.
        """
        with converting():
            try:
                async with asyncio.timeout(COPY_TIMEOUT_S) as self._copying:
                    await self._copy(stream, schema, table)
            except Exception as error:
                if not self.is_closed or isinstance(error, asyncpg.PostgresError):
                    raise
                raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of COPY") from error
            finally:
                self._copying = None

    async def _copy(self, stream: CopyStream, schema: str, table: str) -> None:
        source: Any = _sent_one_by_one(stream)  # Any: the stubs do not know that asyncpg takes buffers
        await self._connection.copy_to_table(
            table,
            schema_name=schema,
            columns=stream.columns,
            source=source,
            format=stream.copy_format.value,
            # text: the type's own functions read UTF-8, whatever the connection says
            encoding="UTF8" if stream.copy_format.value == "text" else None,
        )

    def _on_end(self, _connection: object) -> None:
        if self._copying is not None and not self._copying.expired():
            self._copying.reschedule(asyncio.get_running_loop().time())

    async def commit(self) -> float:
        """COMMIT; returns its seconds.

        The task that sends it is never cancelled: asyncpg would send a CancelRequest, which ends a wait for a standby
        by a *successful* COMMIT that no standby has.

        Raises Refused when the server refused (rolled back), SinkUnavailable(outcome_unknown) when nobody knows.
        """
        self._wait_was_cancelled = False
        loop = asyncio.get_running_loop()
        began = loop.time()
        task = asyncio.ensure_future(self._connection.execute(sql.COMMIT))
        task.add_done_callback(_forget_outcome)
        try:
            await asyncio.wait({task}, timeout=COMMIT_LIMIT_S)
        except asyncio.CancelledError:
            self.terminate()
            raise
        if not task.done():
            self.terminate()
            raise SinkUnavailable("CommitTimedOut", f"COMMIT took more than {COMMIT_LIMIT_S:g} s", outcome_unknown=True)
        self._judge_commit(task)
        return loop.time() - began

    def _judge_commit(self, task: asyncio.Future[str]) -> None:
        try:
            with converting():
                tag = task.result()
        except Refused as refused:
            if self.is_closed or refused.symptom.sqlstate is None or refused.symptom.sqlstate[:2] in ("08", "57"):
                raise as_sink_error(refused.symptom, outcome_unknown=True) from refused
            raise
        if tag != sql.COMMIT:
            raise SinkUnavailable("TransactionLost", f"COMMIT was answered by {tag}")
        if self._wait_was_cancelled:
            message = "the wait for the synchronous standby was cancelled: the commit may be on one server only"
            raise SinkUnavailable("NotReplicated", message, outcome_unknown=True)

    async def rollback(self) -> None:
        """End the transaction without trace."""
        await self.execute(sql.ROLLBACK)

    @property
    def is_closed(self) -> bool:
        """Whether the connection is known to be gone."""
        return bool(self._connection.is_closed())

    def terminate(self) -> None:
        """Close the socket without a cancel request."""
        self._connection.terminate()

    async def close(self) -> None:
        """Close in good order, within a few seconds; never raises."""
        try:
            with converting():
                await self._connection.close(timeout=5)
        except Refused:
            self.terminate()

    def _hear(self, _connection: object, notice: asyncpg.PostgresLogMessage) -> None:
        facts = notice.as_dict()
        if facts.get("server_source_function") == "SyncRepWaitForLSN" or "synchronous replication" in str(
            facts.get("message")
        ):
            self._wait_was_cancelled = True


async def open_session(
    credentials: Credentials, tls: TlsMode, ca_file: Path | None, application: str, *, timeout_s: float
) -> Session:
    """Connect to a writable primary and set the session up.

    timeout_s: for connecting. Raises SinkUnavailable("ReadOnly") on a standby, and Refused.
    """
    context = build_ssl(stronger_tls(tls, credentials.tls), ca_file)
    with converting():
        connection = await asyncpg.connect(
            host=credentials.host,
            port=credentials.port,
            user=credentials.user,
            password=credentials.password,
            database=credentials.dbname,
            ssl=context,
            timeout=timeout_s,
            server_settings={"application_name": cut_application_name(application)},
        )
    try:
        with converting():  # the socket may be gone already
            _set_keepalives(connection)
        return Session(connection, await _set_up(connection))
    except BaseException:
        connection.terminate()
        raise


async def _set_up(connection: asyncpg.Connection[asyncpg.Record]) -> Backend:
    with converting():
        async with asyncio.timeout(SET_UP_S):
            await connection.fetch(sql.SET_SESSION, LOCK_TIMEOUT, IDLE_IN_TRANSACTION_TIMEOUT)
            try:
                await connection.fetch(sql.WATCH_CLIENT, CLIENT_CHECK_INTERVAL)
            except asyncpg.PostgresError as error:
                if connection.is_closed():
                    raise error
            facts = (await connection.fetch(sql.DESCRIBE_SESSION))[0]
    if facts["in_recovery"] or facts["read_only"]:
        what = "is a standby" if facts["in_recovery"] else "allows this user to read only"
        raise SinkUnavailable("ReadOnly", f"the server that answered {what}")
    return Backend(
        pid=facts["pid"], started=facts["backend_start"], user=facts["user_name"], database=facts["database_name"]
    )


def _set_keepalives(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """On a duplicate of the descriptor: uvloop's socket object refuses setsockopt."""
    transport = connection._transport  # type: ignore[attr-defined]  # asyncpg offers no other way to its socket
    own = transport.get_extra_info("socket")
    if own is None or own.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with socket.socket(fileno=os.dup(own.fileno())) as duplicate:
        for level, option, value in _KEEPALIVES:
            duplicate.setsockopt(level, option, value)


def build_ssl(mode: TlsMode, ca_file: Path | None) -> ssl.SSLContext | Literal["allow", "prefer", False]:
    """libpq's meaning of the modes; `require` with a CA checks the certificate as verify-ca does. Raises SinkBroken."""
    if mode is TlsMode.DISABLE:
        return False
    if mode is TlsMode.ALLOW or mode is TlsMode.PREFER:
        return "allow" if mode is TlsMode.ALLOW else "prefer"
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise SinkBroken(
            "BadCertificate", f"the CA of spec.sink.tls.caSecretRef cannot be read from {ca_file}: {error}"
        ) from error
    context.check_hostname = mode is TlsMode.VERIFY_FULL
    if mode is TlsMode.REQUIRE and ca_file is None:
        context.verify_mode = ssl.CERT_NONE
    return context


def cut_application_name(name: str) -> str:
    """At most 63 bytes of printable ASCII: PostgreSQL replaces anything else."""
    return "".join(c if " " <= c <= "~" else "?" for c in name)[:APPLICATION_NAME_BYTES]


def _forget_outcome(task: asyncio.Future[str]) -> None:
    """Read the result so that a COMMIT nobody waits for any more does not complain of it."""
    if not task.cancelled():
        task.exception()


async def _sent_one_by_one(stream: CopyStream) -> AsyncIterator[bytes | memoryview]:
    """asyncpg sends each piece as one message and waits, between them, while the socket is full."""
    for piece in stream.pieces():
        yield piece
