"""Mode Upsert: rows into the table by way of a temporary one, or straight while no key is known; deletions.

Why so: docs/decisions/0011-upsert.md.
"""

from __future__ import annotations

import asyncio
import logging

from forebay_consumer import sql_upsert
from forebay_consumer.copy_stream import CopyStream
from forebay_consumer.failures import REPEATED_KEY
from forebay_consumer.plan import STAGE_TABLE
from forebay_consumer.postgres_sink.catalog import Target
from forebay_consumer.postgres_sink.connection import COPY_TIMEOUT_S, Session
from forebay_consumer.postgres_sink.refused import Refused
from forebay_consumer.postgres_sink.writers import AppendWriter, RowWriter, Tally
from forebay_consumer.records import Batch
from forebay_consumer.staging import Staging

log = logging.getLogger(__name__)

MOST_STAGES = 16
"""Temporary tables of one connection: every COMMIT empties them all, and each holds locks until then."""

STAGE_LIFE_S = 3600.0
"""Autovacuum may not freeze temporary tables of other sessions: as long as one lives, the database's oldest transaction
number stays where it was at its making, and after 2^31 further ones the server accepts no writes."""

OPEN_STAGE = f"{STAGE_TABLE}0"
"""The one for whatever has none of its own. It takes every set of columns and refuses no row, so that the merge does,
which names no line."""


class UpsertWriter:
    """One connection's temporary tables, and what its statements met. See writers.RowWriter."""

    def __init__(self, session: Session, target: Target, staging: Staging) -> None:
        self.staging = staging
        self._session = session
        self._target = target
        self._open_since: float | None = None
        self._stages: dict[tuple[str, ...], str] = {}
        self._filled: set[str] = set()

    async def prepare(self, batch: Batch) -> None:
        """See RowWriter. Apart from the transaction, whose end might take the tables away again."""
        plan = self._target.plan
        await self.rest()
        if self._open_since is None:
            await self._session.execute(sql_upsert.build_open_stage(plan, OPEN_STAGE))
            self._open_since = asyncio.get_running_loop().time()
        left_out = {group.omitted for chunk in batch.chunks for group in chunk.groups if not group.is_delete}
        names = [planned.column.name for planned in plan.columns]
        wanted = {tuple(name for i, name in enumerate(names) if i not in omitted) for omitted in left_out}
        room = MOST_STAGES - 1 - len(self._stages) if self._target.is_judged_early else 0
        for columns in sorted(wanted - self._stages.keys())[:room]:
            stage = f"{STAGE_TABLE}{len(self._stages) + 1}"
            await self._session.execute(sql_upsert.build_stage(plan, stage, self._target.columns, columns))
            self._stages[columns] = stage

    async def rest(self) -> None:
        """See RowWriter: temporary tables that are old are removed, and made anew for the next batch."""
        if self._open_since is None or asyncio.get_running_loop().time() - self._open_since < STAGE_LIFE_S:
            return
        await self._session.execute("; ".join(map(sql_upsert.drop_stage, (OPEN_STAGE, *self._stages.values()))))
        self._stages.clear()
        self._open_since = None

    def begin(self) -> None:
        """See RowWriter."""
        self._filled.clear()

    async def put(self, stream: CopyStream, tally: Tally, *, is_piece: bool) -> None:
        """See RowWriter."""
        if stream.is_delete:
            await self._delete(stream, tally)
        elif is_piece:  # its savepoint is the caller's, and what it meets says nothing of the stream
            await self._merge(stream, tally)
        elif not self.staging.is_direct or not await self._copy_straight(stream, tally):
            before = await self._count_inserted()
            await self._merge(stream, tally)
            inserted = await self._count_inserted() - before
            self._take_note(self.staging.after_staged(met_known_keys=inserted < stream.rows))

    async def _copy_straight(self, stream: CopyStream, tally: Tally) -> bool:
        """False, and nothing written, if the table has one of the keys (or breaks another unique constraint)."""
        plan = self._target.plan
        await self._session.execute(sql_upsert.SAVEPOINT)
        tally.copies += 1
        try:
            await self._session.copy(stream, schema=plan.schema, table=plan.table)
        except Refused as refused:
            if refused.symptom.sqlstate != REPEATED_KEY or self._session.is_closed:
                raise
            self._take_note(self.staging.after_conflict())
            await self._session.execute(sql_upsert.ROLLBACK_TO_SAVEPOINT)
            return False
        await self._session.execute(sql_upsert.RELEASE_SAVEPOINT)
        self._take_note(self.staging.after_direct())
        return True

    def _take_note(self, staging: Staging) -> None:
        if staging.is_direct != self.staging.is_direct:
            log.info("way into the table changed", extra={"straight": staging.is_direct, "hold": staging.hold})
        self.staging = staging

    async def _merge(self, stream: CopyStream, tally: Tally) -> None:
        stage = await self._fill_stage(stream, tally)
        merge = sql_upsert.build_merge(self._target.plan, stage, stream.columns)
        await self._session.execute(merge, timeout_s=COPY_TIMEOUT_S)

    async def _delete(self, stream: CopyStream, tally: Tally) -> None:
        stage = await self._fill_stage(stream, tally)
        await self._session.execute(sql_upsert.build_delete(self._target.plan, stage), timeout_s=COPY_TIMEOUT_S)

    async def _fill_stage(self, stream: CopyStream, tally: Tally) -> str:
        # a key that the table's CHECK would refuse today may stand in it since before the CHECK, and be deleted
        stage = OPEN_STAGE if stream.is_delete else self._stages.get(stream.columns, OPEN_STAGE)
        if stage in self._filled:
            await self._session.execute(sql_upsert.empty_stage(stage))
        self._filled.add(stage)
        tally.copies += 1
        await self._session.copy(stream, schema=sql_upsert.STAGE_SCHEMA, table=stage)
        return stage

    async def _count_inserted(self) -> int:
        return int((await self._session.fetch(sql_upsert.COUNT_INSERTED, self._target.oid))[0][0])


def choose_writer(session: Session, target: Target, former: RowWriter | None) -> RowWriter:
    """The writer for a new connection; former: that of the one before, whose experience is kept."""
    if not target.plan.key:
        return AppendWriter(session, target)
    staging = former.staging.after_connect() if isinstance(former, UpsertWriter) else Staging()
    return UpsertWriter(session, target, staging)
