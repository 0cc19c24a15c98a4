"""What has happened in the demo so far: the value that the live view and the plain lines show. No I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from forebay_cli.demo.failovers import DatabaseScene
from forebay_cli.demo.wave import Wave
from forebay_cli.local.view import PipelineView

KEPT_SAMPLES = 400
"""Samples for the sparklines: more than the widest terminal has columns."""

KEPT_EVENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One moment; rates are records/s, None is unknown."""

    sent_rate: float
    written_rate: float | None
    lag_records: int | None
    consumers: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryEvent:
    """Something worth a line. at_s: seconds since the wave began, negative before."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the producer has said last."""

    elapsed_s: float = 0.0
    delivered: int = 0
    poison: int = 0


@dataclass(slots=True)
class Story:
    """stage: what is being waited for, in words. started_at: monotonic time of the wave's beginning, None before.

    database: None when nothing happens to it. rewound_by: consumer -> records that it read again after a failover.
    troubles: what was said of consumers that ended by themselves.
    """

    wave: Wave
    stage: str = "starting"
    started_at: float | None = None
    progress: Progress = field(default_factory=Progress)
    view: PipelineView | None = None
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=KEPT_SAMPLES))
    events: deque[StoryEvent] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    replicas_first: int | None = None
    replicas_peak: int = 0
    max_age_s: float = 0.0
    database: DatabaseScene | None = None
    rewound_by: dict[str, int] = field(default_factory=dict)
    troubles: set[str] = field(default_factory=set)

    def elapsed_s(self, now: float) -> float:
        """Since the wave began; 0 before."""
        return 0.0 if self.started_at is None else now - self.started_at

    def note(self, text: str, now: float) -> None:
        """Remember an event."""
        self.events.append(StoryEvent(at_s=self.elapsed_s(now), text=text))

    def see(self, view: PipelineView) -> None:
        """Take in one pass of the loop."""
        self.view = view
        if view.running is not None:
            self.replicas_peak = max(self.replicas_peak, view.running)
            if self.replicas_first is None and view.running > 0:
                self.replicas_first = view.running
        if view.age_s is not None:
            self.max_age_s = max(self.max_age_s, view.age_s)
        if view.problem is not None:
            self.troubles.add(view.problem)
        for line in view.consumers:
            if line.rewound_records is not None:
                self.rewound_by[line.name] = line.rewound_records

    def advance(self, progress: Progress, over_s: float) -> Sample:
        """Take in the producer's progress since the last call, over_s seconds ago; the new sample."""
        view = self.view
        sent = progress.delivered - self.progress.delivered
        self.progress = progress
        sample = Sample(
            sent_rate=sent / over_s if over_s > 0 else 0.0,
            written_rate=None if view is None else sum_rates(view),
            lag_records=None if view is None else view.lag_records,
            consumers=None if view is None else view.running,
        )
        self.samples.append(sample)
        return sample

    @property
    def rewound(self) -> int:
        """Records that consumers read again, those that have left included."""
        return sum(self.rewound_by.values())

    @property
    def is_drained(self) -> bool:
        """Kafka holds nothing that is not written, as far as is known."""
        return self.view is not None and self.view.lag_records == 0 and self.view.arrival == 0

    @property
    def has_fallen(self) -> bool:
        """As few consumers as may be."""
        view = self.view
        return view is not None and view.running == view.changed_to == view.min_replicas

    @property
    def replicas_end(self) -> int:
        """Consumers at the last pass."""
        return 0 if self.view is None or self.view.running is None else self.view.running

    @property
    def rose_and_fell(self) -> bool:
        """More consumers than in the beginning were there, and fewer than that in the end."""
        first = self.replicas_first
        return first is not None and self.replicas_peak > first and self.replicas_end < self.replicas_peak


def sum_rates(view: PipelineView) -> float | None:
    """Records/s that all consumers write; what the loop measured where one of them does not say."""
    rates = [line.records_per_second for line in view.consumers if line.phase is not None]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known and len(known) == len(rates) else view.written
