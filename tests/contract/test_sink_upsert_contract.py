"""What every ports.Sink promises in mode Upsert, checked on the fake and on PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from forebay_consumer.decode import build_decoder
from forebay_consumer.errors import Fenced
from forebay_consumer.ports import Sink
from forebay_consumer.records import Batch, Claim, EncodedChunk, RawChunk
from support.fake_sink import FakeDatabase, FakeSink, fake_plan
from support.rows import advance, rows_batch
from support.sinks import SinkRig, make_pipeline


@dataclass(slots=True, kw_only=True)
class Arena:
    """Makes sinks on one database; read_rows: the key of each row and the note that it has."""

    make: Callable[[], Sink]
    read_rows: Callable[[], Awaitable[dict[int, str]]]
    opened: list[Sink] = field(default_factory=list)

    async def claimed(self) -> tuple[Sink, dict[int, Claim], Any]:
        """A connected sink that holds the partitions 0 and 1, and the decoder for its plan."""
        sink = self.make()
        self.opened.append(sink)
        plan = await sink.connect()
        await sink.initialize({0: 0, 1: 0}, first_start=True)
        return sink, dict(await sink.claim([0, 1])), build_decoder(plan)


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
    plan = fake_plan()
    id_column = replace(plan.columns[0], column=replace(plan.columns[0].column, is_not_null=True))
    keyed = replace(plan, columns=(id_column, plan.columns[1]), key=(0,))
    database = FakeDatabase(refuses=lambda value: b"bad" in (value or b""), plan=keyed)

    async def rows() -> dict[int, str]:
        keys = ((int.from_bytes(key[0] or b"", "big"), place) for key, place in database.keyed.items())
        return {key: f"{partition}/{offset}" for key, (partition, offset) in keys}

    return Arena(make=lambda: FakeSink(database), read_rows=rows)


async def _postgres_arena(database: Any, tmp_path: Path) -> Arena:
    rig = SinkRig(database(), tmp_path / "secret")
    await rig.run("CREATE TABLE events (id bigint PRIMARY KEY, note text CHECK (note NOT LIKE '%bad'))")

    async def rows() -> dict[int, str]:
        return dict(await rig.query("SELECT id, note FROM events"))

    return Arena(make=lambda: rig.sink(make_pipeline(key=("id",))), read_rows=rows)


def chunk(decoder: Any, first: int, *words: str, partition: int = 0) -> EncodedChunk:
    """Records from offset `first`: "7" sets the row 7, whose note says where it comes from, "-7" deletes it.

    With "!" the database refuses it.
    """
    numbers = [int(word.rstrip("!")) for word in words]
    notes = [f"{partition}/{first + n}{'bad' if word.endswith('!') else ''}" for n, word in enumerate(words)]
    values = [json.dumps({"id": number, "note": note}).encode() for number, note in zip(numbers, notes, strict=True)]
    made: EncodedChunk = decoder.decode(
        RawChunk(
            partition=partition,
            claim_id=1,
            offsets=range(first, first + len(words)),
            values=[None if number < 0 else value for number, value in zip(numbers, values, strict=True)],
            keys=[str(abs(number)).encode() for number in numbers],
        )
    )
    return made


async def write(sink: Sink, claims: dict[int, Claim], *chunks: EncodedChunk) -> tuple[dict[int, Claim], int, int]:
    """The claims afterwards, rows written, dead letters."""
    batch: Batch = rows_batch(claims, *chunks)
    receipt = await sink.write(batch)
    return advance(claims, batch), receipt.rows, receipt.dead_letters


async def test_the_last_record_of_a_key_counts_in_a_batch_and_across_batches(arena: Arena) -> None:
    sink, claims, decoder = await arena.claimed()
    claims, rows, _ = await write(sink, claims, chunk(decoder, 0, "1", "2", "1"), chunk(decoder, 3, "3", "1"))
    assert rows == 3
    assert await arena.read_rows() == {1: "0/4", 2: "0/1", 3: "0/3"}
    await write(sink, claims, chunk(decoder, 5, "2", "4"))
    assert await arena.read_rows() == {1: "0/4", 2: "0/5", 3: "0/3", 4: "0/6"}


async def test_a_tombstone_deletes_before_and_after_a_row(arena: Arena) -> None:
    sink, claims, decoder = await arena.claimed()
    claims, _, _ = await write(sink, claims, chunk(decoder, 0, "1", "2", "3"))
    await write(sink, claims, chunk(decoder, 3, "-1", "2", "-2", "-3", "3", "-9"))
    assert await arena.read_rows() == {3: "0/7"}


async def test_a_refused_record_leaves_the_row_to_the_one_before_it(arena: Arena) -> None:
    sink, claims, decoder = await arena.claimed()
    _, rows, dead = await write(sink, claims, chunk(decoder, 0, "1", "1!", "2!", "-3", "3", "3!"))
    assert (rows, dead) == (2, 3)
    assert await arena.read_rows() == {1: "0/0", 3: "0/4"}


async def test_of_two_partitions_each_writes_its_own_keys(arena: Arena) -> None:
    sink, claims, decoder = await arena.claimed()
    await write(sink, claims, chunk(decoder, 0, "1"), chunk(decoder, 0, "2", partition=1))
    assert await arena.read_rows() == {1: "0/0", 2: "1/0"}


async def test_a_fenced_batch_changes_no_row(arena: Arena) -> None:
    sink, claims, decoder = await arena.claimed()
    await write(sink, claims, chunk(decoder, 0, "1"))
    await arena.claimed()
    with pytest.raises(Fenced):
        await sink.write(rows_batch(claims, chunk(decoder, 1, "-1", "2")))
    assert await arena.read_rows() == {1: "0/0"}
