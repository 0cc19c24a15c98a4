"""Totality, and the native encoder against the reference: the same rows and dead letters for any bytes whatever."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from forebay_api.v1alpha1 import ColumnSource, DeleteWhen, EpochUnit, UnknownFieldPolicy
from forebay_consumer.decode import build_decoder
from forebay_consumer.decode import native as native_module
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.native import load_library
from forebay_consumer.plan import TablePlan
from forebay_consumer.records import RawChunk
from hypothesis import given, settings
from hypothesis import strategies as st
from support.decoding import (
    NUMERIC_10_2,
    VARCHAR_5,
    assert_every_record_is_accounted_for,
    chunk,
    column,
    from_path,
    from_source,
    native,
    pack,
    plan,
    sink,
)

EVERY_TYPE = [
    column("bool", "bool"),
    column("int2", "int2"),
    column("int4", "int4"),
    column("int8", "int8", is_not_null=True),
    column("float4", "float4"),
    column("float8", "float8"),
    column("numeric", "numeric"),
    column("money", "numeric", modifier=NUMERIC_10_2),
    column("text", "text", has_default=True),
    column("varchar", "varchar", modifier=VARCHAR_5),
    column("bpchar", "bpchar", modifier=VARCHAR_5),
    column("name", "name"),
    column("uuid", "uuid"),
    column("date", "date"),
    column("time", "time"),
    column("timestamp", "timestamp"),
    column("timestamptz", "timestamptz", has_default=True, is_not_null=True),
    column("json", "json"),
    column("jsonb", "jsonb"),
]
NAMES = [c.name for c in EVERY_TYPE]

_NESTED = sink(
    from_path("int8", "a", "int8"),
    from_path("text", "a", "b", "text"),
    from_path("jsonb", "a", "b"),
    from_path("timestamptz", "timestamptz", epoch_unit=EpochUnit.MILLISECONDS),
    from_path("date", "timestamptz", epoch_unit=EpochUnit.NANOSECONDS),
    from_source("numeric", ColumnSource.PARTITION),
    from_source("varchar", ColumnSource.OFFSET),
)
_MARKED = DeleteWhen(path=("z",), values=("true", "1", "", "d"))
_NESTED_MARK = DeleteWhen(path=("a", "b"), values=("true", "0", "abcde", "é"))
PLANS = [
    pytest.param(plan(EVERY_TYPE), id="every-type"),
    pytest.param(plan(EVERY_TYPE, _NESTED), id="nested"),
    pytest.param(plan(EVERY_TYPE, sink(policy=UnknownFieldPolicy.DEAD_LETTER)), id="refusing"),
    pytest.param(plan(EVERY_TYPE, sink(collector="jsonb")), id="collecting"),
    pytest.param(plan(EVERY_TYPE, sink(key=("text", "int8"), delete_when=_MARKED)), id="keyed"),
    pytest.param(
        plan(EVERY_TYPE, sink(key=("numeric",), collector="jsonb", delete_when=_NESTED_MARK)), id="keyed-collecting"
    ),
]
TEXT_PLAN = plan([*EVERY_TYPE, column("span", "interval"), column("list", "text", is_array=True)])

BORDER_TEXTS = r"""
true false null 0 -0 -0.0 1.0 1e2 1.5 32767 32768 -32768 -32769 2147483648 9223372036854775807 9223372036854775808
123456789012345678 1234567890123456789 1e400 1e-400 4e-46 1e-45 3.4028236e38 0.000 -0.010 99999999.99 99999999.995
3.4028235677973366e38 100000000 123456.7 0.00001234 1714564800123 0e5 1.00000005960464477539062501
12345678901234567890.123456789012345678901234567890123456789
"" "NaN" "12.50" "-0.5" "+1" "007" ".5" "1." "Infinity" "abcde" "abcdef" "abcde\u0020" "ééééé" "éééééé"
"a\u0000b" "\u00e9\ud83d\ude00" "\ud800" "\"\\/\b\f\n\r\t"
"6ba7b810-9dad-11d1-80b4-00c04fd430c8" "6ba7b8109dad11d180b400c04fd430c8"
"2024-02-29" "2023-02-29" "0001-01-01" "0000-12-31" "9999-12-31" "1900-02-29" "2000-02-29" "infinity" "2024-2-1"
"12:34:56" "23:59:60" "24:00:00" "12:34" "12:34:56.1234567" "12:34:56." "25:00:00"
"2024-05-01T12:34:56Z" "2024-05-01T12:34:56.123456789+05:30" "2024-05-01t12:34:56.1z" "2024-05-01T12:34:56-0530"
"2024-05-01T12:34:56+16:00" "0001-01-01T00:00:00+00:01" "9999-12-31T23:59:59.9999999Z" "2016-12-31T23:59:60Z"
1e99999 [0.1e-20000] "1e9999"
{} [] [1,[2,{"a":null}]] {"a":1,"a":2} {"b":{"text":"x","text":"y"}} {"int8":5,"b":{"text":"x"}}
"""
"""Values on the borders of what the types accept, where the two decoders could differ."""

BORDERS = st.sampled_from(BORDER_TEXTS.split())
SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r"])
VALUES = BORDERS | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "a", "b"]), inner, max_size=3),
    max_leaves=5,
).flatmap(lambda value: st.booleans().map(lambda ascii_only: json.dumps(value, ensure_ascii=ascii_only)))


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A JSON object of known and unknown keys (also repeated ones) in some order, mostly with the required ones."""
    keys = draw(st.lists(st.sampled_from([*NAMES, "a", "b", "z", "t\\u0065xt"]), max_size=6))
    pairs = [f'"{key}"{draw(SPACE)}:{draw(SPACE)}{draw(VALUES)}' for key in keys]
    if draw(st.integers(0, 3)):
        pairs.append('"int8":1')
    text = draw(SPACE) + "{" + draw(SPACE) + ",".join(pairs) + "}" + draw(SPACE)
    return text.encode(errors="replace")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A record with some bytes changed, removed or inserted, or cut off."""
    data = bytearray(draw(records()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.sampled_from([b'"', b"\\", b"\x00", b"\xff", b"{", b"}", b",", b"0", b"-"]))
            case 1:
                del data[at : at + 1]
            case 2:
                data[at:at] = draw(st.binary(min_size=1, max_size=2))
            case _:
                del data[at:]
    return bytes(data)


ANY_VALUE = st.none() | records() | records() | mutated() | st.binary(max_size=40)


KEYS = (
    st.none()
    | st.binary(max_size=12)
    | st.sampled_from([b"1", b"1.5", b"true", b"{}", b"2024-05-01", b"NaN", b'"', b'{"numeric":1}'])
)


@pytest.mark.parametrize("table_plan", PLANS)
@settings(max_examples=250, deadline=None)
@given(values=st.lists(ANY_VALUE, min_size=1, max_size=6), data=st.data())
def test_the_native_encoder_gives_what_the_reference_gives(
    table_plan: TablePlan, values: list[bytes | None], data: st.DataObject
) -> None:
    keys = data.draw(st.lists(KEYS, min_size=len(values), max_size=len(values))) if table_plan.key else None
    source = chunk(values, keys=keys)

    expected = ReferenceDecoder(table_plan).decode(source)

    assert native(table_plan).decode(source) == expected
    assert_every_record_is_accounted_for(expected)
    packed = replace(source, values=pack(values))
    assert list(packed.values) == values
    assert replace(native(table_plan).decode(packed), source=source) == expected


@settings(max_examples=150, deadline=None)
@given(values=st.lists(ANY_VALUE, min_size=1, max_size=4))
def test_decoding_to_text_is_total(values: list[bytes | None]) -> None:
    result = build_decoder(TEXT_PLAN).decode(chunk(values))

    assert_every_record_is_accounted_for(result)
    assert all(bytes(group.payload).count(b"\n") == len(group.row_ends) for group in result.groups)


@settings(max_examples=200, deadline=None)
@given(key=KEYS, timestamp_ms=st.none() | st.integers(-(2**62), 2**62))
def test_keys_headers_and_timestamps_never_raise(key: bytes | None, timestamp_ms: int | None) -> None:
    catalog = [*EVERY_TYPE, column("bytea", "bytea"), column("timetz", "timetz"), column("span", "interval")]
    for target in catalog:
        source = RawChunk(
            partition=0,
            claim_id=1,
            offsets=[5],
            values=[b"{}"],
            keys=[key],
            timestamps_ms=[timestamp_ms],
            headers=[[("h", key)]],
        )
        for spec in (from_source(target.name, ColumnSource.KEY), from_source(target.name, ColumnSource.HEADER, "h")):
            free = column(target.name, target.type_name, modifier=target.type_modifier)
            result = build_decoder(plan([free], sink(spec))).decode(source)
            assert_every_record_is_accounted_for(result)
    free = column("t", "timestamptz")
    result = build_decoder(plan([free], sink(from_source("t", ColumnSource.TIMESTAMP)))).decode(source)
    assert_every_record_is_accounted_for(result)


SEEDS = [
    b'{"int8": 1, "text": "abc", "timestamptz": "2024-05-01T12:34:56.789Z", "numeric": 12.50, "uuid": null, "z": [1]}',
    b'{"a":{"int8":12345,"b":{"text":"\\u00e9\\ud83d\\ude00","q":[{"x":1}]}},"timestamptz":1714564800123,"int8":7}',
]


@pytest.mark.parametrize("table_plan", PLANS)
def test_a_storm_of_mutations_leaves_both_paths_equal(table_plan: TablePlan) -> None:
    dice = random.Random(20240501)
    alphabet = b'{}[],:"\\0123456789-+.eEtfn ulsTZ\x00\x1f\x7f\xc3\xa9\xed\xa0\xff'
    values = []
    for _ in range(4000):
        data = bytearray(dice.choice(SEEDS))
        for _ in range(dice.randint(0, 4)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 1)] = bytes(dice.choices(alphabet, k=dice.randint(0, 2)))
        values.append(bytes(data))
    decoder, source = native(table_plan), chunk(values)

    assert decoder.decode(source) == ReferenceDecoder(table_plan).decode(source)


def test_the_usual_record_is_handled_natively() -> None:
    decoder = native(plan(EVERY_TYPE))

    made = decoder._encode(chunk(SEEDS[:1] * 100))

    assert made is not None
    assert list(made[1]) == []


def test_the_usual_record_of_an_upsert_is_handled_natively_and_a_deletion_is_not() -> None:
    decoder = native(plan(EVERY_TYPE[:4], sink(key=("int8",), delete_when=_MARKED)))

    made = decoder._encode(chunk([b'{"int8":1,"z":"c"}', b'{"int8":1,"z":"d"}', b'{"int8":2}'], keys=[None] * 3))

    assert made is not None
    assert list(made[1]) == [1]


def test_a_decoder_forgets_the_chunk_before() -> None:
    decoder = native(plan(EVERY_TYPE[:4]))
    first, second = chunk([b'{"int8":1}', b'{"int8":2,"bool":true}']), chunk([b"{", b'{"int8":3}'])

    before = decoder.decode(first)
    again = [decoder.decode(second), decoder.decode(first)]

    assert again == [ReferenceDecoder(plan(EVERY_TYPE[:4])).decode(second), before]


def test_without_the_library_the_reference_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    absent = load_library(tmp_path / "absent.so")
    monkeypatch.setattr(native_module, "load_library", lambda: absent)

    assert build_decoder(plan(EVERY_TYPE)).decoder_name == "python"


def test_a_plan_with_an_array_is_left_to_the_reference() -> None:
    assert build_decoder(plan([column("a", "int4", is_array=True)])).decoder_name == "python"
    assert native(plan([column("a", "int4")])).decoder_name == "native"
