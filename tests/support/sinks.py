"""Builds PostgresSinks against a database of the testbed, and looks into that database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from forebay_api.v1alpha1 import (
    ColumnSource,
    ColumnSpec,
    DeleteWhen,
    FormatSpec,
    Pipeline,
    PipelineSpec,
    PostgresClusterRef,
    SecretRef,
    SinkMode,
    SinkSpec,
    SourceSpec,
)
from forebay_consumer.postgres_sink import PostgresSink
from forebay_consumer.postgres_sink.connection import CONNECT_MOST_S
from forebay_consumer.records import Claim
from forebay_consumer.retry import AnswerLimit
from support.testbed.servers import FreshDatabase


def make_pipeline(
    table: str = "public.events",
    *,
    name: str = "payments",
    group: str = "bank.payments",
    columns: Sequence[str] = (),
    cluster: PostgresClusterRef | None = None,
    key: Sequence[str] = (),
    delete_when: DeleteWhen | None = None,
) -> Pipeline:
    """A pipeline that writes JSON to the table: the named columns, or all, each from the field of its name.

    key: mode Upsert by these columns.
    """
    secret = SecretRef(name="db") if cluster is None else None
    specs = tuple(ColumnSpec(name=column, source=ColumnSource.PATH, path=(column,)) for column in columns)
    return Pipeline(
        namespace="bank",
        name=name,
        spec=PipelineSpec(
            source=SourceSpec(bootstrap_servers="unused:9092", topic="payments", group=group, format=FormatSpec()),
            sink=SinkSpec(
                table=table,
                connection_secret_ref=secret,
                postgres_cluster_ref=cluster,
                columns=specs,
                mode=SinkMode.UPSERT if key else SinkMode.APPEND,
                key_columns=tuple(key),
                delete_when=delete_when,
            ),
        ),
    )


def write_secret(folder: Path, **keys: object) -> Path:
    """A Secret's folder, one file a key."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in keys.items():
        (folder / key).write_text(str(value), encoding="utf-8")
    return folder


@dataclass(slots=True)
class SinkRig:
    """A database and the sinks that a test opened on it."""

    database: FreshDatabase
    folder: Path
    opened: list[PostgresSink] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = self.database.parts
        self.folder = write_secret(
            self.folder, host=parts.host, port=parts.port, dbname=parts.dbname, user=parts.user, password=parts.password
        )

    def sink(
        self, pipeline: Pipeline | None = None, *, folder: Path | None = None, patient: bool = True, **options: Any
    ) -> PostgresSink:
        """A sink that is not connected yet. patient: it is not tried again, and a busy machine may need long."""
        consumer = options.pop("consumer", f"consumer-{len(self.opened)}")
        sink = PostgresSink(pipeline or make_pipeline(), consumer=consumer, secret_dir=folder or self.folder, **options)
        if patient:
            sink._connect_limit = AnswerLimit(first_s=CONNECT_MOST_S, most_s=CONNECT_MOST_S)
        self.opened.append(sink)
        return sink

    async def claimed(
        self, partitions: Iterable[int] = (0,), pipeline: Pipeline | None = None, **options: Any
    ) -> tuple[PostgresSink, dict[int, Claim]]:
        """A connected sink that holds the partitions; positions begin at 0."""
        sink = self.sink(pipeline, **options)
        await sink.connect()
        await sink.initialize(dict.fromkeys(partitions, 0), first_start=False)
        return sink, dict(await sink.claim(partitions))

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:
        """A superuser's connection to the database."""
        parts = self.database.admin
        connection = await asyncpg.connect(
            host=parts.host, port=parts.port, user=parts.user, password=parts.password, database=self.database.dbname
        )
        try:
            yield connection
        finally:
            await connection.close()

    async def run(self, *statements: str, as_user: bool = True) -> None:
        """Execute as the consumer's role (so that it owns what is made), or as superuser."""
        async with self.admin() as connection:
            if as_user:
                await connection.execute(f'SET ROLE "{self.database.user}"')
            for statement in statements:
                await connection.execute(statement)

    async def query(self, statement: str, *args: object) -> list[tuple[Any, ...]]:
        """Rows as tuples, as superuser."""
        async with self.admin() as connection:
            return [tuple(row) for row in await connection.fetch(statement, *args)]

    async def consumer_users(self) -> list[str]:
        """As whom consumers are connected to the database."""
        users = "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'forebay:%'"
        return [str(user) for (user,) in await self.query(users, self.database.dbname)]

    async def wait_until_gone(self) -> None:
        """Until no consumer is connected to the database any more."""
        async with asyncio.timeout(60):
            gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'forebay:%'"
            while await self.value(gone, self.database.dbname):  # noqa: ASYNC110  the server's state has no event
                await asyncio.sleep(0.02)

    async def value(self, statement: str, *args: object) -> Any:
        """The single value of a query."""
        return (await self.query(statement, *args))[0][0]
