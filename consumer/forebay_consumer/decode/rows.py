"""Rows of COPY: gathering them into groups that leave out the same columns, and merging two such gatherings."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forebay_consumer.records import RowGroup

COPY_NULL = "\\N"

_ESCAPES = str.maketrans({"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"})


def escape_copy_text(text: str) -> str:
    """COPY's text format gives these characters and the backslash a meaning."""
    return text.translate(_ESCAPES)


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded row. omitted: indexes of the columns left to their defaults. is_delete: as RowGroup has it."""

    record_index: int
    omitted: tuple[int, ...]
    data: bytes
    is_delete: bool = False


_Kind = tuple[bool, tuple[int, ...]]
"""What the rows of one group share: whether they delete, and the columns that they leave out."""


def build_groups(rows: Iterable[Row]) -> tuple[RowGroup, ...]:
    """Rows in record order -> one group for each set of omitted columns, ordered by that set, deletions last."""
    by_kind: dict[_Kind, list[Row]] = {}
    for row in rows:
        by_kind.setdefault((row.is_delete, row.omitted), []).append(row)
    return tuple(_build_group(kind, by_kind[kind]) for kind in sorted(by_kind))


def merge_groups(groups: Sequence[RowGroup], rows: Sequence[Row]) -> tuple[RowGroup, ...]:
    """Put further rows (in record order) into groups, keeping record order in each."""
    merged = {(group.is_delete, group.omitted): group for group in groups}
    for extra in build_groups(rows):
        kind = (extra.is_delete, extra.omitted)
        present = merged.get(kind)
        merged[kind] = extra if present is None else _merge(present, extra)
    return tuple(merged[kind] for kind in sorted(merged))


def _build_group(kind: _Kind, rows: Sequence[Row]) -> RowGroup:
    ends = array("Q")
    end = 0
    for row in rows:
        end += len(row.data)
        ends.append(end)
    is_delete, omitted = kind
    return RowGroup(
        omitted=omitted,
        payload=b"".join(row.data for row in rows),
        row_ends=ends,
        record_index=array("Q", [row.record_index for row in rows]),
        is_delete=is_delete,
    )


def _merge(many: RowGroup, few: RowGroup) -> RowGroup:
    """Cut `many` only where a row of `few` goes between, so that the cost grows with the shorter one."""
    pieces: list[memoryview] = []
    ends, index = array("Q"), array("Q")
    many_view, few_view = memoryview(many.payload), memoryview(few.payload)
    taken = few_start = 0
    for few_row, record in enumerate(few.record_index):
        stop = _first_after(many.record_index, record, taken)
        _append_run(pieces, ends, index, many, many_view, taken, stop)
        few_end = few.row_ends[few_row]
        pieces.append(few_view[few_start:few_end])
        ends.append((ends[-1] if ends else 0) + few_end - few_start)
        index.append(record)
        taken, few_start = stop, few_end
    _append_run(pieces, ends, index, many, many_view, taken, len(many.row_ends))
    return RowGroup(
        omitted=many.omitted,
        payload=b"".join(pieces),
        row_ends=ends,
        record_index=index,
        is_delete=many.is_delete,
    )


def _first_after(record_index: Sequence[int], record: int, low: int) -> int:
    high = len(record_index)
    while low < high:
        middle = (low + high) // 2
        if record_index[middle] < record:
            low = middle + 1
        else:
            high = middle
    return low


def _append_run(
    pieces: list[memoryview],
    ends: array[int],
    index: array[int],
    group: RowGroup,
    payload: memoryview,
    start: int,
    stop: int,
) -> None:
    if start == stop:
        return
    first_byte = group.row_ends[start - 1] if start else 0
    shift = (ends[-1] if ends else 0) - first_byte
    pieces.append(payload[first_byte : group.row_ends[stop - 1]])
    run = group.row_ends[start:stop]
    ends.extend(run if shift == 0 else array("Q", [end + shift for end in run]))
    index.extend(group.record_index[start:stop])
