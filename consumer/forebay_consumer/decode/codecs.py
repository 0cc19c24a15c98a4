"""One codec for each PostgreSQL type: what it accepts, and the two forms in which COPY takes it.

A codec's reader is strict and shared by both COPY formats, so a record is accepted or refused in the same way whether
its table is copied in binary or in text. docs/types.md states the rules. Readers raise only Reject.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from forebay_api.v1alpha1 import EpochUnit

from forebay_consumer.decode import numbers, times
from forebay_consumer.decode.json_text import (
    check_document,
    find_numbers,
    has_nul_escape,
    kind_of,
    read_string,
    read_utf8,
)
from forebay_consumer.decode.rejects import Reject, reject_range, reject_type
from forebay_consumer.plan import CatalogColumn
from forebay_consumer.records import Reason

NAME_MAX_BYTES = 63
"""PostgreSQL's NAMEDATALEN - 1: longer values of type `name` are an error in binary COPY."""

_LONG_NUMBER = numbers.NUMERIC_MAX_SCALE
_LARGE_EXPONENT = re.compile(rb"[eE][+-]?[0-9]{4}")
"""Only with one of these can a number in jsonb be beyond numeric's limits."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """Readers make a validated value, writers cannot fail.

    oid: the type's, which binary arrays name; 0 where COPY must use text. from_json: raw slice, never `null`.
    from_bytes: a key's or header's bytes, or a partition, offset or timestamp in decimal digits.
    to_binary: without the length word. to_text: without COPY's escapes.
    """

    oid: int
    from_json: Callable[[bytes], Any]
    from_bytes: Callable[[bytes], Any]
    to_binary: Callable[[Any], bytes]
    to_text: Callable[[Any], str]


def find_codec(column: CatalogColumn, epoch_unit: EpochUnit | None = None) -> Codec:
    """The codec of a column's type, or of its elements' type where it is an array. Every type has one."""
    make = _MAKERS.get(column.type_name)
    return _GENERIC if make is None else make(column.type_modifier, epoch_unit)


# --- bool and numbers ---


def _read_bool(raw: bytes) -> bool:
    if raw not in (b"true", b"false"):
        reject_type("true or false", kind_of(raw) if raw else "nothing")
    return raw == b"true"


def _number_from_bytes(read: Callable[[bytes], Any], data: bytes) -> Any:
    """Keys and headers hold a number's digits, not JSON text: a quoted number is no number."""
    if not numbers.is_number(data):
        reject_type("a number", "other text")
    return read(data)


def _number_codec(
    oid: int, read: Callable[[bytes], Any], to_binary: Callable[[Any], bytes], to_text: Callable[[Any], str] = str
) -> Codec:
    from_bytes = partial(_number_from_bytes, read)
    return Codec(oid=oid, from_json=read, from_bytes=from_bytes, to_binary=to_binary, to_text=to_text)


def _integer_codec(oid: int, bits: int, form: str) -> Codec:
    read = partial(numbers.read_integer, low=-(2 ** (bits - 1)), high=2 ** (bits - 1) - 1)
    return _number_codec(oid, read, struct.Struct(form).pack)


def _float_to_text(value: float) -> str:
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), repr(value))


def _numeric_codec(modifier: int) -> Codec:
    read = numbers.Numeric.from_modifier(modifier).read
    return _number_codec(1700, read, numbers.numeric_to_binary, numbers.numeric_to_text)


# --- text and what is written in strings ---


def _text_from_json(check: Callable[[str], Any], expected: str, raw: bytes) -> Any:
    return check(read_string(raw, expected))


def _text_from_bytes(check: Callable[[str], Any], data: bytes) -> Any:
    return check(read_utf8(data))


def _string_codec(
    oid: int,
    check: Callable[[str], Any],
    to_binary: Callable[[Any], bytes] = str.encode,
    to_text: Callable[[Any], str] = str,
    expected: str = "a string",
) -> Codec:
    return Codec(
        oid=oid,
        from_json=partial(_text_from_json, check, expected),
        from_bytes=partial(_text_from_bytes, check),
        to_binary=to_binary,
        to_text=to_text,
    )


def check_text(text: str) -> str:
    """PostgreSQL's text cannot hold NUL."""
    if "\0" in text:
        raise Reject(Reason.NUL_CHARACTER, "the text holds a NUL character")
    return text


def _check_length(limit: int, text: str) -> str:
    """As PostgreSQL: spaces beyond the limit are dropped, anything else is an error."""
    if len(text) > limit and text[limit:].strip(" "):
        reject_range(f"the text is longer than {limit} characters")
    return check_text(text)


def _check_name(text: str) -> str:
    if len(text.encode()) > NAME_MAX_BYTES:
        reject_range(f"the text is longer than {NAME_MAX_BYTES} bytes")
    return check_text(text)


def _bounded_text_codec(oid: int, modifier: int) -> Codec:
    return _string_codec(oid, check_text if modifier < 4 else partial(_check_length, modifier - 4))


def _read_bytea(text: str) -> bytes:
    r"""Base64 with padding, or \x and hexadecimal digits."""
    try:
        if text.startswith("\\x"):
            return binascii.unhexlify(text[2:])
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        reject_type(r"base64 (or \x and hexadecimal digits)", "other text")


def _bytea_codec() -> Codec:
    return Codec(
        oid=17,
        from_json=partial(_text_from_json, _read_bytea, "a base64 string"),
        from_bytes=bytes,
        to_binary=bytes,
        to_text=lambda value: f"\\x{value.hex()}",
    )


def _read_uuid(text: str) -> UUID:
    if not _UUID.fullmatch(text):
        reject_type("a UUID", "other text")
    return UUID(text)


# --- json ---


_check_jsonb_number = numbers.Numeric(None, 0).read
"""jsonb keeps its numbers as numeric."""


def _check_jsonb(raw: bytes) -> bytes:
    if has_nul_escape(raw):
        raise Reject(Reason.NUL_CHARACTER, r"jsonb cannot hold \u0000")
    if len(raw) > _LONG_NUMBER or _LARGE_EXPONENT.search(raw):
        for number in find_numbers(raw):
            _check_jsonb_number(number)
    return raw


def _json_codec(oid: int, check: Callable[[bytes], bytes], prefix: bytes) -> Codec:
    return Codec(
        oid=oid,
        from_json=check,
        from_bytes=lambda data: check(check_document(data)),
        to_binary=lambda raw: prefix + raw,
        to_text=bytes.decode,
    )


# --- dates and times ---


def _time_codec(
    oid: int, read: Callable[[bytes], Any], to_binary: Callable[[Any], bytes], to_text: Callable[[Any], str]
) -> Codec:
    return Codec(
        oid=oid,
        from_json=read,
        from_bytes=partial(_time_from_bytes, read),
        to_binary=to_binary,
        to_text=to_text,
    )


def _time_from_bytes(read: Callable[[bytes], Any], data: bytes) -> Any:
    """A number counts in the epoch unit, everything else is text as a JSON string would hold it."""
    if numbers.is_number(data):
        return read(data)
    text = read_utf8(data)
    if not text.isascii() or any(character in text for character in '"\\') or not text.isprintable():
        reject_type("a date or time", "other text")
    return read(f'"{text}"'.encode())


_pack_int8 = struct.Struct(">q").pack
_pack_int4 = struct.Struct(">i").pack


def _moment_codec(oid: int, suffix: str, epoch_unit: EpochUnit | None) -> Codec:
    def to_text(value: int) -> str:
        text = times.moment_to_text(value)
        return text if text.endswith("y") else text + suffix

    return _time_codec(oid, times.MomentReader(epoch_unit).read, _pack_int8, to_text)


def _timetz_codec() -> Codec:
    return _time_codec(
        1266,
        times.read_timetz,
        lambda value: struct.pack(">qi", value[0], -value[1]),
        lambda value: times.time_to_text(value[0]) + times.offset_to_text(value[1]),
    )


# --- types without a binary form here ---


def _generic_from_json(raw: bytes) -> str:
    """Any other type gets a string's text, and every other value's JSON text: PostgreSQL decides."""
    return check_text(read_string(raw, "a string") if raw[0] == 0x22 else raw.decode())


_GENERIC = Codec(
    oid=0,
    from_json=_generic_from_json,
    from_bytes=partial(_text_from_bytes, check_text),
    to_binary=str.encode,
    to_text=str,
)

_Maker = Callable[[int, EpochUnit | None], Codec]

_MAKERS: dict[str, _Maker] = {
    "bool": lambda _m, _e: Codec(
        oid=16,
        from_json=_read_bool,
        from_bytes=_read_bool,
        to_binary=lambda value: b"\x01" if value else b"\x00",
        to_text=lambda value: "t" if value else "f",
    ),
    "int2": lambda _m, _e: _integer_codec(21, 16, ">h"),
    "int4": lambda _m, _e: _integer_codec(23, 32, ">i"),
    "int8": lambda _m, _e: _integer_codec(20, 64, ">q"),
    "float4": lambda _m, _e: _number_codec(700, numbers.read_float4, struct.Struct(">f").pack, _float_to_text),
    "float8": lambda _m, _e: _number_codec(701, numbers.read_float8, struct.Struct(">d").pack, _float_to_text),
    "numeric": lambda m, _e: _numeric_codec(m),
    "text": lambda _m, _e: _string_codec(25, check_text),
    "varchar": lambda m, _e: _bounded_text_codec(1043, m),
    "bpchar": lambda m, _e: _bounded_text_codec(1042, m),
    "name": lambda _m, _e: _string_codec(19, _check_name),
    "bytea": lambda _m, _e: _bytea_codec(),
    "uuid": lambda _m, _e: _string_codec(2950, _read_uuid, lambda value: value.bytes, expected="a UUID string"),
    "json": lambda _m, _e: _json_codec(114, bytes, b""),
    "jsonb": lambda _m, _e: _json_codec(3802, _check_jsonb, b"\x01"),
    "date": lambda _m, e: _time_codec(1082, times.DateReader(e).read, _pack_int4, times.date_to_text),
    "time": lambda _m, _e: _time_codec(1083, times.read_time, _pack_int8, times.time_to_text),
    "timetz": lambda _m, _e: _timetz_codec(),
    "timestamp": lambda _m, e: _moment_codec(1114, "", e),
    "timestamptz": lambda _m, e: _moment_codec(1184, "+00", e),
}

BINARY_CODECS = frozenset(_MAKERS)
"""Must equal plan.BINARY_TYPES (a test says so)."""
