"""What each type accepts and refuses. That PostgreSQL reads the bytes alike is test_types_roundtrip's."""

from __future__ import annotations

import math
import struct
from datetime import date, datetime, timedelta

import pytest
from forebay_api.v1alpha1 import EpochUnit
from forebay_consumer.records import DeadLetter, Reason
from support.decoding import NUMERIC_10_2, VARCHAR_5, column, decode_field

WRONG, RANGE = Reason.WRONG_TYPE, Reason.OUT_OF_RANGE
EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - PostgreSQL's timestamp has no zone


def _int8(value: int) -> bytes:
    return struct.pack(">q", value)


def _us(text: str) -> bytes:
    return _int8((datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1))


def _day(text: str) -> bytes:
    return struct.pack(">i", (date.fromisoformat(text) - EPOCH.date()).days)


ACCEPTED = [
    ("bool", "true", b"\x01"),
    ("bool", "false", b"\x00"),
    ("int2", "-32768", b"\x80\x00"),
    ("int4", "1e3", b"\x00\x00\x03\xe8"),
    ("int8", "9223372036854775807", _int8(2**63 - 1)),
    ("int8", "-9223372036854775808", _int8(-(2**63))),
    ("int8", "1.0", _int8(1)),
    ("int8", "-0", _int8(0)),
    ("int8", "0e99999999999999999999", _int8(0)),
    ("int8", "1200000000000000000000000000e-10", _int8(120000000000000000)),
    ("float8", "0.1", struct.pack(">d", 0.1)),
    ("float8", "-0.0", struct.pack(">d", -0.0)),
    ("float8", '"-Infinity"', struct.pack(">d", -math.inf)),
    ("float4", "16777217", struct.pack(">f", 16777216.0)),
    ("numeric", "12345.6700", bytes.fromhex("000300010000000400010929 1a2c")),
    ("numeric", '"-0.00012"', bytes.fromhex("0002ffff4000000500010 7d0".replace(" ", ""))),
    ("numeric", "0", bytes(8)),
    ("text", r'"a\u00e9\ud83d\ude00\n\/"', "aé😀\n/".encode()),
    ("text", '""', b""),
    ("bytea", '"AAEC"', b"\x00\x01\x02"),
    ("bytea", r'"\\x00fF"', b"\x00\xff"),
    ("uuid", '"6BA7B810-9dad-11d1-80b4-00c04fd430c8"', bytes.fromhex("6ba7b8109dad11d180b400c04fd430c8")),
    ("json", '{"b" : [1.50, "\\u0000"]}', b'{"b" : [1.50, "\\u0000"]}'),
    ("jsonb", '{"a":1,"a":2}', b'\x01{"a":1,"a":2}'),
    ("jsonb", '"x"', b'\x01"x"'),
    ("jsonb", r'"\\u0000"', rb'"\\u0000"'.rjust(10, b"\x01")),
    ("jsonb", '["1e9999\\""]', b'\x01["1e9999\\""]'),
    ("date", '"2024-02-29"', _day("2024-02-29")),
    ("date", '"0001-01-01"', _day("0001-01-01")),
    ("date", '"infinity"', b"\x7f\xff\xff\xff"),
    ("time", '"24:00:00"', _int8(86_400_000_000)),
    ("time", '"01:02"', _int8(3_720_000_000)),
    ("timetz", '"01:00:00-05:30"', struct.pack(">qi", 3_600_000_000, 19_800)),
    ("timestamp", '"2024-05-01T12:00:00+02:00"', _us("2024-05-01T10:00:00")),
    ("timestamp", '"2024-05-01 12:00:00"', _us("2024-05-01T12:00:00")),
    ("timestamptz", '"2024-05-01T12:00:00.1234569Z"', _us("2024-05-01T12:00:00.123456")),
    ("timestamptz", '"2016-12-31T23:59:60Z"', _us("2017-01-01T00:00:00")),
    ("timestamptz", '"2024-05-01"', _us("2024-05-01T00:00:00")),
    ("timestamptz", '"2024-05-01t12:00z"', _us("2024-05-01T12:00:00")),
    ("timestamptz", '"9999-12-31T23:59:59.999999Z"', _us("9999-12-31T23:59:59.999999")),
    ("timestamptz", '"-infinity"', _int8(-(2**63))),
]


@pytest.mark.parametrize(("type_name", "text", "expected"), ACCEPTED)
def test_an_accepted_value_becomes_these_bytes(type_name: str, text: str, expected: bytes) -> None:
    assert decode_field(column("c", type_name), text) == expected


REFUSED = [
    ("bool", "1", WRONG),
    ("bool", '"true"', WRONG),
    ("int4", '"1"', WRONG),
    ("int4", "1.5", WRONG),
    ("int4", "1e-1", WRONG),
    ("int4", "true", WRONG),
    ("int2", "32768", RANGE),
    ("int8", "9223372036854775808", RANGE),
    ("int8", "1" + "0" * 400, RANGE),
    ("int8", "1e400", RANGE),
    ("int8", "1e99999999999999999999", RANGE),
    ("float8", "1e400", RANGE),
    ("float8", "1e-400", RANGE),
    ("float8", '"1.5"', WRONG),
    ("float8", '"inf"', WRONG),
    ("float4", "1e39", RANGE),
    ("float4", "3.4028235678e38", RANGE),
    ("float4", "1e-46", RANGE),
    ("numeric", '"twelve"', WRONG),
    ("numeric", '" 1"', WRONG),
    ("numeric", "1e131072", RANGE),
    ("numeric", "1e-16384", RANGE),
    ("numeric", "1e999999999999999999999", RANGE),
    ("numeric", "[]", WRONG),
    ("text", "1", WRONG),
    ("text", "{}", WRONG),
    ("text", r'"a\u0000"', Reason.NUL_CHARACTER),
    ("text", r'"\ud800"', Reason.INVALID_UTF8),
    ("name", '"' + "é" * 32 + '"', RANGE),
    ("bytea", '"AAE"', WRONG),
    ("bytea", '"AA-_"', WRONG),
    ("bytea", r'"\\x0"', WRONG),
    ("uuid", '"6ba7b8109dad-11d1-80b4-00c04fd430c8"', WRONG),
    ("uuid", "1", WRONG),
    ("jsonb", r'["\u0000"]', Reason.NUL_CHARACTER),
    ("jsonb", r'"\\\u0000"', Reason.NUL_CHARACTER),
    ("jsonb", '{"1e9999":[1e131072]}', RANGE),
    ("jsonb", "[0.1e-20000]", RANGE),
    ("date", '"2024-05-01T00:00:00Z"', WRONG),
    ("date", '"2023-02-29"', RANGE),
    ("date", '"0000-01-01"', RANGE),
    ("date", "19000", WRONG),
    ("time", '"12:00:00Z"', WRONG),
    ("time", '"24:00:01"', RANGE),
    ("timetz", '"12:00:00"', WRONG),
    ("timestamp", '"yesterday"', WRONG),
    ("timestamp", "1700000000", WRONG),
    ("timestamptz", '"2024-13-01T00:00:00Z"', RANGE),
    ("timestamptz", '"2024-05-01T12:60:00Z"', RANGE),
    ("timestamptz", '"2024-05-01T12:00:00+16:00"', RANGE),
    ("timestamptz", '"0001-01-01T00:00:00+01:00"', RANGE),
    ("timestamptz", '"٢024-05-01T12:00:00Z"', WRONG),
]


@pytest.mark.parametrize(("type_name", "text", "reason"), REFUSED)
def test_a_refused_value_becomes_a_dead_letter_that_does_not_show_it(type_name: str, text: str, reason: Reason) -> None:
    result = decode_field(column("c", type_name), text)

    assert isinstance(result, DeadLetter)
    assert (result.reason, result.offset, result.partition) == (reason, 100, 3)
    assert result.column == (None if text == r'"\ud800"' else "c")
    assert text not in result.message or text in ("1", "true", "[]", "{}")


MODIFIED = [
    ("varchar", VARCHAR_5, '"ééééé"', "ééééé".encode()),
    ("varchar", VARCHAR_5, '"abcde   "', b"abcde   "),
    ("varchar", VARCHAR_5, '"abcdef"', RANGE),
    ("bpchar", VARCHAR_5, '"abcdef"', RANGE),
    ("numeric", NUMERIC_10_2, "99999999.994", bytes.fromhex("0003000100000003270f270f26d4")),
    ("numeric", NUMERIC_10_2, "99999999.995", RANGE),
    ("numeric", NUMERIC_10_2, "1e8", RANGE),
    ("numeric", NUMERIC_10_2, "-100000000", RANGE),
    ("numeric", NUMERIC_10_2, '"NaN"', bytes.fromhex("00000000c0000000")),
    ("numeric", NUMERIC_10_2, '"Infinity"', RANGE),
]


@pytest.mark.parametrize(("type_name", "modifier", "text", "expected"), MODIFIED)
def test_length_and_precision_are_checked(type_name: str, modifier: int, text: str, expected: bytes | Reason) -> None:
    result = decode_field(column("c", type_name, modifier=modifier), text)

    assert (result.reason if isinstance(result, DeadLetter) else result) == expected


EPOCHS = [
    (EpochUnit.SECONDS, "1714564800", "2024-05-01T12:00:00"),
    (EpochUnit.SECONDS, "1714564800.1234569", "2024-05-01T12:00:00.123456"),
    (EpochUnit.SECONDS, "-0.0000001", "1969-12-31T23:59:59.999999"),
    (EpochUnit.MILLISECONDS, "1714564800001", "2024-05-01T12:00:00.001"),
    (EpochUnit.MICROSECONDS, "-1", "1969-12-31T23:59:59.999999"),
    (EpochUnit.NANOSECONDS, "1714564800123456999", "2024-05-01T12:00:00.123456"),
    (EpochUnit.NANOSECONDS, "1.714564800123456999e18", "2024-05-01T12:00:00.123456"),
]


@pytest.mark.parametrize(("unit", "text", "moment"), EPOCHS)
@pytest.mark.parametrize("type_name", ["timestamp", "timestamptz", "date"])
def test_a_number_of_the_declared_unit_is_a_moment(type_name: str, unit: EpochUnit, text: str, moment: str) -> None:
    expected = _day(moment[:10]) if type_name == "date" else _us(moment)

    assert decode_field(column("c", type_name), text, unit) == expected


@pytest.mark.parametrize("text", ["1714564800000", "1e300", "-99999999999", "1e99999999"])
def test_an_epoch_number_beyond_the_years_1_to_9999_is_refused(text: str) -> None:
    result = decode_field(column("c", "timestamptz"), text, EpochUnit.SECONDS)

    assert isinstance(result, DeadLetter)
    assert result.reason is RANGE


SINGLES = [
    pytest.param("1.00000017881393432617187499", "0x1.000002p+0", id="below-the-middle"),
    pytest.param("1.00000017881393432617187500", "0x1.000004p+0", id="the-middle-goes-to-even"),
    pytest.param("1.00000005960464477539062500", "0x1.000000p+0", id="the-middle-goes-to-even-downwards"),
    pytest.param("1.00000005960464477539062501", "0x1.000002p+0", id="above-the-middle"),
    pytest.param("-1.00000005960464477539062501", "-0x1.000002p+0", id="negative"),
    pytest.param("7.1e-46", "0x1p-149", id="smallest"),
    pytest.param("3.4028235677973366e38", "0x1.fffffep+127", id="largest"),
]


@pytest.mark.parametrize(("text", "expected"), SINGLES)
def test_float4_is_rounded_once(text: str, expected: str) -> None:
    assert decode_field(column("c", "float4"), text) == struct.pack(">f", float.fromhex(expected))


ARRAYS = [
    ("int4", "[1,null]", bytes.fromhex("00000001 00000001 00000017 00000002 00000001 00000004 00000001 ffffffff")),
    ("int4", "[]", bytes.fromhex("00000000 00000000 00000017")),
    ("int4", "[[],[]]", bytes.fromhex("00000000 00000000 00000017")),
    (
        "int2",
        "[[1],[2]]",
        bytes.fromhex("00000002 00000000 00000015 00000002 00000001 00000001 00000001 00000002 0001 00000002 0002"),
    ),
    ("int4", "[[1],[2,3]]", WRONG),
    ("int4", "[1,[2]]", WRONG),
    ("int4", "[[1],null]", WRONG),
    ("int4", '["1"]', WRONG),
    ("int4", "[[[[[[[1]]]]]]]", RANGE),
    ("int4", "1", WRONG),
    ("jsonb", "[[1]]", bytes.fromhex("00000001 00000000 00000eda 00000001 00000001 00000004 01 5b315d")),
]


@pytest.mark.parametrize(("type_name", "text", "expected"), ARRAYS)
def test_arrays_are_one_dimensional_or_rectangular(type_name: str, text: str, expected: bytes | Reason) -> None:
    result = decode_field(column("c", type_name, is_array=True), text)

    assert (result.reason if isinstance(result, DeadLetter) else result) == expected


TEXT_FORMAT = [
    ("interval", '"1 day"', "1 day"),
    ("interval", "1.50", "1.50"),
    ("interval", '{"a": "\\n\\t"}', r'{"a": "\\n\\t"}'),
    ("interval", r'"a\\b\n\t\r\b\f\u000b"', r"a\\b\n\t\r\b\f\v"),
    ("interval", "null", r"\N"),
    ("interval", r'"\\N"', r"\\N"),
    ("point", "[1,2]", "[1,2]"),
]


@pytest.mark.parametrize(("type_name", "text", "expected"), TEXT_FORMAT)
def test_other_types_get_text_and_the_database_decides(type_name: str, text: str, expected: str) -> None:
    assert decode_field(column("c", type_name), text) == expected


def test_an_array_of_another_type_is_an_array_literal() -> None:
    result = decode_field(column("c", "interval", is_array=True), r'[["1 day", null], ["a\"b\\", 2]]')

    assert result == r'{{"1 day",NULL},{"a\\"b\\\\","2"}}'
