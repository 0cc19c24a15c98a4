"""Tables that the consumer makes of spec.sink.columns, and columns that it adds, on a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from forebay_api import bounds
from forebay_api.v1alpha1 import ColumnSource, ColumnSpec, Pipeline, UnknownFields
from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.records import Claim
from support.rows import rows_batch, rows_chunk
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    """A database without a table."""
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        await sink.close()


def typed(
    *columns: tuple[str, str | None], table: str = "events", key: tuple[str, ...] = (), collector: str | None = None
) -> Pipeline:
    """Columns with types, each from the field of its name; a type that ends with `!` is not nullable."""
    made = make_pipeline(f"public.{table}", key=key)
    specs = tuple(
        ColumnSpec(
            name=name,
            source=ColumnSource.PATH,
            path=(name,),
            type=kind.rstrip("!") if kind else None,
            nullable=not (kind or "").endswith("!"),
        )
        for name, kind in columns
    )
    sink = replace(made.spec.sink, columns=specs, unknown_fields=UnknownFields(column=collector))
    return replace(made, spec=replace(made.spec, sink=sink))


EVENTS = (("id", "bigint!"), ("note", "text"))


async def describe(rig: SinkRig, table: str = "events") -> list[tuple[str, str, bool]]:
    """Name, type and NOT NULL of each column."""
    return [
        (str(name), str(kind), bool(is_not_null))
        for name, kind, is_not_null in await rig.query(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
            "WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            table,
        )
    ]


async def refused(rig: SinkRig, pipeline: Pipeline) -> SinkBroken:
    """What connect() says."""
    with pytest.raises(SinkBroken) as broken:
        await rig.sink(pipeline).connect()
    return broken.value


async def test_a_missing_table_is_made_as_declared_and_written(rig: SinkRig) -> None:
    pipeline = typed(*EVENTS, ("amount", "numeric(12,2)"), ("tags", "text[]"), collector="extra")
    _, claims = await rig.claimed(pipeline=pipeline)
    assert await describe(rig) == [
        ("id", "bigint", True),
        ("note", "text", False),
        ("amount", "numeric(12,2)", False),
        ("tags", "text[]", False),
        ("extra", "jsonb", False),
    ]
    assert claims[0].next_offset == 0


async def test_a_made_table_of_mode_upsert_has_its_primary_key(rig: SinkRig) -> None:
    pipeline = typed(("tenant", "text"), ("id", "bigint"), ("note", "text"), key=("tenant", "id"))
    await rig.sink(pipeline).connect()
    assert (
        await rig.value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'events'::regclass")
        == "PRIMARY KEY (tenant, id)"
    )
    await rig.sink(pipeline).connect()


async def test_consumers_that_start_together_make_one_table(rig: SinkRig) -> None:
    sinks = [rig.sink(typed(*EVENTS)) for _ in range(6)]
    plans = await asyncio.gather(*(sink.connect() for sink in sinks))
    assert len({plan.columns for plan in plans}) == 1
    assert await rig.value("SELECT count(*) FROM pg_class WHERE relname = 'events'") == 1


async def test_a_declared_column_that_the_table_lacks_is_added_and_its_rows_stay(rig: SinkRig) -> None:
    sink, claims = await rig.claimed(pipeline=typed(*EVENTS))
    await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    await rig.run("ALTER TABLE events ADD old text DEFAULT 'kept'")
    await rig.sink(typed(*EVENTS, ("added", "timestamptz"))).connect()
    assert [name for name, *_ in await describe(rig)] == ["id", "note", "old", "added"]
    assert await rig.query("SELECT id, note, old, added FROM events") == [(1, "x", "kept", None)]


async def test_consumers_that_add_a_column_together_add_it_once(rig: SinkRig) -> None:
    await rig.sink(typed(*EVENTS)).connect()
    wider = typed(*EVENTS, ("added", "int"))
    await asyncio.gather(*(rig.sink(wider).connect() for _ in range(6)))
    assert [name for name, *_ in await describe(rig)] == ["id", "note", "added"]


async def test_a_column_that_must_not_be_null_is_not_added_to_a_table_with_rows(rig: SinkRig) -> None:
    sink, claims = await rig.claimed(pipeline=typed(*EVENTS))
    await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    broken = await refused(rig, typed(*EVENTS, ("added", "int!")))
    assert broken.reason == "TableNotMade"
    assert "nullable: false" in broken.message
    assert [name for name, *_ in await describe(rig)] == ["id", "note"]


async def test_an_untyped_column_leaves_a_missing_table_missing(rig: SinkRig) -> None:
    broken = await refused(rig, typed(("id", "bigint"), ("note", None)))
    assert broken.reason == "TableMissing"
    assert "declare a type for note" in broken.message
    assert await describe(rig) == []


async def test_a_table_that_is_gone_is_not_made_again(rig: SinkRig) -> None:
    """It would be there without the rows before the position, and stand in the way of the one that was renamed."""
    sink, claims = await rig.claimed(pipeline=typed(*EVENTS))
    await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    await rig.run("ALTER TABLE events RENAME TO away")
    broken = await refused(rig, typed(*EVENTS))
    assert broken.reason == "TableMissing"
    assert 'CREATE TABLE IF NOT EXISTS "public"."events"' in broken.message
    await rig.run("ALTER TABLE away RENAME TO events")
    await rig.sink(typed(*EVENTS)).connect()


async def test_a_table_that_cannot_be_written_is_not_left_behind(rig: SinkRig) -> None:
    """json has no order, so no primary key; interval can be one, but no key of mode Upsert."""
    for kind, reason in (("json", "TableNotMade"), ("interval", "ColumnUnfilled")):
        broken = await refused(rig, typed(("id", kind), key=("id",)))
        assert (broken.reason, await describe(rig)) == (reason, [])


async def test_a_key_that_no_typed_column_fills_is_refused_before_anything_is_made(rig: SinkRig) -> None:
    broken = await refused(rig, typed(*EVENTS, key=("other",)))
    assert '"other"' in broken.message
    assert await describe(rig) == []


SAME = [
    ("int", "integer"),
    ("INT8", "bigint"),
    ("float", "double precision"),
    ("float(20)", "real"),
    ("decimal(12, 2)", "numeric(12,2)"),
    ("numeric(12)", "numeric(12,0)"),
    ("numeric(3,-2)", "numeric(3,-2)"),
    ("numeric", "numeric"),
    ("varchar(20)", "character varying(20)"),
    ("character varying", "character varying"),
    ("char", "character(1)"),
    ("char(5)", "character(5)"),
    ("bpchar", "bpchar"),
    ("bit", "bit(1)"),
    ("bit varying(7)", "bit varying(7)"),
    ("timestamp(3) with time zone", "timestamp(3) with time zone"),
    ("timestamptz(3)", "timestamp(3) with time zone"),
    ("timestamp", "timestamp without time zone"),
    ("time(0)", "time(0) without time zone"),
    ("interval", "interval"),
    ("interval day to second(3)", "interval day to second(3)"),
    ("text[]", "text[]"),
    ("integer[3][2]", "integer[]"),
    ("numeric(5,1)[]", "numeric(5,1)[]"),
    ("pg_catalog.int4", "integer"),
    ("kind", "kind"),
    ("public.kind", "kind"),
    ("short_text", "short_text"),
    ("jsonb", "jsonb"),
    ("uuid", "uuid"),
]


async def test_a_table_that_was_made_fits_its_own_declaration_whatever_the_spelling(rig: SinkRig) -> None:
    await rig.run("CREATE TYPE kind AS ENUM ('a', 'b')", "CREATE DOMAIN short_text AS varchar(9) CHECK (value <> '')")
    version = int(await rig.value("SHOW server_version_num"))
    spelled = [(text, kind) for text, kind in SAME if version >= 150000 or "-" not in text]
    pipeline = typed(*((f"c{index}", text) for index, (text, _) in enumerate(spelled)))
    await rig.sink(pipeline).connect()
    made = [kind if kind != "character" else "bpchar" for _, kind, _ in await describe(rig)]
    assert made == [kind for _, kind in spelled]
    await rig.sink(pipeline).connect()


@pytest.mark.parametrize(
    ("has", "declared"),
    [
        ("bigint", "int"),
        ("text", "varchar(20)"),
        ("varchar(10)", "varchar(20)"),
        ("varchar(10)", "varchar"),
        ("numeric(12,2)", "numeric(12,3)"),
        ("numeric(12,2)", "numeric"),
        ("numeric", "numeric(12,2)"),
        ("timestamptz", "timestamp"),
        ("timestamptz", "timestamptz(3)"),
        ("char(2)", "char"),
        ("text[]", "text"),
        ("short_text", "varchar(9)"),
        ("interval", "interval day"),
    ],
)
async def test_another_type_than_declared_is_refused_and_nothing_retyped(rig: SinkRig, has: str, declared: str) -> None:
    await rig.run("CREATE DOMAIN short_text AS varchar(9)", f"CREATE TABLE events (id bigint, note {has})")
    before = await describe(rig)
    broken = await refused(rig, typed(("id", "bigint"), ("note", declared)))
    assert broken.reason == "ColumnTypeDiffers"
    assert "spec.sink.columns[1].type: column 'note' is" in broken.message
    assert await describe(rig) == before


@pytest.mark.parametrize(
    "text",
    [
        "text not null",
        "int default(1)",
        "int primary key",
        "text collate C",
        "int references events",
        "int generated always as identity",
        "int, x int",
        "int) with (fillfactor",
        "setof int",
        "serial",
        "nosuchtype",
        "nosuchschema.int4",
        "a.b.c.d",
        "numeric(a)",
        "varchar(99999999999)",
        "record",
        "anyelement",
        "_",
        "int4(3)",
    ],
)
async def test_what_is_no_type_never_becomes_a_statement(rig: SinkRig, text: str) -> None:
    """Also what the API's pattern refuses already: this judge does not lean on the other."""
    broken = await refused(rig, typed(("id", text)))
    assert broken.reason in ("TypeUnknown", "TableNotMade")
    assert "spec.sink" in broken.message
    assert await describe(rig) == []


@pytest.mark.parametrize("text", [kind for kind, _ in SAME])
def test_the_api_takes_every_spelling(text: str) -> None:
    assert re.fullmatch(bounds.COLUMN_TYPE.pattern, text)


async def test_a_role_that_may_not_create_is_told_the_statement(database: DatabaseFactory, tmp_path: Path) -> None:
    poor = SinkRig(database(owner=False), tmp_path / "poor")
    user = poor.database.user
    await poor.run(f'GRANT CREATE ON DATABASE "{poor.database.dbname}" TO "{user}"', as_user=False)
    await poor.run(f'REVOKE CREATE ON SCHEMA public FROM PUBLIC, "{user}"', as_user=False)
    broken = await refused(poor, typed(*EVENTS))
    assert broken.reason == "PermissionDenied"
    statement = 'CREATE TABLE IF NOT EXISTS "public"."events" ("id" bigint NOT NULL, "note" text);'
    assert statement in broken.message
    await poor.run(statement, f'GRANT INSERT ON events TO "{user}"', as_user=False)
    sink = poor.sink(typed(*EVENTS))
    await sink.connect()
    await sink.close()
    broken = await refused(poor, typed(*EVENTS, ("added", "int")))
    assert broken.reason == "PermissionDenied"
    assert 'ALTER TABLE "public"."events" ADD COLUMN IF NOT EXISTS "added" int;' in broken.message


async def test_a_missing_schema_is_not_made(rig: SinkRig) -> None:
    pipeline = typed(*EVENTS)
    sink = replace(pipeline.spec.sink, table="nowhere.events")
    broken = await refused(rig, replace(pipeline, spec=replace(pipeline.spec, sink=sink)))
    assert (broken.reason, "nowhere" in broken.message) == ("TableNotMade", True)


async def test_a_name_with_quotes_is_only_a_name(rig: SinkRig) -> None:
    await rig.sink(typed(('a"; DROP TABLE x; --', "int"), ("B c", "text"))).connect()
    assert [name for name, *_ in await describe(rig)] == ['a"; DROP TABLE x; --', "B c"]


async def test_a_column_is_added_while_another_consumer_writes(rig: SinkRig) -> None:
    sink, claims = await rig.claimed(pipeline=typed(*EVENTS))
    begun, done = asyncio.Event(), asyncio.Event()

    async def write_on() -> int:
        offset = 0
        held: dict[int, Claim] = dict(claims)
        while not done.is_set():
            batch = rows_batch(held, rows_chunk([(offset, "x")], first=offset))
            await sink.write(batch)
            offset += 1
            begun.set()
            held = {0: replace(held[0], next_offset=offset)}
        return offset

    writing = asyncio.create_task(write_on())
    await asyncio.wait({writing, asyncio.create_task(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
    await rig.sink(typed(*EVENTS, ("added", "int"))).connect()
    done.set()
    written = await asyncio.gather(writing, return_exceptions=True)
    assert [name for name, *_ in await describe(rig)] == ["id", "note", "added"]
    stored = await rig.value("SELECT count(*) FROM events")
    assert stored == await rig.value("SELECT next_offset FROM forebay.positions")
    assert stored > 0
    assert isinstance(written[0], int | SinkUnavailable)  # who writes on finds the definition changed, and plans anew
