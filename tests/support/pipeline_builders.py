"""Short ways to a pipeline, a consumer's state and an observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from forebay_api.state import (
    ConsumerState,
    PartitionReport,
    PartitionState,
    Phase,
    SinkHealth,
    SinkState,
    Totals,
)
from forebay_api.v1alpha1 import (
    ConsumerSpec,
    Objective,
    Pipeline,
    PipelineSpec,
    ScalingSpec,
    SecretRef,
    SinkSpec,
    SourceSpec,
    Timing,
)
from forebay_operator.model import (
    ConsumerView,
    GroupState,
    GroupView,
    LagSample,
    Observation,
    PartitionOffsets,
    RunningConsumer,
    Workload,
)

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)

QUICK = Timing(sample_s=1, fast_window_s=5, scale_out_samples=2, scale_in_window_s=15, settle_s=5)
"""The demo's timing."""


def build_pipeline(
    *,
    topic: str = "payments",
    brokers: str = "127.0.0.1:9092",
    suspend: bool = False,
    cap: int | None = None,
    **scaling: Any,
) -> Pipeline:
    """A pipeline with quick timing; keywords are ScalingSpec's."""
    defaults: dict[str, Any] = {"timing": QUICK, "objective": Objective(max_age_s=10, catch_up_s=30)}
    return Pipeline(
        namespace="bank",
        name="payments",
        spec=PipelineSpec(
            source=SourceSpec(bootstrap_servers=brokers, topic=topic, group=f"bank.{topic}"),
            sink=SinkSpec(connection_secret_ref=SecretRef(name="db"), table="public.payments"),
            suspend=suspend,
            scaling=ScalingSpec(**(defaults | scaling)),
            consumer=ConsumerSpec(max_rows_per_second=cap),
        ),
    )


def build_state(
    name: str = "c0",
    *,
    busy: float | None = 0.5,
    rate: float | None = 500.0,
    health: SinkHealth = SinkHealth.READY,
    stopped: Mapping[int, str] | None = None,
    rewound: int = 0,
) -> ConsumerState:
    """A consumer's answer."""
    reports = tuple(
        PartitionReport(partition=p, state=PartitionState.STOPPED, why=why) for p, why in (stopped or {}).items()
    )
    reason = None if health is SinkHealth.READY else "Unreachable"
    return ConsumerState(
        consumer=name,
        pipeline="bank/payments",
        phase=Phase.RUNNING,
        sink=SinkState(health=health, reason=reason, message=reason and "connection refused"),
        partitions=reports,
        totals=Totals(rewound_records=rewound),
        busy_fraction=busy,
        records_per_second=rate,
        oldest_unwritten_s=None,
        buffered_bytes=0,
        paused_because=None,
        source_message=None,
        uptime_s=60.0,
    )


def build_workload(replicas: int) -> Workload:
    """A settled workload."""
    consumers = tuple(RunningConsumer(name=f"c{i}", state_url=f"http://c{i}/state") for i in range(replicas))
    return Workload(replicas=replicas, consumers=consumers, is_current=True, is_settled=True)


def build_observation(
    replicas: int,
    offsets: Sequence[tuple[int, int | None] | None],
    *,
    at_s: float,
    states: Sequence[ConsumerState | None] | None = None,
) -> Observation:
    """offsets: one (log end, committed) a partition, None = no answer. states: default answers of a settled group."""
    workload = build_workload(replicas)
    states = [build_state(c.name) for c in workload.consumers] if states is None else states
    group_state = GroupState.STABLE if replicas else GroupState.EMPTY
    partitions = {
        p: None if o is None else PartitionOffsets(log_start=0, log_end=o[0], committed=o[1])
        for p, o in enumerate(offsets)
    }
    return Observation(
        workload=workload,
        lag=LagSample(
            taken_at=START + timedelta(seconds=at_s),
            partitions=partitions,
            group=GroupView(state=group_state, members=replicas),
        ),
        consumers=tuple(ConsumerView(consumer=c, state=s) for c, s in zip(workload.consumers, states, strict=True)),
    )


def blind(observation: Observation) -> Observation:
    """The same without an answer from Kafka."""
    return replace(observation, lag=None)
