"""Positions by hand, for the command line: list them, and move them while nobody holds them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline

from forebay_consumer import sql
from forebay_consumer.credentials import read_credentials
from forebay_consumer.errors import ForebayError
from forebay_consumer.postgres_sink.connection import CONNECT_MOST_S, Session, open_session
from forebay_consumer.postgres_sink.refused import telling
from forebay_consumer.postgres_sink.schema import ensure_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPosition:
    """One row of `forebay.positions`. topic_id: of the topic whose offset that is; None: not known.

    is_held: whether its consumer is connected; None: this role may not see it.
    """

    topic: str
    partition: int
    epoch: int
    next_offset: int
    topic_id: str | None
    pipeline: str
    target: str
    claimed_at: datetime | None
    updated_at: datetime
    backend_pid: int | None
    is_held: bool | None


class PositionsHeld(ForebayError):
    """Consumers hold (or may hold) the partitions: suspend the pipeline first."""

    def __init__(self, partitions: tuple[int, ...], *, is_certain: bool) -> None:
        who = "consumers hold" if is_certain else "consumers of another role may hold (GRANT pg_read_all_stats to see)"
        super().__init__(f"{who} partitions {list(partitions)}; suspend the pipeline (spec.suspend: true) first")
        self.partitions = partitions


class PositionsAdmin:
    """An open connection for `forebay positions`. Methods raise SinkUnavailable and SinkBroken."""

    def __init__(self, session: Session, pipeline: Pipeline) -> None:
        self._session = session
        self._pipeline = pipeline

    async def list(self) -> tuple[StoredPosition, ...]:
        """Positions of the pipeline's group and topic, by partition."""
        source = self._pipeline.spec.source
        with telling():
            rows = await self._session.fetch(sql.LIST_POSITIONS, source.group, source.topic)
        return tuple(StoredPosition(**dict(row)) for row in rows)

    async def reset(self, next_offsets: Mapping[int, int], topic_id: str | None) -> None:
        """Move (or make) positions, and give them to this pipeline and table. All or none.

        topic_id: of the topic whose offsets these are; None: not known, and the next claim stores it.
        Raises PositionsHeld when any of the group's partitions is held. Whoever claimed one before is fenced.
        """
        source = self._pipeline.spec.source
        schema, table = sql.split_table(self._pipeline.spec.sink.table)
        with telling():
            await self._session.execute(sql.BEGIN)
            await self._session.fetch(sql.LOCK_GROUP, source.group, source.topic)
            await self._session.fetch(sql.LOCK_POSITIONS, source.group, source.topic)
        await self._refuse_held()
        partitions = sorted(next_offsets)
        starts = [next_offsets[partition] for partition in partitions]
        with telling():
            await self._session.fetch(
                sql.RESET_POSITIONS,
                source.group,
                source.topic,
                partitions,
                starts,
                self._pipeline.key,
                f"{schema}.{table}",
                topic_id,
            )
            await self._session.commit()

    async def _refuse_held(self) -> None:
        positions = await self.list()
        held = tuple(position.partition for position in positions if position.is_held)
        unknown = tuple(position.partition for position in positions if position.is_held is None)
        if held or unknown:
            with telling():
                await self._session.rollback()
            raise PositionsHeld(held or unknown, is_certain=bool(held))


@asynccontextmanager
async def open_positions(
    pipeline: Pipeline, *, secret_dir: Path, ca_file: Path | None = None
) -> AsyncIterator[PositionsAdmin]:
    """Connect as the pipeline does. Raises SinkUnavailable and SinkBroken."""
    with telling():
        credentials = read_credentials(secret_dir, pipeline.spec.sink)
        tls, application = pipeline.spec.sink.tls.mode, f"forebay-cli:{pipeline.key}"
        session = await open_session(credentials, tls, ca_file, application, timeout_s=CONNECT_MOST_S)
    try:
        with telling():
            await ensure_schema(session)
        yield PositionsAdmin(session, pipeline)
    finally:
        await session.close()
