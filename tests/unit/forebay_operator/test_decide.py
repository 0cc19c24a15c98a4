"""The decision, rule by rule, over sequences of observations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from forebay_api.state import SinkHealth
from forebay_api.v1alpha1 import Pipeline, Timing
from forebay_operator.decide import decide
from forebay_operator.model import (
    GroupState,
    GroupView,
    Memory,
    Observation,
    ScaleTo,
    Verdict,
)
from forebay_operator.remembered import Restored
from support.decisions import FLOOD_1, KNOWN, QUIET_4, flow, last, run, without_partition
from support.pipeline_builders import START, blind, build_observation, build_pipeline, build_state

# --- down -----------------------------------------------------------------------------------------------------------


def test_quiet_group_shrinks_to_what_is_needed_once_the_window_is_full() -> None:
    plans, _ = run(build_pipeline(), QUIET_4)

    first = next(i for i, plan in enumerate(plans) if plan.actions)
    assert plans[first].actions == (ScaleTo(replicas=1),)
    assert 15 <= first <= 20


@pytest.mark.parametrize(
    ("final", "binding"),
    [
        pytest.param(blind(QUIET_4[-1]), "LagUnknown", id="kafka-silent"),
        pytest.param(without_partition(QUIET_4[-1], 2), "LagPartial", id="one-partition-missing"),
        pytest.param(
            build_observation(4, [(1_000_900, 1_000_900), *[(1_000_975, 1_000_975)] * 3], at_s=39),
            "LagPartial",
            id="one-log-end-went-backwards",
        ),
        pytest.param(
            build_observation(4, [(1_000_975, 1_000_100), *[(1_000_975, 1_000_975)] * 3], at_s=39),
            "LagPartial",
            id="one-commit-went-backwards",
        ),
        pytest.param(
            build_observation(4, [(1_000_975, 2_000_000), *[(1_000_975, 1_000_975)] * 3], at_s=39),
            "LagPartial",
            id="commit-beyond-the-end",
        ),
        pytest.param(
            flow(4, seconds=40, rate=100, states=[None, *[build_state(busy=None, rate=None)] * 3])[-1],
            "ConsumersSilent",
            id="one-consumer-silent",
        ),
        pytest.param(
            flow(4, seconds=40, rate=100, states=[build_state(health=SinkHealth.AWAY)] * 4)[-1],
            "SinkAway",
            id="sink-away",
        ),
    ],
)
def test_doubt_in_the_last_sample_keeps_every_consumer(final: Observation, binding: str) -> None:
    pipeline = build_pipeline(pause_scale_in=True)  # holds until the last sample, which is decided without it
    _, memory = run(pipeline, QUIET_4[:-1])

    plan, _ = decide(build_pipeline(), memory, final, START + timedelta(seconds=39))

    assert (plan.decision.binding, plan.decision.to_replicas, plan.actions) == (binding, 4, ())
    assert plan.decision.verdict is Verdict.HELD


def test_records_that_still_wait_keep_every_consumer() -> None:
    decision = last(build_pipeline(), flow(4, seconds=40, rate=100, lag=800))

    assert (decision.binding, decision.to_replicas) == ("AgeNotLow", 4)


def test_peak_within_the_window_keeps_what_it_needed() -> None:
    quiet = flow(4, seconds=14, rate=100, first_s=20)
    shift = 1_000_000 + 20 * 2_500 // 4
    after = [
        build_observation(4, [(shift + i * 25, shift + i * 25)] * 4, at_s=20 + i, states=[build_state()] * 4)
        for i in range(len(quiet))
    ]

    decision = last(build_pipeline(), [*flow(4, seconds=20, rate=2_500), *after])

    assert (decision.verdict, decision.binding, decision.to_replicas) == (Verdict.HELD, "ScaleInWindow", 4)


def test_cap_alone_never_takes_consumers_away() -> None:
    decision = last(build_pipeline(cap=1_000), QUIET_4, Memory())

    assert (decision.binding, decision.to_replicas) == ("CapacityUnproven", 4)


@pytest.mark.parametrize(
    "pipeline", [pytest.param(build_pipeline(), id="nothing-known"), pytest.param(build_pipeline(cap=1_000), id="cap")]
)
def test_no_load_at_all_needs_no_capacity_to_shrink_to_the_least(pipeline: Pipeline) -> None:
    plans, _ = run(pipeline, flow(4, seconds=40, rate=0), Memory())

    first = next(i for i, plan in enumerate(plans) if plan.actions)
    assert plans[first].actions == (ScaleTo(replicas=1),)
    assert 15 <= first <= 20
    assert plans[first].decision.terms.required == 0


def test_load_without_a_known_capacity_begins_the_window_anew() -> None:
    timing = Timing(sample_s=5, fast_window_s=5, scale_in_window_s=20, settle_s=5)
    ends = [1_000_000] * 4 + [1_000_025] * 5
    silent = [build_state(busy=None, rate=None)] * 4
    seen = [build_observation(4, [(end, end)] * 4, at_s=5 * i, states=silent) for i, end in enumerate(ends)]

    plans, _ = run(build_pipeline(timing=timing), seen, Memory())

    assert [plan.actions for plan in plans if plan.actions] == []
    assert plans[-1].decision.binding == "ScaleInWindow"


def test_least_that_no_load_needs_is_the_minimum() -> None:
    decision = last(build_pipeline(min_replicas=2), flow(2, seconds=20, rate=0), Memory())

    assert (decision.verdict, decision.binding, decision.to_replicas) == (Verdict.STEADY, "Load", 2)


# --- up -------------------------------------------------------------------------------------------------------------


def test_flood_grows_on_the_second_hungry_sample() -> None:
    quiet = flow(1, seconds=10, rate=100)
    top = 1_000_000 + 9 * 25
    flood = [build_observation(1, [(top + i * 2_000, top)] * 4, at_s=9 + i) for i in range(1, 4)]

    plans, _ = run(build_pipeline(), [*quiet, *flood])

    words = [(p.decision.verdict, p.decision.binding) for p in plans[10:]]
    assert words[:2] == [(Verdict.HELD, "ScaleOutSamples"), (Verdict.SCALING_UP, "Load")]
    assert plans[11].actions == (ScaleTo(replicas=4),)


@pytest.mark.parametrize(
    ("partitions", "rate", "maximum", "expected"),
    [
        pytest.param(24, 22_800, 48, 24, id="last-partition-is-reached"),
        pytest.param(5, 90_000, 12, 5, id="never-above-the-partitions"),
        pytest.param(12, 90_000, 7, 7, id="never-above-the-maximum"),
        pytest.param(12, 5_500, 12, 6 + 6, id="just-too-much-for-six"),
        pytest.param(12, 5_300, 12, 6, id="tolerance-avoids-the-larger-step"),
        pytest.param(12, 3_500, 12, 4, id="whole-partitions-three-each"),
    ],
)
def test_group_grows_to_whole_partitions(partitions: int, rate: float, maximum: int, expected: int) -> None:
    observations = flow(1, seconds=10, rate=rate, partitions=partitions)

    decision = last(build_pipeline(max_replicas=maximum), observations)

    assert (decision.verdict, decision.to_replicas) == (Verdict.SCALING_UP, expected)


def test_missing_partition_still_lets_the_known_ones_ask_for_more() -> None:
    observations = [without_partition(seen, 0) for seen in FLOOD_1]

    decision = last(build_pipeline(), observations)

    assert (decision.verdict, decision.terms.lag_is_lower_bound) == (Verdict.SCALING_UP, True)


def test_hold_at_the_minimum_while_capacity_is_unknown() -> None:
    decision = last(build_pipeline(), flow(1, seconds=20, rate=3_000, states=[None]), Memory())

    assert (decision.binding, decision.to_replicas) == ("CapacityUnknown", 1)


def test_saturated_consumer_shows_its_capacity() -> None:
    states = [build_state(busy=0.99, rate=1_000.0)]

    plans, memory = run(build_pipeline(), flow(1, seconds=20, rate=3_000, states=states), Memory())

    assert memory.capacity is not None
    assert memory.capacity.records_per_second == pytest.approx(1_000)
    assert plans[-1].decision.to_replicas == 4


def test_old_capacity_survives_and_sizes_at_once() -> None:
    fresh, known = last(build_pipeline(), FLOOD_1, Memory()), last(build_pipeline(), FLOOD_1)

    assert (fresh.to_replicas, known.to_replicas) == (1, 4)


@pytest.mark.parametrize("rate", [100, 500, 850, 1_700, 2_500])
def test_steady_load_makes_no_changes_at_the_size_it_needs(rate: float) -> None:
    needed = {100: 1, 500: 1, 850: 1, 1_700: 2, 2_500: 4}[int(rate)]

    plans, _ = run(build_pipeline(), flow(needed, seconds=120, rate=rate, lag=40))

    assert [plan.actions for plan in plans] == [()] * 120


# --- holding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("health", [SinkHealth.AWAY, SinkHealth.BROKEN])
def test_closed_sink_stops_growth_and_says_why(health: SinkHealth) -> None:
    decision = last(build_pipeline(), flow(1, seconds=20, rate=3_000, states=[build_state(health=health)]))

    assert (decision.binding, decision.to_replicas) == (f"Sink{health.value}", 1)
    assert "connection refused" in decision.because


def test_closed_sink_teaches_nothing() -> None:
    state = build_state(busy=1.0, rate=10.0, health=SinkHealth.AWAY)

    _, memory = run(build_pipeline(), flow(1, seconds=20, rate=3_000, states=[state]))

    assert memory.capacity == KNOWN.capacity


@pytest.mark.parametrize(
    "group",
    [
        pytest.param(GroupView(state=GroupState.REBALANCING, members=1), id="rebalancing"),
        pytest.param(GroupView(state=GroupState.STABLE, members=2), id="a-member-too-many"),
        pytest.param(None, id="group-unknown"),
    ],
)
def test_unsettled_group_is_left_alone(group: GroupView | None) -> None:
    observations = [replace(o, lag=replace(o.lag, group=group)) for o in FLOOD_1 if o.lag is not None]

    decision = last(build_pipeline(), observations)

    assert (decision.verdict, decision.binding) == (Verdict.HELD, "Unsettled")


def test_group_that_never_settles_is_blocked_after_five_minutes() -> None:
    group = GroupView(state=GroupState.REBALANCING, members=1)
    observations = flow(1, seconds=310, rate=3_000)

    decision = last(build_pipeline(), [replace(o, lag=replace(o.lag, group=group)) for o in observations if o.lag])

    assert (decision.verdict, decision.to_replicas) == (Verdict.BLOCKED, 1)


def test_silent_kafka_is_held_first_and_blind_after_three_samples() -> None:
    plans, _ = run(build_pipeline(), [*QUIET_4[:5], *[blind(seen) for seen in QUIET_4[5:10]]])

    held, dark = Verdict.HELD, Verdict.BLIND
    assert [plan.decision.verdict for plan in plans[5:]] == [held, held, held, dark, dark]


def test_silent_kafka_does_not_raise_the_group_above_the_partitions_seen_before() -> None:
    pipeline = build_pipeline(min_replicas=8, max_replicas=12)
    silence = [blind(seen) for seen in flow(4, seconds=5, rate=100)]

    plans, _ = run(pipeline, [*flow(4, seconds=20, rate=100), *silence])
    restarted = replace(KNOWN, last_decision=plans[19].decision, restored=Restored(generation=0))
    later, _ = run(pipeline, silence, restarted)

    assert [plan.actions for plan in (*plans, *later)] == [()] * 30


def test_two_complete_samples_come_before_any_change_after_silence() -> None:
    _, memory = run(build_pipeline(), [*FLOOD_1[:10], blind(FLOOD_1[10])])

    plans, _ = run(build_pipeline(), FLOOD_1[11:14], memory)

    assert plans[0].decision.binding == "Recovering"
    assert plans[2].decision.verdict is Verdict.SCALING_UP


def test_clock_set_back_holds_no_change_until_it_is_as_late_again() -> None:
    def earlier(seen: Observation) -> Observation:
        assert seen.lag is not None
        return replace(seen, lag=replace(seen.lag, taken_at=seen.lag.taken_at - timedelta(hours=1)))

    busy = flow(4, seconds=40, rate=3_500)
    quiet = [earlier(seen) for seen in flow(4, seconds=40, first_s=40, rate=100)]
    flood = [earlier(seen) for seen in flow(1, seconds=20, first_s=40, rate=3_000)]

    assert last(build_pipeline(max_replicas=4), [*busy, *quiet]).to_replicas == 1
    assert last(build_pipeline(max_replicas=4), [*flow(1, seconds=40, rate=100), *flood]).to_replicas == 4


def test_change_is_followed_by_settling() -> None:
    _, memory = run(build_pipeline(), FLOOD_1[:10])

    plans, _ = run(build_pipeline(), flow(2, seconds=8, rate=3_000, first_s=10), memory)

    bindings = [plan.decision.binding for plan in plans]
    assert bindings[:2] == ["Unsettled", "Settling"]
    assert plans[-1].actions == (ScaleTo(replicas=4),)
