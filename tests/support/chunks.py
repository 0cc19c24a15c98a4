"""Builders of chunks, claims and receipts for tests that do not care about payloads."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from uuid import UUID, uuid5

from forebay_consumer.records import Batch, Claim, EncodedChunk, RawChunk, RowGroup, WriteReceipt

_NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def raw_chunk(
    partition: int = 0, first: int = 0, count: int = 3, *, claim_id: int = 1, offsets: Sequence[int] | None = None
) -> RawChunk:
    """A chunk of small distinct values."""
    numbers = list(range(first, first + count)) if offsets is None else list(offsets)
    values = [f'{{"id":{n}}}'.encode() for n in numbers]
    return RawChunk(
        partition=partition,
        claim_id=claim_id,
        offsets=numbers,
        values=values,
        first_timestamp_ms=1_000,
        size_bytes=sum(map(len, values)),
    )


def encoded(chunk: RawChunk) -> EncodedChunk:
    """The chunk as rows whose payload is the value itself."""
    payload, ends = bytearray(), array("Q")
    for value in chunk.values:
        payload += value or b""
        ends.append(len(payload))
    group = RowGroup(omitted=(), payload=payload, row_ends=ends, record_index=array("Q", range(len(ends))))
    return EncodedChunk(source=chunk, groups=(group,), dead=())


def claim(partition: int = 0, next_offset: int = 0, epoch: int = 1) -> Claim:
    """A claim whose owner follows from its numbers."""
    return Claim(
        partition=partition, epoch=epoch, owner=uuid5(_NAMESPACE, f"{partition}/{epoch}"), next_offset=next_offset
    )


def receipt(next_offsets: dict[int, int], rows: int = 1, took_s: float = 0.1) -> WriteReceipt:
    """A receipt of a write without dead letters."""
    return WriteReceipt(
        next_offsets=next_offsets, rows=rows, dead_letters=0, retries=0, copies=1, commit_s=0.001, took_s=took_s
    )


def batch(*chunks: RawChunk) -> Batch:
    """A batch of these chunks; each partition's claim stands at its first chunk's first offset."""
    first = {c.partition: c.offsets[0] for c in reversed(chunks)}
    return Batch(
        chunks=tuple(encoded(c) for c in chunks),
        claims={p: claim(p, offset) for p, offset in first.items()},
        next_offsets={c.partition: c.offsets[-1] + 1 for c in chunks},
    )
