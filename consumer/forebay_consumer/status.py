"""What the consumer says of itself: collects the pipeline's facts into one ConsumerState.

Pure bookkeeping; monotonic and wall-clock time come in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from forebay_api.state import ConsumerState, Phase, SinkHealth, SinkState, Totals

from forebay_consumer.batching import BatchBuilder
from forebay_consumer.pace import WINDOW_S, Rate, SmallWrites, Utilisation
from forebay_consumer.positions import Positions
from forebay_consumer.records import Batch, WriteReceipt


class Status:
    """Shared by the pipeline, which writes it, and the health endpoints, which read it (on the same event loop)."""

    def __init__(self, *, consumer: str, pipeline: str, now: float) -> None:
        self.positions = Positions()
        self.builder = BatchBuilder()
        self.decoding = Utilisation(now)
        self.writing = Utilisation(now)
        self.source_trouble: str | None = None
        """What the source itself reports."""
        self.unanswered: str | None = None
        """Why Kafka did not answer a question that a claim waits for."""
        self.draining = False
        self._consumer = consumer
        self._pipeline = pipeline
        self._started_at = now
        self._written = Rate(now)
        self._small_writes = SmallWrites()
        self._totals = Totals()
        self._sink = SinkState(health=SinkHealth.UNKNOWN)
        self._refusal: tuple[str, str] | None = None
        self._refused_partitions: frozenset[int] = frozenset()

    def add(
        self,
        *,
        claims: int = 0,
        rewound_records: int = 0,
        fenced: int = 0,
        lost_records: int = 0,
        made_anew: int = 0,
    ) -> None:
        """Count what happened."""
        t = self._totals
        self._totals = replace(
            t,
            claims=t.claims + claims,
            rewound_records=t.rewound_records + rewound_records,
            fenced=t.fenced + fenced,
            lost_records=t.lost_records + lost_records,
            made_anew=t.made_anew + made_anew,
        )

    def written(self, batch: Batch, receipt: WriteReceipt, now: float, *, is_small: bool = False) -> None:
        """Count a commit. is_small: by BatchPolicy.is_small()."""
        t = self._totals
        self._totals = replace(
            t,
            records=t.records + batch.records,
            record_bytes=t.record_bytes + sum(c.source.size_bytes for c in batch.chunks),
            rows=t.rows + receipt.rows,
            dead_letters=t.dead_letters + receipt.dead_letters,
            transactions=t.transactions + 1,
            retries=t.retries + receipt.retries,
        )
        self._written.add(batch.records, now)
        self._small_writes.add(receipt.took_s, is_small=is_small, now=now)

    def sink_changed(self, health: SinkHealth, reason: str | None, message: str | None) -> bool:
        """Note the sink's health; True when it is news."""
        news = (health, reason) != (self._sink.health, self._sink.reason)
        since = self._sink.since if not news else None
        self._sink = SinkState(health=health, reason=reason, message=message, since=since)
        return news

    def write_refused(self, reason: str, message: str, partitions: Iterable[int]) -> None:
        """A write was refused for good: only a write that succeeds makes the sink ready again, not a mere claim.

        Unless none of its partitions is this consumer's any more: then it is for others to try.
        """
        self._refusal = (reason, message)
        self._refused_partitions = frozenset(partitions)

    def sink_ready(self, *, written: bool) -> bool:
        """The sink worked; True when it is news. After a refused write a claim only brings the refusal back to mind."""
        is_ours = not self._refused_partitions.isdisjoint(self.positions.assigned)
        if self._refusal is not None and is_ours and not written:
            self.sink_changed(SinkHealth.BROKEN, *self._refusal)
            return False
        self._refusal = None
        return self.sink_changed(SinkHealth.READY, None, None)

    def reset_rates(self, now: float) -> None:
        """An interruption: utilisation and rates before it say nothing about what this consumer can do."""
        self.decoding.reset(now)
        self.writing.reset(now)
        self._written.reset(now)
        self._small_writes.reset()

    def state(self, *, now: float, wall_ms: float, wall_iso: str) -> ConsumerState:
        """The present state. now: monotonic seconds; wall_ms: milliseconds since 1970; wall_iso.

        The same as ISO 8601.
        """
        if self._sink.since is None:
            self._sink = replace(self._sink, since=wall_iso)
        ready = self._sink.health is SinkHealth.READY
        decoding, writing = self.decoding.fraction(now), self.writing.fraction(now)
        known = [b for b in (decoding, writing) if b is not None]
        oldest_ms = self.builder.oldest_timestamp_ms()
        oldest_s = None if oldest_ms is None else max(0.0, (wall_ms - oldest_ms) / 1000)
        return ConsumerState(
            consumer=self._consumer,
            pipeline=self._pipeline,
            phase=self._phase(),
            sink=self._sink,
            partitions=self.positions.reports(),
            totals=replace(self._totals, gap_records=self.positions.gap_records),
            busy_fraction=max(known) if ready and known else None,
            records_per_second=self._written.per_second(now) if ready else None,
            oldest_unwritten_s=oldest_s,
            buffered_bytes=self.builder.size_bytes,
            paused_because=None if ready else (self._sink.message or "the database has not been reached yet"),
            source_message=self.source_trouble or self.unanswered,
            uptime_s=now - self._started_at,
            busy_with_small_writes=(writing or 0.0) >= (decoding or 0.0) and self._has_room(now, oldest_s),
        )

    def _has_room(self, now: float, oldest_s: float | None) -> bool:
        """The writer is at small transactions, and not because the database takes no more: that lets records wait."""
        return self._small_writes.prevail(now) and (oldest_s is None or oldest_s < WINDOW_S)

    def _phase(self) -> Phase:
        if self.draining:
            return Phase.DRAINING
        return Phase.STARTING if self._sink.health is SinkHealth.UNKNOWN else Phase.RUNNING
