"""How the rows of dead letters get into a table of mode Upsert: never over a row that may be of a later record."""

from __future__ import annotations

from collections.abc import Mapping

from forebay_consumer import sql_upsert
from forebay_consumer.copy_stream import CopyStream, add_field
from forebay_consumer.failures import SUPERSEDED, Symptom
from forebay_consumer.plan import STAGE_TABLE, TablePlan
from forebay_consumer.postgres_sink.connection import COPY_TIMEOUT_S, Session
from forebay_consumer.postgres_sink.refused import Refused
from forebay_consumer.postgres_sink.writers import Tally
from forebay_consumer.records import Batch

REPLAY_STAGE = f"{STAGE_TABLE}0"

Versions = Mapping[tuple[int, int], bytes | None]
"""(partition, offset) of a record that deletes -> its version column as COPY has it; None: it has none."""


class ReplayWriter:
    """See writers.RowWriter. A piece of several rows is refused as a whole if one of them must be left out: whoever
    looks for rows at fault then finds it, as any other that the database refuses.

    versions: of the deletions that come next.
    """

    def __init__(self, session: Session, plan: TablePlan) -> None:
        self.versions: Versions = {}
        self._session = session
        self._plan = plan
        self._is_made = False

    async def prepare(self, _batch: Batch) -> None:
        """See RowWriter."""
        if not self._is_made:
            await self._session.execute(sql_upsert.build_open_stage(self._plan, REPLAY_STAGE))
            self._is_made = True

    async def rest(self) -> None:
        """Nothing is held for long: a replay ends."""

    def begin(self) -> None:
        """Nothing is kept from one transaction to the next."""

    async def put(self, stream: CopyStream, tally: Tally, *, is_piece: bool) -> None:
        """See RowWriter."""
        await (self._delete if stream.is_delete else self._insert)(stream, tally)

    async def _insert(self, stream: CopyStream, tally: Tally) -> None:
        await self._fill_stage(stream, tally)
        merge = sql_upsert.build_careful_merge(self._plan, REPLAY_STAGE, stream.columns)
        tag = await self._session.execute(merge, timeout_s=COPY_TIMEOUT_S)
        written = int(tag.rpartition(" ")[2])
        if written == stream.rows:
            return
        # A single row that was not written and is not there was swallowed by a trigger, as it would be from Kafka.
        if stream.rows > 1 or await self._is_any_known():
            raise Refused(self._superseded())

    async def _delete(self, stream: CopyStream, tally: Tally) -> None:
        version = self._plan.version
        if version is None:
            await self._fill_stage(stream, tally)
        else:
            fields = [self.versions.get(record) for record in stream.list_records()]
            await self._fill_stage(add_field(stream, self._plan.columns[version].column.name, fields), tally)
            delete = sql_upsert.build_careful_delete(self._plan, REPLAY_STAGE)
            await self._session.execute(delete, timeout_s=COPY_TIMEOUT_S)
        if await self._is_any_known():
            raise Refused(self._superseded())

    async def _fill_stage(self, stream: CopyStream, tally: Tally) -> None:
        await self._session.execute(sql_upsert.empty_stage(REPLAY_STAGE))
        tally.copies += 1
        await self._session.copy(stream, schema=sql_upsert.STAGE_SCHEMA, table=REPLAY_STAGE)

    async def _is_any_known(self) -> bool:
        """A statement of its own: it sees what was committed while the one before waited."""
        return bool((await self._session.fetch(sql_upsert.build_find_known(self._plan, REPLAY_STAGE)))[0][0])

    def _superseded(self) -> Symptom:
        if self._plan.version is None:
            what = (
                "the table has a row of this key, which a later record may have written; "
                "spec.sink.versionColumn can tell which of both is later"
            )
        else:
            version = self._plan.columns[self._plan.version].column.name
            what = f"a later record of this key has been written: {version} of its row is not lower than this record's"
        return Symptom(kind=SUPERSEDED, message=what)
