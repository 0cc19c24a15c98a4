"""One planned column: from a raw slice of the record, or from another part of it, to its part of the row."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, assert_never

from forebay_api.v1alpha1 import ColumnSource, EpochUnit

from forebay_consumer.decode.arrays import build_array_codec
from forebay_consumer.decode.codecs import Codec, find_codec
from forebay_consumer.decode.json_text import check_document
from forebay_consumer.decode.numbers import Numeric, Parts
from forebay_consumer.decode.rejects import Reject, reject_range
from forebay_consumer.decode.rows import COPY_NULL, escape_copy_text
from forebay_consumer.plan import CatalogColumn, PlannedColumn
from forebay_consumer.records import RawChunk, Reason

_NULL_LENGTH = b"\xff\xff\xff\xff"
_pack_length = struct.Struct(">i").pack

Part = bytes | str
"""One column of a row: with its length word (binary) or escaped (text)."""


class ColumnEncoder:
    """Encodes one column of every record."""

    def __init__(self, planned: PlannedColumn, *, is_binary: bool, is_key: bool) -> None:
        self.name = planned.column.name
        self._codec = _choose_codec(planned)
        self._is_binary = is_binary
        self._null: Part = _NULL_LENGTH if is_binary else COPY_NULL
        self._is_not_null = planned.column.is_not_null
        self._has_default = planned.column.has_default and not planned.collects_unknown
        self._read_bytes = _choose_source(planned)
        self._check_key = _choose_key_check(planned.column) if is_key else None
        self._role = "identifies the row" if is_key else "is NOT NULL without a default"
        self._null_role = "identifies the row" if is_key else "is NOT NULL"

    def encode(self, raw: bytes | None, chunk: RawChunk, index: int) -> Part | None:
        """None: left to the column's default. Raises Reject."""
        read_bytes = self._read_bytes
        if read_bytes is None:
            if raw is None:
                return self._missing()
            if raw == b"null":
                return self._explicit_null()
            return self._write(self._codec.from_json(raw))
        data = read_bytes(chunk, index)
        return self._missing() if data is None else self._write(self._codec.from_bytes(data))

    @property
    def is_in_value(self) -> bool:
        """Whether the record's value holds the column."""
        return self._read_bytes is None

    def encode_bare(self, data: bytes) -> Part:
        """The column of a row whose key is all that these bytes say: one JSON scalar, or plain text. Raises Reject."""
        if data == b"null":
            return self._explicit_null()
        if data.startswith(b'"'):
            return self._write(self._codec.from_json(check_document(data)))
        return self._write(self._codec.from_bytes(data))

    def _write(self, value: Any) -> Part:
        if self._check_key is not None:
            self._check_key(value)
        if self._is_binary:
            data = self._codec.to_binary(value)
            return _pack_length(len(data)) + data
        return escape_copy_text(self._codec.to_text(value))

    def _missing(self) -> Part | None:
        if self._has_default:
            return None
        if self._is_not_null:
            raise Reject(Reason.MISSING_FIELD, f"the column {self._role} and the record lacks its field")
        return self._null

    def _explicit_null(self) -> Part:
        if self._is_not_null:
            raise Reject(Reason.NULL_FIELD, f"the column {self._null_role} and the record's field is null")
        return self._null


def _choose_codec(planned: PlannedColumn) -> Codec:
    is_kafka_time = planned.source is ColumnSource.TIMESTAMP
    codec = find_codec(planned.column, EpochUnit.MILLISECONDS if is_kafka_time else planned.epoch_unit)
    if not planned.column.is_array:
        return codec
    return build_array_codec(codec, is_nested=planned.column.type_name not in ("json", "jsonb"))


_ReadBytes = Callable[[RawChunk, int], bytes | None]


def _choose_source(planned: PlannedColumn) -> _ReadBytes | None:
    """How to read what is not in the value; None for what is. None as the result of that: the record has none."""
    match planned.source:
        case ColumnSource.PATH:
            return None
        case ColumnSource.KEY:
            return lambda chunk, index: None if chunk.keys is None else chunk.keys[index]
        case ColumnSource.TIMESTAMP:
            return _read_timestamp
        case ColumnSource.PARTITION:
            return lambda chunk, _index: b"%d" % chunk.partition
        case ColumnSource.OFFSET:
            return lambda chunk, index: b"%d" % chunk.offsets[index]
        case ColumnSource.HEADER:
            name = planned.header or ""
            return lambda chunk, index: _read_header(chunk, index, name)
        case _:
            assert_never(planned.source)


def _read_timestamp(chunk: RawChunk, index: int) -> bytes | None:
    timestamp_ms = None if chunk.timestamps_ms is None else chunk.timestamps_ms[index]
    return None if timestamp_ms is None else b"%d" % timestamp_ms


def _read_header(chunk: RawChunk, index: int, name: str) -> bytes | None:
    if chunk.headers is None:
        return None
    return next((value for key, value in reversed(chunk.headers[index]) if key == name), None)


def _choose_key_check(column: CatalogColumn) -> Callable[[Any], None]:
    """What must hold of a value that identifies a row: the table must keep it as it is, neither rounded nor cut."""
    if column.type_name == "varchar" and column.type_modifier >= 4:
        return partial(_check_uncut, column.type_modifier - 4)
    if column.type_name == "numeric" and column.type_modifier >= 4:
        return partial(_check_unrounded, Numeric.from_modifier(column.type_modifier).scale)
    return lambda _value: None


def _check_uncut(limit: int, text: str) -> None:
    if len(text) > limit:
        reject_range(f"the key is longer than {limit} characters")


def _check_unrounded(scale: int, value: Parts | str) -> None:
    if not isinstance(value, Parts) or not value.digits:
        return
    zeros = len(value.digits) - len(value.digits.rstrip("0"))
    if value.exponent + zeros < -scale:
        reject_range(f"the key has more than {scale} decimal places")
