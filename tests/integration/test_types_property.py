"""Whatever value of a type is written comes back from PostgreSQL as it was, natively encoded and by the reference."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, date, time
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from forebay_consumer.decode import build_decoder
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.plan import CatalogColumn, TablePlan, build_table_plan
from forebay_consumer.ports import Decoder
from forebay_consumer.sql import DESCRIBE_COLUMNS, copy_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from support.decoding import chunk, sink
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A column's type, values for it as asyncpg reads them, and their JSON text."""

    type_sql: str
    values: st.SearchStrategy[Any]
    to_json: Callable[[Any], str] = json.dumps


def quoted(value: object) -> str:
    return json.dumps(str(value))


def number(value: float) -> str:
    if math.isnan(value):
        return '"NaN"'
    if math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    return repr(value)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NUMERICS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20)

SCALARS = {
    "b": Kind(type_sql="bool", values=st.booleans()),
    "i2": Kind(type_sql="int2", values=st.integers(-(2**15), 2**15 - 1)),
    "i4": Kind(type_sql="int4", values=st.integers(-(2**31), 2**31 - 1)),
    "i8": Kind(type_sql="int8", values=st.integers(-(2**63), 2**63 - 1)),
    "f4": Kind(type_sql="float4", values=st.floats(width=32), to_json=number),
    "f8": Kind(type_sql="float8", values=st.floats(), to_json=number),
    "n": Kind(type_sql="numeric", values=NUMERICS, to_json=str),
    "t": Kind(type_sql="text", values=TEXT),
    "v": Kind(type_sql="varchar(40)", values=TEXT),
    "u": Kind(type_sql="uuid", values=st.uuids(), to_json=quoted),
    "d": Kind(type_sql="date", values=st.dates(date(1, 1, 1), date(9999, 12, 31)), to_json=quoted),
    "tm": Kind(type_sql="time", values=st.times(), to_json=quoted),
    "ts": Kind(type_sql="timestamp", values=st.datetimes(), to_json=lambda v: json.dumps(v.isoformat())),
    "tz": Kind(
        type_sql="timestamptz",
        values=st.datetimes(timezones=st.just(UTC)),
        to_json=lambda v: json.dumps(v.isoformat()),
    ),
    "j": Kind(type_sql="jsonb", values=JSON),
}
WITH_ARRAYS = SCALARS | {
    "ba": Kind(
        type_sql="bytea",
        values=st.binary(max_size=40),
        to_json=lambda v: json.dumps(base64.b64encode(v).decode()),
    ),
    "ai": Kind(type_sql="int8[]", values=st.lists(st.none() | SCALARS["i8"].values, max_size=4)),
    "at": Kind(type_sql="text[]", values=st.lists(st.none() | TEXT, max_size=4)),
    "au": Kind(
        type_sql="uuid[]",
        values=st.lists(st.uuids(), max_size=3),
        to_json=lambda values: json.dumps([str(v) for v in values]),
    ),
}


def same(kind: Kind, sent: Any, got: Any) -> bool:
    if kind.type_sql == "jsonb" and got is not None:
        return bool(json.loads(got) == sent)
    if isinstance(sent, float) and isinstance(got, float):
        return sent == got or (math.isnan(sent) and math.isnan(got))
    return bool(sent == got)


@pytest.mark.parametrize(
    ("kinds", "make"),
    [
        pytest.param(SCALARS, build_decoder, id="native"),
        pytest.param(SCALARS, ReferenceDecoder, id="reference"),
        pytest.param(WITH_ARRAYS, build_decoder, id="arrays"),
    ],
)
def test_values_of_every_type_come_back_as_they_were(
    database: DatabaseFactory, kinds: dict[str, Kind], make: Callable[[TablePlan], Decoder]
) -> None:
    dsn = database().dsn
    rows = st.fixed_dictionaries({name: st.none() | kind.values for name, kind in kinds.items()})

    @settings(max_examples=40)
    @given(st.lists(rows, min_size=1, max_size=12))
    def come_back(sent: list[dict[str, Any]]) -> None:
        got = asyncio.run(write_and_read(dsn, kinds, make, sent))
        assert len(got) == len(sent)
        for expected, row in zip(sent, got, strict=True):
            wrong = {n: (v, row[n]) for n, v in expected.items() if not same(kinds[n], v, row[n])}
            assert wrong == {}

    come_back()


async def write_and_read(
    dsn: str, kinds: dict[str, Kind], make: Callable[[TablePlan], Decoder], sent: list[dict[str, Any]]
) -> list[asyncpg.Record]:
    """Through a table of its own, rolled back afterwards."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("BEGIN")
        columns = ", ".join(f"{name} {kind.type_sql}" for name, kind in kinds.items())
        await connection.execute(f"CREATE TABLE t (position bigserial, {columns})")
        oid = await connection.fetchval("SELECT 't'::regclass::oid")
        found = [dict(row) for row in await connection.fetch(DESCRIBE_COLUMNS, oid)]
        catalog = [CatalogColumn(**{f.name: row[f.name] for f in fields(CatalogColumn)}) for row in found]
        plan = build_table_plan(sink(), "public", "t", catalog)
        encoded = make(plan).decode(chunk([to_record(kinds, row) for row in sent]))
        assert encoded.dead == ()
        (group,) = encoded.groups
        head, tail = copy_frame(plan.copy_format)
        names = [c.column.name for i, c in enumerate(plan.columns) if i not in group.omitted]
        source: Any = bytearray(head + bytes(group.payload) + tail)
        await connection.copy_to_table("t", source=source, columns=names, format=plan.copy_format.value)
        return list(await connection.fetch("SELECT * FROM t ORDER BY position"))
    finally:
        await connection.close()


def to_record(kinds: dict[str, Kind], row: dict[str, Any]) -> bytes:
    fields = (f"{json.dumps(n)}:{'null' if v is None else kinds[n].to_json(v)}" for n, v in row.items())
    return ("{" + ",".join(fields) + "}").encode()


def test_same_tells_values_apart() -> None:
    assert not same(SCALARS["i8"], 1, 2)
    assert not same(SCALARS["t"], "a", None)
    assert not same(SCALARS["u"], UUID(int=1), UUID(int=2))
    assert not same(SCALARS["tm"], time(1), time(2))
    assert same(SCALARS["j"], {"a": [1]}, '{"a": [1]}')
