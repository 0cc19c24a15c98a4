"""The values that travel through the reconcile loop: what was seen, what is remembered, what is decided.

What must not live here: rules (scaling/, decide.py), I/O, clocks. Times are aware UTC; unknown is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from forebay_api.state import ConsumerState

from forebay_operator.remembered import Restored, SinkMemory

# --- seen -----------------------------------------------------------------------------------------------------------


class GroupState(StrEnum):
    """State of the Kafka consumer group. EMPTY: no members, or never used."""

    STABLE = "Stable"
    EMPTY = "Empty"
    REBALANCING = "Rebalancing"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOffsets:
    """Offsets of one partition. log_end: first offset not yet produced (last stable one).

    committed: the group's, None if it has none; it was read before log_end, so that
    committed > log_end is never a race but a truncated or recreated topic.
    """

    log_start: int
    log_end: int
    committed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """Members of the group. assignment: member's client id and id → its partitions of the pipeline's topic."""

    state: GroupState
    members: int
    assignment: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LagSample:
    """One reading of Kafka. partitions: one key for each partition of the topic, None where the answer is missing.

    group: None when the group could not be described.
    """

    taken_at: datetime
    partitions: Mapping[int, PartitionOffsets | None]
    group: GroupView | None

    @property
    def is_complete(self) -> bool:
        """Every partition and the group answered."""
        return bool(self.partitions) and None not in self.partitions.values() and self.group is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningConsumer:
    """One consumer that runs now, starting and draining ones included. state_url: its /state, None until known."""

    name: str
    state_url: str | None


class ReplicasWriter(StrEnum):
    """Who set the number of replicas that is in force. NOBODY: it was created and never scaled.

    AUTOSCALER: Kubernetes' own HorizontalPodAutoscaler. PERSON: anyone else.
    """

    OPERATOR = "Operator"
    NOBODY = "Nobody"
    AUTOSCALER = "Autoscaler"
    PERSON = "Person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The consumers of one pipeline as their runtime sees them.

    replicas: how many are asked for. consumers: those that run. is_current: what runs was made from the pipeline's
    present spec. is_settled: no start, stop or replacement is under way, and as many run as are asked for.
    problem: why consumers do not start or keep ending, for people; None when nothing is wrong.
    writer: who asked for `replicas`. writer_name: its name for people, when it is not the operator.
    rival: a controller that targets the replicas as well, for people, None = none.
    scaling_revision: revision of spec.scaling that the workload was last applied under, None = never noted.
    """

    replicas: int
    consumers: tuple[RunningConsumer, ...]
    is_current: bool
    is_settled: bool
    problem: str | None = None
    writer: ReplicasWriter = ReplicasWriter.OPERATOR
    writer_name: str | None = None
    rival: str | None = None
    scaling_revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerView:
    """A running consumer and its answer; None when it did not answer."""

    consumer: RunningConsumer
    state: ConsumerState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why something is unknown: a CamelCase word and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything seen in one pass.

    workload None: it does not exist yet. lag None: Kafka did not answer, and lag_problem says why.
    """

    workload: Workload | None
    lag: LagSample | None
    consumers: tuple[ConsumerView, ...]
    lag_problem: Problem | None = None


# --- remembered -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One partition's offsets in a snapshot; committed is the effective one, None when nothing is committed yet."""

    end: int
    committed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Known partitions at one moment."""

    at: datetime
    points: Mapping[int, Point]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one consumer can write, learned. conservative: its 25th percentile over consumers."""

    records_per_second: float
    conservative: float
    samples: int
    learned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """How many consumers the slow demand asked for at one moment; the scale-in window is made of these."""

    at: datetime
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one pass hands to the next. Losing it costs time, never correctness; capacity survives in the status.

    history: oldest first. held_until: partition → until when it counts as unknown (its offsets went backwards).
    hungry_samples: consecutive samples that asked for more. idle_since: nothing arrived and nothing waited since.
    settled_since: kept through missing answers. unsettled_since: until the group is at rest.
    replicas_seen: at the last pass. lag_misses: consecutive passes without any answer.
    recovery_samples: complete samples to see before any change. resume_to: replicas before `suspend`.
    ordered: the number of replicas that the operator last asked for or accepted, None = not known.
    had_rival: a controller targeted the replicas at the last pass. restored: last_decision is from the status.
    """

    history: tuple[Snapshot, ...] = ()
    held_until: Mapping[int, datetime] = field(default_factory=dict)
    capacity: Capacity | None = None
    recommendations: tuple[Recommendation, ...] = ()
    hungry_samples: int = 0
    idle_since: datetime | None = None
    settled_since: datetime | None = None
    unsettled_since: datetime | None = None
    replicas_seen: int | None = None
    changed_at: datetime | None = None
    lag_misses: int = 0
    recovery_samples: int = 0
    resume_to: int | None = None
    ordered: int | None = None
    had_rival: bool = False
    restored: Restored | None = None
    sink: SinkMemory = field(default_factory=SinkMemory)
    last_decision: Decision | None = None
    conditions: tuple[Condition, ...] = ()


# --- decided --------------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """STEADY: right as it is. HELD: a change is wanted or unknown, and waits. BLOCKED: a change does not settle.
    BLIND: Kafka has not answered for several samples."""

    STEADY = "Steady"
    SCALING_UP = "ScalingUp"
    SCALING_DOWN = "ScalingDown"
    HELD = "Held"
    BLOCKED = "Blocked"
    BLIND = "Blind"


class CapacitySource(StrEnum):
    """Where the capacity in use comes from. CAP: only an upper bound, consumer.maxRowsPerSecond."""

    LEARNED = "Learned"
    SEED = "Seed"
    CAP = "Cap"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The numbers behind a decision; None = unknown. Rates are records/s.

    arrival, written: over the fast window. demand: the arrival rate that sizing used. lag_is_lower_bound: some
    partition is missing. age_is_lower_bound: the backlog is older than the remembered history. deadline_s: a backlog
    should be gone within this time. required: rate that the consumers must be able to write. wanted: replicas for it.
    """

    partitions: int | None = None
    lag_records: int | None = None
    lag_is_lower_bound: bool = False
    age_s: float | None = None
    age_is_lower_bound: bool = False
    arrival: float | None = None
    written: float | None = None
    demand: float | None = None
    capacity: float | None = None
    capacity_source: CapacitySource = CapacitySource.UNKNOWN
    deadline_s: float | None = None
    required: float | None = None
    partitions_per_consumer: int | None = None
    wanted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """One rule that moved the number. before == after: it confirmed a hold."""

    name: str
    before: int
    after: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is done and why. binding: the rule that decided, a CamelCase word. because: one plain sentence with numbers.

    to_replicas: in Observe mode, what would be done.
    """

    time: datetime
    from_replicas: int
    to_replicas: int
    verdict: Verdict
    binding: str
    because: str
    terms: Terms
    clamps: tuple[Clamp, ...]
    next_evaluation_s: float
    would_change_if: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyWorkload:
    """Create or update what must exist besides the number of consumers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleTo:
    """Ask the runtime for this many consumers."""

    replicas: int


Action = ApplyWorkload | ScaleTo


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Somebody else sets the number of consumers. reason: a CamelCase word. ends_if: completes "until ..."."""

    reason: str
    message: str
    ends_if: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The decision and the actions that carry it out, in order; none when nothing is to be done."""

    decision: Decision
    actions: tuple[Action, ...]
    conflict: Conflict | None = None


# --- reported -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one action; error None = done. is_stale: refused since the world had changed since it was seen."""

    action: Action
    error: str | None = None
    is_stale: bool = False


class ConditionStatus(StrEnum):
    """Kubernetes' three words."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """Conditions of an IngestPipeline."""

    READY = "Ready"
    SCALING = "Scaling"
    LAG_AVAILABLE = "LagAvailable"
    SINK_READY = "SinkReady"
    PAUSED = "Paused"
    CONFLICT = "Conflict"
    DATA_LOST = "DataLost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """since: when `status` last changed."""

    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str
    since: datetime


class EventType(StrEnum):
    """Kubernetes' two words."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something changed that a person may want to know."""

    type: EventType
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One pass, for status, events, metrics and screens. events: only what is new since the last pass.

    ordered: the number of consumers that is in force by the operator's word, None = not known.
    """

    seen: Observation
    plan: Plan
    outcomes: tuple[Outcome, ...]
    capacity: Capacity | None
    conditions: tuple[Condition, ...]
    events: tuple[Event, ...]
    generation: int
    ordered: int | None = None
