"""A report as the resource's `status`, in the API's names, and what a restarted operator remembers from it. Pure.

What must not live here: what is worth a write (status_rules.py), writing it anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from forebay_api.state import SinkHealth

from forebay_operator.conflict import RIVAL
from forebay_operator.decide import SUSPENDED
from forebay_operator.model import (
    Capacity,
    CapacitySource,
    Clamp,
    Condition,
    ConditionStatus,
    ConditionType,
    Decision,
    Memory,
    Report,
    Terms,
    Verdict,
)
from forebay_operator.remembered import Outage, Restored, SinkMemory
from forebay_operator.scaling.sink_gate import CLOSED_BINDINGS, split_rewound

T = TypeVar("T")

MAX_TEXT = 1024
"""Longest text that the CustomResourceDefinition admits in most places; a longer one would lose the whole status."""


def to_status(report: Report, *, selector: str | None = None) -> dict[str, Any]:
    """The resource's `status` as plain values, in camelCase. Unknown numbers are left out, never 0.

    selector: of the consumers' labels, for the scale subresource; None where there are none.
    """
    decision, terms = report.plan.decision, report.plan.decision.terms
    workload = report.seen.workload
    status = {
        "observedGeneration": report.generation,
        "replicas": None if workload is None else len(workload.consumers),
        "desiredReplicas": report.ordered,
        "selector": selector,
        "partitions": terms.partitions,
        "lagRecords": terms.lag_records,
        "ageSeconds": _rounded(terms.age_s),
        "decision": _decision_to_plain(decision),
        "capacity": None if report.capacity is None else capacity_to_plain(report.capacity),
        "conditions": [condition_to_plain(c, report.generation) for c in report.conditions],
    }
    return {key: value for key, value in status.items() if value is not None}


def _decision_to_plain(decision: Decision) -> dict[str, Any]:
    return {
        "time": _time(decision.time),
        "from": decision.from_replicas,
        "to": decision.to_replicas,
        "verdict": decision.verdict.value,
        "binding": decision.binding,
        "because": _text(decision.because),
        "terms": _terms_to_plain(decision.terms),
        "clamps": [
            {"name": c.name, "before": c.before, "after": c.after, "why": _text(c.why)} for c in decision.clamps
        ],
        "nextEvaluationSeconds": decision.next_evaluation_s,
        "wouldChangeIf": _text(decision.would_change_if),
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
    """What a restarted operator remembers; all else is seen again within a window.

    Parts that are missing or make no sense are forgotten, as another release may have written them.
    """
    decision = _read(status.get("decision"), _decision_from_plain)
    if decision is not None:
        decision = replace(decision, terms=replace(decision.terms, partitions=status.get("partitions")))
    generation, ordered = status.get("observedGeneration"), status.get("desiredReplicas")
    plain = status.get("conditions")
    found = [_read(each, _condition_from_plain) for each in (plain if isinstance(plain, list) else [])]
    conditions = tuple(condition for condition in found if condition is not None)
    is_restored = decision is not None and isinstance(generation, int)
    return Memory(
        capacity=_read(status.get("capacity"), capacity_from_plain),
        ordered=ordered if isinstance(ordered, int) else None,
        resume_to=decision.from_replicas or None if decision is not None and decision.binding == SUSPENDED else None,
        had_rival=any(_is_rivalry(condition) for condition in conditions),
        sink=_read_sink(decision, conditions),
        restored=Restored(generation=int(generation or 0)) if is_restored else None,
        last_decision=decision,
        conditions=conditions,
    )


def _read_sink(decision: Decision | None, conditions: Sequence[Condition]) -> SinkMemory:
    """An outage goes on over a restart, and what was read again is told once."""
    ready = next((each for each in conditions if each.type is ConditionType.SINK_READY), None)
    if ready is None or ready.status is ConditionStatus.UNKNOWN:
        return SinkMemory()
    message, rewound = split_rewound(ready.message)
    if ready.status is ConditionStatus.TRUE:
        return SinkMemory(rewound_before=rewound)
    health = CLOSED_BINDINGS.get("" if decision is None else decision.binding, SinkHealth.AWAY)
    outage = Outage(since=ready.since, health=health, reason=ready.reason, message=message)
    return SinkMemory(outage=outage, rewound_before=rewound)


def _is_rivalry(condition: Condition) -> bool:
    is_conflict = condition.type is ConditionType.CONFLICT and condition.status is ConditionStatus.TRUE
    return is_conflict and condition.reason == RIVAL


def _read(plain: object, convert: Callable[[Mapping[str, Any]], T | None]) -> T | None:
    """None when it is absent or is no such value."""
    if not isinstance(plain, Mapping):
        return None
    try:
        return convert(plain)
    except (KeyError, TypeError, ValueError):
        return None


def _decision_from_plain(plain: Mapping[str, Any]) -> Decision:
    return Decision(
        time=datetime.fromisoformat(plain["time"]),
        from_replicas=int(plain["from"]),
        to_replicas=int(plain["to"]),
        verdict=Verdict(plain["verdict"]),
        binding=str(plain["binding"]),
        because=str(plain["because"]),
        terms=_terms_from_plain(plain["terms"]),
        clamps=tuple(
            Clamp(name=str(c["name"]), before=int(c["before"]), after=int(c["after"]), why=str(c["why"]))
            for c in plain["clamps"]
        ),
        next_evaluation_s=float(plain["nextEvaluationSeconds"]),
        would_change_if=str(plain["wouldChangeIf"]),
    )


def _terms_from_plain(plain: Mapping[str, Any]) -> Terms:
    """Without `partitions`, which stand beside the decision."""
    return Terms(
        lag_records=plain.get("lagRecords"),
        lag_is_lower_bound=bool(plain.get("lagIsLowerBound")),
        age_s=plain.get("ageSeconds"),
        age_is_lower_bound=bool(plain.get("ageIsLowerBound")),
        arrival=plain.get("arrivalPerSecond"),
        written=plain.get("writtenPerSecond"),
        demand=plain.get("demandPerSecond"),
        capacity=plain.get("capacityPerSecond"),
        capacity_source=CapacitySource(plain["capacitySource"]),
        deadline_s=plain.get("deadlineSeconds"),
        required=plain.get("requiredPerSecond"),
        partitions_per_consumer=plain.get("partitionsPerConsumer"),
        wanted=plain.get("wantedReplicas"),
    )


def _condition_from_plain(plain: Mapping[str, Any]) -> Condition:
    return Condition(
        type=ConditionType(plain["type"]),
        status=ConditionStatus(plain["status"]),
        reason=str(plain["reason"]),
        message=str(plain["message"]),
        since=datetime.fromisoformat(plain["lastTransitionTime"]),
    )


def condition_to_plain(condition: Condition, generation: int) -> dict[str, Any]:
    """One entry of `status.conditions`."""
    return {
        "type": condition.type.value,
        "status": condition.status.value,
        "reason": re.sub(r"[^A-Za-z0-9]", "", condition.reason) or "Unknown",
        "message": _text(condition.message),
        "lastTransitionTime": _time(condition.since),
        "observedGeneration": generation,
    }


def _text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _time(value: datetime) -> str:
    """Kubernetes' form: UTC, whole seconds, Z."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
