"""PostgreSQL in memory: FakeDatabase holds what is stored, FakeSink keeps ports.Sink's promises on it.

The same contract tests run on it and on a real server. There is no clock and nothing is ever locked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID, uuid4

from forebay_api.v1alpha1 import ColumnSource, UnknownFieldPolicy
from forebay_consumer.copy_stream import split_row
from forebay_consumer.errors import CONFLICT, Fenced, SinkBroken, SinkUnavailable
from forebay_consumer.plan import CatalogColumn, CopyFormat, PlannedColumn, TablePlan
from forebay_consumer.records import Batch, Claim, DeadLetter, EncodedChunk, RawChunk, Reason, WriteReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class FakePosition:
    """One row of positions."""

    epoch: int
    owner: UUID
    next_offset: int
    pipeline: str
    target: str
    topic_id: str | None = None


@dataclass(slots=True, kw_only=True)
class FakeDatabase:
    """One group's and topic's positions, the rows written (partition, offset), and the dead letters.

    keyed: where the plan has a key, the row of each one, instead of rows.
    refuses: whether the database refuses the row made of a record's value.
    trouble: raised by every call until it is None again. failures: raised one a call, the first one first.
    """

    positions: dict[int, FakePosition] = field(default_factory=dict)
    rows: list[tuple[int, int]] = field(default_factory=list)
    keyed: dict[tuple[bytes | None, ...], tuple[int, int]] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
    refuses: Callable[[bytes | None], bool] = lambda _value: False
    trouble: Exception | None = None
    failures: deque[Exception] = field(default_factory=deque)
    plan: TablePlan = field(default_factory=lambda: fake_plan())


class FakeSink:
    """A consumer's connection to a FakeDatabase."""

    def __init__(
        self,
        database: FakeDatabase,
        *,
        pipeline: str = "bank/payments",
        target: str = "public.events",
        admit: Callable[[int, int, Sequence[DeadLetter]], None] = lambda _records, _dead, _known: None,
    ) -> None:
        self.database = database
        self.is_connected = False
        self._pipeline = pipeline
        self._target = target
        self._admit = admit

    async def connect(self) -> TablePlan:
        self.is_connected = True
        self._answer()
        return self.database.plan

    async def stored_partitions(self) -> frozenset[int]:
        self._answer()
        self._check_owner(self.database.positions)
        return frozenset(self.database.positions)

    async def initialize(self, offsets: Mapping[int, int], *, first_start: bool, topic_id: str | None = None) -> None:
        self._answer()
        stored = self.database.positions
        if first_start and stored:
            return
        for partition in offsets.keys() - stored.keys():
            stored[partition] = FakePosition(
                epoch=0,
                owner=uuid4(),
                next_offset=offsets[partition],
                pipeline=self._pipeline,
                target=self._target,
                topic_id=topic_id,
            )

    async def claim(self, partitions: Iterable[int], topic_id: str | None = None) -> Mapping[int, Claim]:
        self._answer()
        wanted = sorted(set(partitions))
        stored = self.database.positions
        if not stored.keys() >= set(wanted):
            self._fail(SinkUnavailable("PositionMissing", f"{wanted}"))
        self._check_owner(wanted)
        for p in wanted:
            own_id = stored[p].topic_id
            stored[p] = replace(stored[p], epoch=stored[p].epoch + 1, owner=uuid4(), topic_id=own_id or topic_id)
        return {p: self._claim_of(p) for p in wanted}

    def _check_owner(self, partitions: Iterable[int]) -> None:
        stored = self.database.positions
        if any((stored[p].pipeline, stored[p].target) != (self._pipeline, self._target) for p in partitions):
            self._fail(SinkBroken(CONFLICT, "the group and topic are used for another table or pipeline"))

    async def write(self, batch: Batch) -> WriteReceipt:
        self._answer()
        self._check(batch.claims)
        rows: list[tuple[int, int]] = []
        keyed = dict(self.database.keyed)
        dead = [letter for chunk in batch.chunks for letter in chunk.dead]
        sort = partial(self._sort_keys, keyed=keyed) if self.database.plan.key else partial(self._sort_rows, rows=rows)
        refused = [letter for chunk in batch.chunks for letter in sort(chunk)]
        try:
            self._admit(batch.records, len(dead) + len(refused), dead)
        except SinkBroken as broken:
            self._fail(broken)
        self.database.rows += rows
        written = len(set(keyed.values()) - set(self.database.keyed.values()))
        self.database.keyed = keyed
        self.database.dead += dead + refused
        for partition, offset in batch.next_offsets.items():
            self._move(partition, offset)
        return WriteReceipt(
            next_offsets=dict(batch.next_offsets),
            rows=len(rows) + written,
            dead_letters=len(dead) + len(refused),
            retries=len(refused),
            copies=1 + len(refused),
            commit_s=0.001,
            took_s=0.01,
        )

    async def skip_to(self, claim: Claim, next_offset: int, topic_id: str | None = None) -> Claim:
        self._answer()
        self._check({claim.partition: claim})
        self._move(claim.partition, next_offset)
        stored = self.database.positions
        stored[claim.partition] = replace(stored[claim.partition], topic_id=topic_id or claim.topic_id)
        return self._claim_of(claim.partition)

    def terminate(self) -> None:
        self.is_connected = False

    async def close(self) -> None:
        self.is_connected = False

    def _answer(self) -> None:
        if not self.is_connected:
            raise SinkUnavailable("ConnectionLost", "not connected to the database")
        if self.database.failures:
            self._fail(self.database.failures.popleft())
        if self.database.trouble is not None:
            self._fail(self.database.trouble)

    def _fail(self, error: Exception) -> None:
        self.is_connected = isinstance(error, Fenced)
        raise error

    def _check(self, claims: Mapping[int, Claim]) -> None:
        stored = self.database.positions
        lost = tuple(sorted(p for p, claim in claims.items() if p not in stored or claim != self._claim_of(p)))
        if lost:
            raise Fenced(lost)

    def _claim_of(self, partition: int) -> Claim:
        row = self.database.positions[partition]
        return Claim(
            partition=partition,
            epoch=row.epoch,
            owner=row.owner,
            next_offset=row.next_offset,
            topic_id=row.topic_id,
        )

    def _move(self, partition: int, offset: int) -> None:
        self.database.positions[partition] = replace(self.database.positions[partition], next_offset=offset)

    def _sort_rows(self, chunk: EncodedChunk, rows: list[tuple[int, int]]) -> list[DeadLetter]:
        source, refused = chunk.source, []
        for index in (index for group in chunk.groups for index in group.record_index):
            offset, value = source.offsets[index], source.values[index]
            if self.database.refuses(value):
                refused.append(_refuse(source, index))
            else:
                rows.append((source.partition, offset))
        return refused

    def _sort_keys(
        self, chunk: EncodedChunk, keyed: dict[tuple[bytes | None, ...], tuple[int, int]]
    ) -> list[DeadLetter]:
        """Each record as if it came alone; the database has no constraint on deletions."""
        source, plan, refused = chunk.source, self.database.plan, []
        words = [(index, group, row) for group in chunk.groups for row, index in enumerate(group.record_index)]
        for index, group, row in sorted(words, key=lambda word: word[0]):
            start = group.row_ends[row - 1] if row else 0
            fields = split_row(plan.copy_format, bytes(group.payload[start : group.row_ends[row]]))
            columns = [column for column in range(len(plan.columns)) if column not in group.omitted]
            key = tuple(fields[columns.index(column)] for column in plan.key)
            if group.is_delete:
                keyed.pop(key, None)
            elif self.database.refuses(source.values[index]):
                refused.append(_refuse(source, index))
            else:
                keyed[key] = (source.partition, source.offsets[index])
        return refused


def _refuse(source: RawChunk, index: int) -> DeadLetter:
    return DeadLetter(
        partition=source.partition,
        offset=source.offsets[index],
        reason=Reason.CONSTRAINT,
        message="refused",
        value=source.values[index],
    )


def fake_plan() -> TablePlan:
    """A table (id bigint, note text) filled by name."""
    return TablePlan(
        schema="public",
        table="events",
        columns=(_planned("id", "int8"), _planned("note", "text")),
        copy_format=CopyFormat.BINARY,
        unknown_fields=UnknownFieldPolicy.IGNORE,
    )


def _planned(name: str, type_name: str) -> PlannedColumn:
    column = CatalogColumn(
        name=name,
        type_name=type_name,
        is_array=False,
        type_modifier=-1,
        is_not_null=False,
        has_default=False,
        is_writable=True,
        type_sql=type_name,
    )
    return PlannedColumn(column=column, source=ColumnSource.PATH, path=(name,))
