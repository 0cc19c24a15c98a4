"""Mode Upsert on real PostgreSQL: what the table holds afterwards, both by way of a temporary table and straight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from forebay_consumer.postgres_sink import upsert_writer
from forebay_consumer.staging import FIRST_HOLD, Staging
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory
from support.upserts import DIRECT, MARKED, Tombstone, Upserting, start

pytestmark = pytest.mark.integration

EVENTS = "CREATE TABLE events (id bigint PRIMARY KEY, note text, state text DEFAULT 'new', kept text DEFAULT 'mine')"
COLUMNS = ("id", "note", "state")
PIPELINE = make_pipeline(columns=COLUMNS, key=("id",), delete_when=MARKED)

both_ways = pytest.mark.parametrize("staging", [Staging(), DIRECT], ids=["staged", "direct"])


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        await sink.close()


async def events(rig: SinkRig, columns: str = "id, note") -> list[tuple[object, ...]]:
    """The table's rows by id."""
    return await rig.query(f"SELECT {columns} FROM events ORDER BY id")


async def prepared(rig: SinkRig, staging: Staging | None = None, ddl: str = EVENTS) -> Upserting:
    """A consumer of a fresh table."""
    await rig.run(ddl)
    return await start(rig, pipeline=PIPELINE, staging=staging)


@both_ways
async def test_of_one_batch_the_last_record_of_each_key_counts(rig: SinkRig, staging: Staging) -> None:
    consumer = await prepared(rig, staging)
    receipt = await consumer.write(
        {"id": 2, "note": "a"}, {"id": 1, "note": "b"}, {"id": 2, "note": "c"}, {"id": 2, "note": "d"}, pieces=2
    )
    assert (receipt.rows, receipt.dead_letters, receipt.copies) == (2, 0, 1)
    assert await events(rig) == [(1, "b"), (2, "d")]
    assert await rig.value("SELECT next_offset FROM forebay.positions") == 4


@both_ways
async def test_of_several_batches_the_last_record_counts(rig: SinkRig, staging: Staging) -> None:
    consumer = await prepared(rig, staging)
    await consumer.write({"id": 1, "note": "a"}, {"id": 2, "note": "b"})
    await consumer.write({"id": 2, "note": "c"}, {"id": 3, "note": "d"})
    assert await events(rig) == [(1, "a"), (2, "c"), (3, "d")]


@both_ways
async def test_records_that_are_read_again_lead_to_the_same_rows(rig: SinkRig, staging: Staging) -> None:
    consumer = await prepared(rig, staging)
    records = [{"id": n % 3, "note": f"{n}"} for n in range(7)]
    await consumer.write(*records, {"id": 0, "op": "d"})
    await rig.run("UPDATE forebay.positions SET next_offset = 0")
    again = await start(rig, pipeline=PIPELINE, staging=staging)
    for record in (*records, {"id": 0, "op": "d"}):
        await again.write(record)
    assert await events(rig) == [(1, "4"), (2, "5")]


@both_ways
async def test_records_delete_by_their_marker_and_without_value(rig: SinkRig, staging: Staging) -> None:
    consumer = await prepared(rig, staging)
    await consumer.write(*({"id": n, "note": "x"} for n in range(1, 6)))
    receipt = await consumer.write(
        {"id": 1, "op": "d"}, Tombstone(2), Tombstone({"id": 3}), Tombstone(99), {"id": 4, "op": "u", "note": "y"}
    )
    assert (receipt.rows, receipt.dead_letters) == (1, 0)
    assert await events(rig) == [(4, "y"), (5, "x")]


@both_ways
async def test_a_row_after_a_deletion_is_a_new_row(rig: SinkRig, staging: Staging) -> None:
    """What no record fills must not survive the deletion, also if both come in one batch."""
    consumer = await prepared(rig, staging)
    await consumer.write({"id": 1, "note": "a"}, {"id": 2, "note": "a"})
    await rig.run("UPDATE events SET kept = 'changed'")
    await consumer.write(
        {"id": 1, "op": "d"}, {"id": 1, "note": "b"}, {"id": 2, "note": "c"}, {"id": 2, "op": "d"}, {"id": 3, "op": "d"}
    )
    assert await events(rig, "id, note, kept") == [(1, "b", "mine")]


async def test_what_no_record_fills_keeps_its_value_on_update(rig: SinkRig) -> None:
    consumer = await prepared(rig)
    await consumer.write({"id": 1, "note": "a"})
    await rig.run("UPDATE events SET kept = 'changed'")
    await consumer.write({"id": 1, "note": "b"})
    assert await events(rig, "id, note, kept") == [(1, "b", "changed")]


async def test_what_a_record_omits_gets_its_default_on_update_too(rig: SinkRig) -> None:
    consumer = await prepared(rig)
    await consumer.write({"id": 1, "note": "a", "state": "old"}, {"id": 2, "note": "a", "state": "old"})
    await consumer.write({"id": 1}, {"id": 2, "state": None}, {"id": 3, "note": "c", "state": "own"})
    assert await events(rig, "id, note, state") == [(1, None, "new"), (2, None, None), (3, "c", "own")]


async def test_a_default_from_a_sequence_is_taken_from_the_tables_own(rig: SinkRig) -> None:
    ddl = "CREATE TABLE events (id bigint PRIMARY KEY, note text, state int GENERATED BY DEFAULT AS IDENTITY)"
    consumer = await prepared(rig, ddl=ddl)
    await consumer.write({"id": 5}, {"id": 6})
    await consumer.write({"id": 5}, {"id": 7})
    assert await events(rig, "id, state") == [(5, 3), (6, 2), (7, 4)]


async def test_a_row_that_is_there_already_is_not_written_again(rig: SinkRig) -> None:
    consumer = await prepared(rig)
    same = {"id": 1, "note": "a", "state": "s"}
    await consumer.write(same, {"id": 2, "note": None, "state": "s"})
    before = await events(rig, "id, ctid::text")
    await consumer.write(same, {"id": 2, "note": "x", "state": "s"})
    after = await events(rig, "id, ctid::text")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


async def test_json_and_numbers_that_are_equal_but_written_differently_are_written(rig: SinkRig) -> None:
    await rig.run("CREATE TABLE events (id bigint PRIMARY KEY, body json, amount numeric, list int[])")
    consumer = await start(rig, pipeline=make_pipeline(key=("id",)))
    await consumer.write({"id": 1, "body": {"a": 1}, "list": [1]}, b'{"id":2,"amount":1.0}')
    await consumer.write({"id": 1, "body": {"b": 2}, "list": [2]}, b'{"id":2,"amount":1.00}')
    assert await rig.query("SELECT id, body::text, amount::text, list::text FROM events ORDER BY id") == [
        (1, '{"b": 2}', None, "{2}"),
        (2, None, "1.00", None),
    ]


@both_ways
async def test_a_key_of_several_columns_with_odd_names(rig: SinkRig, staging: Staging) -> None:
    await rig.run(
        'CREATE SCHEMA "Odd Schema"',
        'CREATE TABLE "Odd Schema"."we ird" (note text, "Nr. 1" text, "order" int, UNIQUE ("order", "Nr. 1"))',
    )
    key = ("Nr. 1", "order")
    consumer = await start(rig, pipeline=make_pipeline("Odd Schema.we ird", key=key), staging=staging)
    await consumer.write(
        {"Nr. 1": "a", "order": 1, "note": "x"},
        {"Nr. 1": "a", "order": 2, "note": "y"},
        {"Nr. 1": "é'\\\"", "order": 1, "note": "z"},
    )
    await consumer.write({"Nr. 1": "a", "order": 2, "note": "w"}, Tombstone({"order": 1, "Nr. 1": "a"}))
    found = await rig.query('SELECT "Nr. 1", "order", note FROM "Odd Schema"."we ird" ORDER BY note')
    assert found == [("a", 2, "w"), ("é'\\\"", 1, "z")]


@pytest.mark.parametrize(
    ("type_name", "one", "other"),
    [
        ("numeric", b"1.0", b"1.00"),
        ("numeric(10,2)", b"1.5", b"1.5000"),
        ("char(5)", b'"ab"', b'"ab  "'),
        ("double precision", b"0.0", b"-0.0"),
        ("uuid", b'"6BA7B810-9DAD-11D1-80B4-00C04FD430C8"', b'"6ba7b8109dad11d180b400c04fd430c8"'),
        ("timestamptz", b'"2024-05-01T12:00:00Z"', b'"2024-05-01T14:00:00+02:00"'),
    ],
)
async def test_keys_that_are_equal_but_written_differently_are_one(
    rig: SinkRig, type_name: str, one: bytes, other: bytes
) -> None:
    await rig.run(f"CREATE TABLE events (id {type_name} PRIMARY KEY, note text)")
    consumer = await start(rig, pipeline=make_pipeline(key=("id",)))
    await consumer.write(b'{"id":%s,"note":"a"}' % one, b'{"id":%s,"note":"b"}' % other)
    assert await rig.query("SELECT note FROM events") == [("b",)]
    await consumer.write(b'{"id":%s,"note":"c"}' % one)
    assert await rig.query("SELECT note FROM events") == [("c",)]


@both_ways
async def test_a_table_in_text_format_takes_rows_and_deletions(rig: SinkRig, staging: Staging) -> None:
    await rig.run(
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE TABLE events (id mood, nr numeric, span interval, PRIMARY KEY (nr, id))",
    )
    consumer = await start(rig, pipeline=make_pipeline(key=("id", "nr"), delete_when=MARKED), staging=staging)
    await consumer.write(
        b'{"id":"sad","nr":1.0,"span":"1 day"}', b'{"id":"sad","nr":1.00,"span":"2 days"}', b'{"id":"glad","nr":1}'
    )
    await consumer.write(b'{"id":"glad","nr":1.000,"op":"d"}', b'{"id":"sad","nr":10e-1,"span":"3 days"}')
    assert await rig.query("SELECT id::text, nr::text, span::text FROM events") == [("sad", "1.00", "3 days")]


@both_ways
async def test_a_partitioned_table_takes_rows_and_deletions(rig: SinkRig, staging: Staging) -> None:
    await rig.run(
        "CREATE TABLE events (id bigint PRIMARY KEY, note text, state text DEFAULT 'new') PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF events FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE high (note text, gone int, id bigint NOT NULL, state text)",
        "ALTER TABLE high DROP COLUMN gone",
        "ALTER TABLE events ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
    )
    consumer = await start(rig, pipeline=PIPELINE, staging=staging)
    await consumer.write({"id": 5, "note": "a"}, {"id": 15, "note": "b"}, {"id": 16, "note": "c"})
    assert consumer.writer.staging.calm == 1  # what partitions took is counted
    receipt = await consumer.write({"id": 15, "note": "d"}, {"id": 5, "op": "d"}, {"id": 99, "note": "nowhere"})
    assert (receipt.rows, receipt.dead_letters) == (1, 1)
    assert await events(rig) == [(15, "d"), (16, "c")]
    assert not consumer.writer.staging.is_direct


async def test_a_table_of_nothing_but_keys(rig: SinkRig) -> None:
    await rig.run("CREATE TABLE events (id bigint PRIMARY KEY)")
    consumer = await start(rig)
    await consumer.write({"id": 1}, {"id": 1}, {"id": 2})
    await consumer.write({"id": 1}, {"id": 2, "op": "d"})
    assert await events(rig, "id") == [(1,)]


async def test_a_key_that_the_table_has_sends_a_straight_copy_by_way_of_the_stage(rig: SinkRig) -> None:
    consumer = await prepared(rig, DIRECT)
    await consumer.write({"id": 1, "note": "a"})
    assert consumer.writer.staging == replace(DIRECT, calm=1)
    receipt = await consumer.write({"id": 0, "note": "b"}, {"id": 1, "note": "c"}, {"id": 2, "note": "d"})
    assert (receipt.rows, receipt.dead_letters, receipt.retries, receipt.copies) == (3, 0, 0, 2)
    assert await events(rig) == [(0, "b"), (1, "c"), (2, "d")]
    assert consumer.writer.staging == Staging(hold=2 * FIRST_HOLD)


async def test_batches_of_new_keys_go_straight_after_a_while_and_known_keys_do_not(rig: SinkRig) -> None:
    consumer = await prepared(rig)
    for n in range(FIRST_HOLD):
        assert not consumer.writer.staging.is_direct
        await consumer.write({"id": n, "note": "a"})
    assert consumer.writer.staging.is_direct
    consumer.writer.staging = Staging()
    for _ in range(FIRST_HOLD + 1):
        await consumer.write({"id": 0, "note": "a"})
    assert consumer.writer.staging == Staging()


async def test_a_new_connection_makes_its_own_stages_and_goes_by_them_first(rig: SinkRig) -> None:
    consumer = await prepared(rig, replace(DIRECT, hold=64))
    await consumer.write({"id": 1, "note": "a"})
    await consumer.sink.connect()
    consumer.claims = dict(await consumer.sink.claim([0]))
    assert consumer.writer.staging == Staging(hold=64)
    await consumer.write({"id": 1, "note": "b"}, {"id": 2})
    await consumer.write({"id": 1, "note": "c"}, {"id": 2, "op": "d"})
    assert await events(rig) == [(1, "c")]


async def test_stages_do_not_grow_without_bound(rig: SinkRig) -> None:
    names = [f"c{n}" for n in range(6)]
    await rig.run(f"CREATE TABLE events (id bigint PRIMARY KEY, {', '.join(f'{n} int DEFAULT 7' for n in names)})")
    consumer = await start(rig, pipeline=make_pipeline(key=("id",)))
    for mask in range(40):
        await consumer.write({"id": mask, **{name: 1 for n, name in enumerate(names) if mask >> n & 1}})
    assert await rig.value("SELECT sum(c0 + c1 + c2 + c3 + c4 + c5) FROM events") == sum(
        42 - 6 * mask.bit_count() for mask in range(40)
    )
    stages = await rig.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'forebay\\_stage%' AND relkind = 'r'")
    assert 0 < stages <= 16


async def test_old_stages_are_made_anew_and_an_idle_consumer_holds_none(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would keep the database from forgetting old transactions, however often it is vacuumed."""
    stages = "SELECT count(*), max(age(relfrozenxid)) FROM pg_class WHERE relname ~ '^forebay_stage' AND relkind = 'r'"
    consumer = await prepared(rig)
    await consumer.write({"id": 1, "note": "a"}, {"id": 2, "note": "a", "state": "b"})
    await rig.run("DO $$ BEGIN FOR n IN 1..500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
    await consumer.sink.stored_partitions()
    assert (await rig.query(stages))[0] >= (3, 500)
    monkeypatch.setattr(upsert_writer, "STAGE_LIFE_S", 0.0)
    await consumer.write({"id": 1, "note": "c"}, {"id": 2, "op": "d"})
    ((count, age),) = await rig.query(stages)
    assert count == 2
    assert age < 500
    await consumer.sink.stored_partitions()
    assert await rig.query(stages) == [(0, None)]
    await consumer.write({"id": 1, "note": "d"})
    assert await events(rig) == [(1, "d")]


async def test_more_sets_of_columns_than_stages_in_one_batch_are_written(rig: SinkRig) -> None:
    """Those without a stage of their own share one, which refuses nothing: the table does."""
    names = [f"c{n}" for n in range(6)]
    columns = ", ".join(f"{name} int NOT NULL DEFAULT 7 CHECK ({name} <> 13)" for name in names)
    await rig.run(f"CREATE TABLE events (id bigint PRIMARY KEY, {columns})")
    consumer = await start(rig, pipeline=make_pipeline(key=("id",)))
    records = [{"id": mask, **{name: 1 for n, name in enumerate(names) if mask >> n & 1}} for mask in range(40)]
    for _ in range(2):
        receipt = await consumer.write(*records, records[32] | {"c4": 13})
        assert (receipt.rows, receipt.dead_letters) == (40, 1)
    assert await rig.value("SELECT sum(c0 + c1 + c2 + c3 + c4 + c5) FROM events") == sum(
        42 - 6 * mask.bit_count() for mask in range(40)
    )
    stages = await rig.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'forebay\\_stage%' AND relkind = 'r'")
    assert stages == 16
