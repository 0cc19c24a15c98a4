"""Writes dead letters again: rows into the table and letters out of theirs, in one transaction for a number of them.

Nobody's claim is needed and nobody's position moves: a letter is written by whoever locks it, and gone with the commit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import asyncpg
from forebay_api.v1alpha1 import UnknownFieldPolicy

from forebay_consumer import sql, sql_letters
from forebay_consumer.copy_stream import CopyStream, build_streams, split_row
from forebay_consumer.decode import build_decoder
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.letters import Selection, printable, unpack_headers
from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import Decoder
from forebay_consumer.postgres_sink.catalog import Target
from forebay_consumer.postgres_sink.claims import LOCK_NOT_AVAILABLE, Owner
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.isolation import try_again, write_acceptable_rows
from forebay_consumer.postgres_sink.refused import Refused
from forebay_consumer.postgres_sink.replay_writer import ReplayWriter, Versions
from forebay_consumer.postgres_sink.writers import AppendWriter, Tally
from forebay_consumer.records import Batch, DeadLetter, EncodedChunk, RawChunk, Reason
from forebay_consumer.reduction import build_key_streams, read_keys

REPLAY_LETTERS = 500
"""Most letters of one transaction: their rows are locked until it ends, and a consumer may wait for one."""

REPLAY_BYTES = 8 * 2**20
"""Most record bytes of one transaction, unless one letter alone has more."""

REPLAY_LOCK_TIMEOUT = "500ms"
"""Less than the server's deadlock_timeout (1 s): a replay gives way before a consumer is made to."""

GIVE_WAY_TRIES, GIVE_WAY_S = 8, 0.25
"""How often a transaction that gave way is tried again, and after how many seconds, doubled each time up to 2 s."""

_IN_THE_WAY = frozenset({LOCK_NOT_AVAILABLE, "40P01", "40001"})

Record = tuple[int, int]
"""Partition and offset."""


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What became of letters. written: their rows are in the table (or their deletions done), the letters gone.
    discarded: superseded ones that were deleted. left: those that stay, by their new reason."""

    written: int = 0
    discarded: int = 0
    left: Counter[str] = field(default_factory=Counter)

    def add(self, other: Replayed) -> None:
        """Count these too."""
        self.written += other.written
        self.discarded += other.discarded
        self.left += other.left


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letters:
    """Locked letters as the decoder reads them, and the id of each."""

    ids: dict[Record, int]
    chunks: tuple[RawChunk, ...]


class Replay:
    """One run over the letters of a pipeline. Every method may raise Refused, SinkUnavailable and SinkBroken."""

    def __init__(self, session: Session, target: Target, owner: Owner, *, discard_superseded: bool) -> None:
        self._session = session
        self._target = target
        self._owner = owner
        self._discards = discard_superseded
        plan = target.plan
        self._decoder: Decoder = build_decoder(plan)
        self._careful = ReplayWriter(session, plan) if plan.key else None
        self._writer = self._careful or AppendWriter(session, target)
        self._version_decoder = _build_version_decoder(plan)
        self._began_at: datetime | None = None

    async def step(self, selection: Selection) -> Replayed | None:
        """One transaction. None: no letter is left that this run has not tried, except those others hold."""
        pause_s = GIVE_WAY_S
        for _ in range(GIVE_WAY_TRIES):
            try:
                return await self._attempt(selection)
            except Refused as refused:
                if refused.symptom.sqlstate not in _IN_THE_WAY or self._session.is_closed:
                    raise
                await self._session.rollback()
            await asyncio.sleep(pause_s)
            pause_s = min(2.0, 2 * pause_s)
        raise SinkUnavailable(
            "LockTimeout", "consumers or another replay keep the rows of these letters locked; run it again"
        )

    async def count_waiting(self, selection: Selection) -> int:
        """Letters that were chosen and that this run has not tried: others hold them, or they are new."""
        began_at = await self._begin_run()
        found = await self._session.fetch(sql_letters.COUNT_WAITING, *self._chosen(selection), began_at)
        return int(found[0][0])

    async def _begin_run(self) -> datetime:
        if self._began_at is None:
            found = await self._session.fetch(sql_letters.SET_REPLAY, REPLAY_LOCK_TIMEOUT)
            self._began_at = found[0]["now"]
        assert self._began_at is not None
        return self._began_at

    async def _attempt(self, selection: Selection) -> Replayed | None:
        began_at = await self._begin_run()
        await self._writer.prepare(Batch(chunks=(), claims={}, next_offsets={}))
        await self._session.execute(sql.BEGIN)
        letters = await self._lock(selection, began_at)
        if not letters.ids:
            await self._session.rollback()
            return None
        encoded = await asyncio.to_thread(lambda: [self._decoder.decode(chunk) for chunk in letters.chunks])
        tried, refused = await self._write(encoded)
        dead = [letter for chunk in encoded for letter in chunk.dead] + refused
        outcome = await self._settle(letters, tried, dead, began_at)
        await self._check_definition()
        await self._session.commit()
        return outcome

    async def _lock(self, selection: Selection, began_at: datetime) -> _Letters:
        if self._target.plan.key:
            await self._session.fetch(sql_letters.LOCK_REPLAYS, self._owner.group, self._owner.topic)
        found = await self._session.fetch(sql_letters.LOCK_LETTERS, *self._chosen(selection), began_at, REPLAY_LETTERS)
        ids = choose_letters(
            [(row["id"], (row["partition"], row["record_offset"]), row["size_bytes"]) for row in found]
        )
        rows = await self._session.fetch(sql_letters.READ_LOCKED, list(ids.values())) if ids else []
        return _Letters(ids=ids, chunks=_build_chunks(rows))

    async def _write(self, encoded: Sequence[EncodedChunk]) -> tuple[set[Record], list[DeadLetter]]:
        """The records that were tried, and those of them that were refused."""
        batch = Batch(chunks=tuple(encoded), claims={}, next_offsets={})
        tried: set[Record] = set()
        refused: list[DeadLetter] = []
        if self._careful is not None:
            self._careful.versions = await asyncio.to_thread(self._read_versions, encoded)
        while streams := await asyncio.to_thread(self._build_streams, batch, tried):
            refused += await self._write_streams(streams)
            tried.update(record for stream in streams for record in stream.list_records())
            if self._careful is None:
                break
        return tried, refused

    def _build_streams(self, batch: Batch, tried: set[Record]) -> list[CopyStream]:
        """What to write next. In mode Upsert of each key the newest record that was not tried: the others find out
        afterwards that a later one has been written, or that it was refused."""
        plan = self._target.plan
        if not plan.key:
            return list(build_streams(batch, plan))
        streams = build_key_streams(batch, plan, frozenset(tried))
        written = {key for stream in streams if not stream.is_delete for key in read_keys(stream, plan)}
        kept = [
            stream.without([row for row, key in enumerate(read_keys(stream, plan)) if key in written])
            if stream.is_delete
            else stream
            for stream in streams
        ]
        return [stream for stream in kept if stream.rows]

    async def _write_streams(self, streams: Sequence[CopyStream]) -> list[DeadLetter]:
        tally = Tally()
        refusals = []
        for stream in streams:
            refusals += await write_acceptable_rows(
                self._writer, self._session, self._target.plan, stream, tally, lambda _refused: None
            )
        left = await try_again(self._writer, self._session, refusals, tally)
        return [refusal.dead_letter() for refusal in left]

    def _read_versions(self, encoded: Sequence[EncodedChunk]) -> Versions:
        """Of the chunks that delete something: a deletion's row holds the key alone."""
        decoder = self._version_decoder
        if decoder is None:
            return {}
        chunks = [chunk.source for chunk in encoded if any(group.is_delete for group in chunk.groups)]
        batch = Batch(chunks=tuple(map(decoder.decode, chunks)), claims={}, next_offsets={})
        return {
            record: split_row(stream.copy_format, row)[0]
            for stream in build_streams(batch, _build_version_plan(self._target.plan))
            for record, row in zip(stream.list_records(), stream.rows_one_by_one(), strict=True)
        }

    async def _settle(
        self, letters: _Letters, tried: set[Record], dead: Sequence[DeadLetter], began_at: datetime
    ) -> Replayed:
        outcome = Replayed()
        kept = {(letter.partition, letter.offset): letter for letter in dead}
        done = [letters.ids[record] for record in tried if record not in kept]
        outcome.written = len(done)
        for record, letter in list(kept.items()):
            if self._discards and letter.reason is Reason.SUPERSEDED:
                done.append(letters.ids[record])
                outcome.discarded += 1
                del kept[record]
            else:
                outcome.left[letter.reason.value] += 1
        await self._session.fetch(sql_letters.DELETE_LETTERS, done)
        await self._session.fetch(
            sql_letters.KEEP_LETTERS,
            began_at,
            [letters.ids[record] for record in kept],
            [letter.reason.value for letter in kept.values()],
            [printable(letter.column) for letter in kept.values()],
            [printable(letter.message) for letter in kept.values()],
        )
        return outcome

    async def _check_definition(self) -> None:
        plan = self._target.plan
        found = (await self._session.fetch(sql.FINGERPRINT, plan.schema, plan.table))[0][0]
        if found != self._target.fingerprint:
            raise SinkUnavailable(
                "TableChanged", f"the definition of {self._target.name} has changed meanwhile; run it again"
            )

    def _chosen(self, selection: Selection) -> tuple[object, ...]:
        return (*chosen(self._owner, selection), self._owner.target)


def chosen(owner: Owner, selection: Selection) -> tuple[object, ...]:
    """The parameters $1 to $7 of the statements in sql_letters.py."""
    return (
        owner.group,
        owner.topic,
        None if selection.ids is None else list(selection.ids),
        None if selection.reason is None else selection.reason.value,
        selection.partition,
        selection.since,
        selection.before,
    )


def choose_letters(found: Sequence[tuple[int, Record, int]]) -> dict[Record, int]:
    """Of (id, record, bytes) as many as fit into one transaction, at least one; of several letters of a record (its
    position was moved back by hand) one: the others have their turn in the next."""
    ids: dict[Record, int] = {}
    total_bytes = 0
    for letter_id, record, size_bytes in found:
        total_bytes += size_bytes
        if ids and total_bytes > REPLAY_BYTES:
            break
        ids.setdefault(record, letter_id)
    return ids


def _build_chunks(rows: Sequence[asyncpg.Record]) -> tuple[RawChunk, ...]:
    """One a partition. rows: by partition and offset."""
    by_partition: dict[int, list[asyncpg.Record]] = {}
    for row in rows:
        by_partition.setdefault(row["partition"], []).append(row)
    return tuple(
        RawChunk(
            partition=partition,
            claim_id=0,
            offsets=[row["record_offset"] for row in run],
            values=[row["record_value"] for row in run],
            keys=[row["record_key"] for row in run],
            timestamps_ms=[row["timestamp_ms"] for row in run],
            headers=[unpack_headers(row["headers"]) for row in run],
        )
        for partition, run in by_partition.items()
    )


def _build_version_plan(plan: TablePlan) -> TablePlan:
    assert plan.version is not None
    return replace(
        plan,
        columns=(plan.columns[plan.version],),
        key=(),
        delete_when=None,
        version=None,
        unknown_fields=UnknownFieldPolicy.IGNORE,
    )


def _build_version_decoder(plan: TablePlan) -> Decoder | None:
    return None if plan.version is None else build_decoder(_build_version_plan(plan))
