"""Strict JSON, kept as its own bytes: splitting objects and arrays into raw slices, reading strings, validating.

A raw slice is the exact text of one JSON value without surrounding white space. Functions here raise only Reject.

msgspec validates the whole document while it splits it (grammar, escapes, surrogate pairs, trailing bytes), but not
the UTF-8 of what it skips: that is checked first, for the document as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec

from forebay_consumer.decode.rejects import Reject, reject_type
from forebay_consumer.records import Reason

MAX_DEPTH = 256
"""Levels of nesting in one record. More would lean on the interpreter's recursion limit, and so on the caller."""

RawObject = dict[str, msgspec.Raw]

_split_object = msgspec.json.Decoder(RawObject).decode
_split_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_string = msgspec.json.Decoder(str).decode
_check_any = msgspec.json.Decoder(msgspec.Raw).decode

_KINDS = {ord('"'): "a string", ord("{"): "an object", ord("["): "an array", ord("t"): "true", ord("f"): "false"}
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]+|\\.)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]+|\\.)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def kind_of(raw: bytes) -> str:
    """What a raw slice is, in words for a message."""
    if raw == b"null":
        return "null"
    return _KINDS.get(raw[0], "a number")


def split_record(value: bytes) -> RawObject:
    """The top-level fields of a record; of a repeated key the last one counts. Raises Reject."""
    check_utf8(value)
    _check_depth(value)
    try:
        return _split_object(value)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        check_grammar(value)
        raise Reject(Reason.NOT_AN_OBJECT, "the value is valid JSON but not an object") from None


def split_object(raw: bytes) -> RawObject:
    """Fields of an object inside a record that split_record has accepted."""
    return _split_object(raw)


def split_array(raw: bytes) -> list[bytes]:
    """Elements of an array inside a record that split_record has accepted."""
    return [bytes(element) for element in _split_array(raw)]


def read_string(raw: bytes, expected: str) -> str:
    """The text of a JSON string. Raises Reject for anything else."""
    if raw[0] != 0x22:
        reject_type(expected, kind_of(raw))
    return _read_string(raw)


def has_nul_escape(raw: bytes) -> bool:
    r"""Whether a string inside holds \u0000, which PostgreSQL's text and jsonb cannot."""
    return b"\\u0000" in raw and _NUL_ESCAPE.search(raw) is not None


def find_numbers(raw: bytes) -> list[bytes]:
    """All numbers anywhere inside a slice."""
    return [match[0] for match in _STRING_OR_NUMBER.finditer(raw) if match[0][0] != 0x22]


def read_utf8(data: bytes) -> str:
    """Bytes as text. Raises Reject."""
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise Reject(Reason.INVALID_UTF8, f"invalid UTF-8 at byte {e.start}") from None


def check_utf8(data: bytes) -> None:
    """Raises Reject unless the bytes are UTF-8."""
    if not data.isascii():
        read_utf8(data)


def check_document(data: bytes) -> bytes:
    """The one JSON value that these bytes are, without surrounding white space. Raises Reject."""
    check_utf8(data)
    _check_depth(data)
    check_grammar(data)
    return data.strip(b" \t\r\n")


def check_grammar(data: bytes) -> None:
    """Raises Reject unless the bytes are one JSON value. They must be UTF-8 and no deeper than MAX_DEPTH."""
    try:
        _check_any(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        pass
    else:
        return
    if _is_json_with_lone_surrogates(data):
        raise Reject(Reason.INVALID_UTF8, r"a \u escape names half of a surrogate pair, which UTF-8 cannot hold")
    raise Reject(Reason.INVALID_JSON, "the value is not valid JSON")


def _is_json_with_lone_surrogates(data: bytes) -> bool:
    """msgspec refuses those; the standard library's parser takes them, and differs in nothing else when told so."""
    keep: Callable[[str], str] = str
    try:
        json.loads(data.decode(), parse_constant=_refuse_constant, parse_int=keep, parse_float=keep)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _check_depth(data: bytes) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(data):
        first = match[0][0]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Reject(Reason.OUT_OF_RANGE, f"more than {MAX_DEPTH} levels of nesting")
        elif first in b"]}":
            depth -= 1
