"""Whole records: missing and null fields, unknown fields, sources beside the value, and what is not a JSON object."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from forebay_api.v1alpha1 import ColumnSource, UnknownFieldPolicy
from forebay_consumer.decode import build_decoder
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.plan import TablePlan
from forebay_consumer.ports import Decoder
from forebay_consumer.records import RawChunk, Reason
from support.decoding import (
    assert_every_record_is_accounted_for,
    chunk,
    column,
    from_path,
    from_source,
    native,
    plain,
    plan,
    rows_of,
    sink,
)

CATALOG = [
    column("id", "int4", is_not_null=True),
    column("note", "text"),
    column("state", "text", has_default=True, is_not_null=True),
]

DecoderFactory = Callable[[TablePlan], Decoder]
both = pytest.mark.parametrize("make", [ReferenceDecoder, native])

NULL = b"\xff\xff\xff\xff"


def _field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _row(*fields: bytes) -> bytes:
    return len(fields).to_bytes(2, "big") + b"".join(fields)


ONE, TWO = _field(b"\0\0\0\1"), _field(b"\0\0\0\2")

DEAD = [
    (None, Reason.TOMBSTONE, None),
    (b"", Reason.INVALID_JSON, None),
    (b"\xef\xbb\xbf{}", Reason.INVALID_JSON, None),
    (b'{"id":1', Reason.INVALID_JSON, None),
    (b'{"id":1} x', Reason.INVALID_JSON, None),
    (b'{"id":NaN}', Reason.INVALID_JSON, None),
    (b'{"id":01}', Reason.INVALID_JSON, None),
    (b'{"id":1,"note":"\n"}', Reason.INVALID_JSON, None),
    (b"{'id':1}", Reason.INVALID_JSON, None),
    (b"[[[" * 50, Reason.INVALID_JSON, None),
    (b'{"id":1,"z":' + b"[" * 300 + b"]" * 300 + b"}", Reason.OUT_OF_RANGE, None),
    (b"[" * 100_000, Reason.OUT_OF_RANGE, None),
    (b'"' + b'\\"' * 50_000 + b"[" * 300, Reason.INVALID_JSON, None),
    (b'{"id":1,"z":"\xff"}', Reason.INVALID_UTF8, None),
    (b'{"id":1,"z":"\\udc00"}', Reason.INVALID_UTF8, None),
    (b"[]", Reason.NOT_AN_OBJECT, None),
    (b"null", Reason.NOT_AN_OBJECT, None),
    (b" 1e5 ", Reason.NOT_AN_OBJECT, None),
    (b"{}", Reason.MISSING_FIELD, "id"),
    (b'{"id":null}', Reason.NULL_FIELD, "id"),
    (b'{"id":1,"state":null}', Reason.NULL_FIELD, "state"),
    (b'{"id":"1"}', Reason.WRONG_TYPE, "id"),
    (b'{"id":1' + b"0" * 5000 + b"}", Reason.OUT_OF_RANGE, "id"),
]


@both
@pytest.mark.parametrize(("value", "reason", "at"), DEAD)
def test_a_record_that_is_no_row_is_dead_with_its_reason(
    make: DecoderFactory, value: bytes | None, reason: Reason, at: str | None
) -> None:
    result = make(plan(CATALOG)).decode(chunk([b'{"id":1}', value, b'{"id":2}']))

    assert [(d.reason, d.column, d.offset, d.value) for d in result.dead] == [(reason, at, 101, value)]
    assert [list(group.record_index) for group in result.groups] == [[0, 2]]


@both
def test_missing_fields_are_left_to_the_default_or_null(make: DecoderFactory) -> None:
    values = [
        b'{"id":1,"state":"a"}',
        b'{"id":2,"note":"n"}',
        b' {"note" : null , "state":"", "id" : 2 , "other": [{}] } ',
        b'{"id":1}',
    ]

    result = make(plan(CATALOG)).decode(chunk(values))

    assert plain(result.groups) == [
        ((), [(0, _row(ONE, NULL, _field(b"a"))), (2, _row(TWO, NULL, _field(b"")))]),
        ((2,), [(1, _row(TWO, _field(b"n"))), (3, _row(ONE, NULL))]),
    ]


@both
def test_of_a_repeated_key_the_last_counts(make: DecoderFactory) -> None:
    result = make(plan(CATALOG[:2])).decode(chunk([b'{"id":"x","id":1,"note":"a","note":null}']))

    assert plain(result.groups) == [((), [(0, _row(ONE, NULL))])]


@both
def test_rows_of_both_paths_stay_in_record_order(make: DecoderFactory) -> None:
    values = [b'{"id":1}', b'{"id":2}', b'{"id":1.0}', b'{"id":2}', b'{"id":1e0}', b"{", b'{"id":2e0}', b'{"id":1}']

    result = make(plan(CATALOG[:2])).decode(chunk(values))

    one, two = _row(ONE, NULL), _row(TWO, NULL)
    assert rows_of(result.groups[0]) == [one, two, one, two, one, two, one]
    assert list(result.groups[0].record_index) == [0, 1, 2, 3, 4, 6, 7]
    assert_every_record_is_accounted_for(result)


@both
def test_a_record_without_any_column_is_dead(make: DecoderFactory) -> None:
    result = make(plan([column("a", "int4", has_default=True)])).decode(chunk([b'{"b":1}']))

    assert [d.reason for d in result.dead] == [Reason.MISSING_FIELD]


@both
def test_nested_paths_reach_into_objects(make: DecoderFactory) -> None:
    catalog = [column("a", "int4"), column("b", "text"), column("whole", "json")]
    spec = sink(from_path("a", "x", "y", "a"), from_path("b", "x", "b"), from_path("whole", "x", "y"))
    values = [
        b'{"x":{"b":"t","y":{"z":[],"a":1}}}',
        b'{"x":null}',
        b'{"x":{"y":null}}',
        b'{"x":{"y":{"a":null}}}',
        b'{"x":[]}',
        b'{"x":{"y":3}}',
    ]

    result = make(plan(catalog, spec)).decode(chunk(values))

    assert rows_of(result.groups[0]) == [
        _row(ONE, _field(b"t"), _field(b'{"z":[],"a":1}')),
        _row(NULL, NULL, NULL),
        _row(NULL, NULL, NULL),
        _row(NULL, NULL, _field(b'{"a":null}')),
    ]
    assert [(d.reason, d.column) for d in result.dead] == [(Reason.WRONG_TYPE, "a")] * 2


@both
def test_unknown_fields_are_dead_letters_when_refused(make: DecoderFactory) -> None:
    spec = sink(from_path("a", "x", "a"), policy=UnknownFieldPolicy.DEAD_LETTER)
    values = [b'{"x":{"a":1}}', b'{"x":{"a":1,"b":2}}', b'{"y":1}', b"{}"]

    result = make(plan([column("a", "int4")], spec)).decode(chunk(values))

    assert [(d.reason, d.offset) for d in result.dead] == [(Reason.UNKNOWN_FIELD, 101), (Reason.UNKNOWN_FIELD, 102)]
    assert list(result.groups[0].record_index) == [0, 3]


@both
def test_a_collecting_column_takes_what_no_column_takes(make: DecoderFactory) -> None:
    catalog = [column("a", "int4"), column("rest", "jsonb", has_default=True)]
    spec = sink(from_path("a", "x", "a"), collector="rest")
    values = [b'{"x":{"a":1}}', b'{"x":{"a":1,"b":2.50},"\\u00e9\\"":[1 ,2]}', b'{"q":"\\u0000"}']

    result = make(plan(catalog, spec)).decode(chunk(values))

    collected = _field(b'\x01{"\xc3\xa9\\"":[1 ,2],"x":{"b":2.50}}')
    assert plain(result.groups) == [((), [(0, _row(ONE, NULL)), (1, _row(ONE, collected))])]
    assert [(d.reason, d.column) for d in result.dead] == [(Reason.NUL_CHARACTER, "rest")]


@both
def test_a_collecting_column_that_is_not_null_gets_an_empty_object(make: DecoderFactory) -> None:
    catalog = [column("a", "int4"), column("rest", "json", is_not_null=True)]

    result = make(plan(catalog, sink(collector="rest"))).decode(chunk([b'{"a":1}']))

    assert rows_of(result.groups[0]) == [_row(ONE, _field(b"{}"))]


SOURCES = [
    column("topic_partition", "int2"),
    column("position", "text"),
    column("produced", "timestamptz", has_default=True, is_not_null=True),
    column("produced_ms", "int8"),
    column("k", "text"),
    column("kb", "bytea"),
    column("kn", "int4"),
    column("h", "uuid"),
    column("v", "int4"),
]


def _sources_chunk() -> RawChunk:
    uuid = b"6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    return RawChunk(
        partition=3,
        claim_id=1,
        offsets=[7, 9, 12, 13],
        values=[b'{"v":1}'] * 4,
        keys=[b"2", None, b"\xff", b"x"],
        timestamps_ms=[946_684_800_001, None, 0, 0],
        headers=[[("h", b"old"), ("h", uuid), ("i", b"")], [], [], []],
    )


def test_columns_take_the_other_parts_of_the_record() -> None:
    spec = sink(
        from_source("topic_partition", ColumnSource.PARTITION),
        from_source("position", ColumnSource.OFFSET),
        from_source("produced", ColumnSource.TIMESTAMP),
        from_source("produced_ms", ColumnSource.TIMESTAMP),
        from_source("k", ColumnSource.KEY),
        from_source("kb", ColumnSource.KEY),
        from_source("kn", ColumnSource.KEY),
        from_source("h", ColumnSource.HEADER, "h"),
        from_path("v"),
    )

    result = build_decoder(plan(SOURCES, spec)).decode(_sources_chunk())

    partition, uuid = _field(b"\0\3"), _field(bytes.fromhex("6ba7b8109dad11d180b400c04fd430c8"))
    moment, ms = _field((1000).to_bytes(8, "big")), _field((946_684_800_001).to_bytes(8, "big"))
    first = _row(partition, _field(b"7"), moment, ms, _field(b"2"), _field(b"2"), TWO, uuid, ONE)
    second = _row(partition, _field(b"9"), NULL, NULL, NULL, NULL, NULL, ONE)
    assert plain(result.groups) == [((), [(0, first)]), ((2,), [(1, second)])]
    assert [(d.offset, d.reason, d.column, d.key, d.timestamp_ms) for d in result.dead] == [
        (12, Reason.INVALID_UTF8, "k", b"\xff", 0),
        (13, Reason.WRONG_TYPE, "kn", b"x", 0),
    ]


@both
def test_positions_beside_the_value_are_native_too(make: DecoderFactory) -> None:
    spec = sink(
        from_source("topic_partition", ColumnSource.PARTITION),
        from_source("position", ColumnSource.OFFSET),
        from_source("produced", ColumnSource.TIMESTAMP),
        from_path("v"),
    )

    result = make(plan([*SOURCES[:3], SOURCES[-1]], spec)).decode(_sources_chunk())

    moment = _field((1000).to_bytes(8, "big"))
    first = _row(_field(b"\0\3"), _field(b"7"), moment, ONE)
    assert [group.omitted for group in result.groups] == [(), (2,)]
    assert rows_of(result.groups[0])[0] == first
    assert list(result.groups[1].record_index) == [1]


def test_without_a_column_from_the_value_a_tombstone_and_broken_json_are_rows() -> None:
    spec = sink(from_source("position", ColumnSource.OFFSET))

    result = build_decoder(plan(SOURCES[1:2], spec)).decode(chunk([None, b"{", b'{"a":1}']))

    assert rows_of(result.groups[0]) == [_row(_field(b"100")), _row(_field(b"101")), _row(_field(b"102"))]
    assert result.dead == ()
