"""The rows of one COPY statement: which chunks they come from, how they are cut, joined and found again. Pure.

Rows are addressed by their place in the stream, from 0; cutting a stream gives another stream.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from forebay_consumer.plan import CopyFormat, TablePlan
from forebay_consumer.records import Batch, DeadLetter, RawChunk, Reason
from forebay_consumer.sql import copy_frame

PIECE_BYTES = 256 * 1024
"""Bytes of one CopyData message: far above what a message costs, far below what a batch may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Encoded rows, and the record that each comes from: sources[chunks[row]] at the index records[row].

    payload, row_ends: as RowGroup has them; sources keep alive what payload may look at.
    chunks: None where all rows are of sources[0].
    """

    payload: bytes | bytearray | memoryview
    row_ends: array[int]
    records: array[int]
    sources: tuple[RawChunk, ...]
    chunks: array[int] | None = None

    def find_record(self, row: int) -> tuple[RawChunk, int]:
        """The chunk of a row's record, and the record's index in it."""
        return self.sources[self.chunks[row] if self.chunks is not None else 0], self.records[row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Rows [first, end) of one block; never empty."""

    block: Block
    first: int
    end: int

    def payload(self) -> memoryview:
        """The rows' bytes."""
        ends = self.block.row_ends
        return memoryview(self.block.payload)[ends[self.first - 1] if self.first else 0 : ends[self.end - 1]]


@dataclass(frozen=True, slots=True)
class CopyStream:
    """Rows that leave out the same columns. columns: those that are copied, in order.

    is_delete: the rows are keys of rows to delete (mode Upsert).
    """

    columns: tuple[str, ...]
    copy_format: CopyFormat
    spans: tuple[Span, ...]
    is_delete: bool = False

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(span.end - span.first for span in self.spans)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """What COPY FROM STDIN reads, piece by piece, without joining it.

        Each piece is one CopyData message, which the server reads to its end before it looks at a row: sent as one,
        a batch would lie in the backend's memory as a whole, and parsing would begin only when the last byte is there.
        """
        head, tail = copy_frame(self.copy_format)
        yield head
        for span in self.spans:
            payload = span.payload()
            for start in range(0, len(payload), PIECE_BYTES):
                yield payload[start : start + PIECE_BYTES]
        yield tail

    def cut(self, first: int, end: int) -> CopyStream:
        """Rows [first, end)."""
        kept, seen = [], 0
        for span in self.spans:
            start, stop = max(first - seen, 0), min(end - seen, span.end - span.first)
            if start < stop:
                kept.append(Span(block=span.block, first=span.first + start, end=span.first + stop))
            seen += span.end - span.first
        return replace(self, spans=tuple(kept))

    def without(self, rows: Sequence[int]) -> CopyStream:
        """All rows but these (ascending)."""
        spans: list[Span] = []
        start = 0
        for row in rows:
            if start < row:  # few rows may be left of many
                spans += self.cut(start, row).spans
            start = row + 1
        spans += self.cut(start, self.rows).spans
        return replace(self, spans=tuple(spans))

    def rows_one_by_one(self) -> Iterator[bytes]:
        """Each row's bytes."""
        for span in self.spans:
            ends = span.block.row_ends
            for row in range(span.first, span.end):
                yield bytes(span.block.payload[ends[row - 1] if row else 0 : ends[row]])

    def list_records(self) -> list[tuple[int, int]]:
        """(partition, offset) of each row's record."""
        found = [span.block.find_record(row) for span in self.spans for row in range(span.first, span.end)]
        return [(source.partition, source.offsets[index]) for source, index in found]

    def dead_letter(self, row: int, reason: Reason, message: str, column: str | None) -> DeadLetter:
        """The record that the row came from, as a dead letter."""
        span, place = self._find(row)
        source, index = span.block.find_record(place)
        return DeadLetter(
            partition=source.partition,
            offset=source.offsets[index],
            reason=reason,
            message=message,
            value=source.values[index],
            key=source.keys[index] if source.keys is not None else None,
            column=column,
            timestamp_ms=source.timestamps_ms[index] if source.timestamps_ms is not None else None,
            headers=source.headers[index] if source.headers is not None else (),
        )

    def _find(self, row: int) -> tuple[Span, int]:
        ends = list(accumulate(span.end - span.first for span in self.spans))
        at = bisect_right(ends, row)
        before = ends[at - 1] if at else 0
        return self.spans[at], self.spans[at].first + row - before


def build_streams(batch: Batch, plan: TablePlan) -> tuple[CopyStream, ...]:
    """Mode Append: one stream for each set of columns that rows leave out; nearly always one in all."""
    by_omitted: dict[tuple[int, ...], list[Span]] = {}
    for chunk in batch.chunks:
        for group in chunk.groups:
            if len(group.row_ends):
                block = Block(
                    payload=group.payload,
                    row_ends=group.row_ends,
                    records=group.record_index,
                    sources=(chunk.source,),
                )
                span = Span(block=block, first=0, end=len(group.row_ends))
                by_omitted.setdefault(group.omitted, []).append(span)
    names = tuple(planned.column.name for planned in plan.columns)
    return tuple(
        CopyStream(tuple(name for i, name in enumerate(names) if i not in omitted), plan.copy_format, tuple(spans))
        for omitted, spans in by_omitted.items()
    )


def find_rows(
    stream: CopyStream, plan: TablePlan, columns: tuple[str, ...], values: tuple[str, ...]
) -> tuple[int, ...] | None:
    """Rows whose columns have these values, ascending; None if that cannot be told from the bytes that are copied."""
    wanted: list[tuple[int, bytes]] = []
    types = {planned.column.name: planned.column for planned in plan.columns}
    for name, value in zip(columns, values, strict=True):
        if name not in stream.columns or types[name].is_array:
            return None
        field = encode_field(stream.copy_format, types[name].type_name, value)
        if field is None:
            return None
        wanted.append((stream.columns.index(name), field))
    return tuple(
        row for row, fields in _candidates(stream, wanted[0][1]) if all(fields[i] == field for i, field in wanted)
    )


def encode_field(copy_format: CopyFormat, type_name: str, value: str) -> bytes | None:
    """A value as PostgreSQL prints it -> as it stands in a COPY row (without length); None: type not handled here."""
    if copy_format is CopyFormat.TEXT:
        return value.encode() if not set(value) & set("\\\t\n\r\b\f\v") else None
    try:
        match type_name:
            case "int2" | "int4" | "int8":
                return struct.pack({"int2": "!h", "int4": "!i", "int8": "!q"}[type_name], int(value))
            case "text" | "varchar":
                return value.encode()
            case "uuid":
                return bytes.fromhex(value.replace("-", ""))
            case _:
                return None
    except (ValueError, struct.error):
        return None


def _candidates(stream: CopyStream, needle: bytes) -> Iterator[tuple[int, list[bytes | None]]]:
    """Rows whose bytes contain the needle, each with its fields: a search in C finds the few worth taking apart."""
    before = 0
    for span in stream.spans:
        payload, ends = bytes(span.block.payload), span.block.row_ends
        at = payload.find(needle, ends[span.first - 1] if span.first else 0)
        while at >= 0:
            place = bisect_right(ends, at) if needle else span.first
            if place >= span.end:
                break
            start = ends[place - 1] if place else 0
            yield before + place - span.first, split_row(stream.copy_format, bytes(payload[start : ends[place]]))
            at = payload.find(needle, ends[place])
        before += span.end - span.first


def add_field(stream: CopyStream, column: str, fields: Sequence[bytes | None]) -> CopyStream:
    """The same rows with one more column at the end. fields: one a row, as split_row has them."""
    payload, ends = bytearray(), array("Q")
    for row, field in zip(stream.rows_one_by_one(), fields, strict=True):
        if stream.copy_format is CopyFormat.TEXT:
            payload += row.rstrip(b"\n") + b"\t" + (b"\\N" if field is None else field) + b"\n"
        else:
            size = -1 if field is None else len(field)
            payload += struct.pack("!h", int.from_bytes(row[:2], "big") + 1) + row[2:]
            payload += struct.pack("!i", size) + (field or b"")
        ends.append(len(payload))
    records = [span.block.find_record(row) for span in stream.spans for row in range(span.first, span.end)]
    block = Block(
        payload=payload,
        row_ends=ends,
        records=array("Q", (index for _, index in records)),
        sources=tuple(source for source, _ in records),
        chunks=array("Q", range(len(records))),
    )
    spans = (Span(block=block, first=0, end=len(ends)),) if records else ()
    return replace(stream, columns=(*stream.columns, column), spans=spans)


def split_row(copy_format: CopyFormat, row: bytes) -> list[bytes | None]:
    """The fields of one row in COPY format; None is NULL."""
    if copy_format is CopyFormat.TEXT:
        return [None if field == b"\\N" else field for field in row.rstrip(b"\n").split(b"\t")]
    fields: list[bytes | None] = []
    at = 2
    for _ in range(int.from_bytes(row[:2], "big")):
        size = int.from_bytes(row[at : at + 4], "big", signed=True)
        at += 4
        fields.append(row[at : at + size] if size >= 0 else None)
        at += max(size, 0)
    return fields
