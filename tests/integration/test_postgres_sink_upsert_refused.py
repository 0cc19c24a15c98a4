"""Mode Upsert: rows that PostgreSQL refuses, and what must then become of the records around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.staging import Staging
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory
from support.upserts import DIRECT, MARKED, Tombstone, Upserting, start

pytestmark = pytest.mark.integration

CHECKED = "CREATE TABLE events (id bigint PRIMARY KEY, note text NOT NULL CHECK (note <> 'bad'))"
MAILS = "CREATE TABLE events (id bigint PRIMARY KEY, mail text UNIQUE)"

both_ways = pytest.mark.parametrize("staging", [Staging(), DIRECT], ids=["staged", "direct"])


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        await sink.close()


async def prepared(rig: SinkRig, *ddl: str, staging: Staging | None = None) -> Upserting:
    """A consumer of a fresh table."""
    await rig.run(*ddl)
    return await start(rig, staging=staging)


async def events(rig: SinkRig, column: str = "note") -> list[tuple[object, ...]]:
    """The table's rows by id."""
    return await rig.query(f"SELECT id, {column} FROM events ORDER BY id")


async def dead(rig: SinkRig) -> list[tuple[object, ...]]:
    """(offset, reason) of the dead letters."""
    return await rig.query("SELECT record_offset, reason FROM forebay.dead_letters ORDER BY 1")


@both_ways
async def test_a_row_that_breaks_a_check_is_named_by_its_line(rig: SinkRig, staging: Staging) -> None:
    consumer = await prepared(rig, CHECKED, staging=staging)
    receipt = await consumer.write(*({"id": -n, "note": "bad" if n == 700 else "x"} for n in range(1000)))
    assert (receipt.rows, receipt.dead_letters, receipt.retries, receipt.copies) == (999, 1, 1, 2)
    assert await rig.query("SELECT record_offset, reason, message FROM forebay.dead_letters") == [
        (700, "ConstraintViolation", 'constraint "events_note_check" refused the row (SQLSTATE 23514)')
    ]
    assert await rig.value("SELECT count(*) FROM events") == 999


@both_ways
async def test_a_refused_record_leaves_the_row_to_the_record_before_it(rig: SinkRig, staging: Staging) -> None:
    """As if the records had come in batches of one: only the refused one is missing."""
    consumer = await prepared(rig, CHECKED, staging=staging)
    receipt = await consumer.write(
        {"id": 1, "note": "a"}, {"id": 1, "note": "bad"}, {"id": 2, "note": "b"}, {"id": 2, "op": "d"}, {"id": 3},
        {"id": 4, "note": "c"}, {"id": 4, "op": "d"}, {"id": 4, "note": "bad"},
    )  # fmt: skip
    assert await events(rig) == [(1, "a")]
    assert await dead(rig) == [(1, "ConstraintViolation"), (4, "MissingField"), (7, "ConstraintViolation")]
    assert (receipt.rows, receipt.dead_letters) == (1, 3)


async def test_many_refused_records_are_isolated_and_those_before_them_written(rig: SinkRig) -> None:
    consumer = await prepared(rig, CHECKED)
    records = [{"id": n % 500, "note": "bad" if n > 500 and n % 50 == 0 else f"{n}"} for n in range(1000)]
    receipt = await consumer.write(*records, {"id": 499, "op": "d"}, pieces=3)
    expected = {n: f"{n}" if n % 50 == 0 and n else f"{n + 500}" for n in range(499)}
    assert await events(rig) == sorted(expected.items())
    assert await dead(rig) == [(n, "ConstraintViolation") for n in range(550, 1000, 50)]
    assert (receipt.rows, receipt.dead_letters, receipt.retries) == (499, 9, 4)


async def test_a_second_unique_constraint_refuses_one_row_and_not_the_others(rig: SinkRig) -> None:
    consumer = await prepared(rig, MAILS)
    await consumer.write({"id": 7, "mail": "taken"})
    receipt = await consumer.write(
        {"id": 1, "mail": "a"}, {"id": 2, "mail": "taken"}, {"id": 3, "mail": "c"}, {"id": 7, "mail": "taken"}
    )
    assert (receipt.rows, receipt.dead_letters) == (3, 1)
    assert await events(rig, "mail") == [(1, "a"), (3, "c"), (7, "taken")]
    assert await rig.query("SELECT record_offset, reason, message FROM forebay.dead_letters") == [
        (2, "ConstraintViolation", 'constraint "events_mail_key" refused the row (SQLSTATE 23505)')
    ]


async def test_straight_copies_do_not_write_a_second_row_for_a_unique_value(rig: SinkRig) -> None:
    consumer = await prepared(rig, MAILS, staging=DIRECT)
    receipt = await consumer.write({"id": 1, "mail": "a"}, {"id": 2, "mail": "a"}, {"id": 3, "mail": "b"})
    assert (receipt.rows, receipt.dead_letters) == (2, 1)
    assert await events(rig, "mail") == [(1, "a"), (3, "b")]


async def test_a_unique_value_that_becomes_free_in_the_same_batch_may_be_taken(rig: SinkRig) -> None:
    """Rows are written in the order of their keys; the order of the records must not be punished for that."""
    consumer = await prepared(rig, MAILS)
    await consumer.write({"id": 1, "mail": "a"}, {"id": 2, "mail": "b"}, {"id": 3, "mail": "c"})
    receipt = await consumer.write(
        {"id": 3, "mail": "d"}, {"id": 2, "mail": "c"}, {"id": 1, "mail": "b"}, {"id": 0, "mail": "a"}
    )
    assert (receipt.rows, receipt.dead_letters) == (4, 0)
    assert await events(rig, "mail") == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]


async def test_a_deletion_that_a_foreign_key_forbids_is_dead_and_the_row_stays(rig: SinkRig) -> None:
    consumer = await prepared(
        rig,
        "CREATE TABLE events (id bigint PRIMARY KEY, note text)",
        "CREATE TABLE children (parent bigint REFERENCES events)",
    )
    await consumer.write(*({"id": n, "note": "a"} for n in range(6)))
    await rig.run("INSERT INTO children VALUES (2)")
    receipt = await consumer.write(
        {"id": 1, "op": "d"}, {"id": 2, "note": "b"}, {"id": 2, "op": "d"}, Tombstone(3), {"id": 4, "note": "b"}
    )
    assert (receipt.rows, receipt.dead_letters) == (2, 1)
    assert await events(rig) == [(0, "a"), (2, "b"), (4, "b"), (5, "a")]
    assert await rig.query("SELECT record_offset, message, target FROM forebay.dead_letters") == [
        (8, 'constraint "children_parent_fkey" refused the row (SQLSTATE 23503)', "public.events")
    ]


async def test_a_deletion_may_wait_for_rows_of_its_batch_but_never_deletes_the_row_after_it(rig: SinkRig) -> None:
    consumer = await prepared(
        rig, "CREATE TABLE events (id bigint PRIMARY KEY, parent bigint REFERENCES events, note text)"
    )
    await consumer.write({"id": 1}, {"id": 2})
    await consumer.write({"id": 11, "parent": 1}, {"id": 12, "parent": 2})
    receipt = await consumer.write(
        {"id": 11, "parent": None}, {"id": 1, "op": "d"},
        {"id": 2, "op": "d"}, {"id": 2, "note": "after"}, {"id": 12, "parent": None},
    )  # fmt: skip
    assert (receipt.rows, receipt.dead_letters) == (3, 1)
    assert await events(rig) == [(2, "after"), (11, None), (12, None)]
    assert await dead(rig) == [(6, "ConstraintViolation")]


async def test_rows_that_a_trigger_deletes_with_their_parent_can_be_deleted_in_one_batch(rig: SinkRig) -> None:
    """In one statement PostgreSQL refuses it, one by one it does not."""
    consumer = await prepared(
        rig,
        "CREATE TABLE events (id bigint PRIMARY KEY, parent bigint)",
        "CREATE FUNCTION delete_children() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "DELETE FROM events WHERE parent = OLD.id; RETURN OLD; END $$",
        "CREATE TRIGGER delete_children BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION delete_children()",
    )
    await consumer.write({"id": 1}, {"id": 2, "parent": 1}, {"id": 3, "parent": 1}, {"id": 4})
    receipt = await consumer.write(Tombstone(2), Tombstone(1), Tombstone(3), {"id": 5, "parent": 4})
    assert (receipt.rows, receipt.dead_letters) == (1, 0)
    assert await events(rig, "parent") == [(4, None), (5, 4)]


async def test_a_row_that_breaks_a_later_check_can_be_deleted(rig: SinkRig) -> None:
    consumer = await prepared(
        rig,
        "CREATE TABLE events (id bigint PRIMARY KEY, note text DEFAULT 'new')",
        "INSERT INTO events VALUES (-1, 'old'), (-2, 'old'), (-3, 'old')",
        "ALTER TABLE events ADD CHECK (id > 0) NOT VALID",
    )
    receipt = await consumer.write({"id": -1, "op": "d"}, Tombstone(-2), {"id": 1}, Tombstone(-9))
    assert (receipt.rows, receipt.dead_letters) == (1, 0)
    assert await events(rig) == [(-3, "old"), (1, "new")]


async def test_a_missing_parent_is_found_by_the_key_in_the_detail(rig: SinkRig) -> None:
    consumer = await prepared(
        rig,
        "CREATE TABLE parents (id bigint PRIMARY KEY)",
        "INSERT INTO parents SELECT generate_series(0, 9)",
        "CREATE TABLE events (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    )
    receipt = await consumer.write(*({"id": n, "parent": 77 if n == 5 else n % 10} for n in range(200)))
    assert (receipt.rows, receipt.dead_letters) == (199, 1)
    assert await dead(rig) == [(5, "ConstraintViolation")]


@both_ways
async def test_a_row_that_nothing_names_is_found_by_halving(rig: SinkRig, staging: Staging) -> None:
    consumer = await prepared(
        rig,
        "CREATE TABLE events (id bigint PRIMARY KEY, note text)",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.id = 77 THEN RAISE EXCEPTION 'no %', NEW.note; END IF; RETURN NULL; END $$",
        "CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
        staging=staging,
    )
    receipt = await consumer.write(*({"id": n, "note": "x"} for n in range(128)))
    assert (receipt.rows, receipt.dead_letters, receipt.retries) == (127, 1, 1)
    assert receipt.copies <= 1 + 2 * 7 + 1
    assert await dead(rig) == [(77, "RejectedByDatabase")]


@both_ways
@pytest.mark.parametrize("partition", ["", "part"])
async def test_a_row_that_a_trigger_makes_good_is_written(rig: SinkRig, staging: Staging, partition: str) -> None:
    consumer = await prepared(
        rig,
        "CREATE TABLE events (id bigint PRIMARY KEY, note text CHECK (note = lower(note))) PARTITION BY RANGE (id)",
        "CREATE TABLE part PARTITION OF events DEFAULT",
        "CREATE FUNCTION lower_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "NEW.note := nullif(lower(NEW.note), ''); RETURN NEW; END $$",
        f"CREATE TRIGGER lower_note BEFORE INSERT OR UPDATE ON {partition or 'events'} FOR EACH ROW "
        "EXECUTE FUNCTION lower_note()",
        "CREATE FUNCTION is_good(text) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1 <> 'bad' $$",
        "ALTER TABLE events ADD CHECK (is_good(note))",
        staging=staging,
    )
    receipt = await consumer.write({"id": 1, "note": "A"}, {"id": 2, "note": "Bad"}, {"id": 3, "note": "c"})
    assert (receipt.rows, receipt.dead_letters) == (2, 1)
    assert await events(rig) == [(1, "a"), (3, "c")]


async def test_a_trigger_that_is_made_meanwhile_counts(rig: SinkRig) -> None:
    consumer = await prepared(rig, CHECKED)
    await consumer.write({"id": 1, "note": "a"})
    await rig.run(
        "CREATE FUNCTION mend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'good'; RETURN NEW; END $$",
        "CREATE TRIGGER mend BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION mend()",
    )
    with pytest.raises(SinkUnavailable, match="TableChanged"):
        await consumer.write({"id": 2, "note": "bad"})
    again = await start(rig)
    assert (await again.write({"id": 2, "note": "bad"})).rows == 1
    assert await events(rig) == [(1, "a"), (2, "good")]


async def test_a_check_of_the_whole_row_is_left_to_the_table(rig: SinkRig) -> None:
    consumer = await prepared(
        rig,
        "CREATE TABLE events (id bigint PRIMARY KEY, note text)",
        "CREATE FUNCTION is_good(events) RETURNS bool IMMUTABLE LANGUAGE sql AS $$ SELECT $1.note <> 'bad' $$",
        "ALTER TABLE events ADD CHECK (is_good(events))",
    )
    receipt = await consumer.write(*({"id": n, "note": "bad" if n == 7 else "a"} for n in range(9)))
    assert (receipt.rows, receipt.dead_letters) == (8, 1)
    assert await dead(rig) == [(7, "ConstraintViolation")]


@both_ways
async def test_records_without_a_key_are_dead(rig: SinkRig, staging: Staging) -> None:
    consumer = await prepared(rig, "CREATE TABLE events (id bigint UNIQUE DEFAULT 5, note text)", staging=staging)
    receipt = await consumer.write({"id": None, "note": "a"}, {"note": "b"}, {"id": 1, "note": "c"}, Tombstone(None))
    assert (receipt.rows, receipt.dead_letters) == (1, 3)
    assert await dead(rig) == [(0, "NullField"), (1, "MissingField"), (3, "Tombstone")]
    assert await events(rig) == [(1, "c")]


async def test_the_breaker_stops_a_batch_of_which_nothing_is_accepted(rig: SinkRig) -> None:
    consumer = await prepared(rig, CHECKED)
    with pytest.raises(SinkBroken, match="Breaker"):
        await consumer.write(*({"id": n, "note": "bad"} for n in range(150)))
    assert await rig.value("SELECT count(*) FROM events") == 0
    assert await rig.value("SELECT next_offset FROM forebay.positions") == 0


async def test_a_check_that_is_dropped_meanwhile_refuses_nothing_any_more(rig: SinkRig) -> None:
    """The temporary table has a copy of it."""
    consumer = await prepared(rig, CHECKED)
    await consumer.write({"id": 1, "note": "a"})
    await rig.run("ALTER TABLE events DROP CONSTRAINT events_note_check")
    with pytest.raises(SinkUnavailable) as seen:
        await consumer.write({"id": 2, "note": "bad"})
    assert seen.value.reason == "TableChanged"
    again = await start(rig)
    assert (await again.write({"id": 2, "note": "bad"})).rows == 1


async def test_a_column_that_goes_away_before_a_stage_is_made_is_a_change_of_the_table(rig: SinkRig) -> None:
    await rig.run("CREATE TABLE events (id bigint PRIMARY KEY, note text DEFAULT 'new', other text)")
    pipeline = make_pipeline(columns=("id", "note"), key=("id",))
    consumer = await start(rig, pipeline=pipeline)
    await consumer.write({"id": 1, "note": "a"})
    await rig.run("ALTER TABLE events DROP COLUMN other")
    with pytest.raises(SinkUnavailable, match="TableChanged"):
        await consumer.write({"id": 2})
    again = await start(rig, pipeline=pipeline)
    assert (await again.write({"id": 2})).rows == 1


@both_ways
async def test_without_its_unique_index_nothing_is_written(rig: SinkRig, staging: Staging) -> None:
    """Straight copies would otherwise write a second row for a key."""
    consumer = await prepared(rig, "CREATE TABLE events (id bigint, note text)",
                              "CREATE UNIQUE INDEX by_id ON events (id)", staging=staging)  # fmt: skip
    await consumer.write({"id": 1, "note": "a"})
    await rig.run("DROP INDEX by_id")
    with pytest.raises(SinkUnavailable) as seen:
        await consumer.write({"id": 1, "note": "b"})
    assert seen.value.reason == "TableChanged"
    assert await events(rig) == [(1, "a")]
    with pytest.raises(SinkBroken, match=r'CREATE UNIQUE INDEX ON "public"."events" \("id"\);') as broken:
        await consumer.sink.connect()
    assert broken.value.reason == "KeyIndexMissing"
    await rig.run(broken.value.message.split("run as its owner: ")[1])
    again = await start(rig)
    await again.write({"id": 1, "note": "b"})
    assert await events(rig) == [(1, "b")]


@pytest.mark.parametrize(
    "ddl",
    [
        pytest.param("CREATE UNIQUE INDEX ON events (id)", id="too-few-columns"),
        pytest.param("CREATE UNIQUE INDEX ON events (id, tenant, note)", id="too-many-columns"),
        pytest.param("CREATE UNIQUE INDEX ON events (id, lower(tenant))", id="expression"),
        pytest.param("CREATE UNIQUE INDEX ON events (id, tenant) WHERE note IS NULL", id="partial"),
        pytest.param("CREATE INDEX ON events (id, tenant)", id="not-unique"),
    ],
)
async def test_an_index_that_does_not_do_is_named_with_the_remedy(rig: SinkRig, ddl: str) -> None:
    await rig.run("CREATE TABLE events (id bigint, tenant text, note text)", ddl)
    pipeline = make_pipeline(key=("id", "tenant"))
    with pytest.raises(SinkBroken, match=r'CREATE UNIQUE INDEX ON "public"."events" \("id", "tenant"\);') as broken:
        await rig.sink(pipeline).connect()
    assert broken.value.reason == "KeyIndexMissing"
    await rig.run("CREATE UNIQUE INDEX ON events (tenant, id) INCLUDE (note)")
    assert (await rig.sink(pipeline).connect()).key == (0, 1)


@pytest.mark.parametrize(
    "unfit",
    [
        pytest.param("CREATE UNIQUE INDEX unfit ON events (id, tenant COLLATE loose)", id="collation"),
        pytest.param("ALTER TABLE events ADD CONSTRAINT unfit UNIQUE (tenant, id) DEFERRABLE", id="deferrable"),
    ],
)
async def test_an_index_that_must_not_be_there_is_named(rig: SinkRig, unfit: str) -> None:
    """Beside a good one, too: ON CONFLICT goes by every unique index over its columns."""
    await rig.run(
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE events (id bigint, tenant text, note text)",
        unfit,
    )
    pipeline = make_pipeline(key=("id", "tenant"))
    with pytest.raises(SinkBroken, match=r"drop unfit, .* CREATE UNIQUE INDEX ON") as broken:
        await rig.sink(pipeline).connect()
    assert broken.value.reason == "KeyIndexUnfit"
    await rig.run(broken.value.message.split("owner: ")[1])
    with pytest.raises(SinkBroken, match=r"drop unfit$"):
        await rig.sink(pipeline).connect()
    await rig.run("ALTER TABLE events DROP CONSTRAINT unfit" if "CONSTRAINT" in unfit else "DROP INDEX unfit")
    consumer = await start(rig, pipeline=pipeline)
    for note in "ab":
        await consumer.write({"id": 1, "tenant": "A", "note": note})
    await consumer.write({"id": 1, "tenant": "a", "note": "c"})
    assert await rig.query("SELECT tenant, note FROM events ORDER BY note") == [("A", "b"), ("a", "c")]


async def test_a_view_is_refused_for_what_it_is(rig: SinkRig) -> None:
    await rig.run(
        "CREATE TABLE base (id bigint PRIMARY KEY)",
        "CREATE VIEW events AS SELECT id FROM base",
        "CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER put INSTEAD OF INSERT ON events FOR EACH ROW EXECUTE FUNCTION put()",
    )
    with pytest.raises(SinkBroken, match=r"events is a view, .* name a table") as broken:
        await rig.sink(make_pipeline(key=("id",))).connect()
    assert broken.value.reason == "TableNotWritable"


async def test_a_key_column_whose_equal_values_differ_is_refused_at_connect(rig: SinkRig) -> None:
    await rig.run(
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE events (id text COLLATE loose PRIMARY KEY)",
    )
    with pytest.raises(SinkBroken, match=r"spec\.sink\.keyColumns\[0\]: column 'id' is text, whose equal values"):
        await rig.sink(make_pipeline(key=("id",))).connect()


RIGHTS = {
    "GRANT USAGE ON SCHEMA {schema} TO {user}": "USAGE on schema private",
    "GRANT SELECT ON {table} TO {user}": "SELECT on private.events",
    "GRANT INSERT ON {table} TO {user}": "INSERT on private.events",
    "GRANT UPDATE ON {table} TO {user}": "UPDATE on private.events",
    "GRANT DELETE ON {table} TO {user}": "DELETE on private.events",
    "GRANT TEMPORARY ON DATABASE {database} TO {user}": "TEMPORARY on database",
}


@pytest.mark.parametrize("missing", RIGHTS, ids=list(RIGHTS.values()))
async def test_each_missing_right_is_named_with_its_grant(rig: SinkRig, missing: str) -> None:
    user, database = rig.database.user, rig.database.dbname
    words = {"schema": "private", "table": "private.events", "user": f'"{user}"', "database": f'"{database}"'}
    await rig.run(
        f'ALTER DATABASE "{database}" OWNER TO CURRENT_USER',
        f'GRANT CREATE ON DATABASE "{database}" TO "{user}"',
        f'REVOKE TEMPORARY ON DATABASE "{database}" FROM PUBLIC',
        "CREATE SCHEMA private",
        "CREATE TABLE private.events (id bigint PRIMARY KEY, note text)",
        *(right.format(**words) for right in RIGHTS if right != missing),
        as_user=False,
    )
    pipeline = make_pipeline("private.events", key=("id",), delete_when=MARKED)
    try:
        with pytest.raises(SinkBroken, match=RIGHTS[missing]) as broken:
            await rig.sink(pipeline).connect()
        assert broken.value.reason == "PermissionDenied"
        await rig.run(broken.value.message.split("run as its owner: ")[1], as_user=False)
        consumer = await start(rig, pipeline=pipeline)
        await consumer.write({"id": 1, "note": "a"}, {"id": 2})
        receipt = await consumer.write({"id": 1, "note": "b"}, {"id": 2, "op": "d"})
        assert (receipt.rows, receipt.dead_letters) == (1, 0)
    finally:
        for sink in rig.opened:
            await sink.close()
        await rig.run(f'DROP OWNED BY "{user}"', "DROP SCHEMA private CASCADE", as_user=False)
