"""The sink's ordinary life on a real PostgreSQL: connect, claim, write, be fenced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forebay_consumer.errors import Fenced, SinkBroken, SinkUnavailable
from forebay_consumer.plan import CopyFormat
from forebay_consumer.records import DeadLetter, Reason
from support.rows import advance, rows_batch, rows_chunk
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration

TABLE = "CREATE TABLE public.events (id bigint, note text)"


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        await sink.close()


async def test_a_batch_writes_rows_dead_letters_and_positions(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed((0, 1))
    letter = DeadLetter(
        partition=1, offset=1, reason=Reason.INVALID_JSON, message="broken\x00", value=b"{\x00", timestamp_ms=2**62
    )
    batch = rows_batch(
        claims, rows_chunk([(1, "a"), (2, None)], partition=0), rows_chunk([(3, "c")], partition=1, dead=(letter,))
    )
    receipt = await sink.write(batch)
    assert (receipt.rows, receipt.dead_letters, receipt.copies, receipt.retries) == (3, 1, 1, 0)
    assert receipt.next_offsets == {0: 2, 1: 2}
    assert await rig.query("SELECT id, note FROM events ORDER BY id") == [(1, "a"), (2, None), (3, "c")]
    assert await rig.query("SELECT partition, next_offset FROM forebay.positions ORDER BY 1") == [(0, 2), (1, 2)]
    assert await rig.query(
        "SELECT partition, record_offset, reason, record_value, target FROM forebay.dead_letters"
    ) == [(1, 1, "InvalidJSON", b"{\x00", "public.events")]


async def test_rows_that_leave_out_a_column_get_its_default(rig: SinkRig) -> None:
    await rig.run("CREATE TABLE events (id bigint, note text DEFAULT 'unsaid')")
    sink, claims = await rig.claimed()
    whole, short = rows_chunk([(1, "a")]), rows_chunk([(2,)], first=1, omitted=(1,))
    receipt = await sink.write(rows_batch(claims, whole, short))
    assert receipt.copies == 2
    assert await rig.query("SELECT id, note FROM events ORDER BY id") == [(1, "a"), (2, "unsaid")]


async def test_a_table_with_an_unusual_type_is_copied_as_text(rig: SinkRig) -> None:
    await rig.run("CREATE TABLE events (id bigint, span interval CHECK (span > '0'))")
    sink = rig.sink()
    plan = await sink.connect()
    assert plan.copy_format is CopyFormat.TEXT
    await sink.initialize({0: 0}, first_start=True)
    rows = [(1, "1 day"), (2, "-1 day"), (3, "2 h")]
    chunk = rows_chunk(rows, copy_format=CopyFormat.TEXT)
    receipt = await sink.write(rows_batch(await sink.claim([0]), chunk))
    assert (receipt.rows, receipt.retries) == (2, 1)
    assert await rig.query("SELECT id FROM events ORDER BY id") == [(1,), (3,)]


async def test_a_claim_raises_the_epoch_and_fences_the_former_owner(rig: SinkRig) -> None:
    await rig.run(TABLE)
    old, old_claims = await rig.claimed((0, 1))
    _, new_claims = await rig.claimed((1,))
    assert new_claims[1].epoch == old_claims[1].epoch + 1
    with pytest.raises(Fenced) as fenced:
        await old.write(rows_batch(old_claims, rows_chunk([(1, "x")]), rows_chunk([(2, "y")], partition=1)))
    assert fenced.value.partitions == (1,)
    assert await rig.value("SELECT count(*) FROM events") == 0
    receipt = await old.write(rows_batch(old_claims, rows_chunk([(1, "x")])))
    assert receipt.rows == 1


async def test_a_position_that_moves_during_the_copy_fences_the_write(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed()
    await rig.run(
        "CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE forebay.positions SET epoch = epoch + 1; RETURN NULL; END $$",
        "CREATE TRIGGER steal AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION steal()",
    )
    with pytest.raises(Fenced) as fenced:
        await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    assert fenced.value.partitions == (0,)
    assert await rig.value("SELECT count(*) FROM events") == 0


async def test_a_repeated_batch_is_fenced_by_the_position(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed()
    batch = rows_batch(claims, rows_chunk([(1, "x")]))
    await sink.write(batch)
    with pytest.raises(Fenced):
        await sink.write(batch)
    await sink.write(rows_batch(advance(claims, batch), rows_chunk([(2, "y")], first=1)))
    assert await rig.query("SELECT id FROM events ORDER BY id") == [(1,), (2,)]


async def test_initialize_keeps_what_is_stored(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, _ = await rig.claimed((0,))
    await sink.initialize({0: 50, 1: 60}, first_start=True)
    assert await sink.stored_partitions() == frozenset({0})
    await sink.initialize({0: 50, 1: 60}, first_start=False)
    assert await rig.query("SELECT partition, next_offset FROM forebay.positions ORDER BY 1") == [(0, 0), (1, 60)]


async def test_a_group_and_topic_belong_to_one_table(rig: SinkRig) -> None:
    await rig.run(TABLE, "CREATE TABLE other (id bigint)")
    await rig.claimed()
    with pytest.raises(SinkBroken, match=r"Conflict: .*bank/payments.*public\.events") as broken:
        await rig.claimed(pipeline=make_pipeline("other"))
    assert broken.value.reason == "Conflict"


async def test_a_claim_of_a_partition_without_position_waits_for_initialize(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, _ = await rig.claimed((0,))
    with pytest.raises(SinkUnavailable, match="PositionMissing"):
        await sink.claim([0, 7])


async def test_skip_to_moves_a_claimed_position_once(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed()
    moved = await sink.skip_to(claims[0], 40)
    assert (moved.next_offset, moved.epoch, moved.owner) == (40, claims[0].epoch, claims[0].owner)
    assert await rig.value("SELECT next_offset FROM forebay.positions") == 40
    with pytest.raises(Fenced):
        await sink.skip_to(claims[0], 50)


async def test_a_changed_table_is_described_again_before_anything_is_written(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed()
    await rig.run("ALTER TABLE events ALTER id TYPE timestamptz USING to_timestamp(id)")
    with pytest.raises(SinkUnavailable, match="TableChanged"):
        await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    assert await rig.value("SELECT count(*) FROM events") == 0
    plan = await sink.connect()
    assert plan.columns[0].column.type_name == "timestamptz"


async def test_a_dropped_column_is_described_again(rig: SinkRig) -> None:
    await rig.run(TABLE)
    sink, claims = await rig.claimed()
    await rig.run("ALTER TABLE events DROP COLUMN note")
    with pytest.raises(SinkUnavailable, match="TableChanged"):
        await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    assert len((await sink.connect()).columns) == 1


async def test_domains_and_special_columns_are_described(rig: SinkRig) -> None:
    await rig.run(
        "CREATE DOMAIN money_text AS varchar(10) NOT NULL DEFAULT 'x'",
        "CREATE DOMAIN strict AS money_text",
        "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, n bigint GENERATED BY DEFAULT AS IDENTITY,"
        " s strict, twice bigint GENERATED ALWAYS AS (n * 2) STORED, many int[], ns numeric(10,2)[])",
    )
    plan = await rig.sink().connect()
    described = {planned.column.name: planned.column for planned in plan.columns}
    assert sorted(described) == ["many", "n", "ns", "s"]
    s = described["s"]
    assert (s.type_name, s.type_modifier, s.is_not_null, s.has_default, s.is_array) == (
        "varchar",
        14,
        True,
        True,
        False,
    )
    assert (described["many"].type_name, described["many"].is_array) == ("int4", True)
    assert (described["ns"].type_name, described["n"].has_default) == ("numeric", True)
