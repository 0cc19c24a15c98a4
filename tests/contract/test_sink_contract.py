"""What every ports.Sink promises, checked on the fake and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from forebay_consumer.errors import CONFLICT, Fenced, SinkBroken, SinkUnavailable
from forebay_consumer.ports import Sink
from forebay_consumer.records import DeadLetter, EncodedChunk, Reason
from support.fake_sink import FakeDatabase, FakeSink
from support.rows import advance, rows_batch, rows_chunk
from support.sinks import SinkRig, make_pipeline

Admit = Callable[[int, int, Sequence[DeadLetter]], None]


def admit_all(_records: int, _dead: int, _known: object) -> None:
    """A breaker that never opens."""


@dataclass(slots=True, kw_only=True)
class Arena:
    """Makes sinks on one database and looks into it. make(table, admit)."""

    make: Callable[[str, Admit], Sink]
    read_rows: Callable[[], Awaitable[list[tuple[int, int]]]]
    read_dead: Callable[[], Awaitable[list[tuple[int, int]]]]
    opened: list[Sink] = field(default_factory=list)

    async def sink(self, *, table: str = "public.events", admit: Admit = admit_all) -> Sink:
        """A connected sink."""
        sink = self.make(table, admit)
        self.opened.append(sink)
        await sink.connect()
        return sink


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def arena(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Arena]:
    if request.param == "fake":
        made = _fake_arena()
    else:
        made = await _postgres_arena(request.getfixturevalue("database"), tmp_path)
    yield made
    for sink in made.opened:
        await sink.close()


def _fake_arena() -> Arena:
    database = FakeDatabase(refuses=lambda value: b'"-1"' in (value or b""))

    async def rows() -> list[tuple[int, int]]:
        return sorted(database.rows)

    async def dead() -> list[tuple[int, int]]:
        return sorted((letter.partition, letter.offset) for letter in database.dead)

    return Arena(
        make=lambda table, admit: FakeSink(database, target=table, admit=admit), read_rows=rows, read_dead=dead
    )


async def _postgres_arena(database: Any, tmp_path: Path) -> Arena:
    rig = SinkRig(database(), tmp_path / "secret")
    for table in ("events", "others"):
        await rig.run(f"CREATE TABLE {table} (id bigint CHECK (id >= 0), note text)")

    async def rows() -> list[tuple[int, int]]:
        found = await rig.query("SELECT split_part(note, '/', 1)::int, split_part(note, '/', 2)::int FROM events")
        return sorted((partition, offset) for partition, offset in found)

    async def dead() -> list[tuple[int, int]]:
        found = await rig.query("SELECT partition, record_offset FROM forebay.dead_letters")
        return sorted((partition, offset) for partition, offset in found)

    return Arena(make=lambda table, admit: rig.sink(make_pipeline(table), admit=admit), read_rows=rows, read_dead=dead)


def chunk(
    partition: int, first: int, count: int, *, poison: int | None = None, dead: tuple[DeadLetter, ...] = ()
) -> EncodedChunk:
    """Records from `first` whose rows say where they come from; the database refuses the one at offset `poison`."""
    offsets = range(first, first + count)
    rows = [(-1 if offset == poison else offset, f"{partition}/{offset}") for offset in offsets]
    return rows_chunk(rows, partition=partition, first=first, dead=dead)


async def test_a_sink_that_is_not_connected_is_unavailable(arena: Arena) -> None:
    sink = arena.make("public.events", admit_all)
    with pytest.raises(SinkUnavailable):
        await sink.stored_partitions()


async def test_the_plan_lists_the_columns_to_copy(arena: Arena) -> None:
    sink = await arena.sink()
    plan = await sink.connect()
    assert (plan.schema, plan.table) == ("public", "events")
    assert [planned.column.name for planned in plan.columns] == ["id", "note"]


async def test_the_first_start_stores_positions_only_where_there_are_none_at_all(arena: Arena) -> None:
    sink = await arena.sink()
    assert await sink.stored_partitions() == frozenset()
    await sink.initialize({0: 5}, first_start=True)
    await sink.initialize({0: 9, 1: 9}, first_start=True)
    assert await sink.stored_partitions() == {0}
    await sink.initialize({0: 9, 1: 7}, first_start=False)
    claims = await sink.claim([0, 1])
    assert {p: claim.next_offset for p, claim in claims.items()} == {0: 5, 1: 7}


async def test_each_claim_has_a_new_epoch_and_owner(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 0, 1: 0}, first_start=True)
    first = await sink.claim([0, 1])
    second = await (await arena.sink()).claim([1])
    assert second[1].epoch > first[1].epoch
    assert len({first[0].owner, first[1].owner, second[1].owner}) == 3
    assert set(second) == {1}


async def test_a_claim_of_a_partition_without_position_is_unavailable(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 0}, first_start=True)
    with pytest.raises(SinkUnavailable):
        await sink.claim([0, 1])


async def test_a_write_moves_the_positions_with_the_rows(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 0, 1: 10}, first_start=True)
    claims = await sink.claim([0, 1])
    receipt = await sink.write(rows_batch(claims, chunk(0, 0, 2), chunk(1, 10, 1), chunk(0, 2, 1)))
    assert (receipt.rows, receipt.dead_letters, dict(receipt.next_offsets)) == (4, 0, {0: 3, 1: 11})
    assert await arena.read_rows() == [(0, 0), (0, 1), (0, 2), (1, 10)]
    again = await sink.claim([0, 1])
    assert {p: claim.next_offset for p, claim in again.items()} == {0: 3, 1: 11}


async def test_a_write_of_a_former_owner_is_fenced_and_its_connection_stays_good(arena: Arena) -> None:
    old = await arena.sink()
    await old.initialize({0: 0, 1: 0}, first_start=True)
    claims = await old.claim([0, 1])
    await (await arena.sink()).claim([1])
    with pytest.raises(Fenced) as fenced:
        await old.write(rows_batch(claims, chunk(0, 0, 1), chunk(1, 0, 1)))
    assert fenced.value.partitions == (1,)
    assert await arena.read_rows() == []
    await old.write(rows_batch(claims, chunk(0, 0, 1)))
    assert await arena.read_rows() == [(0, 0)]


async def test_a_batch_written_twice_is_fenced_the_second_time(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 0}, first_start=True)
    claims = await sink.claim([0])
    batch = rows_batch(claims, chunk(0, 0, 2))
    await sink.write(batch)
    with pytest.raises(Fenced):
        await sink.write(batch)
    await sink.write(rows_batch(advance(claims, batch), chunk(0, 2, 1)))
    assert await arena.read_rows() == [(0, 0), (0, 1), (0, 2)]


async def test_a_refused_row_becomes_a_dead_letter_and_the_others_are_written(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 0}, first_start=True)
    letter = DeadLetter(partition=0, offset=3, reason=Reason.INVALID_JSON, message="broken", value=b"{")
    batch = rows_batch(await sink.claim([0]), chunk(0, 0, 3, poison=1, dead=(letter,)))
    receipt = await sink.write(batch)
    assert (receipt.rows, receipt.dead_letters, receipt.retries) == (2, 2, 1)
    assert await arena.read_rows() == [(0, 0), (0, 2)]
    assert await arena.read_dead() == [(0, 1), (0, 3)]


async def test_a_batch_that_is_not_admitted_is_rolled_back_and_the_connection_is_gone(arena: Arena) -> None:
    def refuse(records: int, dead: int, _known: object) -> None:
        if dead:
            raise SinkBroken("Breaker", f"{dead} of {records}")

    sink = await arena.sink(admit=refuse)
    await sink.initialize({0: 0}, first_start=True)
    with pytest.raises(SinkBroken, match="1 of 3"):
        await sink.write(rows_batch(await sink.claim([0]), chunk(0, 0, 3, poison=1)))
    assert await arena.read_rows() == await arena.read_dead() == []
    with pytest.raises(SinkUnavailable):
        await sink.stored_partitions()
    await sink.connect()
    assert (await sink.claim([0]))[0].next_offset == 0


async def test_a_group_and_topic_used_for_another_table_is_a_conflict(arena: Arena) -> None:
    await (await arena.sink()).initialize({0: 0}, first_start=True)
    other = await arena.sink(table="public.others")
    for ask in (lambda: other.claim([0]), other.stored_partitions):
        with pytest.raises(SinkBroken) as broken:
            await ask()
        assert broken.value.reason == CONFLICT
        await other.connect()


async def test_skip_to_moves_a_position_that_is_still_claimed(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 0}, first_start=True)
    claims = dict(await sink.claim([0]))
    claims[0] = await sink.skip_to(claims[0], 40)
    assert claims[0].next_offset == 40
    await sink.write(rows_batch(claims, chunk(0, 40, 1)))
    with pytest.raises(Fenced):
        await sink.skip_to(claims[0], 50)


async def test_the_topic_id_is_stored_once_and_changed_only_with_the_position(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 5}, first_start=True, topic_id="old")
    await sink.initialize({0: 9, 1: 0}, first_start=False)
    assert {p: claim.topic_id for p, claim in (await sink.claim([0, 1])).items()} == {0: "old", 1: None}
    claims = dict(await sink.claim([0, 1], "new"))
    assert {p: claim.topic_id for p, claim in claims.items()} == {0: "old", 1: "new"}
    claims[0] = await sink.skip_to(claims[0], 6)
    assert (claims[0].next_offset, claims[0].topic_id) == (6, "old")
    claims[0] = await sink.skip_to(claims[0], 0, "new")
    assert (claims[0].next_offset, claims[0].topic_id) == (0, "new")
    await sink.write(rows_batch(claims, chunk(0, 0, 2), chunk(1, 0, 1)))
    again = await sink.claim([0, 1], "newer")
    assert {p: (claim.next_offset, claim.topic_id) for p, claim in again.items()} == {0: (2, "new"), 1: (1, "new")}


async def test_a_terminated_sink_connects_again(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.initialize({0: 3}, first_start=True)
    sink.terminate()
    sink.terminate()
    with pytest.raises(SinkUnavailable):
        await sink.claim([0])
    await sink.connect()
    assert (await sink.claim([0]))[0].next_offset == 3


async def test_closing_twice_does_no_harm(arena: Arena) -> None:
    sink = await arena.sink()
    await sink.close()
    await sink.close()
    with pytest.raises(SinkUnavailable):
        await sink.stored_partitions()
