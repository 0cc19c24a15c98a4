"""ports.Sink on PostgreSQL: one connection, every failure of which ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline

from forebay_consumer.credentials import Credentials, read_credentials
from forebay_consumer.errors import Fenced, SinkBroken, SinkUnavailable
from forebay_consumer.plan import TablePlan
from forebay_consumer.postgres_sink.catalog import Target, describe_target
from forebay_consumer.postgres_sink.claims import (
    Owner,
    claim_partitions,
    initialize_positions,
    read_stored_partitions,
    skip_position,
)
from forebay_consumer.postgres_sink.connection import CONNECT_FIRST_S, CONNECT_MOST_S, Session, open_session
from forebay_consumer.postgres_sink.refused import Refused, as_sink_error
from forebay_consumer.postgres_sink.schema import ensure_schema
from forebay_consumer.postgres_sink.transaction import Admit, write_batch
from forebay_consumer.postgres_sink.upsert_writer import choose_writer
from forebay_consumer.postgres_sink.writers import RowWriter
from forebay_consumer.records import Batch, Claim, DeadLetter, WriteReceipt
from forebay_consumer.retry import AnswerLimit
from forebay_consumer.sql import split_table

HOPELESS_RECORDS = 100
"""A batch of at least so many records, all refused, is a mistake of the table or the pipeline and not of the data."""


def refuse_hopeless_batches(records: int, dead_letters: int, _known: Sequence[DeadLetter]) -> None:
    """The check used where the caller has no breaker. Raises SinkBroken."""
    if records >= HOPELESS_RECORDS and dead_letters == records:
        raise SinkBroken(
            "Breaker", f"all {records} records of a batch cannot be written; see the table's definition and spec.sink"
        )


class PostgresSink:
    """See ports.Sink. Needs a session of its own at the server: a pooler in transaction mode will not do, because
    claims, prepared statements and the identity of the backend belong to the session."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        consumer: str,
        secret_dir: Path,
        ca_file: Path | None = None,
        admit: Admit = refuse_hopeless_batches,
    ) -> None:
        self._pipeline = pipeline
        self._consumer = consumer
        self._secret_dir = secret_dir
        self._ca_file = ca_file
        self._admit = admit
        self._session: Session | None = None
        self._target: Target | None = None
        self._writer: RowWriter | None = None
        self._connect_limit = AnswerLimit(first_s=CONNECT_FIRST_S, most_s=CONNECT_MOST_S)
        schema, table = split_table(pipeline.spec.sink.table)
        self._owner = Owner(
            group=pipeline.spec.source.group,
            topic=pipeline.spec.source.topic,
            pipeline=pipeline.key,
            target=f"{schema}.{table}",
        )

    async def connect(self) -> TablePlan:
        """See ports.Sink."""
        if self._session is not None:
            await self.close()
        sink = self._pipeline.spec.sink
        async with self._ending_on_failure():
            credentials = read_credentials(self._secret_dir, sink)
            application = f"forebay:{self._pipeline.key}:{self._consumer}"
            self._session = await self._open(credentials, application)
            await ensure_schema(self._session)
            self._target = await describe_target(self._session, sink, self._owner)
            self._writer = choose_writer(self._session, self._target, self._writer)
        return self._target.plan

    async def _open(self, credentials: Credentials, application: str) -> Session:
        tls, limit = self._pipeline.spec.sink.tls.mode, self._connect_limit
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            session = await open_session(credentials, tls, self._ca_file, application, timeout_s=limit.seconds)
        except Refused as refused:
            is_late = isinstance(refused.__cause__, TimeoutError)
            (limit.was_too_short if is_late else limit.was_refused)()
            raise
        limit.was_enough(loop.time() - began)
        return session

    async def stored_partitions(self) -> frozenset[int]:
        """See ports.Sink."""
        async with self._ending_on_failure():
            session = self._live()
            if self._writer is not None:  # an idle consumer asks this every few seconds, and nothing else
                await self._writer.rest()
            return await read_stored_partitions(session, self._owner)

    async def initialize(self, offsets: Mapping[int, int], *, first_start: bool, topic_id: str | None = None) -> None:
        """See ports.Sink."""
        async with self._ending_on_failure():
            session = self._live()
            await initialize_positions(session, self._owner, offsets, first_start=first_start, topic_id=topic_id)

    async def claim(self, partitions: Iterable[int], topic_id: str | None = None) -> Mapping[int, Claim]:
        """See ports.Sink."""
        async with self._ending_on_failure():
            return await claim_partitions(self._live(), self._owner, tuple(sorted(set(partitions))), topic_id)

    async def write(self, batch: Batch) -> WriteReceipt:
        """See ports.Sink."""
        async with self._ending_on_failure():
            session = self._live()
            assert self._target is not None
            assert self._writer is not None
            return await write_batch(session, self._writer, self._target, self._owner, batch, self._admit)

    async def skip_to(self, claim: Claim, next_offset: int, topic_id: str | None = None) -> Claim:
        """See ports.Sink."""
        async with self._ending_on_failure():
            return await skip_position(self._live(), self._owner, claim, next_offset, topic_id)

    def terminate(self) -> None:
        """See ports.Sink."""
        session, self._session = self._session, None
        if session is not None:
            session.terminate()

    async def close(self) -> None:
        """See ports.Sink."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _live(self) -> Session:
        if self._session is None or self._session.is_closed:
            raise SinkUnavailable("ConnectionLost", "not connected to the database")
        return self._session

    @asynccontextmanager
    async def _ending_on_failure(self) -> AsyncIterator[None]:
        """Whatever fails inside ends the connection, except a fence; client errors become the consumer's own."""
        try:
            yield
        except Fenced:
            raise
        except Refused as refused:
            self.terminate()
            raise as_sink_error(refused.symptom) from refused
        except BaseException:  # cancellation included: a half-read answer makes the connection useless
            self.terminate()
            raise
