"""Sequences of observations and what is decided on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from forebay_api.state import ConsumerState
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.decide import decide
from forebay_operator.model import Capacity, Decision, Memory, Observation, Plan
from support.pipeline_builders import START, build_observation, build_state

KNOWN = Memory(
    capacity=Capacity(records_per_second=1_000, conservative=900, samples=500, learned_at=START - timedelta(hours=1))
)
"""One consumer writes 1,000 records/s, and that has been known for long."""


def flow(
    replicas: int,
    *,
    seconds: int,
    rate: float,
    first_s: int = 0,
    partitions: int = 4,
    lag: int = 0,
    states: Sequence[ConsumerState | None] | None = None,
) -> list[Observation]:
    """One observation a second of a topic that receives `rate` records/s, with `lag` records waiting throughout."""
    quiet = [build_state(f"c{i}", busy=None, rate=None) for i in range(replicas)] if states is None else states
    observations = []
    for second in range(first_s, first_s + seconds):
        end = 1_000_000 + int(second * rate / partitions)
        offsets = [(end, end - lag // partitions)] * partitions
        observations.append(build_observation(replicas, offsets, at_s=second, states=quiet))
    return observations


def run(pipeline: Pipeline, observations: Iterable[Observation], memory: Memory = KNOWN) -> tuple[list[Plan], Memory]:
    """Decide on each observation in turn; the observations do not react."""
    plans = []
    for i, seen in enumerate(observations):
        now = seen.lag.taken_at if seen.lag is not None else START + timedelta(seconds=i)
        plan, memory = decide(pipeline, memory, seen, now)
        plans.append(plan)
    return plans, memory


def last(pipeline: Pipeline, observations: Iterable[Observation], memory: Memory = KNOWN) -> Decision:
    """The decision on the last observation."""
    return run(pipeline, observations, memory)[0][-1].decision


def without_partition(seen: Observation, partition: int) -> Observation:
    """The same, with one partition's answer missing."""
    assert seen.lag is not None
    return replace(seen, lag=replace(seen.lag, partitions={**seen.lag.partitions, partition: None}))


QUIET_4 = flow(4, seconds=40, rate=100)
"""Four consumers where one would do, for longer than the scale-in window."""

FLOOD_1 = flow(1, seconds=20, rate=3_000)
"""One consumer where four are needed."""
