"""IngestPipeline v1alpha1 as frozen values.

What lives here: the spec's fields with their units, bounds and defaults; nowhere else does a default stand. What must
not: parsing (parse.py), anything that reads a file, a clock or the network.

A field's YAML name is its name in camelCase, a last `_s` spelled `Seconds`. One field here is one property in
crds/ingestpipelines.yaml; tests/unit/forebay_api checks that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from forebay_api import bounds
from forebay_api.bounds import JsonObject


class StartFrom(StrEnum):
    """Where a group without stored positions begins. Stored in `forebay.positions` before the first read."""

    EARLIEST = "Earliest"
    LATEST = "Latest"
    COMMITTED = "Committed"


class OnPositionLost(StrEnum):
    """What to do when retention removed records that were never written."""

    STOP = "Stop"
    SKIP_TO_EARLIEST = "SkipToEarliest"


class FormatType(StrEnum):
    """How record values are encoded."""

    JSON = "JSON"


class TlsMode(StrEnum):
    """libpq's sslmode words."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class SinkMode(StrEnum):
    """How rows reach the table."""

    APPEND = "Append"
    UPSERT = "Upsert"


class UnknownFieldPolicy(StrEnum):
    """What happens to a JSON field that no column takes."""

    IGNORE = "Ignore"
    DEAD_LETTER = "DeadLetter"


class EpochUnit(StrEnum):
    """The unit of a number that stands for a point in time."""

    SECONDS = "Seconds"
    MILLISECONDS = "Milliseconds"
    MICROSECONDS = "Microseconds"
    NANOSECONDS = "Nanoseconds"


class ScalingMode(StrEnum):
    """Who moves the replicas."""

    OBSERVE = "Observe"
    ENFORCE = "Enforce"
    MANUAL = "Manual"
    PAUSED = "Paused"


class ColumnSource(StrEnum):
    """Which part of a Kafka record fills a column."""

    PATH = "path"
    KEY = "key"
    TIMESTAMP = "timestamp"
    PARTITION = "partition"
    OFFSET = "offset"
    HEADER = "header"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Name of a Secret in the pipeline's own namespace (or of a folder `secrets/NAME/` for the local runtime)."""

    name: Annotated[str, bounds.OBJECT_NAME]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSpec:
    """How record values are decoded."""

    type: FormatType = FormatType.JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """The Kafka side. `group` None in YAML becomes `<namespace>.<name>` in the parser, so it is never empty here."""

    bootstrap_servers: Annotated[str, bounds.BROKERS]
    topic: Annotated[str, bounds.TOPIC]
    group: Annotated[str, bounds.GROUP]
    start_from: StartFrom = StartFrom.EARLIEST
    on_position_lost: OnPositionLost = OnPositionLost.STOP
    format: FormatSpec = field(default_factory=FormatSpec)
    config_secret_ref: SecretRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSpec:
    """TLS towards PostgreSQL. `ca_secret_ref`: Secret whose key `ca.crt` holds the CA; needed by the verify-* modes."""

    mode: TlsMode = TlsMode.PREFER
    ca_secret_ref: SecretRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSpec:
    """One column and what fills it.

    path: the JSON field's keys from the outside in, never empty, for ColumnSource.PATH only.
    header: the header's name, for ColumnSource.HEADER only (the last one of that name wins).
    epoch_unit: for date and timestamp columns: numbers are accepted and mean this unit since 1970-01-01 UTC.
        None: ISO 8601 text only.
    type: PostgreSQL's name of a type, with which the column is made where it is missing; None: it is never made.
    nullable: False makes it NOT NULL; says nothing about a column that is there.
    """

    name: str
    source: ColumnSource
    path: tuple[str, ...] = ()
    header: str | None = None
    epoch_unit: EpochUnit | None = None
    type: str | None = None
    nullable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownFields:
    """Policy for JSON fields without a column.

    `column` names a json/jsonb column that collects them instead (IGNORE then).
    """

    policy: UnknownFieldPolicy = UnknownFieldPolicy.IGNORE
    column: Annotated[str, bounds.COLUMN] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWhen:
    """Which records delete their row: those with one of these values at the path.

    path: JSON keys from the outside in, never empty. values: a JSON string matches by its text; true, false and a
    number by their JSON text.
    """

    path: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSpec:
    """The breaker, and what becomes of dead letters.

    More than `max_fraction` (and at least `minimum`) dead letters among the last `window_records` stop the pipeline.
    topic: of the same brokers, to which they are copied too, at least once; None: they are in the database only.
    retention_days: older ones are deleted, once copied if there is a topic; None: they are kept for ever.
    """

    max_fraction: Annotated[float, bounds.FRACTION] = 0.01
    window_records: Annotated[int, bounds.WINDOW_RECORDS] = 10_000
    minimum: Annotated[int, bounds.WINDOW_RECORDS] = 100
    topic: Annotated[str, bounds.TOPIC] | None = None
    retention_days: Annotated[int, bounds.DAYS] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresClusterRef:
    """A cluster of the Zalando operator in the pipeline's own namespace.

    user: names the Secret only; whom to connect as is read from the Secret, because rotation changes it.
    service_name: None = the cluster's own Service, `name`. secret_name: None = as the Zalando operator names it.
    """

    name: Annotated[str, bounds.CLUSTER_NAME]
    user: Annotated[str, bounds.CLUSTER_USER]
    database: Annotated[str, bounds.DATABASE]
    service_name: Annotated[str, bounds.SERVICE_NAME] | None = None
    port: Annotated[int, bounds.PORT] = 5432
    secret_name: Annotated[str, bounds.OBJECT_NAME] | None = None

    @property
    def host(self) -> str:
        """The Service to connect to."""
        return self.service_name or self.name

    @property
    def credentials_secret(self) -> str:
        """Name of the Secret with the keys username and password.

        The Zalando operator's default template; '_', which no name of an object may have, becomes '-'.
        """
        user = self.user.replace("_", "-")
        return self.secret_name or f"{user}.{self.name}.credentials.postgresql.acid.zalan.do"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSpec:
    """The PostgreSQL side: exactly one of postgres_cluster_ref and connection_secret_ref.

    `table` is `schema.table` or `table` (then in schema public).
    key_columns: what identifies a row, for SinkMode.UPSERT and never empty then. delete_when: for that mode only; a
    record without a value deletes its row in any case. version_column: for that mode only, and only used when a dead
    letter is replayed: which of two rows of a key is the later one; None: that cannot be told.
    """

    table: Annotated[str, bounds.TABLE]
    postgres_cluster_ref: PostgresClusterRef | None = None
    connection_secret_ref: SecretRef | None = None
    tls: TlsSpec = field(default_factory=TlsSpec)
    mode: SinkMode = SinkMode.APPEND
    key_columns: Annotated[tuple[Annotated[str, bounds.COLUMN], ...], bounds.MAX_KEY_COLUMNS] = ()
    delete_when: DeleteWhen | None = None
    version_column: Annotated[str, bounds.COLUMN] | None = None
    columns: Annotated[tuple[ColumnSpec, ...], bounds.MAX_COLUMNS] = ()
    unknown_fields: UnknownFields = field(default_factory=UnknownFields)
    dead_letters: DeadLetterSpec = field(default_factory=DeadLetterSpec)


def sink_secret_name(sink: SinkSpec) -> str:
    """Name of the Secret, in the pipeline's namespace, with the sink's credentials: whichever reference is used."""
    if sink.postgres_cluster_ref is not None:
        return sink.postgres_cluster_ref.credentials_secret
    if sink.connection_secret_ref is not None:
        return sink.connection_secret_ref.name
    raise ValueError("a sink without a reference to its credentials; the parser makes none such")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """max_age_s: oldest unwritten record may be this old. catch_up_s: a backlog should be gone within this time."""

    max_age_s: Annotated[float, bounds.SECONDS] = 30.0
    catch_up_s: Annotated[float, bounds.SECONDS] = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The controller's clock; seconds, except scale_out_samples (consecutive samples that must ask for more)."""

    sample_s: Annotated[float, bounds.SECONDS] = 5.0
    fast_window_s: Annotated[float, bounds.SECONDS] = 15.0
    scale_out_samples: Annotated[int, bounds.SAMPLES] = 2
    scale_in_window_s: Annotated[float, bounds.SECONDS_OR_ZERO] = 600.0
    settle_s: Annotated[float, bounds.SECONDS_OR_ZERO] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSpec:
    """How many consumers. `replicas` is followed in Manual mode only.

    Capacity_per_replica is records/s, None = learned.
    """

    mode: ScalingMode = ScalingMode.ENFORCE
    pause_scale_in: bool = False
    pause_scale_out: bool = False
    replicas: Annotated[int, bounds.REPLICAS] = 1
    min_replicas: Annotated[int, bounds.REPLICAS] = 1
    max_replicas: Annotated[int, bounds.REPLICAS_NOT_ZERO] = 12
    objective: Objective = field(default_factory=Objective)
    capacity_per_replica: Annotated[float, bounds.RATE] | None = None
    timing: Timing = field(default_factory=Timing)


def _no_entries() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcesSpec:
    """What a consumer's container asks for and may use: resource name -> Kubernetes quantity, as text."""

    requests: Annotated[Mapping[str, str], bounds.QUANTITIES] = field(default_factory=_no_entries)
    limits: Annotated[Mapping[str, str], bounds.QUANTITIES] = field(default_factory=_no_entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable. Names that begin with FOREBAY_ are the operator's own."""

    name: Annotated[str, bounds.VARIABLE_NAME]
    value: Annotated[str, bounds.VARIABLE_VALUE] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """Name of an object in the pipeline's own namespace."""

    name: Annotated[str, bounds.OBJECT_NAME]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    """What is passed on to the consumers' pods; processes of the local runtime take env alone.

    tolerations, affinity, topology_spread_constraints: JSON as core/v1 has it. Their schema is in the CRD alone,
    because only a Kubernetes API server gives them a meaning.
    """

    labels: Annotated[Mapping[str, str], bounds.LABELS] = field(default_factory=_no_entries)
    annotations: Annotated[Mapping[str, str], bounds.ANNOTATIONS] = field(default_factory=_no_entries)
    env: Annotated[tuple[Variable, ...], bounds.MAX_VARIABLES] = ()
    node_selector: Annotated[Mapping[str, str], bounds.LABELS] = field(default_factory=_no_entries)
    tolerations: Annotated[tuple[JsonObject, ...], bounds.MAX_PLACEMENTS] = ()
    affinity: JsonObject | None = None
    topology_spread_constraints: Annotated[tuple[JsonObject, ...], bounds.MAX_PLACEMENTS] = ()
    priority_class_name: Annotated[str, bounds.OBJECT_NAME] | None = None
    service_account_name: Annotated[str, bounds.OBJECT_NAME] | None = None
    image_pull_secrets: Annotated[tuple[ObjectRef, ...], bounds.MAX_PLACEMENTS] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """Each consumer process.

    image: None = the operator's own release. max_rows_per_second: cap of one process, None = no cap.
    lanes: transactions under way at once in one process, each on a connection of its own; None = automatic.
    """

    image: Annotated[str, bounds.IMAGE] | None = None
    resources: ResourcesSpec = field(default_factory=ResourcesSpec)
    max_rows_per_second: Annotated[int, bounds.RATE] | None = None
    lanes: Annotated[int, bounds.LANES] | None = None
    pod_template: PodTemplate = field(default_factory=PodTemplate)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSpec:
    """`spec` of an IngestPipeline."""

    source: SourceSpec
    sink: SinkSpec
    suspend: bool = False
    scaling: ScalingSpec = field(default_factory=ScalingSpec)
    consumer: ConsumerSpec = field(default_factory=ConsumerSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One IngestPipeline. generation, uid: of its metadata; 0 and "" where there is none (local runtime)."""

    namespace: str
    name: str
    spec: PipelineSpec
    generation: int = 0
    uid: str = ""

    @property
    def key(self) -> str:
        """`namespace/name`, as it is shown and logged and stored beside claims."""
        return f"{self.namespace}/{self.name}"
