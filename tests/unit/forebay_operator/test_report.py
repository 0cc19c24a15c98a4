"""Conditions, events and status of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from forebay_api.state import ConsumerState, SinkHealth, Totals
from forebay_api.v1alpha1 import Pipeline, ScalingMode
from forebay_operator.decide import decide
from forebay_operator.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Memory,
    Observation,
    Outcome,
    Problem,
    Report,
    ScaleTo,
)
from forebay_operator.report import build_report
from forebay_operator.status import capacity_from_plain, memory_from_status, to_status
from support.pipeline_builders import START, build_observation, build_pipeline, build_state

OFFSETS = [(1_000, 990)] * 4


def report_on(pipeline: Pipeline, observations: Sequence[Observation]) -> Report:
    """The report of the last of several passes whose actions all succeed."""
    memory, report = Memory(), None
    for second, seen in enumerate(observations):
        now = START + timedelta(seconds=second)
        plan, after = decide(pipeline, memory, seen, now)
        outcomes = [Outcome(action=action) for action in plan.actions]
        report = build_report(pipeline, memory, after, seen, plan, outcomes, now)
        memory = replace(after, conditions=report.conditions)
    assert report is not None
    return report


def seen_with(*states: ConsumerState | None, at_s: float = 0) -> Observation:
    return build_observation(len(states), OFFSETS, at_s=at_s, states=states)


def condition(report: Report, kind: ConditionType) -> Condition:
    return next(c for c in report.conditions if c.type is kind)


BLIND = replace(
    seen_with(build_state()), lag=None, lag_problem=Problem(reason="KafkaUnreachable", message="no answer from b:9092")
)
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


@pytest.mark.parametrize(
    ("pipeline", "seen", "kind", "status", "reason"),
    [
        pytest.param(build_pipeline(), seen_with(build_state()), "Ready", TRUE, "Running", id="ready"),
        pytest.param(
            build_pipeline(min_replicas=0),
            build_observation(0, [(1_000, 1_000)] * 4, at_s=0),
            "Ready",
            TRUE,
            "Idle",
            id="ready-without-need",
        ),
        pytest.param(
            build_pipeline(min_replicas=1),
            build_observation(0, [(1_000, 1_000)] * 4, at_s=0),
            "Ready",
            FALSE,
            "Starting",
            id="asked-for-just-now",
        ),
        pytest.param(
            build_pipeline(mode=ScalingMode.PAUSED), seen_with(), "Ready", FALSE, "NoConsumers", id="nobody-serves"
        ),
        pytest.param(
            build_pipeline(suspend=True), seen_with(build_state()), "Ready", FALSE, "Suspended", id="suspended"
        ),
        pytest.param(
            build_pipeline(),
            seen_with(build_state(health=SinkHealth.AWAY)),
            "Ready",
            FALSE,
            "Unreachable",
            id="no-sink",
        ),
        pytest.param(build_pipeline(), seen_with(None), "Ready", UNKNOWN, "ConsumersSilent", id="silent"),
        pytest.param(build_pipeline(), seen_with(build_state()), "SinkReady", TRUE, "Ready", id="sink-ready"),
        pytest.param(
            build_pipeline(),
            seen_with(build_state(), build_state(health=SinkHealth.BROKEN)),
            "SinkReady",
            FALSE,
            "Unreachable",
            id="one-consumer-is-refused",
        ),
        pytest.param(build_pipeline(), seen_with(None), "SinkReady", UNKNOWN, "NotTried", id="sink-never-tried"),
        pytest.param(build_pipeline(), seen_with(build_state()), "LagAvailable", TRUE, "Complete", id="lag-complete"),
        pytest.param(
            build_pipeline(),
            build_observation(1, [*OFFSETS, None], at_s=0),
            "LagAvailable",
            FALSE,
            "Partial",
            id="lag-partial",
        ),
        pytest.param(
            build_pipeline(),
            seen_with(build_state(stopped={3: "position 5 was removed by retention"})),
            "DataLost",
            TRUE,
            "PartitionsStopped",
            id="data-lost",
        ),
        pytest.param(
            build_pipeline(),
            seen_with(replace(build_state(), totals=Totals(made_anew=3))),
            "DataLost",
            TRUE,
            "TopicMadeAnew",
            id="topic-made-anew",
        ),
        pytest.param(build_pipeline(), seen_with(build_state()), "DataLost", FALSE, "NoneStopped", id="nothing-lost"),
        pytest.param(
            build_pipeline(mode=ScalingMode.OBSERVE),
            seen_with(build_state()),
            "Scaling",
            FALSE,
            "Observe",
            id="observing",
        ),
        pytest.param(
            build_pipeline(mode=ScalingMode.PAUSED), seen_with(build_state()), "Paused", TRUE, "Requested", id="paused"
        ),
        pytest.param(
            build_pipeline(pause_scale_in=True), seen_with(build_state()), "Paused", TRUE, "Requested", id="paused-in"
        ),
        pytest.param(build_pipeline(), seen_with(build_state()), "Paused", FALSE, "NotRequested", id="not-paused"),
    ],
)
def test_condition_has_status_and_reason(
    pipeline: Pipeline, seen: Observation, kind: str, status: ConditionStatus, reason: str
) -> None:
    found = condition(report_on(pipeline, [seen]), ConditionType(kind))

    assert (found.status, found.reason) == (status, reason)
    assert found.message


@pytest.mark.parametrize(("transactions", "says"), [(0, "has reached it"), (7, "last transaction")])
def test_sink_is_not_said_to_have_been_written_to_before_it_was(transactions: int, says: str) -> None:
    state = build_state()
    state = replace(state, totals=replace(state.totals, transactions=transactions))

    assert says in condition(report_on(build_pipeline(), [seen_with(state)]), ConditionType.SINK_READY).message


def test_sleeping_pipeline_whose_lag_cannot_be_read_is_not_said_to_be_idle() -> None:
    asleep = build_observation(0, [(1_000, 1_000)] * 4, at_s=0)
    unknown = replace(asleep, lag=None, lag_problem=BLIND.lag_problem)

    first, fifth = (report_on(build_pipeline(min_replicas=0), [asleep, *[unknown] * n]) for n in (1, 5))

    assert condition(first, ConditionType.READY).reason == "Idle"
    assert (condition(fifth, ConditionType.READY).status, condition(fifth, ConditionType.READY).reason) == (
        UNKNOWN,
        "LagUnknown",
    )


def test_lag_stays_available_for_three_silent_samples() -> None:
    good = seen_with(build_state())

    statuses = [
        condition(report_on(build_pipeline(), [good, *[BLIND] * n]), ConditionType.LAG_AVAILABLE).status
        for n in (1, 3, 4)
    ]

    assert statuses == [TRUE, TRUE, FALSE]


def test_condition_keeps_its_time_while_its_status_stays() -> None:
    observations = [seen_with(build_state(), at_s=s) for s in range(3)]

    report = report_on(build_pipeline(), [*observations, seen_with(build_state(health=SinkHealth.AWAY), at_s=3)])

    assert condition(report, ConditionType.LAG_AVAILABLE).since == START
    assert condition(report, ConditionType.SINK_READY).since == START + timedelta(seconds=3)


def test_sink_that_goes_away_is_told_once() -> None:
    away = [seen_with(build_state(health=SinkHealth.AWAY), at_s=s) for s in (1, 2)]

    first = report_on(build_pipeline(), [seen_with(build_state()), away[0]])
    second = report_on(build_pipeline(), [seen_with(build_state()), *away])

    assert [event.reason for event in first.events] == ["SinkNotReady"]
    assert second.events == ()


def test_failed_action_is_a_condition_and_a_warning() -> None:
    seen = Observation(workload=None, lag=None, consumers=())
    plan, after = decide(build_pipeline(), Memory(), seen, START)
    outcomes = [Outcome(action=ScaleTo(replicas=1), error="no more processes")]

    report = build_report(build_pipeline(), Memory(), after, seen, plan, outcomes, START)

    assert condition(report, ConditionType.SCALING).reason == "ActionFailed"
    assert ("ActionFailed", "no more processes") in [(event.reason, event.message) for event in report.events]


def test_status_uses_the_names_of_the_api_and_leaves_out_what_is_unknown() -> None:
    status = to_status(report_on(build_pipeline(), [seen_with(build_state())]))

    assert status["desiredReplicas"] == 1
    assert (status["partitions"], status["lagRecords"]) == (4, 40)
    assert status["decision"]["verdict"] in {"Held", "Steady"}
    assert "arrivalPerSecond" not in status["decision"]["terms"]
    assert status["conditions"][0]["lastTransitionTime"] == "2026-01-01T12:00:00Z"


def test_status_of_a_blind_pass_has_no_lag() -> None:
    status = to_status(report_on(build_pipeline(), [BLIND]))

    assert {"lagRecords", "ageSeconds", "partitions"}.isdisjoint(status)


@pytest.mark.parametrize(
    "plain",
    [
        pytest.param({}, id="empty"),
        pytest.param({"recordsPerSecond": "fast", "conservative": 1, "samples": 1, "learnedAt": "x"}, id="nonsense"),
        pytest.param(
            {"recordsPerSecond": 0, "conservative": 0, "samples": 1, "learnedAt": "2026-01-01T00:00:00Z"}, id="zero"
        ),
    ],
)
def test_unusable_capacity_in_a_status_is_forgotten(plain: dict[str, object]) -> None:
    assert capacity_from_plain(plain) is None
    assert memory_from_status({"capacity": plain}).capacity is None
