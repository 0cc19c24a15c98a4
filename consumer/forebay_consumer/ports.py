"""What the pipeline needs from Kafka, from the database and from a decoder. Fakes and real ones pass tests/contract."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from forebay_api.v1alpha1 import StartFrom

from forebay_consumer.letters import StoredLetter
from forebay_consumer.plan import TablePlan
from forebay_consumer.records import Batch, Claim, EncodedChunk, RawChunk, WriteReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Partitions newly given to this member; they are paused until `Source.begin`."""

    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """Partitions taken away (or lost); nothing of theirs is read any more."""

    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What one poll brought, at most one chunk a partition and run."""

    chunks: tuple[RawChunk, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLost:
    """Kafka has no record at the position: position < log_start (retention), or > log_end (topic made anew, truncated).

    The partition is paused. Sent once for each `begin`.
    """

    partition: int
    claim_id: int
    position: int
    log_start: int
    log_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTrouble:
    """Kafka cannot be used now, and why, with the remedy; message None: it can again."""

    message: str | None


SourceEvent = Assigned | Revoked | Records | PositionLost | SourceTrouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Where and under which claim a partition is read on."""

    next_offset: int
    claim_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which parts of a record to take besides the value, its partition and its offset.

    plan: compiled; a source that can makes rows of the records as they come (RawChunk.rows).
    """

    keys: bool = False
    timestamps: bool = False
    headers: bool = False
    plan: bytes | None = None


class Source(Protocol):
    """A member of the consumer group. One thread of its own touches the client.

    Every method may be called from the loop only.
    """

    async def start(self) -> None:
        """Join the group. Returns at once; an unreachable broker is reported by SourceTrouble, never raised."""

    async def next_event(self) -> SourceEvent:
        """The next event in the order in which it happened; waits for one. Cancellation-safe: no event is lost."""

    def set_wanted(self, wanted: Wanted) -> None:
        """Which parts of records to take from now on (before the next `begin`)."""

    async def begin(self, beginnings: Mapping[int, Beginning]) -> None:
        """Seek and resume. Partitions no longer assigned are ignored. Chunks read afterwards carry the new claim id."""

    async def hold(self, partitions: Iterable[int]) -> None:
        """Pause; polling goes on. Chunks already handed over stay valid until their claim id is outdated."""

    def release(self, size_bytes: int) -> None:
        """Give back buffer budget: chunks of this many bytes were written or dropped. A full budget pauses fetching."""

    async def leave(self) -> None:
        """Give everything back (Revoked follows) and be no member of the group until `rejoin`: others get it."""

    async def rejoin(self) -> None:
        """Be a member again."""

    async def topic_partitions(self) -> tuple[int, ...]:
        """All partitions of the topic, ascending. Raises SourceUnavailable (topic missing included)."""

    async def topic_id(self) -> str | None:
        """What tells the topic from others of the same name, before and after it; None where brokers give no ids.

        Asked of the brokers each time. Raises SourceUnavailable (topic missing included).
        """

    async def resolve_start(self, start_from: StartFrom, partitions: Iterable[int]) -> Mapping[int, int]:
        """The offset at which each partition starts. COMMITTED without a committed offset is the log start.

        Raises SourceUnavailable.
        """

    async def log_bounds(self, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
        """(log start, log end) of each partition. Raises SourceUnavailable."""

    def commit(self, receipt: WriteReceipt) -> None:
        """Mirror written positions to Kafka, in the background, newest wins, at most once a second.

        Never fails, never blocks.
        """

    def mirror_claims(self, claims: Iterable[Claim]) -> None:
        """Mirror the positions of claimed partitions, also backwards, also when nothing was read from them."""

    async def close(self, deadline_s: float) -> None:
        """Commit the mirror synchronously, leave the group, end the thread; give up after deadline_s seconds."""


class Decoder(Protocol):
    """Makes rows of records. Pure and total: never raises on any bytes. Called in a worker thread."""

    def decode(self, chunk: RawChunk) -> EncodedChunk:
        """Encode every record or name it dead."""


class Sink(Protocol):
    """The database. One connection (one lane); methods are never called concurrently, except `terminate`.

    Every method may raise SinkUnavailable or SinkBroken; after either the connection is gone, and `connect` starts
    anew.
    """

    async def connect(self) -> TablePlan:
        """Read credentials again, connect to a writable primary, make the schema, describe the table.

        Closes a former connection.
        """

    async def stored_partitions(self) -> frozenset[int]:
        """Partitions of this group and topic that have a position; empty before the first start.

        Raises SinkBroken("Conflict") as `claim` does.
        """

    async def initialize(self, offsets: Mapping[int, int], *, first_start: bool, topic_id: str | None = None) -> None:
        """Store positions for partitions that have none (existing ones are left alone).

        first_start: do nothing if another consumer has stored any for the group and topic meanwhile.
        topic_id: whose offsets these are, learned before they were; None: not known.
        """

    async def claim(self, partitions: Iterable[int], topic_id: str | None = None) -> Mapping[int, Claim]:
        """Take the partitions over: new epoch and owner; waits for a predecessor's COMMIT, so next_offset is final.

        topic_id: stored where none is stored yet. What a claim carries is what is stored, perhaps another one's.
        A predecessor that is frozen inside a transaction is terminated. Every partition must have been initialized.
        Raises SinkBroken("Conflict") when the group and topic are used for another table or by another pipeline.
        """

    async def write(self, batch: Batch) -> WriteReceipt:
        """Rows, dead letters and positions in one transaction. Rows that the database refuses become dead letters.

        Raises Fenced (rolled back, connection still good).
        """

    async def skip_to(self, claim: Claim, next_offset: int, topic_id: str | None = None) -> Claim:
        """Move one claimed position by hand (onPositionLost: SkipToEarliest); fenced like a write.

        topic_id: of the topic whose offset this is, if it is not the claim's.
        """

    def terminate(self) -> None:
        """Close the socket without a cancel request (a COMMIT under way has an unknown outcome). Safe at any time."""

    async def close(self) -> None:
        """Close the connection in good order; never raises."""


class LetterSession(Protocol):
    """An open connection to where dead letters are kept. Methods raise SinkUnavailable and SinkBroken."""

    async def read_unmirrored(self, partitions: Collection[int], after_id: int) -> Sequence[StoredLetter]:
        """The next letters, by id, that their topic does not have: few and small enough to hold at once."""

    async def mark_mirrored(self, ids: Collection[int]) -> None:
        """Their topic has them."""

    async def count_unmirrored(self, partitions: Collection[int]) -> tuple[int, float | None]:
        """How many their topic does not have, and the seconds since the oldest of those was written."""

    async def purge_old(self, partitions: Collection[int], *, days: int, only_mirrored: bool) -> int:
        """Delete some of those that are older; returns how many: 0 when none is left."""


class LetterStore(Protocol):
    """Where dead letters are kept."""

    def open(self) -> AbstractAsyncContextManager[LetterSession]:
        """A connection of its own, apart from the one that writes. Raises SinkUnavailable and SinkBroken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of letters sent to their topic. delivered: ids.

    trouble: why some were not, with the remedy. is_blocked: others would fare no better, so it is not worth going on.
    """

    delivered: frozenset[int]
    trouble: str | None = None
    is_blocked: bool = False


class LetterTopic(Protocol):
    """The topic to which dead letters are copied."""

    async def deliver(self, letters: Sequence[StoredLetter]) -> Delivery:
        """Send them and wait for the brokers' word, some seconds at most. Raises nothing."""

    def close(self) -> None:
        """End a delivery under way; its letters count as not delivered."""
