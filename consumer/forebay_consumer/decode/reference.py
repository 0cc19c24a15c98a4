"""The decoder in plain Python: what a record becomes is defined here, record by record.

The native encoder (native.py beside it) is faster and must do exactly the same, or leave a record to this one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from forebay_api.v1alpha1 import ColumnSource, UnknownFieldPolicy

from forebay_consumer.decode.columns import ColumnEncoder
from forebay_consumer.decode.deletions import Deletions
from forebay_consumer.decode.fields import FieldFinder
from forebay_consumer.decode.json_text import split_record
from forebay_consumer.decode.rejects import Reject
from forebay_consumer.decode.rows import Row, build_groups
from forebay_consumer.plan import CopyFormat, TablePlan
from forebay_consumer.records import DeadLetter, EncodedChunk, RawChunk, Reason

_pack_count = struct.Struct(">h").pack


class ReferenceDecoder:
    """ports.Decoder without native code. Stateless between calls."""

    decoder_name = "python"

    def __init__(self, plan: TablePlan) -> None:
        self._is_binary = plan.copy_format is CopyFormat.BINARY
        self._columns = tuple(
            ColumnEncoder(planned, is_binary=self._is_binary, is_key=index in plan.key)
            for index, planned in enumerate(plan.columns)
        )
        self._deletions = Deletions(plan, self._columns) if plan.key else None
        self._finder = FieldFinder(plan)
        self._reads_paths = any(planned.source is ColumnSource.PATH for planned in plan.columns)
        self._reads_value = (
            self._reads_paths or plan.unknown_fields is UnknownFieldPolicy.DEAD_LETTER or plan.delete_when is not None
        )

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
        value, deletions = chunk.values[index], self._deletions
        if value is None and deletions is not None:
            return Row(index, deletions.omitted, self._join(deletions.encode_tombstone(chunk, index)), is_delete=True)
        if value is None and self._reads_paths:
            raise Reject(Reason.TOMBSTONE, "the record has no value")
        if value is None or not self._reads_value:
            return self._encode_row([None] * len(self._columns), chunk, index)
        record = split_record(value)
        if deletions is not None and deletions.is_marked(record):
            return Row(index, deletions.omitted, self._join(deletions.encode(record, chunk, index)), is_delete=True)
        return self._encode_row(self._finder.find(record), chunk, index)

    def _encode_row(self, slots: Sequence[bytes | None], chunk: RawChunk, index: int) -> Row:
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
        return Row(index, tuple(omitted), self._join(parts))

    def _join(self, parts: list[Any]) -> bytes:
        if self._is_binary:
            return _pack_count(len(parts)) + b"".join(parts)
        return ("\t".join(parts) + "\n").encode()


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
        headers=() if chunk.headers is None else chunk.headers[index],
    )
