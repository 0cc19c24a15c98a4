"""Plan and outcomes → the report of a pass: conditions, and events of what is news. It never decides.

What must not live here: the names that the API gives to all this (status.py), writing them anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from forebay_api.v1alpha1 import Pipeline

from forebay_operator.conditions import build_conditions
from forebay_operator.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Decision,
    Event,
    EventType,
    Memory,
    Observation,
    Outcome,
    Plan,
    Report,
    ScaleTo,
    Verdict,
)
from forebay_operator.remembered import SinkMemory
from forebay_operator.scaling.sink_gate import CLOSED_BINDINGS, SETTLING_BINDING

REWOUND = "Rewound"
"""Reason of the event about records that are read again."""


def build_report(
    pipeline: Pipeline,
    before: Memory,
    after: Memory,
    seen: Observation,
    plan: Plan,
    outcomes: Sequence[Outcome],
    now: datetime,
) -> Report:
    """before: the memory that the pass began with, so that only news becomes an event."""
    conditions = build_conditions(pipeline, after, seen, plan, outcomes, now)
    news = [
        *_scaling_events(before.last_decision, plan, outcomes),
        *_sink_events(before.sink, after.sink, now),
        *_condition_events(before, conditions),
    ]
    return Report(
        seen=seen,
        plan=plan,
        outcomes=tuple(outcomes),
        capacity=after.capacity,
        conditions=conditions,
        events=tuple(news),
        generation=pipeline.generation,
        ordered=after.ordered,
    )


def _scaling_events(last: Decision | None, plan: Plan, outcomes: Sequence[Outcome]) -> list[Event]:
    """One a change, and one a changed verdict that is no change: why nothing is done is news too.

    Nothing for a write that came too late for what it saw, which the next pass repeats, nor for a conflict or a
    database that is away, which have events of their own.
    """
    decision = plan.decision
    events: list[Event] = []
    for outcome in outcomes:
        if outcome.is_stale:
            return events
        if outcome.error is not None:
            events.append(Event(type=EventType.WARNING, reason="ActionFailed", message=outcome.error))
        elif isinstance(outcome.action, ScaleTo):
            message = f"{decision.from_replicas} → {outcome.action.replicas} consumers: {decision.because}"
            events.append(Event(type=EventType.NORMAL, reason="Scaled", message=message))
    is_news = last is None or last.verdict is not decision.verdict
    has_own_event = plan.conflict is not None or decision.binding in _SINK_BINDINGS
    if is_news and not events and decision.verdict is not Verdict.STEADY and not has_own_event:
        alarming = decision.verdict in (Verdict.BLOCKED, Verdict.BLIND)
        kind = EventType.WARNING if alarming else EventType.NORMAL
        events.append(Event(type=kind, reason=decision.verdict.value, message=decision.because))
    return events


_SINK_BINDINGS = {*CLOSED_BINDINGS, SETTLING_BINDING}


def _sink_events(before: SinkMemory, after: SinkMemory, now: datetime) -> list[Event]:
    """When an outage begins and when it ends, and then how much has to be read again, as one number."""
    events = []
    if before.outage is None and after.outage is not None:
        message = f"{after.outage.reason}: {after.outage.message}; consumers wait, their number stays as it is"
        events.append(Event(type=EventType.WARNING, reason="SinkNotReady", message=message))
    if before.outage is not None and after.opened_at != before.opened_at:
        lasted_s = max(0.0, (now - before.outage.since).total_seconds())
        message = f"the database takes rows again after {lasted_s:,.0f} s"
        events.append(Event(type=EventType.NORMAL, reason="SinkNotReadyOver", message=message))
    if after.outage is None and after.rewound_untold:
        message = (
            f"{after.rewound_untold:,} records are read again from Kafka, because a failover lost their commits "
            f"({after.rewound_records:,} since these consumers were started)"
        )
        events.append(Event(type=EventType.WARNING, reason=REWOUND, message=message))
    return events


_BAD = {
    ConditionType.LAG_AVAILABLE: ConditionStatus.FALSE,
    ConditionType.CONFLICT: ConditionStatus.TRUE,
    ConditionType.DATA_LOST: ConditionStatus.TRUE,
}
"""Conditions whose coming and going is an event of its own, and the status that is bad news."""


def _condition_events(before: Memory, conditions: Sequence[Condition]) -> list[Event]:
    old = {condition.type: condition.status for condition in before.conditions}
    events = []
    for condition in conditions:
        bad = _BAD.get(condition.type)
        if bad is None or old.get(condition.type) is condition.status:
            continue
        if condition.status is bad:
            message = f"{condition.reason}: {condition.message}"
            events.append(Event(type=EventType.WARNING, reason=_event_name(condition.type), message=message))
        elif old.get(condition.type) is bad and condition.status is not ConditionStatus.UNKNOWN:
            reason = _event_name(condition.type) + "Over"
            events.append(Event(type=EventType.NORMAL, reason=reason, message=condition.message))
    return events


def _event_name(kind: ConditionType) -> str:
    return {ConditionType.LAG_AVAILABLE: "LagUnavailable"}.get(kind, kind.value)
