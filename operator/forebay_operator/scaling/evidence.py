"""What one observation adds to what is remembered: the evidence that a decision rests on.

Each part comes from one module of this folder; here they are only put together.
What must not live here: choices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isinf

from forebay_api.v1alpha1 import PipelineSpec, ScalingSpec, Timing

from forebay_operator.model import (
    Clamp,
    Memory,
    Observation,
    Problem,
    Recommendation,
    Terms,
    Workload,
)
from forebay_operator.scaling.capacity import CapacityEstimate, choose_capacity, learn_capacity, read_busy_samples
from forebay_operator.scaling.lag import LagView, follow_lag
from forebay_operator.scaling.rates import Rates, measure_rates
from forebay_operator.scaling.sink_gate import SinkView, follow_sink, has_rewound, judge_sink, open_since_s
from forebay_operator.scaling.stability import add_recommendation, find_unrest, highest_recommendation
from forebay_operator.scaling.target import Size, deadline_s, drain_s, size_group, utilisation

SLOW_WINDOW_S = 300.0
"""Longest window of the slow rate; half the scale-in window where that is shorter."""

OVERLOADED_UTILISATION = 0.95
"""Arrivals above this share of the group's capacity ask for more consumers."""

HUNGRY_AGE_SHARE = 0.4
"""A backlog older than this share of the allowed age asks for more consumers."""

RECOVERY_SAMPLES = 2
"""Complete samples to see after Kafka was silent, before anything is changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A size and what the bounds made of it."""

    size: Size
    replicas: int
    clamps: tuple[Clamp, ...]

    @property
    def is_for_no_load(self) -> bool:
        """Nothing arrives and nothing waits: the least is enough, whatever one consumer can write."""
        return self.size.required <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """now: the pass. replicas: asked for at present. lag None: Kafka did not answer.

    silent: running consumers that did not answer. unrest: why the group is not at rest; rest_s, unrest_s: for how long.
    idle_s: nothing arrived, nothing waited, everything committed for so long. wanted: by the demand that the
    rates show (a lower bound if partitions are missing); None: not known. hunger: why more are needed now.
    sink_open_s: since the database's last outage ended, infinite where there was none.
    highest: most that was needed within the scale-in window, None until that is full.
    """

    now: datetime
    replicas: int
    lag: LagView | None
    lag_problem: Problem | None
    rates: Rates
    capacity: CapacityEstimate
    sink: SinkView
    sink_open_s: float
    silent: tuple[str, ...]
    unrest: str | None
    rest_s: float
    unrest_s: float
    idle_s: float
    wanted: Wanted | None
    hunger: str | None
    highest: int | None
    terms: Terms


def slow_window_s(timing: Timing) -> float:
    """The slow window: steady enough to size by, and shorter than the scale-in window that it feeds."""
    return max(timing.fast_window_s, min(SLOW_WINDOW_S, timing.scale_in_window_s / 2))


def weigh(
    spec: PipelineSpec, memory: Memory, workload: Workload, seen: Observation, now: datetime
) -> tuple[Memory, Evidence]:
    """Update the memory with what was seen and draw the evidence from both."""
    timing = spec.scaling.timing
    memory = _forget_future(memory, now, hold_s=timing.fast_window_s)
    elapsed_s = (now - memory.history[-1].at).total_seconds() if memory.history else timing.sample_s
    memory = replace(memory, sink=follow_sink(memory.sink, seen.consumers, now))
    memory, lag = _follow(spec, memory, seen, now)
    memory, unrest = _watch_rest(memory, workload, seen, now)
    rest_s, unrest_s = _since(memory.settled_since, now), _since(memory.unsettled_since, now)
    sink, sink_open_s = judge_sink(memory.sink, seen.consumers), open_since_s(memory.sink, now)
    is_sink_settled = not sink.is_closed and sink_open_s >= timing.settle_s
    if lag is not None and lag.is_complete and unrest is None and rest_s >= timing.settle_s and is_sink_settled:
        memory = _learn(memory, seen, elapsed_s=elapsed_s, now=now)
    capacity = choose_capacity(spec, memory.capacity)
    rates = measure_rates(
        memory.history,
        fast_s=timing.fast_window_s,
        slow_s=slow_window_s(timing),
        hungry_samples=memory.hungry_samples,
    )
    rates = rates if lag is not None else Rates()
    wanted = _size(spec.scaling, lag, capacity, rates.demand)
    hunger = None  # what waits because of an outage is no need for more consumers
    if is_sink_settled:
        hunger = _find_hunger(spec.scaling, workload.replicas, lag, capacity, rates, wanted)
    memory = _remember_need(spec.scaling, memory, lag, rates, capacity, hunger, now)
    evidence = Evidence(
        now=now,
        replicas=workload.replicas,
        lag=lag,
        lag_problem=seen.lag_problem,
        rates=rates,
        capacity=capacity,
        sink=sink,
        sink_open_s=sink_open_s,
        silent=tuple(view.consumer.name for view in seen.consumers if view.state is None),
        unrest=unrest,
        rest_s=rest_s,
        unrest_s=unrest_s,
        idle_s=_since(memory.idle_since, now),
        wanted=wanted,
        hunger=hunger,
        highest=highest_recommendation(memory.recommendations, window_s=timing.scale_in_window_s, now=now),
        terms=_terms(spec.scaling, lag, rates, capacity, wanted),
    )
    return memory, evidence


def _forget_future(memory: Memory, now: datetime, *, hold_s: float) -> Memory:
    """When the clock was set back, what was noted lies ahead, and would hold every change until it has come again."""

    def past(at: datetime | None) -> datetime | None:
        return None if at is None else min(at, now)

    latest = now + timedelta(seconds=hold_s)
    return replace(
        memory,
        settled_since=past(memory.settled_since),
        unsettled_since=past(memory.unsettled_since),
        idle_since=past(memory.idle_since),
        changed_at=past(memory.changed_at),
        recommendations=tuple(each for each in memory.recommendations if each.at <= now),
        held_until={partition: min(until, latest) for partition, until in memory.held_until.items()},
    )


def _learn(memory: Memory, seen: Observation, *, elapsed_s: float, now: datetime) -> Memory:
    samples = read_busy_samples(seen.consumers)
    return replace(memory, capacity=learn_capacity(memory.capacity, samples, elapsed_s=max(0.0, elapsed_s), now=now))


def _since(start: datetime | None, now: datetime) -> float:
    return 0.0 if start is None else max(0.0, (now - start).total_seconds())


def _follow(spec: PipelineSpec, memory: Memory, seen: Observation, now: datetime) -> tuple[Memory, LagView | None]:
    if seen.lag is None:
        return replace(memory, lag_misses=memory.lag_misses + 1, recovery_samples=RECOVERY_SAMPLES), None
    timing = spec.scaling.timing
    followed = follow_lag(
        memory.history,
        memory.held_until,
        seen.lag,
        start_from=spec.source.start_from,
        is_rewound=has_rewound(memory.sink, now, within_s=timing.fast_window_s),
        hold_s=timing.fast_window_s,
        keep_s=max(slow_window_s(timing), spec.scaling.objective.max_age_s) + timing.sample_s,
    )
    recovering = memory.recovery_samples - (1 if seen.lag.is_complete else 0)
    memory = replace(
        memory,
        history=followed.history,
        held_until=followed.held_until,
        lag_misses=0,
        recovery_samples=max(0, recovering),
    )
    return memory, followed.view


def _watch_rest(memory: Memory, workload: Workload, seen: Observation, now: datetime) -> tuple[Memory, str | None]:
    """Rest begins anew whenever the number of consumers changes, whoever changed it, but not for a missing answer."""
    group = None if seen.lag is None else seen.lag.group
    unrest = find_unrest(workload, group)
    changed = memory.replicas_seen is not None and memory.replicas_seen != workload.replicas
    if changed:
        unrest = unrest or f"the number of consumers changed from {memory.replicas_seen} to {workload.replicas}"
    is_disturbed = unrest is not None and (changed or group is not None or not workload.is_settled)
    settled_since = None if is_disturbed else memory.settled_since
    memory = replace(
        memory,
        replicas_seen=workload.replicas,
        changed_at=now if changed else memory.changed_at,
        settled_since=settled_since if unrest else settled_since or now,
        unsettled_since=((None if changed else memory.unsettled_since) or now) if unrest else None,
    )
    return memory, unrest


def _size(
    scaling: ScalingSpec, lag: LagView | None, capacity: CapacityEstimate, arrival: float | None
) -> Wanted | None:
    has_no_load = lag is not None and arrival == 0 and not lag.waiting_records
    if lag is None or not lag.partitions or not (capacity.records_per_second or has_no_load):
        return None
    if arrival is None:
        if not lag.waiting_records:
            return None
        arrival = 0.0  # a backlog alone is a lower bound of the need
    floor = max(1, scaling.min_replicas)
    size = size_group(
        arrival=arrival,
        lag_records=lag.waiting_records,
        deadline=deadline_s(scaling.objective),
        capacity=capacity.records_per_second or 0.0,
        partitions=lag.partitions,
        at_least=floor,
    )
    replicas, clamps = bound_replicas(size.replicas, scaling, lag.partitions)
    return Wanted(size=size, replicas=replicas, clamps=clamps)


def bound_replicas(replicas: int, scaling: ScalingSpec, partitions: int | None) -> tuple[int, tuple[Clamp, ...]]:
    """Apply minimum, maximum and partitions, in this order, and record what each did. partitions None: unknown."""
    clamps: list[Clamp] = []
    floor = max(1, scaling.min_replicas)
    limits = [
        ("MinReplicas", max(replicas, floor), f"spec.scaling.minReplicas is {scaling.min_replicas}"),
        ("MaxReplicas", scaling.max_replicas, f"spec.scaling.maxReplicas is {scaling.max_replicas}"),
    ]
    if partitions:
        limits.append(("Partitions", partitions, f"the topic has {partitions} partitions; more would sit idle"))
    for name, limit, why in limits:
        after = limit if name == "MinReplicas" else min(replicas, limit)
        if after != replicas:
            clamps.append(Clamp(name=name, before=replicas, after=after, why=why))
        replicas = after
    return replicas, tuple(clamps)


def _find_hunger(
    scaling: ScalingSpec,
    replicas: int,
    lag: LagView | None,
    capacity: CapacityEstimate,
    rates: Rates,
    wanted: Wanted | None,
) -> str | None:
    """Why this many consumers do not suffice now, as a clause; None when they do or when more would not come."""
    each, demand = capacity.records_per_second, rates.demand
    if lag is None or wanted is None or wanted.replicas <= replicas or not replicas or each is None:
        return None
    arrival = demand or 0.0
    load = utilisation(arrival=arrival, replicas=replicas, capacity=each)
    if load > OVERLOADED_UTILISATION:
        return f"{arrival:,.0f} records/s arrive, {load:.0%} of what {_consumers(replicas)} can write"
    if lag.age_s > HUNGRY_AGE_SHARE * scaling.objective.max_age_s:
        return f"records wait for {lag.age_s:.1f} s of {scaling.objective.max_age_s:g} s allowed"
    drain = drain_s(arrival=arrival, lag_records=lag.waiting_records, replicas=replicas, capacity=each)
    if drain > deadline_s(scaling.objective):
        pace = "never" if isinf(drain) else f"in {drain:,.0f} s"
        return f"{lag.waiting_records:,} records wait and {_consumers(replicas)} would clear them {pace}"
    return None


def _consumers(n: int) -> str:
    return "1 consumer" if n == 1 else f"{n} consumers"


def _remember_need(
    scaling: ScalingSpec,
    memory: Memory,
    lag: LagView | None,
    rates: Rates,
    capacity: CapacityEstimate,
    hunger: str | None,
    now: datetime,
) -> Memory:
    """Count hungry samples, note idleness, and keep what the slow demand asked for."""
    timing = scaling.timing
    is_idle = (
        lag is not None
        and lag.is_complete
        and lag.is_committed
        and not lag.waiting_records
        and rates.is_complete
        and rates.arrival_fast == 0
    )
    memory = replace(
        memory,
        hungry_samples=memory.hungry_samples + 1 if hunger else 0,
        idle_since=(memory.idle_since or now) if is_idle else None,
    )
    slow = _size(scaling, lag, capacity, rates.arrival_slow)
    if lag is None or not lag.is_complete or not rates.is_complete:
        return memory
    if slow is None or not (capacity.is_proven or slow.is_for_no_load):
        return replace(memory, recommendations=())  # it may have been a peak
    window = add_recommendation(
        memory.recommendations,
        Recommendation(at=now, replicas=slow.replicas),
        keep_s=timing.scale_in_window_s,
        max_gap_s=max(3 * timing.sample_s, timing.fast_window_s),
    )
    return replace(memory, recommendations=window)


def _terms(
    scaling: ScalingSpec, lag: LagView | None, rates: Rates, capacity: CapacityEstimate, wanted: Wanted | None
) -> Terms:
    return Terms(
        partitions=None if lag is None else lag.partitions,
        lag_records=None if lag is None else lag.waiting_records,
        lag_is_lower_bound=lag is not None and not lag.is_complete,
        age_s=None if lag is None else lag.age_s,
        age_is_lower_bound=lag is not None and (lag.age_is_lower_bound or not lag.is_complete),
        arrival=rates.arrival_fast,
        written=rates.written,
        demand=rates.demand,
        capacity=capacity.records_per_second,
        capacity_source=capacity.source,
        deadline_s=deadline_s(scaling.objective),
        required=None if wanted is None else wanted.size.required,
        partitions_per_consumer=None if wanted is None else wanted.size.partitions_per_consumer,
        wanted=None if wanted is None else wanted.replicas,
    )
