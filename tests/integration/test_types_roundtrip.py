"""Every type goes through a real PostgreSQL by binary and by text COPY and arrives as SQL would have written it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import asyncpg
import pytest
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.plan import CatalogColumn, CopyFormat, TablePlan, build_table_plan
from forebay_consumer.sql import DESCRIBE_COLUMNS, copy_frame
from support.decoding import chunk, sink
from support.testbed.servers import DatabaseFactory

Connection = Any  # asyncpg's is generic in its stubs only

pytestmark = pytest.mark.integration

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"

FIRST_TEXT_VALUE = ("interval", '"1 day"', "'1 day'")

VALUES: list[tuple[str, str, str]] = [
    # type, JSON, the SQL expression that it must equal
    ("bool", "true", "true"),
    ("bool", "false", "false"),
    ("smallint", "-32768", "-32768"),
    ("int", "1e3", "1000"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    ("real", "0.1", "'0.1'::real"),
    ("real", "1.00000005960464477539062501", "'1.00000005960464477539062501'::real"),
    ("real", "1e-45", "'1e-45'::real"),
    ("real", '"NaN"', "'NaN'"),
    ("double precision", "-0.0", "'-0'::float8"),
    ("double precision", "1.7976931348623157e308", "'1.7976931348623157e308'::float8"),
    ("double precision", "5e-324", "'5e-324'::float8"),
    ("double precision", '"-Infinity"', "'-Infinity'"),
    ("numeric", "0", "0"),
    ("numeric", "0.000", "'0.000'"),
    ("numeric", "-12345678901234567890.0001000", "'-12345678901234567890.0001000'"),
    ("numeric", "1e-7", "'1e-7'"),
    ("numeric", "123e12", "'123e12'"),
    ("numeric", "1e131071", "'1e131071'"),
    ("numeric", "1e-16383", "'1e-16383'"),
    ("numeric", '"10000.0001"', "10000.0001"),
    ("numeric", '"NaN"', "'NaN'"),
    ("numeric", '"-Infinity"', "'-Infinity'"),
    ("numeric(10,2)", "99999999.994", "99999999.994"),
    ("numeric(10,2)", "-0.005", "-0.005"),
    ("numeric(3,0)", "1e2", "100"),
    ("numeric(5,-2)", "12345", "12345"),
    ("text", r'"\u00e9\t\n\\N\r\"😀\b\f"', "U&'\\00E9\t\n\\\\N\r\"\\+01F600\b\f'"),
    ("text", '""', "''"),
    ("text", r'"\\."', r"'\.'"),
    ("varchar(5)", '"ééééé   "', "'ééééé'"),
    ("char(5)", '"ab"', "'ab'"),
    ("name", '"n"', "'n'"),
    ("bytea", '"AAEC/w=="', r"'\x000102ff'"),
    ("bytea", r'"\\xdeadBEEF"', r"'\xdeadbeef'"),
    ("bytea", '""', "''"),
    ("uuid", f'"{UUID.upper()}"', f"'{UUID}'"),
    ("uuid", f'"{UUID.replace("-", "")}"', f"'{UUID}'"),
    ("date", '"0001-01-01"', "'0001-01-01'"),
    ("date", '"2024-02-29"', "'2024-02-29'"),
    ("date", '"9999-12-31"', "'9999-12-31'"),
    ("date", '"-infinity"', "'-infinity'"),
    ("time", '"23:59:59.999999"', "'23:59:59.999999'"),
    ("time", '"23:59:60"', "'23:59:60'"),
    ("time", '"01:02"', "'01:02'"),
    ("timetz", '"12:00:00-05:30"', "'12:00:00-05:30'"),
    ("timetz", '"12:00:00.5Z"', "'12:00:00.5Z'"),
    ("timestamp", '"2024-05-01T12:00:00.123456"', "'2024-05-01 12:00:00.123456'"),
    ("timestamp", '"2024-05-01T12:00:00+02:00"', "'2024-05-01 10:00:00'"),
    ("timestamp", '"0001-01-01"', "'0001-01-01'"),
    ("timestamp", '"infinity"', "'infinity'"),
    ("timestamptz", '"2016-12-31T23:59:60Z"', "'2016-12-31T23:59:60Z'"),
    ("timestamptz", '"9999-12-31T23:59:59.999999Z"', "'9999-12-31T23:59:59.999999Z'"),
    ("timestamptz", '"1969-07-20T20:17:40-04:00"', "'1969-07-20T20:17:40-04:00'"),
    ("timestamptz", '"2024-05-01T24:00:00Z"', "'2024-05-01T24:00:00Z'"),
    ("timestamptz", '"-infinity"', "'-infinity'"),
    ("json", '{"b" : [1.50,"\\u0000\\t"], "b":null}', 'E\'{"b" : [1.50,"\\\\u0000\\\\t"], "b":null}\''),
    ("jsonb", '{"b" : [1.50,"é\\n"], "a":1e2}', 'E\'{"a": 1e2, "b": [1.50, "é\\\\n"]}\''),
    ("jsonb", "3", "'3'"),
    ("bool[]", "[true,null]", "'{t,NULL}'"),
    ("int[]", "[]", "'{}'"),
    ("int[]", "[[1,2],[3,4],[5,6]]", "'{{1,2},{3,4},{5,6}}'"),
    ("smallint[]", "[1,2]", "'{1,2}'"),
    ("bigint[]", "[[[1]],[[2]]]", "'{{{1}},{{2}}}'"),
    ("real[]", "[0.1]", "'{0.1}'"),
    ("float8[]", '["NaN",1e300]', "'{NaN,1e300}'"),
    ("numeric(6,2)[]", "[1.005,null]", "'{1.01,NULL}'"),
    ("text[]", r'["a\"b\\c{},\n","NULL",null,""]', "ARRAY[E'a\"b\\\\c{},\\n','NULL',NULL,'']"),
    ("varchar(3)[]", '["abc"]', "'{abc}'"),
    ("char(3)[]", '["a"]', "'{a}'"),
    ("bytea[]", '["AAE=",""]', r"""ARRAY['\x0001','']::bytea[]"""),
    ("uuid[]", f'["{UUID}"]', f"'{{{UUID}}}'"),
    ("date[]", '["2024-05-01","infinity"]', "'{2024-05-01,infinity}'"),
    ("time[]", '["24:00:00"]', "'{24:00:00}'"),
    ("timetz[]", '["12:00:00+01:00"]', "'{12:00:00+01:00}'"),
    ("timestamp[]", '["2024-05-01T00:00:00.5"]', "'{2024-05-01 00:00:00.5}'"),
    ("timestamptz[]", '["2024-05-01T00:00:00Z"]', "'{2024-05-01 00:00:00+00}'"),
    ("json[]", '[[1,2],{"a":"\\"x"},null]', """ARRAY['[1,2]','{"a":"\\"x"}',NULL]::json[]"""),
    ("jsonb[]", '["x",[[]]]', """ARRAY['"x"','[[]]']::jsonb[]"""),
    FIRST_TEXT_VALUE,
    ("interval[]", '["1 day",null]', "'{1 day,NULL}'"),
    ("inet", '"10.0.0.1"', "'10.0.0.1'"),
    ("int4range", '"[1,5)"', "'[1,5)'"),
    ("bit(3)", '"101"', "'101'"),
    ("money", "12.5", "12.5::numeric::money"),
    ('"char"', '"a"', "'a'"),
    ("oid", "7", "7"),
    ("xid8", '"12"', "'12'"),
    ("mood", '"glad"', "'glad'"),
    ("positive", "5", "5"),
    ("short[]", '["abc"]', "'{abc}'"),
]

TYPES = (
    "CREATE TYPE mood AS ENUM ('glad'); CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN short AS text"
)


BINARY_TYPES_SQL = list(dict.fromkeys(type_sql for type_sql, _, _ in VALUES[: VALUES.index(FIRST_TEXT_VALUE)]))

ODDITIES = [
    "1e400",
    "-1e-400",
    "1e38",
    "1e39",
    "1e308",
    "0e999",
    "123456789e-20000",
    "12345678.995",
    '"0001-01-01T00:00:00+15:00"',
]
ODDITIES += [
    '"9999-12-31T23:59:60Z"',
    '"9999-12-31T24:00:00-15:59"',
    '"00:00:00+15:59"',
    '"24:00:00"',
    '"23:59:60.0"',
    "[]",
]
ODDITIES += [
    "[" * 250 + "]" * 250,
    '{"":{}}',
    "9" * 131072,
    "0." + "1" * 16383,
    '"' + "x" * 63 + '"',
    "[[]]",
    "[[null]]",
    "[null]",
]


@pytest.mark.parametrize("copy_format", list(CopyFormat))
async def test_every_value_arrives_as_sql_would_have_written_it(
    database: DatabaseFactory, copy_format: CopyFormat
) -> None:
    async with open_connection(database) as connection:
        wrong = []
        for index, (type_sql, text, sql) in enumerate(VALUES):
            table_plan = await create_table(connection, f"t{index}", type_sql, copy_format)
            expected = await connection.fetchval(f"SELECT (({sql})::{type_sql})::text")
            await copy_values(connection, table_plan, [text, None])
            got = await read_texts(connection, table_plan)
            if got != [expected, None]:
                wrong.append((type_sql, text, expected, got))

    assert wrong == []


async def test_what_the_decoder_accepts_the_database_takes_and_both_formats_give_the_same(
    database: DatabaseFactory,
) -> None:
    """Every value of the table above into a column of every type."""
    texts = sorted({text for _, text, _ in VALUES} | set(ODDITIES))
    async with open_connection(database) as connection:
        for index, type_sql in enumerate(BINARY_TYPES_SQL):
            binary = await create_table(connection, f"b{index}", type_sql, CopyFormat.BINARY)
            text = await create_table(connection, f"t{index}", type_sql, CopyFormat.TEXT)
            accepted = [value for value in texts if is_accepted(binary, value)]
            await copy_values(connection, binary, accepted)
            await copy_values(connection, text, accepted)
            assert await read_texts(connection, binary) == await read_texts(connection, text), type_sql


@asynccontextmanager
async def open_connection(database: DatabaseFactory) -> AsyncIterator[Connection]:
    """A connection with the settings that matter to the text forms, and a few types of its own."""
    settings = {"DateStyle": "ISO", "TimeZone": "UTC", "lc_monetary": "C"}
    connection = await asyncpg.connect(database().dsn, server_settings=settings)
    try:
        await connection.execute(TYPES)
        yield connection
    finally:
        await connection.close()


async def create_table(connection: Connection, table: str, type_sql: str, copy_format: CopyFormat) -> TablePlan:
    """The plan of a new table with one column `v`; for text format with one more column, of a type that enforces it."""
    span = ", span interval" if copy_format is CopyFormat.TEXT else ""
    await connection.execute(f"CREATE TABLE {table} (v {type_sql}{span})")
    oid = await connection.fetchval("SELECT $1::text::regclass::oid", table)
    rows = [dict(row) for row in await connection.fetch(DESCRIBE_COLUMNS, oid)]
    catalog = [CatalogColumn(**{field.name: row[field.name] for field in fields(CatalogColumn)}) for row in rows]
    return build_table_plan(sink(), "public", table, catalog)


def is_accepted(table_plan: TablePlan, text: str) -> bool:
    """Whether the reference makes a row of {"v": text}."""
    return not ReferenceDecoder(table_plan).decode(chunk([build_record(text)])).dead


def build_record(text: str | None) -> bytes:
    """A record with the field `v`, or without it."""
    return b"{}" if text is None else b'{"v":%s}' % text.encode()


async def copy_values(connection: Connection, table_plan: TablePlan, texts: Sequence[str | None]) -> None:
    """Decode one record for each text and copy the rows."""
    result = ReferenceDecoder(table_plan).decode(chunk([build_record(text) for text in texts]))
    assert result.dead == ()
    (group,) = result.groups
    header, trailer = copy_frame(table_plan.copy_format)
    await connection.copy_to_table(
        table_plan.table,
        source=bytearray(header + bytes(group.payload) + trailer),
        columns=[planned.column.name for planned in table_plan.columns],
        format=table_plan.copy_format.value,
    )


async def read_texts(connection: Connection, table_plan: TablePlan) -> list[str | None]:
    """The column as text, in the order copied."""
    return [row[0] for row in await connection.fetch(f"SELECT v::text FROM {table_plan.table} ORDER BY ctid")]
