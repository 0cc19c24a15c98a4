"""ports.LetterStore on PostgreSQL: what is done with dead letters later, on a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline

from forebay_consumer import sql_letters
from forebay_consumer.credentials import read_credentials
from forebay_consumer.letters import StoredLetter
from forebay_consumer.postgres_sink.connection import CONNECT_MOST_S, Session, open_session
from forebay_consumer.postgres_sink.letters_admin import build_letter, build_owner
from forebay_consumer.postgres_sink.refused import telling

MIRROR_LETTERS = 500
"""Most letters that are read at once."""

MIRROR_BYTES = 4 * 2**20
"""Most record bytes of these, unless one letter alone has more."""

PURGE_LETTERS = 500
"""Most letters that one statement deletes: it is one transaction, and its locks are short."""


class PostgresLetterSession:
    """See ports.LetterSession."""

    def __init__(self, session: Session, pipeline: Pipeline) -> None:
        owner = build_owner(pipeline)
        self._session = session
        self._place = (owner.group, owner.topic)

    async def read_unmirrored(self, partitions: Collection[int], after_id: int) -> Sequence[StoredLetter]:
        """See ports.LetterSession."""
        given = (*self._place, sorted(partitions), after_id, MIRROR_LETTERS, MIRROR_BYTES)
        with telling():
            rows = await self._session.fetch(sql_letters.READ_UNMIRRORED, *given)
        return tuple(map(build_letter, rows))

    async def mark_mirrored(self, ids: Collection[int]) -> None:
        """See ports.LetterSession."""
        with telling():
            await self._session.fetch(sql_letters.MARK_MIRRORED, sorted(ids))

    async def count_unmirrored(self, partitions: Collection[int]) -> tuple[int, float | None]:
        """See ports.LetterSession."""
        with telling():
            found = await self._session.fetch(sql_letters.OLDEST_UNMIRRORED, *self._place, sorted(partitions))
        return int(found[0]["letters"]), found[0]["age_s"]

    async def purge_old(self, partitions: Collection[int], *, days: int, only_mirrored: bool) -> int:
        """See ports.LetterSession."""
        given = (*self._place, sorted(partitions), days, only_mirrored, PURGE_LETTERS)
        with telling():
            return len(await self._session.fetch(sql_letters.PURGE_OLD, *given))


class PostgresLetterStore:
    """See ports.LetterStore."""

    def __init__(self, pipeline: Pipeline, *, consumer: str, secret_dir: Path, ca_file: Path | None = None) -> None:
        self._pipeline = pipeline
        self._consumer = consumer
        self._secret_dir = secret_dir
        self._ca_file = ca_file

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PostgresLetterSession]:
        """See ports.LetterStore."""
        sink = self._pipeline.spec.sink
        application = f"forebay-letters:{self._pipeline.key}:{self._consumer}"
        with telling():
            credentials = read_credentials(self._secret_dir, sink)
            session = await open_session(
                credentials, sink.tls.mode, self._ca_file, application, timeout_s=CONNECT_MOST_S
            )
        try:
            yield PostgresLetterSession(session, self._pipeline)
        except BaseException:  # cancellation included: a half-read answer makes the connection useless
            session.terminate()
            raise
        await session.close()
