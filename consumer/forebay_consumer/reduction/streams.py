"""From a batch to the streams that mode Upsert writes."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence, Set

from forebay_consumer.copy_stream import Block, CopyStream, Span, split_row
from forebay_consumer.plan import CopyFormat, TablePlan
from forebay_consumer.records import Batch, RawChunk, RowGroup
from forebay_consumer.reduction.native import reduce_natively
from forebay_consumer.reduction.parts import DELETIONS, KeyKind, Reduced, Source, choose_kind
from forebay_consumer.reduction.reference import Key, build_key, reduce_in_python

_NOTHING: frozenset[tuple[int, int]] = frozenset()


def build_key_streams(
    batch: Batch, plan: TablePlan, without: Set[tuple[int, int]] = _NOTHING
) -> tuple[CopyStream, ...]:
    """The keys to delete, then the rows to write, one stream for each set of columns that they leave out.

    without: (partition, offset) of records that do not count; the record before them is then the key's last word.
    """
    groups = list(_select_groups(batch, without))
    omitted = sorted({group.omitted for _, group in groups if not group.is_delete})
    numbers = {each: number for number, each in enumerate(omitted, start=DELETIONS + 1)}
    sources = [
        Source(
            group=group,
            chunk=chunk,
            stream=DELETIONS if group.is_delete else numbers[group.omitted],
            places=_find_places(plan, group.omitted),
        )
        for chunk, group in groups
    ]
    kinds = tuple(choose_kind(plan.columns[index].column) for index in plan.key)
    reduced = _reduce(sources, kinds, plan.copy_format, len(omitted) + 1)
    chunks = tuple(chunk.source for chunk in batch.chunks)
    left_out = (plan.not_key, *omitted)
    made = [_build_stream(plan, left_out[n], rows, chunks, n == DELETIONS) for n, rows in enumerate(reduced)]
    return tuple(stream for stream in made if stream.spans)


def read_keys(stream: CopyStream, plan: TablePlan) -> list[Key]:
    """The key of each row, evened out as the reduction compares them."""
    places = [stream.columns.index(name) for name in plan.key_names]
    columns = [plan.columns[index].column for index in plan.key]
    return [
        build_key(split_row(stream.copy_format, row), places, map(choose_kind, columns), stream.copy_format)
        for row in stream.rows_one_by_one()
    ]


def _select_groups(batch: Batch, without: Set[tuple[int, int]]) -> Iterator[tuple[int, RowGroup]]:
    for number, chunk in enumerate(batch.chunks):
        source = chunk.source
        offsets = {offset for partition, offset in without if partition == source.partition}
        refused = {index for index, offset in enumerate(source.offsets) if offset in offsets} if offsets else ()
        for group in chunk.groups:
            kept = _leave_out(group, refused) if refused else group
            if len(kept.row_ends):
                yield number, kept


def _leave_out(group: RowGroup, records: Collection[int]) -> RowGroup:
    payload, ends, index = bytearray(), array("Q"), array("Q")
    start = 0
    for end, record in zip(group.row_ends, group.record_index, strict=True):
        if record not in records:
            payload += group.payload[start:end]
            ends.append(len(payload))
            index.append(record)
        start = end
    return RowGroup(
        omitted=group.omitted, payload=bytes(payload), row_ends=ends, record_index=index, is_delete=group.is_delete
    )


def _find_places(plan: TablePlan, omitted: tuple[int, ...]) -> tuple[int, ...]:
    """Where a row without these columns has those of the key."""
    return tuple(index - sum(left_out < index for left_out in omitted) for index in plan.key)


def _reduce(
    sources: Sequence[Source], kinds: Sequence[KeyKind], copy_format: CopyFormat, stream_count: int
) -> list[Reduced]:
    reduced = reduce_natively(sources, kinds, stream_count) if copy_format is CopyFormat.BINARY else None
    return reduce_in_python(sources, kinds, copy_format, stream_count) if reduced is None else reduced


def _build_stream(
    plan: TablePlan, omitted: tuple[int, ...], rows: Reduced, chunks: tuple[RawChunk, ...], is_delete: bool
) -> CopyStream:
    block = Block(
        payload=rows.payload, row_ends=rows.row_ends, records=rows.records, sources=chunks, chunks=rows.chunks
    )
    names = tuple(planned.column.name for i, planned in enumerate(plan.columns) if i not in omitted)
    spans = (Span(block=block, first=0, end=len(rows.row_ends)),) if len(rows.row_ends) else ()
    return CopyStream(names, plan.copy_format, spans, is_delete)
