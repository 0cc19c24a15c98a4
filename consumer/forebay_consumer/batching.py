"""When encoded chunks become a transaction, and how large it is.

Pure: time comes in as an argument (monotonic seconds).

A transaction aims at a duration, not at a row count (the idea of pt-online-schema-change's chunk-time): the rows it
may hold follow the throughput that the database last showed. While one transaction is under way the next batch
grows, so load by itself makes batches larger; with little load a short linger keeps latency low.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from forebay_consumer.records import Batch, Claim, EncodedChunk

TARGET_TRANSACTION_S = 0.2
"""Seconds a transaction should take: long enough to amortise fsync and round trips, short enough to redo cheaply."""

MIN_ROWS = 2_000
MAX_ROWS = 200_000
START_ROWS = 10_000
MAX_BATCH_BYTES = 12 * 2**20
"""Record bytes in one transaction; COPY's gain from longer batches is gone long before."""

MIN_LINGER_S = 0.004
MAX_LINGER_S = 0.1
LINGER_S_PER_ROW_RATE = 1e-6
"""Linger grows with the stream: 5 ms at 5,000 records/s, 100 ms from 100,000 records/s on."""

_RATE_WEIGHT = 0.3
"""Share of the newest transaction in the running estimate of throughput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPolicy:
    """How large and how old a batch may get. ceiling_rows: what the pace allows at once (a cap); None: no cap.

    ramp_rows: since an outage, the largest batch that the successes so far allow; None: the ramp is over.
    """

    rows: int = START_ROWS
    rows_per_s: float | None = None
    arrival_per_s: float = 0.0
    ceiling_rows: int | None = None
    ramp_rows: int | None = None

    @property
    def max_rows(self) -> int:
        """Records after which a batch is taken."""
        return self.rows if self.ceiling_rows is None else min(self.rows, self.ceiling_rows)

    @property
    def linger_s(self) -> float:
        """How long the oldest chunk may wait for company while the database is idle."""
        return min(MAX_LINGER_S, max(MIN_LINGER_S, self.arrival_per_s * LINGER_S_PER_ROW_RATE))

    def is_small(self, records: int, took_s: float) -> bool:
        """Whether a transaction of so many records, in so long, says nothing about how many could be written.

        It has less than half of what it may have, and took more than twice as long a record as a full one: with little
        load a transaction is round trips and an fsync, one after the other without a pause.
        """
        has_room = records < self.max_rows // 2
        return has_room and took_s > 2 * records * TARGET_TRANSACTION_S / self.rows

    def after_write(self, records: int, took_s: float) -> BatchPolicy:
        """The policy once a transaction of so many records took so long.

        Small transactions are all round trips and say nothing about throughput, so they only ever let the batch grow.
        """
        rate = records / max(took_s, 1e-6)
        smooth = rate if self.rows_per_s is None else self.rows_per_s + _RATE_WEIGHT * (rate - self.rows_per_s)
        wanted = int(smooth * TARGET_TRANSACTION_S)
        is_small = records < self.rows // 2
        if is_small:
            wanted = max(wanted, self.rows)
        ramp = self.ramp_rows if self.ramp_rows is None or is_small else 2 * self.ramp_rows
        if ramp is not None:
            wanted, ramp = min(wanted, ramp), None if wanted < ramp else ramp
        return replace(self, rows=min(MAX_ROWS, max(MIN_ROWS, wanted)), rows_per_s=smooth, ramp_rows=ramp)

    def after_outage(self) -> BatchPolicy:
        """The policy once the database was away: small batches, each success allows one twice as large.

        A primary that is back has cold caches and every consumer's backlog before it; and perhaps it was a time limit
        too short for a large transaction. What it could do before the outage says nothing now.
        """
        return replace(self, rows=MIN_ROWS, rows_per_s=None, ramp_rows=MIN_ROWS)

    def after_arrival(self, records: int, elapsed_s: float) -> BatchPolicy:
        """The policy once so many records came in so many seconds since the arrivals before."""
        share = min(1.0, elapsed_s / 0.5)
        rate = records / max(elapsed_s, 1e-3)
        return replace(self, arrival_per_s=self.arrival_per_s + share * (rate - self.arrival_per_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    chunk: EncodedChunk
    since: float


class BatchBuilder:
    """Chunks that wait for their transaction, in the order read."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self.records = 0
        self.size_bytes = 0

    def add(self, chunk: EncodedChunk, now: float) -> None:
        """Put a chunk at the end."""
        self._waiting.append(_Waiting(chunk=chunk, since=now))
        self.records += len(chunk.source.offsets)
        self.size_bytes += chunk.source.size_bytes

    def due_in(self, now: float, policy: BatchPolicy) -> float | None:
        """Seconds until a batch should be taken: 0 when one is full or old enough, None when nothing waits."""
        if not self._waiting:
            return None
        if self.records >= policy.max_rows or self.size_bytes >= MAX_BATCH_BYTES:
            return 0.0
        return max(0.0, self._waiting[0].since + policy.linger_s - now)

    def oldest_timestamp_ms(self) -> int | None:
        """Kafka timestamp of the oldest waiting record, None if nothing waits or it has none."""
        stamps = [w.chunk.source.first_timestamp_ms for w in self._waiting]
        return min((s for s in stamps if s is not None), default=None)

    def take(self, policy: BatchPolicy, claim_of: Callable[[int], Claim | None]) -> Batch | None:
        """The next batch: at least one chunk, then more up to the policy's size. None when nothing waits.

        Chunks whose partition has no claim are the caller's to drop beforehand.
        """
        chunks: list[EncodedChunk] = []
        claims: dict[int, Claim] = {}
        next_offsets: dict[int, int] = {}
        records = size_bytes = 0
        while self._waiting and (not chunks or (records < policy.max_rows and size_bytes < MAX_BATCH_BYTES)):
            chunk = self._pop()
            partition = chunk.source.partition
            if (claim := claim_of(partition)) is None:
                raise AssertionError(f"chunk of unclaimed partition {partition} was not dropped")
            chunks.append(chunk)
            claims[partition] = claim
            next_offsets[partition] = chunk.next_offset
            records += len(chunk.source.offsets)
            size_bytes += chunk.source.size_bytes
        return Batch(chunks=tuple(chunks), claims=claims, next_offsets=next_offsets) if chunks else None

    def drop(self, partitions: Iterable[int]) -> int:
        """Forget the chunks of these partitions; returns their bytes."""
        gone = frozenset(partitions)
        kept = [w for w in self._waiting if w.chunk.source.partition not in gone]
        before = self.size_bytes
        self._waiting = deque(kept)
        self.records = sum(len(w.chunk.source.offsets) for w in kept)
        self.size_bytes = sum(w.chunk.source.size_bytes for w in kept)
        return before - self.size_bytes

    def _pop(self) -> EncodedChunk:
        chunk = self._waiting.popleft().chunk
        self.records -= len(chunk.source.offsets)
        self.size_bytes -= chunk.source.size_bytes
        return chunk


def size_of(batch: Batch) -> int:
    """Record bytes of a batch, as they count in the source's budget."""
    return sum(chunk.source.size_bytes for chunk in batch.chunks)
