"""The values that travel through the consumer, from Kafka to the database.

What must not live here: behaviour beyond arithmetic on the value itself.

A *claim id* is a number of this process: it grows each time partitions are claimed. A chunk that was read under an
older claim than the partition's present one is dropped, which is how everything buffered before a rebalance or a
reconnect is forgotten in one comparison.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from forebay_consumer.native import PackedRows

Header = tuple[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawChunk:
    """Records of one partition in offset order, read under one claim. Never empty; all lists have one entry a record.

    values: None is a tombstone. keys, timestamps_ms, headers: None where they were not asked for (ports.Wanted).
    first_timestamp_ms: Kafka timestamp of the first record, milliseconds since 1970, None if it has none.
    size_bytes: what values, and keys and headers if kept, take, for the buffer's budget; at least one a record.
    rows: what was made of them on the way in, for a decoder of the same plan.
    """

    partition: int
    claim_id: int
    offsets: Sequence[int]
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] | None = None
    timestamps_ms: Sequence[int | None] | None = None
    headers: Sequence[Sequence[Header]] | None = None
    first_timestamp_ms: int | None = None
    size_bytes: int = 0
    rows: PackedRows | None = None


class Reason(StrEnum):
    """Why a record cannot become a row. The words stand in `forebay.dead_letters.reason`."""

    INVALID_JSON = "InvalidJSON"
    INVALID_UTF8 = "InvalidUTF8"
    NOT_AN_OBJECT = "NotAnObject"
    TOMBSTONE = "Tombstone"
    MISSING_FIELD = "MissingField"
    NULL_FIELD = "NullField"
    WRONG_TYPE = "WrongType"
    OUT_OF_RANGE = "OutOfRange"
    NUL_CHARACTER = "NulCharacter"
    UNKNOWN_FIELD = "UnknownField"
    CONSTRAINT = "ConstraintViolation"
    REJECTED = "RejectedByDatabase"
    SUPERSEDED = "Superseded"
    """Only after a replay: the row of this key may be newer than the record (mode Upsert)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that is kept, whole, in `forebay.dead_letters` instead of the table.

    message: for people; never contains the value. column: the column at fault, if one is.
    """

    partition: int
    offset: int
    reason: Reason
    message: str
    value: bytes | None
    key: bytes | None = None
    column: str | None = None
    timestamp_ms: int | None = None
    headers: Sequence[Header] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Encoded rows of one chunk that leave out the same columns (so that the database fills in their defaults).

    is_delete: the rows of these keys are to be deleted (mode Upsert); they hold the key columns only.
    omitted: indexes into TablePlan.columns, ascending; empty for nearly all rows.
    payload: the rows' bytes in COPY format (binary tuples or text lines), without header and trailer. A memoryview
    looks at memory that lives as long as the chunk.
    row_ends: end of each row in payload, ascending; len(row_ends) is the number of rows.
    record_index: for each row the index of its record in the chunk, ascending.
    """

    omitted: tuple[int, ...]
    payload: bytes | bytearray | memoryview
    row_ends: array[int]  # typecode "Q"
    record_index: array[int]  # typecode "Q"
    is_delete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk:
    """A chunk ready to be written: every record is in exactly one of `groups` and `dead`."""

    source: RawChunk
    groups: tuple[RowGroup, ...]
    dead: tuple[DeadLetter, ...]

    @property
    def rows(self) -> int:
        """Rows that are encoded, those to be deleted included."""
        return sum(len(group.row_ends) for group in self.groups)

    @property
    def next_offset(self) -> int:
        """First offset after the chunk."""
        return self.source.offsets[-1] + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """This process' right to write one partition: what `forebay.positions` says since the claim.

    owner: random token drawn for the claim. next_offset: first offset NOT written.
    topic_id: of the topic whose offset that is; None where it is not known.
    """

    partition: int
    epoch: int
    owner: UUID
    next_offset: int
    topic_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one transaction writes.

    chunks: in the order read; those of one partition are in offset order without overlap.
    claims: one for each partition in chunks; claims[p].next_offset is the position expected in the database.
    next_offsets: the position of each partition after the commit; same keys as claims.
    """

    chunks: tuple[EncodedChunk, ...]
    claims: Mapping[int, Claim]
    next_offsets: Mapping[int, int]

    @property
    def records(self) -> int:
        """Records in the batch, dead letters included."""
        return sum(len(chunk.source.offsets) for chunk in self.chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReceipt:
    """Proof of a commit. Only `Sink.write` makes one; `Source.commit` takes nothing else, so nothing is committed
    unwritten.

    rows, dead_letters: what the transaction wrote. retries: transactions rolled back before this one because of bad
    rows.
    copies: COPY statements sent for this batch, failed ones included.
    commit_s: time of the COMMIT alone; took_s: from BEGIN of the first attempt to the end of COMMIT.
    reasons: how many of the dead letters have each.
    """

    next_offsets: Mapping[int, int]
    rows: int
    dead_letters: int
    retries: int
    copies: int
    commit_s: float
    took_s: float
    reasons: Mapping[Reason, int] = field(default_factory=dict)
