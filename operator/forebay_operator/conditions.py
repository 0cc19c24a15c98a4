"""Observation and plan → Conditions, each with a reason and a message for people. Pure.

What must not live here: anything that changes what is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from forebay_api.state import ConsumerState, PartitionState, SinkHealth
from forebay_api.v1alpha1 import Pipeline, ScalingMode

from forebay_operator.model import (
    Condition,
    ConditionStatus,
    ConditionType,
    Conflict,
    Memory,
    Observation,
    Outcome,
    Plan,
    ScaleTo,
    Verdict,
)
from forebay_operator.scaling.choice import SILENT_MISSES
from forebay_operator.scaling.sink_gate import add_rewound, judge_sink

_Answer = tuple[ConditionStatus, str, str]


def build_conditions(
    pipeline: Pipeline, memory: Memory, seen: Observation, plan: Plan, outcomes: Sequence[Outcome], now: datetime
) -> tuple[Condition, ...]:
    """All conditions, in the order in which people read them. `since` moves to `now` when a status changes."""
    sink, lost = _sink_ready(memory, seen), _data_lost(seen)
    answers = {
        ConditionType.READY: _ready(pipeline, memory, seen, sink, lost, plan),
        ConditionType.SCALING: _scaling(pipeline, plan, outcomes),
        ConditionType.LAG_AVAILABLE: _lag_available(memory, seen),
        ConditionType.SINK_READY: sink,
        ConditionType.PAUSED: _paused(pipeline),
        ConditionType.CONFLICT: _conflict(plan.conflict),
        ConditionType.DATA_LOST: lost,
    }
    before = {condition.type: condition for condition in memory.conditions}
    conditions = []
    for kind, (status, reason, message) in answers.items():
        old = before.get(kind)
        since = old.since if old is not None and old.status is status else now
        conditions.append(Condition(type=kind, status=status, reason=reason, message=message, since=since))
    return tuple(conditions)


def _states(seen: Observation) -> Iterable[ConsumerState]:
    return (view.state for view in seen.consumers if view.state is not None)


def _ready(pipeline: Pipeline, memory: Memory, seen: Observation, sink: _Answer, lost: _Answer, plan: Plan) -> _Answer:
    """Whether records reach the table, or would if there were any."""
    workload = seen.workload
    if pipeline.spec.suspend:
        return ConditionStatus.FALSE, "Suspended", "spec.suspend is true"
    if lost[0] is ConditionStatus.TRUE:
        return ConditionStatus.FALSE, lost[1], lost[2]
    if sink[0] is ConditionStatus.FALSE:
        return ConditionStatus.FALSE, sink[1], sink[2]
    source = next((s.source_message for s in _states(seen) if s.source_message), None)
    if source is not None:
        return ConditionStatus.FALSE, "SourceUnavailable", source
    if workload is None:
        return ConditionStatus.FALSE, "Creating", "the pipeline is new"
    if workload.problem is not None:
        return ConditionStatus.FALSE, "ConsumersFailing", workload.problem
    if not workload.consumers:
        asked = (action.replicas for action in plan.actions if isinstance(action, ScaleTo))
        replicas = next(asked, workload.replicas)  # what is asked for just now, after a suspension say
        return _ready_without_consumers(replicas, memory, seen, plan.decision.terms.lag_records)
    silent = sum(1 for view in seen.consumers if view.state is None)
    if silent:
        return ConditionStatus.UNKNOWN, "ConsumersSilent", f"{silent} of {len(seen.consumers)} consumers did not answer"
    if sink[0] is ConditionStatus.UNKNOWN:
        return ConditionStatus.UNKNOWN, sink[1], sink[2]
    return ConditionStatus.TRUE, "Running", f"{len(workload.consumers)} of {workload.replicas} consumers run"


def _ready_without_consumers(replicas: int, memory: Memory, seen: Observation, lag_records: int | None) -> _Answer:
    """An unknown lag is not none: whoever sleeps while Kafka cannot be asked is not woken, whatever arrives."""
    if replicas:
        return ConditionStatus.FALSE, "Starting", f"0 of {replicas} consumers run"
    if seen.lag is None and memory.lag_misses > SILENT_MISSES:
        return ConditionStatus.UNKNOWN, "LagUnknown", "no consumer runs, and whether one is needed is not known"
    if seen.lag is not None and lag_records:
        return ConditionStatus.FALSE, "NoConsumers", "records wait and no consumer runs"
    return ConditionStatus.TRUE, "Idle", "no consumer runs because none is needed"


def _scaling(pipeline: Pipeline, plan: Plan, outcomes: Sequence[Outcome]) -> _Answer:
    """Whether the number of consumers follows the load. A write that came too late for what it saw is no failure."""
    decision = plan.decision
    failed = next((o.error for o in outcomes if o.error is not None and not o.is_stale), None)
    if failed is not None:
        return ConditionStatus.FALSE, "ActionFailed", failed
    if plan.conflict is not None and not pipeline.spec.suspend:
        return ConditionStatus.FALSE, "Conflict", plan.conflict.message
    mode = pipeline.spec.scaling.mode
    if mode is not ScalingMode.ENFORCE:
        return ConditionStatus.FALSE, mode.value, decision.because
    if decision.verdict in (Verdict.BLOCKED, Verdict.BLIND):
        return ConditionStatus.FALSE, decision.verdict.value, decision.because
    return ConditionStatus.TRUE, decision.verdict.value, decision.because


def _lag_available(memory: Memory, seen: Observation) -> _Answer:
    if seen.lag is None:
        reason = "Unknown" if seen.lag_problem is None else seen.lag_problem.reason
        message = "Kafka did not answer" if seen.lag_problem is None else seen.lag_problem.message
        old = next((c for c in memory.conditions if c.type is ConditionType.LAG_AVAILABLE), None)
        if memory.lag_misses > SILENT_MISSES:
            return ConditionStatus.FALSE, reason, message
        return (ConditionStatus.UNKNOWN, reason, message) if old is None else (old.status, old.reason, old.message)
    missing = sorted({p for p, o in seen.lag.partitions.items() if o is None} | set(memory.held_until))
    if missing:
        listed = ", ".join(map(str, missing[:10]))
        return ConditionStatus.FALSE, "Partial", f"no trustworthy answer for {len(missing)} partitions ({listed})"
    if seen.lag.group is None:
        return ConditionStatus.FALSE, "GroupUnknown", "the consumer group could not be described"
    return ConditionStatus.TRUE, "Complete", f"all {len(seen.lag.partitions)} partitions answered"


def _sink_ready(memory: Memory, seen: Observation) -> _Answer:
    """Its message also keeps how much was read again: a restarted operator learns there what was told already."""
    sink, rewound = judge_sink(memory.sink, seen.consumers), memory.sink.rewound_records
    if sink.health is SinkHealth.READY:
        has_written = any(state.totals.transactions for state in _states(seen))
        what = "the last transaction of every consumer succeeded" if has_written else "every consumer has reached it"
        return ConditionStatus.TRUE, "Ready", add_rewound(what, rewound)
    if sink.health is SinkHealth.UNKNOWN:
        return ConditionStatus.UNKNOWN, "NotTried", "no consumer has written or claimed yet"
    reason = sink.reason or sink.health.value
    message = sink.message or f"the database is {sink.health.value.lower()}"
    return ConditionStatus.FALSE, reason, add_rewound(message, memory.sink.rewound_told)


def _paused(pipeline: Pipeline) -> _Answer:
    scaling = pipeline.spec.scaling
    switches = {
        "spec.suspend": pipeline.spec.suspend,
        "spec.scaling.mode": scaling.mode is ScalingMode.PAUSED,
        "spec.scaling.pauseScaleIn": scaling.pause_scale_in,
        "spec.scaling.pauseScaleOut": scaling.pause_scale_out,
    }
    on = [name for name, is_on in switches.items() if is_on]
    if on:
        return ConditionStatus.TRUE, "Requested", f"set by {', '.join(on)}"
    return ConditionStatus.FALSE, "NotRequested", "nothing is paused"


def _conflict(conflict: Conflict | None) -> _Answer:
    if conflict is not None:
        return ConditionStatus.TRUE, conflict.reason, conflict.message
    return ConditionStatus.FALSE, "NoOtherWriter", "nobody else sets the number of consumers"


def _data_lost(seen: Observation) -> _Answer:
    """Partitions that a consumer no longer reads, because records were removed before they were written."""
    stopped = {
        report.partition: report.why or "stopped"
        for state in _states(seen)
        for report in state.partitions
        if report.state is PartitionState.STOPPED
    }
    if stopped:
        details = "; ".join(f"partition {p}: {why}" for p, why in sorted(stopped.items())[:5])
        return ConditionStatus.TRUE, "PartitionsStopped", f"{len(stopped)} partitions are not read: {details}"
    lost = sum(state.totals.lost_records for state in _states(seen))
    if lost:
        return (
            ConditionStatus.TRUE,
            "RecordsRemoved",
            f"{lost:,} records were removed from Kafka before they were written",
        )
    made_anew = sum(state.totals.made_anew for state in _states(seen))
    if made_anew:
        what = f"the topic was deleted and made anew: {made_anew:,} partitions went on at its start"
        return ConditionStatus.TRUE, "TopicMadeAnew", f"{what}; what was not written of the old one is gone"
    if any(view.state is None for view in seen.consumers) or not seen.consumers:
        return ConditionStatus.UNKNOWN, "NotAsked", "not every consumer could be asked"
    return ConditionStatus.FALSE, "NoneStopped", "every assigned partition is read"
