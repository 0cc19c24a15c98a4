"""Dead letters by hand, for the command line: look at them, delete them, write them again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from forebay_api.v1alpha1 import Pipeline

from forebay_consumer import sql, sql_letters
from forebay_consumer.credentials import read_credentials
from forebay_consumer.letters import LetterRow, ReasonCount, Selection, StoredLetter, unpack_headers
from forebay_consumer.postgres_sink.catalog import describe_target
from forebay_consumer.postgres_sink.claims import Owner
from forebay_consumer.postgres_sink.connection import CONNECT_MOST_S, Session, open_session
from forebay_consumer.postgres_sink.refused import telling
from forebay_consumer.postgres_sink.replay import Replay, Replayed, chosen
from forebay_consumer.postgres_sink.schema import ensure_schema

PURGE_LETTERS = 1000
"""Most letters that one statement deletes."""


class LettersAdmin:
    """An open connection for `forebay dead-letters`. Methods raise SinkUnavailable and SinkBroken."""

    def __init__(self, session: Session, pipeline: Pipeline) -> None:
        self._session = session
        self._pipeline = pipeline
        self._owner = build_owner(pipeline)

    async def count(self, selection: Selection) -> tuple[ReasonCount, ...]:
        """How many have each reason, the commonest first."""
        with telling():
            rows = await self._session.fetch(
                sql_letters.COUNT_LETTERS, *chosen(self._owner, selection), self._owner.target
            )
        return tuple(ReasonCount(**dict(row)) for row in rows)

    async def find(self, selection: Selection, limit: int) -> tuple[LetterRow, ...]:
        """The newest ones, newest first, at most limit."""
        with telling():
            rows = await self._session.fetch(sql_letters.LIST_LETTERS, *chosen(self._owner, selection), limit)
        return tuple(LetterRow(**dict(row)) for row in rows)

    async def read(self, ids: Sequence[int]) -> tuple[StoredLetter, ...]:
        """Whole letters, by id; those that are not there are left out."""
        with telling():
            selection = Selection(ids=tuple(ids))
            rows = await self._session.fetch(sql_letters.READ_LETTERS, *chosen(self._owner, selection))
        return tuple(map(build_letter, rows))

    async def purge(self, selection: Selection) -> tuple[int, int]:
        """Delete them. Returns how many, and how many of those the topic of dead letters did not have."""
        deleted = unmirrored = 0
        while True:
            with telling():
                rows = await self._session.fetch(
                    sql_letters.PURGE_LETTERS, *chosen(self._owner, selection), PURGE_LETTERS
                )
            deleted += len(rows)
            unmirrored += sum(row["is_unmirrored"] for row in rows)
            if not rows:
                return deleted, unmirrored

    async def replay(self, selection: Selection, *, discard_superseded: bool) -> tuple[Replayed, int]:
        """Write them again, some hundred a transaction, each letter tried once.

        Returns what became of them, and how many were chosen and not tried because another replay holds them.
        Broken off at any moment it leaves each letter either as it was, or gone with its row written.
        """
        total = Replayed()
        with telling():
            target = await describe_target(self._session, self._pipeline.spec.sink, self._owner)
            run = Replay(self._session, target, self._owner, discard_superseded=discard_superseded)
            while (step := await run.step(selection)) is not None:
                total.add(step)
            return total, await run.count_waiting(selection)


def build_owner(pipeline: Pipeline) -> Owner:
    """Whose letters."""
    schema, table = sql.split_table(pipeline.spec.sink.table)
    source = pipeline.spec.source
    return Owner(group=source.group, topic=source.topic, pipeline=pipeline.key, target=f"{schema}.{table}")


def build_letter(row: asyncpg.Record) -> StoredLetter:
    """From a row of the statements that read whole letters."""
    return StoredLetter(
        id=row["id"],
        topic=row["topic"],
        partition=row["partition"],
        offset=row["record_offset"],
        reason=row["reason"],
        column=row["column_name"],
        message=row["message"],
        key=row["record_key"],
        value=row["record_value"],
        headers=unpack_headers(row["headers"]),
        timestamp=row["record_timestamp"],
        target=row["target"],
        created_at=row["created_at"],
        replayed_at=row["replayed_at"],
        mirrored_at=row["mirrored_at"],
    )


@asynccontextmanager
async def open_letters(
    pipeline: Pipeline, *, secret_dir: Path, ca_file: Path | None = None
) -> AsyncIterator[LettersAdmin]:
    """Connect as the pipeline does. Raises SinkUnavailable and SinkBroken."""
    with telling():
        credentials = read_credentials(secret_dir, pipeline.spec.sink)
        tls, application = pipeline.spec.sink.tls.mode, f"forebay-cli:{pipeline.key}"
        session = await open_session(credentials, tls, ca_file, application, timeout_s=CONNECT_MOST_S)
    try:
        with telling():
            await ensure_schema(session)
        yield LettersAdmin(session, pipeline)
    finally:
        await session.close()
