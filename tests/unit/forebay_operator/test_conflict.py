"""Another writer of the replicas: the operator yields, says so, and takes the number back on a person's word only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from forebay_api.v1alpha1 import Pipeline, ScalingMode
from forebay_operator.decide import decide, keep_order
from forebay_operator.model import (
    ApplyWorkload,
    ConditionStatus,
    ConditionType,
    EventType,
    Memory,
    Observation,
    Outcome,
    Plan,
    ReplicasWriter,
    Report,
    ScaleTo,
    Verdict,
)
from forebay_operator.report import build_report
from forebay_operator.revisions import scaling_revision
from forebay_operator.status import memory_from_status, to_status
from support.decisions import FLOOD_1, KNOWN, QUIET_4, flow
from support.pipeline_builders import START, build_observation, build_pipeline

PIPELINE = build_pipeline()
HPA = "HorizontalPodAutoscaler surge"
EDITOR = "kubectl-edit"
MODES = list(ScalingMode)


def written(
    seen: Observation, writer: ReplicasWriter, *, pipeline: Pipeline = PIPELINE, rival: str | None = None
) -> Observation:
    """The same, last scaled by `writer`, applied under the pipeline's spec.scaling."""
    assert seen.workload is not None
    name = EDITOR if writer is ReplicasWriter.PERSON else None
    revision = scaling_revision(pipeline.spec.scaling)
    workload = replace(seen.workload, writer=writer, writer_name=name, rival=rival, scaling_revision=revision)
    return replace(seen, workload=workload)


def by_hand(seen: Observation, pipeline: Pipeline = PIPELINE) -> Observation:
    return written(seen, ReplicasWriter.PERSON, pipeline=pipeline)


def with_rival(seen: Observation) -> Observation:
    return written(seen, ReplicasWriter.AUTOSCALER, rival=HPA)


def play(pipeline: Pipeline, seen: Sequence[Observation], memory: Memory) -> tuple[list[Plan], list[Report], Memory]:
    """Passes over observations that do not react; every action succeeds."""
    plans, reports = [], []
    for each in seen:
        now = START if each.lag is None else each.lag.taken_at
        plan, after = decide(pipeline, memory, each, now)
        report = build_report(pipeline, memory, after, each, plan, [Outcome(action=a) for a in plan.actions], now)
        memory = replace(after, conditions=report.conditions)
        plans.append(plan)
        reports.append(report)
    return plans, reports, memory


def restarted(report: Report) -> Memory:
    return memory_from_status(to_status(report))


def conflict(report: Report) -> tuple[ConditionStatus, str]:
    found = next(c for c in report.conditions if c.type is ConditionType.CONFLICT)
    return found.status, found.reason


def scales(plans: Sequence[Plan]) -> list[int]:
    return [a.replicas for plan in plans for a in plan.actions if isinstance(a, ScaleTo)]


# --- a controller on the workload -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("world", [pytest.param(FLOOD_1, id="flood"), pytest.param(QUIET_4, id="quiet")])
def test_rival_is_never_fought_in_any_mode(mode: ScalingMode, world: Sequence[Observation]) -> None:
    pipeline = build_pipeline(mode=mode, replicas=7, min_replicas=2, max_replicas=3)

    plans, reports, _ = play(pipeline, [with_rival(seen) for seen in world], replace(KNOWN, ordered=2))

    assert scales(plans) == []
    assert conflict(reports[-1]) == (ConditionStatus.TRUE, "RivalController")
    assert (plans[-1].decision.verdict, plans[-1].decision.binding) == (Verdict.HELD, "Conflict")
    assert HPA in plans[-1].decision.because


def test_rival_removed_leaves_its_number_to_the_operator() -> None:
    _, _, memory = play(PIPELINE, [with_rival(seen) for seen in FLOOD_1[:10]], replace(KNOWN, ordered=5))

    after = [written(seen, ReplicasWriter.AUTOSCALER) for seen in FLOOD_1[10:]]
    plans, reports, _ = play(PIPELINE, after, memory)

    assert conflict(reports[0]) == (ConditionStatus.FALSE, "NoOtherWriter")
    assert scales(plans[:1]) == [4]


def test_number_of_a_removed_rival_is_accepted_after_a_restart_whoever_wrote_it() -> None:
    _, reports, _ = play(PIPELINE, [with_rival(FLOOD_1[0])], replace(KNOWN, ordered=5))

    _, after, _ = play(PIPELINE, [by_hand(FLOOD_1[1])], restarted(reports[-1]))

    assert conflict(after[0])[0] is ConditionStatus.FALSE
    assert after[0].ordered == 1


def test_autoscaler_of_the_pipeline_itself_is_no_rival() -> None:
    pipeline = build_pipeline(mode=ScalingMode.MANUAL, replicas=3)

    plans, reports, _ = play(pipeline, [written(FLOOD_1[0], ReplicasWriter.OPERATOR, pipeline=pipeline)], KNOWN)

    assert scales(plans) == [3]
    assert conflict(reports[0])[0] is ConditionStatus.FALSE


# --- a hand on the workload -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_hand_edit_is_left_alone_in_any_mode(mode: ScalingMode) -> None:
    pipeline = build_pipeline(mode=mode, replicas=7, max_replicas=3)

    plans, reports, _ = play(pipeline, [by_hand(seen, pipeline) for seen in QUIET_4], replace(KNOWN, ordered=2))

    assert scales(plans) == []
    assert conflict(reports[-1]) == (ConditionStatus.TRUE, "EditedByHand")
    message = plans[-1].decision.because
    assert EDITOR in message
    assert "to 4" in message
    assert "set it to 2 again" in message
    assert "spec.scaling" in message


@pytest.mark.parametrize("is_restarted", [False, True])
def test_hand_edit_ends_with_the_old_number(is_restarted: bool) -> None:
    _, reports, memory = play(PIPELINE, [by_hand(seen) for seen in QUIET_4[:3]], replace(KNOWN, ordered=1))
    memory = restarted(reports[-1]) if is_restarted else memory

    back = [by_hand(seen) for seen in flow(1, seconds=1, rate=100, first_s=4)]
    _, after, memory = play(PIPELINE, back, memory)

    assert conflict(reports[-1])[0] is ConditionStatus.TRUE
    assert conflict(after[0])[0] is ConditionStatus.FALSE
    assert memory.ordered == 1


@pytest.mark.parametrize("is_restarted", [False, True])
def test_hand_edit_outlives_a_restart(is_restarted: bool) -> None:
    _, reports, memory = play(PIPELINE, [by_hand(seen) for seen in QUIET_4[:3]], replace(KNOWN, ordered=2))
    memory = restarted(reports[-1]) if is_restarted else memory

    plans, after, _ = play(PIPELINE, [by_hand(seen) for seen in QUIET_4[3:]], memory)

    assert scales(plans) == []
    assert all(conflict(report) == (ConditionStatus.TRUE, "EditedByHand") for report in after)
    assert all(report.ordered == 2 for report in after)
    assert [event for report in after for event in report.events] == []


def test_hand_edit_made_while_the_operator_was_away_is_found() -> None:
    _, reports, _ = play(PIPELINE, [written(FLOOD_1[0], ReplicasWriter.OPERATOR)], KNOWN)

    _, after, _ = play(PIPELINE, [by_hand(QUIET_4[1])], restarted(reports[-1]))

    assert conflict(after[0]) == (ConditionStatus.TRUE, "EditedByHand")


def test_changed_scaling_takes_the_number_back_before_it_notes_the_new_revision() -> None:
    new = build_pipeline(max_replicas=2)
    edited = by_hand(QUIET_4[0])
    assert edited.workload is not None
    stale = replace(edited, workload=replace(edited.workload, is_current=False))

    plan, after = decide(new, replace(KNOWN, ordered=1), stale, START)

    assert plan.actions == (ScaleTo(replicas=2), ApplyWorkload())
    assert (plan.conflict, after.ordered) == (None, 2)


def test_changed_scaling_that_keeps_the_number_accepts_it_before_it_notes_the_new_revision() -> None:
    new = build_pipeline(mode=ScalingMode.PAUSED)
    edited = by_hand(QUIET_4[0])
    assert edited.workload is not None
    stale = replace(edited, workload=replace(edited.workload, is_current=False))

    first, memory = decide(new, replace(KNOWN, ordered=1), stale, START)
    second, memory = decide(new, memory, stale, START)
    crashed, _ = decide(new, replace(KNOWN, ordered=4), by_hand(QUIET_4[0], new), START)

    assert (first.actions, second.actions) == ((), (ApplyWorkload(),))
    assert memory.ordered == 4
    assert crashed.conflict is None


def test_crash_between_taking_back_and_noting_the_revision_converges() -> None:
    new = build_pipeline(max_replicas=2)
    scaled = written(QUIET_4[0], ReplicasWriter.OPERATOR)
    assert scaled.workload is not None
    taken = replace(scaled, workload=replace(scaled.workload, is_current=False, replicas=2))

    plan, _ = decide(new, replace(KNOWN, ordered=1), taken, START)

    assert (plan.conflict, plan.actions) == (None, (ApplyWorkload(),))


def test_unknown_order_is_not_taken_for_the_edited_number() -> None:
    plans, reports, _ = play(PIPELINE, [by_hand(QUIET_4[0])], KNOWN)

    assert conflict(reports[0]) == (ConditionStatus.TRUE, "EditedByHand")
    assert "change spec.scaling" in plans[0].decision.because


# --- orders, other fields, events -----------------------------------------------------------------------------------


@pytest.mark.parametrize("disturb", [by_hand, with_rival])
def test_suspend_wins_over_a_conflict(disturb: object) -> None:
    assert callable(disturb)
    suspended = build_pipeline(suspend=True)

    plans, _, memory = play(suspended, [disturb(QUIET_4[0])], replace(KNOWN, ordered=2))

    assert scales(plans) == [0]
    assert memory.ordered == 0


def test_other_fields_are_applied_during_a_conflict() -> None:
    edited = by_hand(QUIET_4[0])
    assert edited.workload is not None

    plan, _ = decide(
        PIPELINE, replace(KNOWN, ordered=1), replace(edited, workload=replace(edited.workload, is_current=False)), START
    )

    assert plan.actions == (ApplyWorkload(),)
    assert plan.conflict is not None


def test_conflict_is_told_when_it_begins_and_when_it_ends() -> None:
    world = [
        written(QUIET_4[0], ReplicasWriter.OPERATOR),
        *[with_rival(seen) for seen in QUIET_4[1:5]],
        *[written(seen, ReplicasWriter.AUTOSCALER) for seen in QUIET_4[5:8]],
    ]

    _, reports, _ = play(PIPELINE, world, KNOWN)

    told = [(i, e.type, e.reason) for i, r in enumerate(reports) for e in r.events if "Conflict" in e.reason]
    assert told == [(1, EventType.WARNING, "Conflict"), (5, EventType.NORMAL, "ConflictOver")]
    assert [e.reason for e in reports[1].events] == ["Conflict"]


def test_scaling_condition_says_conflict() -> None:
    _, reports, _ = play(PIPELINE, [with_rival(QUIET_4[0])], KNOWN)

    found = next(c for c in reports[0].conditions if c.type is ConditionType.SCALING)
    assert (found.status, found.reason) == (ConditionStatus.FALSE, "Conflict")


# --- creation, stale views ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pipeline", "start"),
    [
        pytest.param(build_pipeline(min_replicas=3), 3, id="minimum"),
        pytest.param(build_pipeline(mode=ScalingMode.MANUAL, replicas=5), 5, id="manual"),
        pytest.param(build_pipeline(mode=ScalingMode.OBSERVE, min_replicas=2), 2, id="observe-creates-too"),
        pytest.param(build_pipeline(suspend=True), 0, id="suspended"),
    ],
)
def test_crash_between_create_and_scale_converges(pipeline: Pipeline, start: int) -> None:
    nothing = Observation(workload=None, lag=None, consumers=())
    whole, _ = decide(pipeline, Memory(), nothing, START)
    created = written(build_observation(1, [(0, 0)] * 4, at_s=0), ReplicasWriter.NOBODY, pipeline=pipeline)

    rest, memory = decide(pipeline, Memory(), created, START)

    assert whole.actions == (ApplyWorkload(), ScaleTo(replicas=start))
    assert rest.actions == (ScaleTo(replicas=start),)
    assert memory.ordered == start


@pytest.mark.parametrize("mode", [ScalingMode.OBSERVE, ScalingMode.PAUSED])
def test_observe_and_paused_never_write_after_the_creation(mode: ScalingMode) -> None:
    nobody = [written(seen, ReplicasWriter.NOBODY) for seen in FLOOD_1[:5]]

    plans, _, _ = play(build_pipeline(mode=mode, min_replicas=3), nobody, replace(KNOWN, ordered=1))

    assert [plan.actions for plan in plans] == [()] * 5


def test_write_on_a_stale_view_makes_no_event_and_is_no_order() -> None:
    plan, after = decide(build_pipeline(min_replicas=2), replace(KNOWN, ordered=1), FLOOD_1[0], START)
    before = replace(KNOWN, ordered=1, last_decision=plan.decision)
    outcomes = [Outcome(action=plan.actions[0], error="the object has been modified", is_stale=True)]

    after = keep_order(before, after, plan, outcomes)
    report = build_report(PIPELINE, before, after, FLOOD_1[0], plan, outcomes, START)

    assert plan.actions == (ScaleTo(replicas=2),)
    assert (after.ordered, report.ordered) == (1, 1)
    assert not [e for e in report.events if e.reason in ("ActionFailed", "Scaled")]
    assert next(c for c in report.conditions if c.type is ConditionType.SCALING).reason != "ActionFailed"


def test_local_workload_is_always_the_operators() -> None:
    plans, reports, _ = play(build_pipeline(), FLOOD_1, KNOWN)

    assert scales(plans)[0] == 4
    assert {conflict(report)[0] for report in reports} == {ConditionStatus.FALSE}
