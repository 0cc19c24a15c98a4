"""The decoder in plain Python: what a record becomes is defined here, record by record.

The native encoder (native.py beside it) is faster and must do exactly the same, or leave a record to this one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, assert_never

from forebay_api.v1alpha1 import ColumnSource, EpochUnit, UnknownFieldPolicy

from forebay_consumer.decode.arrays import build_array_codec
from forebay_consumer.decode.codecs import Codec, find_codec
from forebay_consumer.decode.fields import FieldFinder
from forebay_consumer.decode.json_text import split_record
from forebay_consumer.decode.rejects import Reject
from forebay_consumer.decode.rows import COPY_NULL, Row, build_groups, escape_copy_text
from forebay_consumer.plan import CopyFormat, PlannedColumn, TablePlan
from forebay_consumer.records import DeadLetter, EncodedChunk, RawChunk, Reason

_NULL_LENGTH = b"\xff\xff\xff\xff"
_pack_length = struct.Struct(">i").pack
_pack_count = struct.Struct(">h").pack

Part = bytes | str
"""One column of a row: with its length word (binary) or escaped (text)."""


class ReferenceDecoder:
    """ports.Decoder without native code. Stateless between calls."""

    decoder_name = "python"

    def __init__(self, plan: TablePlan) -> None:
        self._is_binary = plan.copy_format is CopyFormat.BINARY
        self._columns = tuple(_Column(planned, self._is_binary) for planned in plan.columns)
        self._finder = FieldFinder(plan)
        self._reads_paths = any(planned.source is ColumnSource.PATH for planned in plan.columns)
        self._reads_value = self._reads_paths or plan.unknown_fields is UnknownFieldPolicy.DEAD_LETTER
        self._other_sources = [i for i, c in enumerate(plan.columns) if c.source is not ColumnSource.PATH]

    def decode(self, chunk: RawChunk) -> EncodedChunk:
        """Encode every record or name it dead."""
        rows, dead = self.decode_records(chunk, range(len(chunk.offsets)))
        return EncodedChunk(source=chunk, groups=build_groups(rows), dead=tuple(dead))

    def decode_records(self, chunk: RawChunk, indexes: Iterable[int]) -> tuple[list[Row], list[DeadLetter]]:
        """The same for some records of a chunk, in the order given."""
        rows: list[Row] = []
        dead: list[DeadLetter] = []
        for index in indexes:
            try:
                rows.append(self._encode(chunk, index))
            except Reject as e:
                dead.append(build_dead_letter(chunk, index, e))
        return rows, dead

    def _encode(self, chunk: RawChunk, index: int) -> Row:
        slots = self._find_fields(chunk.values[index])
        omitted: list[int] = []
        parts: list[Any] = []
        for position, column in enumerate(self._columns):
            try:
                part = column.encode(slots[position], chunk, index)
            except Reject as e:
                e.column = column.name
                raise
            if part is None:
                omitted.append(position)
            else:
                parts.append(part)
        if not parts:
            raise Reject(Reason.MISSING_FIELD, "the record has no field of any column, and COPY needs at least one")
        if self._is_binary:
            return Row(index, tuple(omitted), _pack_count(len(parts)) + b"".join(parts))
        return Row(index, tuple(omitted), ("\t".join(parts) + "\n").encode())

    def _find_fields(self, value: bytes | None) -> list[bytes | None]:
        if value is None and self._reads_paths:
            raise Reject(Reason.TOMBSTONE, "the record has no value")
        if value is None or not self._reads_value:
            return [None] * len(self._columns)
        return self._finder.find(split_record(value))


class _Column:
    """One planned column: from a raw slice, or from another part of the record, to its part of the row."""

    def __init__(self, planned: PlannedColumn, is_binary: bool) -> None:
        self.name = planned.column.name
        self._codec = _choose_codec(planned)
        self._is_binary = is_binary
        self._null: Part = _NULL_LENGTH if is_binary else COPY_NULL
        self._is_not_null = planned.column.is_not_null
        self._has_default = planned.column.has_default and not planned.collects_unknown
        self._read_bytes = _choose_source(planned)

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

    def _write(self, value: Any) -> Part:
        if self._is_binary:
            data = self._codec.to_binary(value)
            return _pack_length(len(data)) + data
        return escape_copy_text(self._codec.to_text(value))

    def _missing(self) -> Part | None:
        if self._has_default:
            return None
        if self._is_not_null:
            raise Reject(
                Reason.MISSING_FIELD, "the column is NOT NULL without a default and the record lacks its field"
            )
        return self._null

    def _explicit_null(self) -> Part:
        if self._is_not_null:
            raise Reject(Reason.NULL_FIELD, "the column is NOT NULL and the record's field is null")
        return self._null


def build_dead_letter(chunk: RawChunk, index: int, cause: Reject) -> DeadLetter:
    """The record, kept whole, with the reason."""
    return DeadLetter(
        partition=chunk.partition,
        offset=chunk.offsets[index],
        reason=cause.reason,
        message=cause.message,
        value=chunk.values[index],
        key=None if chunk.keys is None else chunk.keys[index],
        column=cause.column,
        timestamp_ms=None if chunk.timestamps_ms is None else chunk.timestamps_ms[index],
    )


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
