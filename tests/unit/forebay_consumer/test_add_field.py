"""One more column at the end of rows that are on their way into COPY."""

from __future__ import annotations

import struct

import pytest
from forebay_consumer.copy_stream import CopyStream, add_field, build_streams, split_row
from forebay_consumer.plan import CopyFormat, TablePlan
from forebay_consumer.records import Batch
from support.decoding import column, plan
from support.rows import rows_chunk

PLAN = plan([column("id", "int8"), column("note", "text")])


def build_stream(table_plan: TablePlan, copy_format: CopyFormat) -> CopyStream:
    chunks = (
        rows_chunk([(1, "a"), (2, None)], first=5, copy_format=copy_format),
        rows_chunk([(3, "c")], partition=1, copy_format=copy_format),
    )
    (stream,) = build_streams(Batch(chunks=chunks, claims={}, next_offsets={}), table_plan)
    return CopyStream(stream.columns, copy_format, stream.spans)


@pytest.mark.parametrize("copy_format", list(CopyFormat))
def test_rows_get_their_field_and_stay_rows_of_their_records(copy_format: CopyFormat) -> None:
    stream = build_stream(PLAN, copy_format).without([1])
    fields = [struct.pack("!q", 7), None] if copy_format is CopyFormat.BINARY else [b"7", None]

    longer = add_field(stream, "version", fields)

    assert longer.columns == ("id", "note", "version")
    assert longer.list_records() == stream.list_records() == [(0, 5), (1, 0)]
    before = [split_row(copy_format, row) for row in stream.rows_one_by_one()]
    after = [split_row(copy_format, row) for row in longer.rows_one_by_one()]
    assert after == [[*row, field] for row, field in zip(before, fields, strict=True)]
    assert longer.cut(1, 2).list_records() == [(1, 0)]
