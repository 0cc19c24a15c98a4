"""What a person sees of a running pipeline: one value for screens, tables and status.json alike. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from forebay_api.state import ConsumerState, PartitionState, SinkHealth
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.model import ConsumerView, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLine:
    """One consumer; None where it did not answer. trouble: why it does not write, for people.

    rewound_records: read again, because a failover had lost their commits.
    """

    name: str
    phase: str | None = None
    partitions: int | None = None
    busy_fraction: float | None = None
    records_per_second: float | None = None
    rows: int | None = None
    dead_letters: int | None = None
    rewound_records: int | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionLine:
    """One condition."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineView:
    """Rates are records/s over the fast window; None is unknown. changed_to: the number asked for by this decision."""

    pipeline: str
    taken_at: str
    running: int | None
    changed_to: int
    min_replicas: int
    max_replicas: int
    partitions: int | None
    lag_records: int | None
    age_s: float | None
    age_is_lower_bound: bool
    arrival: float | None
    written: float | None
    capacity: float | None
    cap_rows_per_second: int | None
    verdict: str
    because: str
    would_change_if: str
    conditions: tuple[ConditionLine, ...]
    consumers: tuple[ConsumerLine, ...]
    problem: str | None


def view_report(pipeline: Pipeline, report: Report) -> PipelineView:
    """One pass of the loop, for people."""
    decision, terms, workload = report.plan.decision, report.plan.decision.terms, report.seen.workload
    capacity = report.capacity
    return PipelineView(
        pipeline=pipeline.key,
        taken_at=decision.time.isoformat(timespec="milliseconds"),
        running=None if workload is None else len(workload.consumers),
        changed_to=decision.to_replicas,
        min_replicas=pipeline.spec.scaling.min_replicas,
        max_replicas=pipeline.spec.scaling.max_replicas,
        partitions=terms.partitions,
        lag_records=terms.lag_records,
        age_s=terms.age_s,
        age_is_lower_bound=terms.age_is_lower_bound,
        arrival=terms.arrival,
        written=terms.written,
        capacity=None if capacity is None else capacity.records_per_second,
        cap_rows_per_second=pipeline.spec.consumer.max_rows_per_second,
        verdict=decision.verdict.value,
        because=decision.because,
        would_change_if=decision.would_change_if,
        conditions=tuple(
            ConditionLine(type=c.type.value, status=c.status.value, reason=c.reason, message=c.message)
            for c in report.conditions
        ),
        consumers=tuple(_view_consumer(seen) for seen in report.seen.consumers),
        problem=None if workload is None else workload.problem,
    )


def _view_consumer(seen: ConsumerView) -> ConsumerLine:
    state = seen.state
    if state is None:
        return ConsumerLine(name=seen.consumer.name)
    return ConsumerLine(
        name=seen.consumer.name,
        phase=state.phase.value,
        partitions=len(state.partitions),
        busy_fraction=state.busy_fraction,
        records_per_second=state.records_per_second,
        rows=state.totals.rows,
        dead_letters=state.totals.dead_letters,
        rewound_records=state.totals.rewound_records,
        trouble=find_trouble(state),
    )


def find_trouble(state: ConsumerState) -> str | None:
    """Why a consumer does not write, most important first; None when nothing is wrong."""
    if state.sink.health in (SinkHealth.AWAY, SinkHealth.BROKEN):
        return f"{state.sink.reason}: {state.sink.message}"
    if state.source_message is not None:
        return state.source_message
    stopped = [p for p in state.partitions if p.state is PartitionState.STOPPED]
    if stopped:
        return f"partition {stopped[0].partition}: {stopped[0].why}"
    return None


def view_to_plain(view: PipelineView) -> dict[str, Any]:
    """For JSON."""
    return asdict(view)


def view_from_plain(plain: Mapping[str, Any]) -> PipelineView:
    """The inverse of view_to_plain, for the same release. Raises TypeError and KeyError on anything else."""
    fields = dict(plain)
    fields["conditions"] = tuple(ConditionLine(**line) for line in plain["conditions"])
    fields["consumers"] = tuple(ConsumerLine(**line) for line in plain["consumers"])
    return PipelineView(**fields)
