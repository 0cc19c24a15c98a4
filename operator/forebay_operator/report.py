"""Plan and outcomes → conditions, events and the status of the resource, in the API's names. It never decides.

What must not live here: writing them anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from forebay_api.v1alpha1 import Pipeline

from forebay_operator.conditions import build_conditions
from forebay_operator.model import (
    Capacity,
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
    Terms,
    Verdict,
)


def build_report(
    pipeline: Pipeline, before: Memory, after: Memory, seen: Observation, plan: Plan, outcomes: Sequence[Outcome]
) -> Report:
    """before: the memory that the pass began with, so that only news becomes an event."""
    conditions = build_conditions(pipeline, after, seen, plan.decision, outcomes)
    return Report(
        seen=seen,
        plan=plan,
        outcomes=tuple(outcomes),
        capacity=after.capacity,
        conditions=conditions,
        events=tuple(_events(before, plan.decision, outcomes, conditions)),
        generation=pipeline.generation,
    )


def _events(
    before: Memory, decision: Decision, outcomes: Sequence[Outcome], conditions: Sequence[Condition]
) -> list[Event]:
    return [*_scaling_events(before.last_decision, decision, outcomes), *_condition_events(before, conditions)]


def _scaling_events(last: Decision | None, decision: Decision, outcomes: Sequence[Outcome]) -> list[Event]:
    """One a change, and one a changed verdict that is no change: why nothing is done is news too."""
    events = []
    for outcome in outcomes:
        if outcome.error is not None:
            events.append(Event(type=EventType.WARNING, reason="ActionFailed", message=outcome.error))
        elif isinstance(outcome.action, ScaleTo):
            message = f"{decision.from_replicas} → {outcome.action.replicas} consumers: {decision.because}"
            events.append(Event(type=EventType.NORMAL, reason="Scaled", message=message))
    is_news = last is None or last.verdict is not decision.verdict
    if is_news and not events and decision.verdict is not Verdict.STEADY:
        alarming = decision.verdict in (Verdict.BLOCKED, Verdict.BLIND)
        kind = EventType.WARNING if alarming else EventType.NORMAL
        events.append(Event(type=kind, reason=decision.verdict.value, message=decision.because))
    return events


_BAD = {
    ConditionType.LAG_AVAILABLE: ConditionStatus.FALSE,
    ConditionType.SINK_READY: ConditionStatus.FALSE,
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
    names = {ConditionType.LAG_AVAILABLE: "LagUnavailable", ConditionType.SINK_READY: "SinkNotReady"}
    return names.get(kind, kind.value)


# --- status ---------------------------------------------------------------------------------------------------------


def to_status(report: Report) -> dict[str, Any]:
    """The resource's `status` as plain values, in camelCase. Unknown numbers are left out, never 0."""
    decision, terms = report.plan.decision, report.plan.decision.terms
    workload = report.seen.workload
    status = {
        "observedGeneration": report.generation,
        "replicas": None if workload is None else len(workload.consumers),
        "desiredReplicas": decision.to_replicas,
        "partitions": terms.partitions,
        "lagRecords": terms.lag_records,
        "ageSeconds": _rounded(terms.age_s),
        "decision": _decision_to_plain(decision),
        "capacity": None if report.capacity is None else capacity_to_plain(report.capacity),
        "conditions": [_condition_to_plain(c, report.generation) for c in report.conditions],
    }
    return {key: value for key, value in status.items() if value is not None}


def _decision_to_plain(decision: Decision) -> dict[str, Any]:
    return {
        "time": _time(decision.time),
        "from": decision.from_replicas,
        "to": decision.to_replicas,
        "verdict": decision.verdict.value,
        "binding": decision.binding,
        "because": decision.because,
        "terms": _terms_to_plain(decision.terms),
        "clamps": [{"name": c.name, "before": c.before, "after": c.after, "why": c.why} for c in decision.clamps],
        "nextEvaluationSeconds": decision.next_evaluation_s,
        "wouldChangeIf": decision.would_change_if,
    }


def _terms_to_plain(terms: Terms) -> dict[str, Any]:
    plain = {
        "lagRecords": terms.lag_records,
        "lagIsLowerBound": terms.lag_is_lower_bound or None,
        "ageSeconds": _rounded(terms.age_s),
        "ageIsLowerBound": terms.age_is_lower_bound or None,
        "arrivalPerSecond": _rounded(terms.arrival),
        "writtenPerSecond": _rounded(terms.written),
        "demandPerSecond": _rounded(terms.demand),
        "capacityPerSecond": _rounded(terms.capacity),
        "capacitySource": terms.capacity_source.value,
        "deadlineSeconds": terms.deadline_s,
        "requiredPerSecond": _rounded(terms.required),
        "partitionsPerConsumer": terms.partitions_per_consumer,
        "wantedReplicas": terms.wanted,
    }
    return {key: value for key, value in plain.items() if value is not None}


def capacity_to_plain(capacity: Capacity) -> dict[str, Any]:
    """`status.capacity`, from which capacity_from_plain() remembers after a restart."""
    return {
        "recordsPerSecond": round(capacity.records_per_second, 1),
        "conservative": round(capacity.conservative, 1),
        "samples": capacity.samples,
        "learnedAt": _time(capacity.learned_at),
    }


def capacity_from_plain(plain: Mapping[str, Any]) -> Capacity | None:
    """None when a field is missing or makes no sense: it is then learned anew."""
    try:
        capacity = Capacity(
            records_per_second=float(plain["recordsPerSecond"]),
            conservative=float(plain["conservative"]),
            samples=int(plain["samples"]),
            learned_at=datetime.fromisoformat(plain["learnedAt"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return capacity if capacity.records_per_second > 0 and capacity.samples > 0 else None


def memory_from_status(status: Mapping[str, Any]) -> Memory:
    """What a restarted operator remembers: the learned capacity. Everything else is seen again within a window."""
    capacity = status.get("capacity")
    return Memory(capacity=capacity_from_plain(capacity) if isinstance(capacity, Mapping) else None)


def _condition_to_plain(condition: Condition, generation: int) -> dict[str, Any]:
    return {
        "type": condition.type.value,
        "status": condition.status.value,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": _time(condition.since),
        "observedGeneration": generation,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _time(value: datetime) -> str:
    """Kubernetes' form: UTC, whole seconds, Z."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
