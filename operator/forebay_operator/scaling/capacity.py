"""What one consumer can write: learned from how busy consumers are, not from lag.

An over-provisioned group never saturates, so capacity learned from saturation alone sticks to its pessimistic
seed; rate divided by busy fraction tells it at any load.
What must not live here: how many consumers that makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median, quantiles

from forebay_api.state import Phase, SinkHealth
from forebay_api.v1alpha1 import PipelineSpec

from forebay_operator.model import Capacity, CapacitySource, ConsumerView

MIN_BUSY = 0.05
"""Below this the division by the busy fraction multiplies noise by more than twenty."""

SATURATED_BUSY = 0.95
"""A consumer that is this busy shows its capacity outright."""

SATURATED_WEIGHT = 0.3
"""Weight of one saturated sample: a measured limit replaces an extrapolated one within a few samples."""

FULL_WEIGHT_BUSY = 0.5
"""Less busy samples count less: small batches cost more a record, so little load tells little about much load."""

HALF_LIFE_S = 1800.0
"""Half-life of what was learned: tables, rows and machines change over hours, not seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusySample:
    """One consumer's answer. records_per_second: what it would write if it were fully busy."""

    records_per_second: float
    busy_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityEstimate:
    """The capacity to size with. records_per_second None: nothing is known. is_proven: good enough to scale down by."""

    records_per_second: float | None
    source: CapacitySource

    @property
    def is_proven(self) -> bool:
        """A cap is only an upper bound: it may show that more are needed, never that fewer would do."""
        return self.source in (CapacitySource.LEARNED, CapacitySource.SEED)


def read_busy_samples(consumers: Sequence[ConsumerView]) -> tuple[BusySample, ...]:
    """Answers that tell a capacity: running, with a sink that takes rows, and doing enough to be measured."""
    samples = []
    for view in consumers:
        state = view.state
        if state is None or state.phase is not Phase.RUNNING or state.sink.health is not SinkHealth.READY:
            continue
        if not state.busy_fraction or not state.records_per_second or state.busy_fraction < MIN_BUSY:
            continue
        if state.busy_with_small_writes:  # a few rows after the other: capacity would be no more than the present load
            continue
        busy = 1.0 if state.busy_fraction >= SATURATED_BUSY else state.busy_fraction
        samples.append(BusySample(records_per_second=state.records_per_second / busy, busy_fraction=busy))
    return tuple(samples)


def learn_capacity(
    known: Capacity | None, samples: Sequence[BusySample], *, elapsed_s: float, now: datetime
) -> Capacity | None:
    """Move what is known towards the median consumer of this sample; elapsed_s: seconds that the sample stands for."""
    if not samples:
        return known
    values = [s.records_per_second for s in samples]
    middle = median(values)
    low = quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else middle
    if known is None:
        return Capacity(records_per_second=middle, conservative=low, samples=1, learned_at=now)
    weight = _weight(median(s.busy_fraction for s in samples), known.samples, elapsed_s)
    return Capacity(
        records_per_second=known.records_per_second + weight * (middle - known.records_per_second),
        conservative=known.conservative + weight * (low - known.conservative),
        samples=known.samples + 1,
        learned_at=now,
    )


def _weight(busy: float, samples: int, elapsed_s: float) -> float:
    if busy >= SATURATED_BUSY:
        return max(SATURATED_WEIGHT, 1 / (samples + 1))
    fade: float = 1 - 0.5 ** (elapsed_s / HALF_LIFE_S)
    return max(1 / (samples + 1), fade) * min(1.0, busy / FULL_WEIGHT_BUSY)


def choose_capacity(spec: PipelineSpec, learned: Capacity | None) -> CapacityEstimate:
    """Learned before seed before the consumers' own cap, and never above that cap."""
    cap = spec.consumer.max_rows_per_second
    if learned is not None:
        value, source = learned.records_per_second, CapacitySource.LEARNED
    elif spec.scaling.capacity_per_replica is not None:
        value, source = spec.scaling.capacity_per_replica, CapacitySource.SEED
    elif cap is not None:
        return CapacityEstimate(records_per_second=float(cap), source=CapacitySource.CAP)
    else:
        return CapacityEstimate(records_per_second=None, source=CapacitySource.UNKNOWN)
    return CapacityEstimate(records_per_second=value if cap is None else min(value, float(cap)), source=source)
