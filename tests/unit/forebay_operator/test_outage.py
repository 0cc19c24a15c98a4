"""What the operator does while the database is away or fails over: nothing but say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from forebay_api.state import ConsumerState, SinkHealth
from forebay_api.v1alpha1 import Objective
from forebay_operator.decide import decide
from forebay_operator.model import (
    Capacity,
    ConditionStatus,
    ConditionType,
    Event,
    EventType,
    Memory,
    Observation,
    Outcome,
    Report,
    ScaleTo,
    Verdict,
)
from forebay_operator.remembered import SinkMemory
from forebay_operator.report import build_report
from forebay_operator.status import memory_from_status, to_status
from forebay_operator.status_rules import Told, choose_event
from support.decisions import KNOWN, QUIET_4, flow, run
from support.pipeline_builders import QUICK, START, build_observation, build_pipeline, build_state
from support.queue_model import QueueModel
from support.recorded_world import RecordedWorld

AWAY, BROKEN, READY = SinkHealth.AWAY, SinkHealth.BROKEN, SinkHealth.READY
CLOSED = [pytest.param(AWAY, id="away"), pytest.param(BROKEN, id="broken")]
PIPELINE = build_pipeline(max_replicas=12, objective=Objective(max_age_s=10, catch_up_s=30))


def answers(count: int, health: SinkHealth = READY, *, rewound: int = 0) -> list[ConsumerState]:
    return [build_state(f"c{i}", busy=None, rate=None, health=health, rewound=rewound) for i in range(count)]


def piling_up(
    replicas: int, *, first_s: int, seconds: int, states: Sequence[ConsumerState | None], rate: int = 3_000
) -> list[Observation]:
    """Records go on arriving and nothing is written, from the first second on."""
    written = 1_000_000 + first_s * rate // 4
    return [
        build_observation(replicas, [(1_000_000 + second * rate // 4, written)] * 4, at_s=second, states=states)
        for second in range(first_s, first_s + seconds)
    ]


def scalings(observations: Sequence[Observation], memory: Memory = KNOWN) -> list[int]:
    plans, _ = run(PIPELINE, observations, memory)
    return [a.replicas for plan in plans for a in plan.actions if isinstance(a, ScaleTo)]


# --- nothing is changed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("health", CLOSED)
def test_backlog_of_an_outage_asks_for_no_consumers_while_it_lasts(health: SinkHealth) -> None:
    calm = flow(2, seconds=20, rate=1_000)

    assert scalings([*calm, *piling_up(2, first_s=20, seconds=60, states=answers(2))]) != []
    assert scalings([*calm, *piling_up(2, first_s=20, seconds=60, states=answers(2, health))]) == []


@pytest.mark.parametrize("health", CLOSED)
def test_outage_takes_no_consumers_away(health: SinkHealth) -> None:
    quiet = [replace(seen, consumers=QUIET_4[0].consumers) for seen in QUIET_4]
    away = build_observation(4, [(1_000_975, 1_000_975)] * 4, at_s=39, states=answers(4, health)).consumers

    assert scalings(quiet) == [1] * len(scalings(quiet)) != []
    assert scalings([replace(seen, consumers=away) for seen in QUIET_4]) == []


def test_one_consumer_that_cannot_write_is_enough_to_hold() -> None:
    mixed = [*answers(1), build_state("c1", busy=None, rate=None, health=AWAY)]

    assert scalings([*flow(2, seconds=20, rate=1_000), *piling_up(2, first_s=20, seconds=60, states=mixed)]) == []


def test_consumers_that_fall_silent_in_an_outage_do_not_end_it() -> None:
    away = piling_up(2, first_s=20, seconds=5, states=answers(2, AWAY))
    silent = piling_up(2, first_s=25, seconds=40, states=[None, None])

    assert scalings([*flow(2, seconds=20, rate=1_000), *away, *silent]) == []


# --- and not right after --------------------------------------------------------------------------------------------


def outage_and_return(back_s: int) -> list[Observation]:
    """Away from second 20 to 40, then back with the backlog."""
    return [
        *flow(2, seconds=20, rate=1_000),
        *piling_up(2, first_s=20, seconds=20, states=answers(2, AWAY)),
        *piling_up(2, first_s=40, seconds=back_s, states=answers(2)),
    ]


def test_backlog_after_an_outage_is_judged_once_consumers_have_settled() -> None:
    settled_s = int(QUICK.settle_s)

    early, _ = run(PIPELINE, outage_and_return(settled_s))
    late = scalings(outage_and_return(settled_s + QUICK.scale_out_samples + 1))

    assert scalings(outage_and_return(settled_s)) == []
    assert (early[-1].decision.verdict, early[-1].decision.binding) == (Verdict.HELD, "SinkSettling")
    assert late != []


def test_samples_of_an_outage_do_not_count_towards_more_consumers() -> None:
    _, memory = run(PIPELINE, outage_and_return(1))

    assert memory.hungry_samples == 0


def learned_after(back_s: int) -> Capacity | None:
    """From consumers that are fully busy with 10 records/s, as those of a database that has just come back."""
    slow = [build_state(f"c{i}", busy=1.0, rate=10.0) for i in range(2)]
    away = flow(2, seconds=20, first_s=20, rate=1_000, states=answers(2, AWAY))
    back = flow(2, seconds=back_s, first_s=40, rate=1_000, states=slow)
    _, memory = run(PIPELINE, [*flow(2, seconds=20, rate=1_000), *away, *back])
    return memory.capacity


def test_capacity_is_not_learned_from_an_outage_nor_right_after() -> None:
    assert learned_after(0) == KNOWN.capacity
    assert learned_after(int(QUICK.settle_s)) == KNOWN.capacity
    assert learned_after(int(QUICK.settle_s) + 2) != KNOWN.capacity


def test_clock_that_is_set_back_does_not_prolong_the_pause_after_an_outage() -> None:
    memory = replace(KNOWN, sink=SinkMemory(opened_at=START + timedelta(hours=1)))

    _, after = decide(PIPELINE, memory, flow(2, seconds=1, rate=1_000)[0], START)

    assert after.sink.opened_at == START


# --- the lag after a rewind -----------------------------------------------------------------------------------------


def rewind(reported: int) -> list[Observation]:
    """At second 25 each partition's commit goes back by 1,000 records; the consumer says so one pass before."""
    says = [build_state("c0", rewound=reported)]
    ends = [1_000_000 + 250 * second for second in range(30)]
    return [
        build_observation(
            1,
            [(ends[second], ends[second] - (1_000 if second >= 25 else 0))] * 4,
            at_s=second,
            states=says if second >= 24 else None,
        )
        for second in range(30)
    ]


def test_commits_that_go_back_in_a_rewind_leave_the_lag_known() -> None:
    reports, memory = passes(rewind(4_000))

    terms = [report.plan.decision.terms for report in reports[25:]]
    assert [t.lag_records for t in terms] == [4_000] * 5
    assert not any(t.lag_is_lower_bound or t.age_is_lower_bound for t in terms)
    assert [t.age_s for t in terms] == [4.0] * 5
    assert [t.arrival for t in terms] == [1_000.0] * 5
    assert all(t.written is not None and t.written >= 0 for t in terms)
    assert "LagUnavailable" not in {event.reason for event in told(reports)}
    assert memory.held_until == {}


def test_commits_that_go_back_unasked_are_trusted_by_nobody() -> None:
    reports, _ = passes(rewind(0))

    assert reports[25].plan.decision.terms.lag_is_lower_bound
    assert "LagUnavailable" in {event.reason for event in told(reports)}


# --- what is told ---------------------------------------------------------------------------------------------------


def passes(observations: Sequence[Observation], memory: Memory = KNOWN) -> tuple[list[Report], Memory]:
    """Reports of passes whose actions all succeed."""
    reports = []
    for seen in observations:
        assert seen.lag is not None
        now = seen.lag.taken_at
        plan, after = decide(PIPELINE, memory, seen, now)
        outcomes = [Outcome(action=action) for action in plan.actions]
        reports.append(build_report(PIPELINE, memory, after, seen, plan, outcomes, now))
        memory = replace(after, conditions=reports[-1].conditions)
    return reports, memory


def told(reports: Sequence[Report]) -> list[Event]:
    return [event for report in reports for event in report.events]


def sink_ready(report: Report) -> tuple[ConditionStatus, str, str]:
    found = next(c for c in report.conditions if c.type is ConditionType.SINK_READY)
    return found.status, found.reason, found.message


def test_outage_is_one_event_at_its_start_and_one_at_its_end() -> None:
    reports, _ = passes(outage_and_return(3))

    events = told(reports)[len(told(passes(flow(2, seconds=20, rate=1_000))[0])) :]
    assert [(e.type, e.reason) for e in events] == [
        (EventType.WARNING, "SinkNotReady"),
        (EventType.NORMAL, "SinkNotReadyOver"),
    ]
    assert events[0].message.startswith("Unreachable: connection refused")
    assert "after 20 s" in events[1].message


def test_condition_says_why_until_the_database_is_back() -> None:
    silent = piling_up(2, first_s=40, seconds=1, states=[None, None])
    reports, _ = passes([*outage_and_return(0), *silent])

    assert [sink_ready(report) for report in reports[-2:]] == [
        (ConditionStatus.FALSE, "Unreachable", "connection refused")
    ] * 2
    assert sink_ready(passes(outage_and_return(1))[0][-1])[0] is ConditionStatus.TRUE


def test_second_outage_within_minutes_is_told_a_flapping_database_is_not() -> None:
    event = Event(type=EventType.WARNING, reason="SinkNotReady", message="Unreachable: connection refused")
    answers_given, memory = [], Told()

    for at_s in (0, 10, 20, 100):
        memory, is_told = choose_event(memory, event, START + timedelta(seconds=at_s))
        answers_given.append(is_told)

    assert answers_given == [True, False, False, True]


def test_records_read_again_are_told_once_as_one_number_when_the_outage_is_over() -> None:
    first_back = [*answers(1, rewound=700), build_state("c1", busy=None, rate=None, health=AWAY)]
    reports, _ = passes(
        [
            *outage_and_return(0),
            *flow(2, seconds=1, first_s=40, rate=1_000, states=first_back),
            *flow(2, seconds=5, first_s=41, rate=1_000, states=answers(2, rewound=700)),
        ]
    )

    rewound = [event for event in told(reports) if event.reason == "Rewound"]
    assert [(e.type, e.message.split(",")[0]) for e in rewound] == [(EventType.WARNING, "1")]
    assert rewound[0].message.startswith("1,400 records are read again from Kafka")
    assert "1,400 records were read again" in sink_ready(reports[-1])[2]


def test_each_increase_of_records_read_again_is_told_for_itself() -> None:
    counts = (0, 500, 500, 800, 800, 100)  # the last one: that consumer was started anew
    reports, _ = passes(
        [
            seen
            for second, count in enumerate(counts)
            for seen in flow(1, seconds=1, first_s=second, rate=100, states=answers(1, rewound=count))
        ]
    )

    rewound = [event.message.split(" ")[0] for event in told(reports) if event.reason == "Rewound"]
    assert rewound == ["500", "300", "100"]


@pytest.mark.parametrize(("told_before", "expected"), [(0, ["900"]), (600, ["300"]), (900, [])])
def test_restarted_operator_tells_only_what_was_not_told_yet(told_before: int, expected: list[str]) -> None:
    reports, _ = passes(flow(1, seconds=3, rate=100, states=answers(1, rewound=told_before)))
    memory = memory_from_status(to_status(reports[-1]))

    again, _ = passes(
        [
            *flow(2, seconds=2, first_s=3, rate=100, states=[None, None]),
            *flow(2, seconds=2, first_s=5, rate=100, states=[*answers(1, rewound=900), None]),
            *flow(2, seconds=2, first_s=7, rate=100, states=[*answers(1, rewound=900), *answers(1)]),
        ],
        memory,
    )

    assert [e.message.split(" ")[0] for e in told(again) if e.reason == "Rewound"] == expected


# --- the whole loop, into the resource ------------------------------------------------------------------------------


def flood_world() -> RecordedWorld:
    """A flood that needs more consumers than run when the database goes away."""
    pipeline = build_pipeline(cap=6_000, max_replicas=6)
    return RecordedWorld(QueueModel(pipeline=pipeline, arrival=lambda s: 20_000 if s >= 20 else 1_000))


@pytest.mark.parametrize("restart_at_s", [None, 30, 59])
async def test_failover_in_a_flood_is_waited_out_and_told_also_by_a_restarted_operator(
    restart_at_s: int | None,
) -> None:
    case = flood_world()
    await case.play(20)
    written = []
    case.model.health = AWAY
    if restart_at_s is not None:
        await case.play(restart_at_s - 20)
        written += case.writes()
        case.model.are_silent = True
        case.restart()
        await case.play(1)
        case.model.are_silent = False
    await case.play(60 - case.model.second)
    case.model.health, case.model.rewound = READY, 1_200

    await case.play(4)

    written += case.writes()
    events = [line for line in written if line.startswith(("event Sink", "event Rewound", "event Scaled"))]
    assert [n for at, n in case.model.scale_calls if at >= 20] == []
    assert [line.split(":")[0] for line in events] == [
        "event Scaled",
        "event SinkNotReady",
        "event SinkNotReadyOver",
        "event Rewound",
    ], written
    assert "after 40 s" in events[2]
    status = {each["type"]: each for each in case.status["conditions"]}["SinkReady"]
    assert (status["status"], status["reason"]) == ("True", "Ready")
    await case.play(30)
    assert [n for at, n in case.model.scale_calls if at >= 20][:1] != []
