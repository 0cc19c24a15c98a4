"""The write transaction: rows, dead letters and, last, positions; and what to do when the database refuses a part."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from functools import partial

from forebay_consumer import sql
from forebay_consumer.blame import find_guilty
from forebay_consumer.copy_stream import CopyStream, build_streams
from forebay_consumer.errors import Fenced, SinkUnavailable
from forebay_consumer.failures import CLASHES, Data, Symptom, classify
from forebay_consumer.letters import pack_headers, printable
from forebay_consumer.postgres_sink.catalog import Target
from forebay_consumer.postgres_sink.claims import LOCK_NOT_AVAILABLE, Owner
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.isolation import Refusal, bury, try_again, write_acceptable_rows
from forebay_consumer.postgres_sink.predecessors import end_frozen_holders
from forebay_consumer.postgres_sink.refused import Refused
from forebay_consumer.postgres_sink.writers import RowWriter, Tally
from forebay_consumer.records import Batch, DeadLetter, Reason, WriteReceipt
from forebay_consumer.reduction import Key, build_key_streams, read_keys

Admit = Callable[[int, int, Sequence[DeadLetter]], None]
"""(records, dead letters, those of them known so far) of a batch before its COMMIT; raises SinkBroken to refuse it."""

LOCATED_RETRIES = 3
"""Whole transactions that are retried without the rows just blamed; then pieces inside savepoints are cheaper."""

LOCK_RETRIES = 2
"""Attempts after frozen predecessors were ended; each costs up to lock_timeout."""


class _RowsAtFault(Exception):
    """Rows were refused. stream: whose COPY failed; None when COMMIT did."""

    def __init__(self, stream: int | None, symptom: Symptom) -> None:
        super().__init__(symptom.message)
        self.stream = stream
        self.symptom = symptom


@dataclass(slots=True, kw_only=True)
class Writing:
    """One batch on its way into the database. streams and dead change as bad rows are found.

    refused: dead letters that the database made, which is those of `dead` that the decoder did not make.
    """

    session: Session
    writer: RowWriter
    target: Target
    owner: Owner
    batch: Batch
    admit: Admit
    dead: list[DeadLetter]
    tally: Tally = field(default_factory=Tally)
    refused: list[DeadLetter] = field(default_factory=list)
    streams: list[CopyStream] = field(default_factory=list)
    rows: int = 0
    buried: Counter[Reason] = field(default_factory=Counter)

    async def run(self) -> WriteReceipt:
        """Write everything or nothing. Raises Fenced (rolled back), SinkUnavailable, SinkBroken, and Refused."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.streams = await self._build_streams(())
        await self._prepare()
        commit_s = await self._attempt_until_written()
        return WriteReceipt(
            next_offsets=dict(self.batch.next_offsets),
            rows=self.rows,
            dead_letters=self.buried.total(),
            retries=self.tally.retries,
            copies=self.tally.copies,
            commit_s=commit_s,
            took_s=loop.time() - began,
            reasons=self.buried,
        )

    async def _prepare(self) -> None:
        try:
            await self.writer.prepare(self.batch)
        except Refused as refused:
            await self._blame_changed_definition(refused)
            raise

    async def _attempt_until_written(self) -> float:
        in_pieces = False
        lock_waits = 0
        while True:
            try:
                return await self._attempt(in_pieces=in_pieces)
            except _RowsAtFault as fault:
                if in_pieces:
                    raise Refused(fault.symptom) from fault
                in_pieces = not await self._remove_guilty(fault)
            except Fenced:
                await self.session.rollback()
                raise
            except Refused as refused:
                lock_waits += 1
                await self._after_refusal(refused, lock_waits)

    async def _attempt(self, *, in_pieces: bool) -> float:
        """One transaction; returns the seconds of its COMMIT."""
        await self.session.execute(sql.BEGIN)
        self.writer.begin()
        await self._check_claims()
        dead = list(self.dead)
        if in_pieces:
            dead += await self._write_in_pieces()
        else:
            self.rows = _count_rows(self.streams)
            for index, stream in enumerate(self.streams):
                await self._write_whole(index, stream)
        self._judge(dead)
        await insert_dead_letters(self.session, self.owner, dead)
        await self._move_positions()
        self.buried = Counter(letter.reason for letter in dead)
        return await self._commit()

    async def _write_in_pieces(self) -> list[DeadLetter]:
        """All rows that the database accepts; the others as dead letters.

        In mode Upsert the last record of a key that is not refused counts, so a refused one brings back the one before.
        """
        found: list[DeadLetter] = []
        tried: set[tuple[int, int]] = set()
        streams, self.rows = self.streams, 0
        while streams:
            refusals = await self._write_acceptable(streams, found)
            found += [refusal.dead_letter() for refusal in refusals]
            self.rows += _count_rows(streams) - _count_rows(refusal.row for refusal in refusals)
            if not self.target.plan.key or not refusals:
                break
            tried.update(record for stream in streams for record in stream.list_records())
            streams = [_leave_out(stream, tried) for stream in await self._build_streams(found)]
            streams = [stream for stream in streams if stream.rows]
        return found

    async def _write_acceptable(self, streams: Sequence[CopyStream], found: Sequence[DeadLetter]) -> Sequence[Refusal]:
        refusals: list[Refusal] = []
        known = (*self.dead, *found)
        for stream in streams:
            judge = partial(self._judge, (*known, *(refusal.dead_letter() for refusal in refusals)))
            refusals += await write_acceptable_rows(
                self.writer, self.session, self.target.plan, stream, self.tally, judge
            )
        if not self.target.plan.key:
            return refusals
        written = self._find_written_keys(streams) if any(refusal.row.is_delete for refusal in refusals) else set()
        final: list[Refusal] = []
        others: list[Refusal] = []
        for refusal in refusals:  # a deletion that is tried again must not delete the row that came after it
            is_replaced = refusal.row.is_delete and not written.isdisjoint(read_keys(refusal.row, self.target.plan))
            (final if is_replaced else others).append(refusal)
        return [*final, *await try_again(self.writer, self.session, others, self.tally)]

    def _find_written_keys(self, streams: Sequence[CopyStream]) -> set[Key]:
        return {key for stream in streams if not stream.is_delete for key in read_keys(stream, self.target.plan)}

    async def _build_streams(self, refused: Sequence[DeadLetter]) -> list[CopyStream]:
        """What to write. refused: by the database, besides those that are known already."""
        plan = self.target.plan
        if not plan.key:
            return list(build_streams(self.batch, plan))
        without = frozenset((letter.partition, letter.offset) for letter in (*self.refused, *refused))
        return list(await asyncio.to_thread(build_key_streams, self.batch, plan, without))

    def _judge(self, known: Sequence[DeadLetter], found: int = 0) -> None:
        self.admit(self.batch.records, len(known) + found, known)

    async def _write_whole(self, index: int, stream: CopyStream) -> None:
        try:
            await self.writer.put(stream, self.tally, is_piece=False)
        except Refused as refused:
            if isinstance(classify(refused.symptom), Data):
                raise _RowsAtFault(index, refused.symptom) from refused
            raise

    async def _commit(self) -> float:
        try:
            return await self.session.commit()
        except Refused as refused:  # a deferred constraint: the server has rolled back
            if isinstance(classify(refused.symptom), Data):
                raise _RowsAtFault(None, refused.symptom) from refused
            raise

    async def _remove_guilty(self, fault: _RowsAtFault) -> bool:
        """After a rollback: take the rows at fault out of the streams. False: look for them in pieces."""
        await self.session.rollback()
        await self._check_definition()
        self.tally.retries += 1
        if self.tally.retries > LOCATED_RETRIES:
            return False
        if self.target.plan.key and fault.symptom.sqlstate in CLASHES:
            return False  # in another order the row may be accepted
        indexes = range(len(self.streams)) if fault.stream is None else (fault.stream,)
        guilty = find_guilty(fault.symptom, [self.streams[index] for index in indexes], self.target.plan)
        letters = [
            letter
            for index, rows in zip(indexes, guilty, strict=True)
            for letter in bury(self.streams[index], rows, fault.symptom)
        ]
        self.dead += letters
        self.refused += letters
        if self.target.plan.key:
            self.streams = await self._build_streams(())
        else:
            for index, rows in zip(indexes, guilty, strict=True):
                self.streams[index] = self.streams[index].without(rows)
            self.streams = [stream for stream in self.streams if stream.rows]
        return any(guilty)

    async def _after_refusal(self, refused: Refused, lock_waits: int) -> None:
        """Make the next attempt worth it, or raise."""
        symptom = refused.symptom
        if symptom.sqlstate is None or self.session.is_closed:
            raise refused
        await self.session.rollback()
        await self._blame_changed_definition(refused)
        if symptom.sqlstate != LOCK_NOT_AVAILABLE:
            raise refused
        hunt = await end_frozen_holders(self.session, self.owner.group, self.owner.topic, None)
        if not hunt.terminated or lock_waits > LOCK_RETRIES:
            message = hunt.obstacle or f"another session holds a lock that {self.target.name} needs: {symptom.message}"
            raise SinkUnavailable("LockedByPredecessor" if hunt.obstacle else "LockTimeout", message) from refused

    async def _blame_changed_definition(self, refused: Refused) -> None:
        if (refused.symptom.sqlstate or "").startswith("42"):
            await self._check_definition()

    async def _check_definition(self) -> None:
        plan = self.target.plan
        found = (await self.session.fetch(sql.FINGERPRINT, plan.schema, plan.table))[0][0]
        self._compare_fingerprint(found)

    def _compare_fingerprint(self, found: str) -> None:
        if found != self.target.fingerprint:
            raise SinkUnavailable(
                "TableChanged", f"the definition of {self.target.name} has changed: describing it anew"
            )

    async def _check_claims(self) -> None:
        lost = await self.session.fetch(sql.CHECK_CLAIMS, self.owner.group, self.owner.topic, *self._claim_arrays())
        if lost:
            raise Fenced(tuple(sorted(row["partition"] for row in lost)))

    async def _move_positions(self) -> None:
        partitions = sorted(self.batch.claims)
        plan = self.target.plan
        moved = await self.session.fetch(
            sql.MOVE_POSITIONS,
            self.owner.group,
            self.owner.topic,
            *self._claim_arrays(),
            [self.batch.next_offsets[partition] for partition in partitions],
            plan.schema,
            plan.table,
        )
        if len(moved) != len(partitions):
            raise Fenced(tuple(sorted(set(partitions) - {row["partition"] for row in moved})))
        self._compare_fingerprint(moved[0]["fingerprint"])

    def _claim_arrays(self) -> tuple[list[object], ...]:
        """Partitions, epochs, owners and expected offsets, in partition order."""
        claims = [self.batch.claims[partition] for partition in sorted(self.batch.claims)]
        return (
            [claim.partition for claim in claims],
            [claim.epoch for claim in claims],
            [claim.owner for claim in claims],
            [claim.next_offset for claim in claims],
        )


def _count_rows(streams: Iterable[CopyStream]) -> int:
    """Rows that are written; deleted ones do not count."""
    return sum(stream.rows for stream in streams if not stream.is_delete)


def _leave_out(stream: CopyStream, records: Set[tuple[int, int]]) -> CopyStream:
    return stream.without([row for row, record in enumerate(stream.list_records()) if record in records])


async def write_batch(
    session: Session, writer: RowWriter, target: Target, owner: Owner, batch: Batch, admit: Admit
) -> WriteReceipt:
    """See Sink.write. Raises Fenced (rolled back, the session is good), SinkUnavailable, SinkBroken, and Refused."""
    writing = Writing(
        session=session,
        writer=writer,
        target=target,
        owner=owner,
        batch=batch,
        admit=admit,
        dead=[letter for chunk in batch.chunks for letter in chunk.dead],
    )
    return await writing.run()


async def insert_dead_letters(session: Session, owner: Owner, letters: list[DeadLetter]) -> None:
    """Keep them beside the rows, in the open transaction."""
    if not letters:
        return
    await session.fetch(
        sql.INSERT_DEAD_LETTERS,
        owner.group,
        owner.topic,
        owner.target,
        [letter.partition for letter in letters],
        [letter.offset for letter in letters],
        [letter.reason.value for letter in letters],
        [printable(letter.column) for letter in letters],
        [printable(letter.message) for letter in letters],
        [letter.key for letter in letters],
        [letter.value for letter in letters],
        [letter.timestamp_ms for letter in letters],
        [pack_headers(letter.headers) for letter in letters],
    )
