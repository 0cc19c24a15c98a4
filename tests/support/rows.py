"""Encodes rows of int8 and text columns for COPY, independently of the product's decoders."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Mapping, Sequence

from forebay_consumer.plan import CopyFormat
from forebay_consumer.records import Batch, Claim, DeadLetter, EncodedChunk, RawChunk, RowGroup

Value = int | str | bytes | None


def encode_row(row: Sequence[Value], copy_format: CopyFormat = CopyFormat.BINARY) -> bytes:
    """One row: int is int8, str text, bytes are sent as they are."""
    if copy_format is CopyFormat.TEXT:
        return "\t".join("\\N" if value is None else str(value) for value in row).encode() + b"\n"
    parts = [struct.pack("!h", len(row))]
    for value in row:
        field = (
            struct.pack("!q", value) if isinstance(value, int) else value.encode() if isinstance(value, str) else value
        )
        parts.append(struct.pack("!i", -1) if field is None else struct.pack("!i", len(field)) + field)
    return b"".join(parts)


def rows_chunk(
    rows: Sequence[Sequence[Value]],
    *,
    partition: int = 0,
    first: int = 0,
    omitted: tuple[int, ...] = (),
    dead: tuple[DeadLetter, ...] = (),
    copy_format: CopyFormat = CopyFormat.BINARY,
) -> EncodedChunk:
    """A chunk whose records (one a row, in order, from offset `first`) all leave out the same columns."""
    payload, ends = bytearray(), array("Q")
    for row in rows:
        payload += encode_row(row, copy_format)
        ends.append(len(payload))
    count = len(rows) + len(dead)
    source = RawChunk(
        partition=partition,
        claim_id=1,
        offsets=range(first, first + count),
        values=[json.dumps([str(value) for value in row]).encode() for row in rows] + [letter.value for letter in dead],
        timestamps_ms=[1_700_000_000_000] * count,
    )
    group = RowGroup(omitted=omitted, payload=payload, row_ends=ends, record_index=array("Q", range(len(rows))))
    return EncodedChunk(source=source, groups=(group,), dead=dead)


def rows_batch(claims: Mapping[int, Claim], *chunks: EncodedChunk) -> Batch:
    """A batch of these chunks under these claims."""
    wanted = {chunk.source.partition for chunk in chunks}
    return Batch(
        chunks=chunks,
        claims={partition: claims[partition] for partition in wanted},
        next_offsets={chunk.source.partition: chunk.next_offset for chunk in chunks},
    )


def advance(claims: Mapping[int, Claim], batch: Batch) -> dict[int, Claim]:
    """The claims after the batch was written."""
    moved = dict(claims)
    for partition, offset in batch.next_offsets.items():
        old = claims[partition]
        moved[partition] = Claim(partition=partition, epoch=old.epoch, owner=old.owner, next_offset=offset)
    return moved
