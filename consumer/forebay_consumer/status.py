"""What the consumer says of itself: collects the facts of the pipeline and its lanes into one ConsumerState.

Pure bookkeeping; monotonic and wall-clock time come in as arguments.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from forebay_api.state import ConsumerState, Phase, SinkHealth, SinkState, Totals

from forebay_consumer.lane_status import LaneStatus
from forebay_consumer.pace import Rate, Utilisation
from forebay_consumer.records import Batch, WriteReceipt

WORST_FIRST = (SinkHealth.BROKEN, SinkHealth.AWAY, SinkHealth.UNKNOWN, SinkHealth.READY)
"""Of several lanes the worst speaks: what it waits for is what a person has to look at."""


class Status:
    """Shared by the pipeline, which writes it, and the health endpoints, which read it (on the same event loop)."""

    def __init__(self, *, consumer: str, pipeline: str, now: float, lanes: int = 1) -> None:
        claim_ids = count(1)
        self.lanes = tuple(LaneStatus(now, claim_ids, is_resting=n > 0) for n in range(lanes))
        self.decoding = Utilisation(now)
        self.source_trouble: str | None = None
        """What the source itself reports."""
        self.draining = False
        self._consumer = consumer
        self._pipeline = pipeline
        self._started_at = now
        self._written = Rate(now)
        self._totals = Totals()

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

    def written(self, batch: Batch, receipt: WriteReceipt, now: float) -> None:
        """Count a commit."""
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

    def reset_rates(self, now: float) -> None:
        """An interruption of a lane: utilisation and rates before it say nothing about what this consumer can do."""
        self.decoding.reset(now)
        self._written.reset(now)

    @property
    def assigned(self) -> tuple[int, ...]:
        """This consumer's partitions."""
        return tuple(sorted(p for lane in self.lanes for p in lane.positions.assigned))

    @property
    def buffered_bytes(self) -> int:
        """Record bytes that wait for a transaction, of all lanes."""
        return sum(lane.builder.size_bytes for lane in self.lanes)

    @property
    def buffered_records(self) -> int:
        """Records that wait for a transaction, of all lanes."""
        return sum(lane.builder.records for lane in self.lanes)

    def state(self, *, now: float, wall_ms: float, wall_iso: str) -> ConsumerState:
        """The present state. now: monotonic seconds; wall_ms: milliseconds since 1970; wall_iso.

        The same as ISO 8601.
        """
        for lane in self.lanes:
            lane.tell_since(wall_iso)
        sink = self._worst_sink()
        ready = sink.health is SinkHealth.READY
        busiest, writing = max(
            ((lane, lane.writing.fraction(now)) for lane in self.lanes if not lane.is_resting),
            key=lambda pair: pair[1] or 0.0,
        )
        decoding = self.decoding.fraction(now)
        known = [b for b in (decoding, writing) if b is not None]
        stamps = [lane.builder.oldest_timestamp_ms() for lane in self.lanes]
        oldest_ms = min((stamp for stamp in stamps if stamp is not None), default=None)
        return ConsumerState(
            consumer=self._consumer,
            pipeline=self._pipeline,
            phase=Phase.DRAINING if self.draining else self._phase(sink),
            sink=sink,
            partitions=tuple(
                sorted((r for lane in self.lanes for r in lane.positions.reports()), key=lambda r: r.partition)
            ),
            totals=replace(self._totals, gap_records=sum(lane.positions.gap_records for lane in self.lanes)),
            busy_fraction=max(known) if ready and known else None,
            records_per_second=self._written.per_second(now) if ready else None,
            oldest_unwritten_s=None if oldest_ms is None else max(0.0, (wall_ms - oldest_ms) / 1000),
            buffered_bytes=self.buffered_bytes,
            paused_because=None if ready else (sink.message or "the database has not been reached yet"),
            source_message=self.source_trouble
            or next((lane.unanswered for lane in self.lanes if lane.unanswered), None),
            uptime_s=now - self._started_at,
            busy_with_small_writes=(writing or 0.0) >= (decoding or 0.0) and busiest.has_room(now, wall_ms),
        )

    def _worst_sink(self) -> SinkState:
        sinks = [lane.sink for lane in self.lanes if not lane.is_resting]
        return min(sinks, key=lambda sink: WORST_FIRST.index(sink.health))

    def _phase(self, sink: SinkState) -> Phase:
        return Phase.STARTING if sink.health is SinkHealth.UNKNOWN else Phase.RUNNING
