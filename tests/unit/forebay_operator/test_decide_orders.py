"""The decision: sleeping and waking, and what people order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from forebay_api.v1alpha1 import Pipeline, ScalingMode
from forebay_operator.decide import decide
from forebay_operator.model import (
    ApplyWorkload,
    Memory,
    Observation,
    ScaleTo,
)
from forebay_operator.report import build_report
from forebay_operator.status import memory_from_status, to_status
from support.decisions import FLOOD_1, KNOWN, QUIET_4, flow, last, run, without_partition
from support.pipeline_builders import START, blind, build_observation, build_pipeline, build_state

# --- zero -----------------------------------------------------------------------------------------------------------


def idle(replicas: int, *, seconds: int, committed: int | None = 1_000, first_s: int = 0) -> list[Observation]:
    return [
        build_observation(replicas, [(1_000, committed)] * 4, at_s=first_s + s, states=[build_state()] * replicas)
        for s in range(seconds)
    ]


def test_idle_group_sleeps_after_the_window() -> None:
    plans, _ = run(build_pipeline(min_replicas=0), idle(1, seconds=25))

    first = next(i for i, plan in enumerate(plans) if plan.actions)
    assert (plans[first].actions, plans[first].decision.binding) == ((ScaleTo(replicas=0),), "Idle")
    assert first >= 15


@pytest.mark.parametrize(
    ("minimum", "observations"),
    [
        pytest.param(1, idle(1, seconds=40), id="minimum-one"),
        pytest.param(0, idle(1, seconds=40, committed=None), id="a-partition-was-never-committed"),
        pytest.param(0, [without_partition(o, 0) for o in idle(1, seconds=40)], id="a-partition-is-missing"),
        pytest.param(0, [blind(o) for o in idle(1, seconds=40)], id="kafka-silent"),
        pytest.param(0, flow(1, seconds=40, rate=4), id="records-trickle"),
    ],
)
def test_last_consumer_stays(minimum: int, observations: list[Observation]) -> None:
    plans, _ = run(build_pipeline(min_replicas=minimum), observations)

    assert all(plan.actions == () for plan in plans)


def test_transaction_markers_do_not_keep_the_last_consumer() -> None:
    decision = last(build_pipeline(min_replicas=0), idle(1, seconds=40, committed=998))

    assert (decision.to_replicas, decision.binding) == (0, "Idle")


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [pytest.param(3, 1, id="a-few-wake-one"), pytest.param(35_000, 4, id="a-backlog-wakes-what-it-needs")],
)
def test_backlog_wakes_on_the_first_sample(waiting: int, expected: int) -> None:
    asleep = idle(0, seconds=10)
    woken = build_observation(0, [(1_000 + waiting, 1_000), *[(1_000, 1_000)] * 3], at_s=10)

    plan = run(build_pipeline(min_replicas=0), [*asleep, woken])[0][-1]

    assert plan.actions == (ScaleTo(replicas=expected),)


def test_blind_group_at_zero_stays_asleep() -> None:
    plans, _ = run(build_pipeline(min_replicas=0), [blind(o) for o in idle(0, seconds=10)])

    assert all(plan.actions == () for plan in plans)


# --- people ---------------------------------------------------------------------------------------------------------


def test_new_pipeline_is_created_with_the_fewest_consumers() -> None:
    seen = Observation(workload=None, lag=None, consumers=())

    plan, _ = decide(build_pipeline(min_replicas=2), Memory(), seen, START)

    assert plan.actions == (ApplyWorkload(), ScaleTo(replicas=2))


def test_changed_spec_is_applied_without_scaling() -> None:
    seen = QUIET_4[0]
    assert seen.workload is not None
    stale = replace(seen, workload=replace(seen.workload, is_current=False))

    plan, _ = decide(build_pipeline(), KNOWN, stale, START)

    assert plan.actions == (ApplyWorkload(),)


@pytest.mark.parametrize(
    ("pipeline", "to", "acts", "binding"),
    [
        pytest.param(build_pipeline(mode=ScalingMode.ENFORCE), 4, True, "Load", id="enforce-acts"),
        pytest.param(build_pipeline(mode=ScalingMode.OBSERVE), 4, False, "Load", id="observe-only-says"),
        pytest.param(build_pipeline(mode=ScalingMode.PAUSED), 1, False, "Paused", id="paused-stays"),
        pytest.param(build_pipeline(mode=ScalingMode.MANUAL, replicas=3), 3, True, "Manual", id="manual-follows"),
        pytest.param(build_pipeline(pause_scale_out=True), 1, False, "PauseScaleOut", id="growth-paused"),
        pytest.param(build_pipeline(suspend=True), 0, True, "Suspended", id="suspended"),
        pytest.param(
            build_pipeline(suspend=True, mode=ScalingMode.OBSERVE),
            0,
            True,
            "Suspended",
            id="suspended-though-observing",
        ),
        pytest.param(build_pipeline(min_replicas=2), 2, True, "MinReplicas", id="minimum-raised"),
    ],
)
def test_people_decide_who_moves_the_replicas(pipeline: Pipeline, to: int, acts: bool, binding: str) -> None:
    plan = run(pipeline, FLOOD_1)[0][-1]

    assert (plan.decision.to_replicas, plan.decision.binding) == (to, binding)
    assert plan.actions == ((ScaleTo(replicas=to),) if acts else ())


def test_pause_of_scale_in_keeps_idle_consumers() -> None:
    plans, _ = run(build_pipeline(pause_scale_in=True), QUIET_4)

    assert all(plan.actions == () for plan in plans)
    assert plans[-1].decision.binding == "PauseScaleIn"


def test_maximum_lowered_is_obeyed_at_once_even_when_blind() -> None:
    plan = run(build_pipeline(max_replicas=2), [blind(QUIET_4[0])])[0][-1]

    assert plan.actions == (ScaleTo(replicas=2),)


@pytest.mark.parametrize("mode", [ScalingMode.ENFORCE, ScalingMode.OBSERVE, ScalingMode.PAUSED])
def test_resumed_pipeline_gets_back_the_consumers_it_had(mode: ScalingMode) -> None:
    _, memory = run(build_pipeline(mode=mode, suspend=True), [QUIET_4[0], *idle(0, seconds=3)])

    plan = run(build_pipeline(mode=mode), idle(0, seconds=1, first_s=4), memory)[0][-1]

    assert (plan.decision.binding, plan.actions) == ("Resumed", (ScaleTo(replicas=4),))


@pytest.mark.parametrize("mode", [ScalingMode.ENFORCE, ScalingMode.OBSERVE, ScalingMode.PAUSED])
def test_resumed_pipeline_gets_them_back_from_an_operator_that_was_restarted_meanwhile(mode: ScalingMode) -> None:
    suspended, seen = build_pipeline(mode=mode, suspend=True), [QUIET_4[0], *idle(0, seconds=3)]
    plans, memory = run(suspended, seen)
    report = build_report(suspended, memory, memory, seen[-1], plans[-1], (), START)

    after = memory_from_status(to_status(report))
    plan = run(build_pipeline(mode=mode), idle(0, seconds=1, first_s=4), after)[0][-1]

    assert (plan.decision.binding, plan.actions) == ("Resumed", (ScaleTo(replicas=4),))


@pytest.mark.parametrize("mode", [ScalingMode.ENFORCE, ScalingMode.OBSERVE, ScalingMode.PAUSED])
def test_removed_workload_is_made_again_with_the_consumers_it_had(mode: ScalingMode) -> None:
    pipeline = build_pipeline(mode=mode)
    _, memory = run(pipeline, QUIET_4[:1])
    removed = replace(QUIET_4[1], workload=None, consumers=())

    plans, memory = run(pipeline, [removed], memory)

    assert plans[0].actions == (ApplyWorkload(), ScaleTo(replicas=4))
    assert "removed by somebody else; 4 had been ordered" in plans[0].decision.because


def test_pipeline_that_was_made_suspended_begins_in_every_mode_when_it_is_not_any_more() -> None:
    made = replace(idle(0, seconds=1)[0], workload=None)
    _, memory = run(build_pipeline(mode=ScalingMode.PAUSED, suspend=True), [made, *idle(0, seconds=3)], Memory())

    plan = run(build_pipeline(mode=ScalingMode.PAUSED), idle(0, seconds=1, first_s=4), memory)[0][-1]

    assert plan.actions == (ScaleTo(replicas=1),)


def test_decision_says_what_it_saw_in_numbers() -> None:
    decision = last(build_pipeline(max_replicas=3), FLOOD_1)

    assert "3,000 records/s arrive" in decision.because
    assert decision.would_change_if
    assert [(clamp.name, clamp.before, clamp.after) for clamp in decision.clamps] == [("MaxReplicas", 4, 3)]
    assert decision.next_evaluation_s == 1
