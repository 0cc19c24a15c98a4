"""From an IngestPipeline's YAML or JSON, already loaded, to frozen values and back.

What lives here: the rules that need several fields, and the two places where the YAML's shape is not the value's.
What must not: bounds and defaults (v1alpha1.py), reading files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from forebay_api import bounds
from forebay_api.fields import UNREADABLE, Problem, Reader, Rule, Shape, write
from forebay_api.v1alpha1 import (
    ColumnSource,
    ColumnSpec,
    DeadLetterSpec,
    DeleteWhen,
    EpochUnit,
    Pipeline,
    PipelineSpec,
    PodTemplate,
    ScalingSpec,
    SinkMode,
    SinkSpec,
    SourceSpec,
    Timing,
    TlsMode,
    TlsSpec,
    UnknownFieldPolicy,
    UnknownFields,
    Variable,
)
from forebay_api.wire import API_VERSION, GROUP, KIND

OWN_PREFIX = f"{GROUP}/"
"""Labels and annotations of this prefix are the operator's, on every object that it makes."""

OWN_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by")
"""Labels that the operator sets, and finds its pods by."""


class InvalidPipeline(ValueError):
    """The resource breaks the API's rules. problems: all of them; as text, one line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


def parse_pipeline(body: Mapping[str, object]) -> Pipeline:
    """The pipeline that a loaded resource describes; `status` is not looked at.

    Raises InvalidPipeline with every problem.
    """
    reader = Reader(rules=RULES, shapes=SHAPES, lenient=frozenset({MetadataShape}))
    resource = reader.read(ResourceShape, _with_default_group(body), "")
    if resource is UNREADABLE:
        raise InvalidPipeline(reader.problems)
    metadata = resource.metadata
    return Pipeline(
        namespace=metadata.namespace,
        name=metadata.name,
        spec=resource.spec,
        generation=metadata.generation,
        uid=metadata.uid,
    )


def pipeline_to_body(pipeline: Pipeline) -> dict[str, Any]:
    """The resource that parse_pipeline reads back to an equal pipeline; every default is spelled out."""
    metadata = MetadataShape(
        name=pipeline.name, namespace=pipeline.namespace, generation=pipeline.generation, uid=pipeline.uid
    )
    resource = ResourceShape(api_version=API_VERSION, kind=KIND, metadata=metadata, spec=pipeline.spec)
    body: dict[str, Any] = write(resource, SHAPES)
    del body["status"]
    return body


_CONSUMER_READS = ("maxRowsPerSecond", "lanes")


def pipeline_to_consumer_body(pipeline: Pipeline) -> dict[str, Any]:
    """The part of the resource that a consumer reads: parse_pipeline takes it, with defaults for the rest.

    It stays the same when only scaling, suspend or a pod's surroundings change, so that those restart no consumer by
    way of their configuration.
    """
    body = pipeline_to_body(pipeline)
    spec = body["spec"]
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {"name": pipeline.name, "namespace": pipeline.namespace},
        "spec": {
            "source": spec["source"],
            "sink": spec["sink"],
            "consumer": {name: spec["consumer"][name] for name in _CONSUMER_READS},
        },
    }


def read_path(text: str) -> tuple[str, ...]:
    """The keys of a legal path: split at dots, or, after a leading '/', as a JSON Pointer (RFC 6901)."""
    if not text.startswith("/"):
        return tuple(text.split("."))
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in text[1:].split("/"))


def show_path(keys: Sequence[str]) -> str:
    """The inverse of read_path: dots where they can say it, else a JSON Pointer."""
    if all(key and "." not in key for key in keys) and not keys[0].startswith("/"):
        return ".".join(keys)
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataShape:
    """The part of `metadata` that a pipeline keeps. generation counts changes of the spec; the API server sets it."""

    name: Annotated[str, bounds.PIPELINE_NAME]
    namespace: Annotated[str, bounds.NAMESPACE] = "default"
    generation: Annotated[int, bounds.Range(minimum=0, maximum=2**53)] = 0
    uid: Annotated[str, bounds.UID] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusShape:
    """Whatever the operator has written; the parser passes over it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceShape:
    """The resource as a whole."""

    api_version: Annotated[
        str, bounds.Text(pattern=re.escape(API_VERSION), says=API_VERSION, max_length=len(API_VERSION))
    ]
    kind: Annotated[str, bounds.Text(pattern=KIND, says=KIND, max_length=len(KIND))]
    metadata: MetadataShape
    spec: PipelineSpec
    status: StatusShape = field(default_factory=StatusShape)


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingShape:
    """`{}`: its presence says it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FromShape:
    """A column's `from`: exactly one of these."""

    path: Annotated[str, bounds.JSON_PATH] | None = None
    key: NothingShape | None = None
    timestamp: NothingShape | None = None
    partition: NothingShape | None = None
    offset: NothingShape | None = None
    header: Annotated[str, bounds.HEADER] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnShape:
    """A column as the YAML has it: `{name: amount, from: {path: a.b}, epochUnit: Milliseconds}`."""

    name: Annotated[str, bounds.COLUMN]
    from_: FromShape
    epoch_unit: EpochUnit | None = None
    type: Annotated[str, bounds.COLUMN_TYPE] | None = None
    nullable: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWhenShape:
    """`deleteWhen` as the YAML has it: `{path: op, values: [d]}`."""

    path: Annotated[str, bounds.JSON_PATH]
    values: Annotated[tuple[Annotated[str, bounds.DELETE_VALUE], ...], bounds.DELETE_VALUES]


def _with_default_group(body: Mapping[str, object]) -> Mapping[str, object]:
    """The resource without its status and with the group that an absent one stands for."""
    if not isinstance(body, Mapping):
        return body
    body = {key: value for key, value in body.items() if key != "status"}
    metadata, spec = body.get("metadata"), body.get("spec")
    source = spec.get("source") if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(source, Mapping) or source.get("group") is not None:
        return body
    named = Reader(lenient=None).read(MetadataShape, metadata, "metadata")
    group = "unnamed" if named is UNREADABLE else f"{named.namespace}.{named.name}"
    return {**body, "spec": {**spec, "source": {**source, "group": group}}}


def _sources(shape: FromShape) -> list[ColumnSource]:
    return [source for source in ColumnSource if getattr(shape, source.value) is not None]


def _build_column(shape: ColumnShape) -> ColumnSpec:
    (source,) = _sources(shape.from_)
    return ColumnSpec(
        name=shape.name,
        source=source,
        path=() if shape.from_.path is None else read_path(shape.from_.path),
        header=shape.from_.header,
        epoch_unit=shape.epoch_unit,
        type=shape.type,
        nullable=shape.nullable is not False,
    )


def _show_column(column: ColumnSpec) -> ColumnShape:
    match column.source:
        case ColumnSource.PATH:
            shown = FromShape(path=show_path(column.path))
        case ColumnSource.HEADER:
            shown = FromShape(header=column.header)
        case _:
            present: dict[str, Any] = {column.source.value: NothingShape()}
            shown = FromShape(**present)
    nullable = None if column.nullable else False
    return ColumnShape(name=column.name, from_=shown, epoch_unit=column.epoch_unit, type=column.type, nullable=nullable)


def _check_from(*values: object) -> str | None:
    given = sum(value is not None for value in values)
    choices = ", ".join(ColumnSource)
    return None if given == 1 else f"must have exactly one of {choices} (for example {{key: {{}}}}), has {given}"


def _check_epoch_unit(from_: FromShape, unit: EpochUnit | None) -> str | None:
    typed = {ColumnSource.TIMESTAMP, ColumnSource.PARTITION, ColumnSource.OFFSET} & set(_sources(from_))
    return f"has no meaning for {typed.pop()}; remove it" if unit and typed else None


def _check_nullable(type_: str | None, nullable: bool | None) -> str | None:
    misplaced = nullable is not None and type_ is None
    return "has no meaning without type, which makes the column; remove it, or add type" if misplaced else None


def _check_unique_columns(columns: Sequence[ColumnSpec]) -> str | None:
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    return f"names must be unique; more than once: {', '.join(twice)}" if twice else None


def _check_key_columns(mode: SinkMode, key: Sequence[str]) -> str | None:
    if mode is SinkMode.UPSERT:
        return None if key else "is required in mode Upsert: name the columns that identify a row"
    return f"has no meaning in mode {mode}; remove it, or set mode: Upsert" if key else None


def _check_unique_key(key: Sequence[str]) -> str | None:
    twice = sorted({name for name in key if key.count(name) > 1})
    return f"must be unique; more than once: {', '.join(twice)}" if twice else None


def _check_delete_when(mode: SinkMode, marker: DeleteWhen | None) -> str | None:
    misplaced = marker is not None and mode is not SinkMode.UPSERT
    return f"has no meaning in mode {mode}; remove it, or set mode: Upsert" if misplaced else None


def _check_version(mode: SinkMode, key: Sequence[str], version: str | None) -> str | None:
    if version is None:
        return None
    if mode is not SinkMode.UPSERT:
        return f"has no meaning in mode {mode}; remove it, or set mode: Upsert"
    return f"column {version} is one of keyColumns; name another" if version in key else None


def _check_letter_topic(source: SourceSpec, sink: SinkSpec) -> str | None:
    is_own = sink.dead_letters.topic == source.topic
    return "deadLetters.topic is the topic that the pipeline reads; name another" if is_own else None


def _check_collector(columns: Sequence[ColumnSpec], unknown: UnknownFields) -> str | None:
    taken = any(column.name == unknown.column for column in columns)
    return f"column {unknown.column} is filled by spec.sink.columns; name another" if taken else None


def _check_reference(cluster: object, secret: object) -> str | None:
    if (cluster is None) != (secret is None):
        return None
    found = "neither" if cluster is None else "both"
    return f"must have exactly one of postgresClusterRef and connectionSecretRef, has {found}"


def _check_variable(name: str) -> str | None:
    return "names beginning with FOREBAY_ are the operator's own; remove it" if name.startswith("FOREBAY_") else None


def _check_labels(labels: Mapping[str, str]) -> str | None:
    taken = [key for key in labels if key.startswith(OWN_PREFIX) or key in OWN_LABELS]
    return f"{taken[0]} is the operator's own; remove it" if taken else None


def _check_annotations(annotations: Mapping[str, str]) -> str | None:
    taken = [key for key in annotations if key.startswith(OWN_PREFIX)]
    return f"{taken[0]} is the operator's own; remove it" if taken else None


def _check_unique_variables(env: Sequence[Variable]) -> str | None:
    names = [each.name for each in env]
    twice = sorted({name for name in names if names.count(name) > 1})
    return f"names must be unique; more than once: {', '.join(twice)}" if twice else None


def _check_tls(mode: TlsMode, ca: object) -> str | None:
    verifies = mode in (TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL)
    return f"is required by mode {mode}: name a Secret whose key ca.crt holds the CA" if verifies and not ca else None


def _check_policy(policy: UnknownFieldPolicy, column: str | None) -> str | None:
    excluded = column is not None and policy is not UnknownFieldPolicy.IGNORE
    return f"excludes column {column}; keep one of both" if excluded else None


def _check_breaker(minimum: int, window: int) -> str | None:
    return f"must be at most windowRecords ({window}), is {minimum}" if minimum > window else None


def _check_replicas(minimum: int, maximum: int) -> str | None:
    return f"must be at most maxReplicas ({maximum}), is {minimum}" if minimum > maximum else None


def _check_windows(sample_s: float, fast_window_s: float) -> str | None:
    too_short = fast_window_s < sample_s
    return f"must be at least sampleSeconds ({sample_s:g}), is {fast_window_s:g}" if too_short else None


RULES: Mapping[type, Sequence[Rule]] = {
    FromShape: [Rule(needs=tuple(ColumnSource), blames="", check=_check_from)],
    ColumnShape: [
        Rule(needs=("from_", "epoch_unit"), blames="epoch_unit", check=_check_epoch_unit),
        Rule(needs=("type", "nullable"), blames="nullable", check=_check_nullable),
    ],
    SinkSpec: [
        Rule(needs=("postgres_cluster_ref", "connection_secret_ref"), blames="", check=_check_reference),
        Rule(needs=("columns",), blames="columns", check=_check_unique_columns),
        Rule(needs=("columns", "unknown_fields"), blames="unknown_fields", check=_check_collector),
        Rule(needs=("mode", "key_columns"), blames="key_columns", check=_check_key_columns),
        Rule(needs=("key_columns",), blames="key_columns", check=_check_unique_key),
        Rule(needs=("mode", "delete_when"), blames="delete_when", check=_check_delete_when),
        Rule(needs=("mode", "key_columns", "version_column"), blames="version_column", check=_check_version),
    ],
    PipelineSpec: [Rule(needs=("source", "sink"), blames="sink", check=_check_letter_topic)],
    TlsSpec: [Rule(needs=("mode", "ca_secret_ref"), blames="ca_secret_ref", check=_check_tls)],
    UnknownFields: [Rule(needs=("policy", "column"), blames="policy", check=_check_policy)],
    DeadLetterSpec: [Rule(needs=("minimum", "window_records"), blames="minimum", check=_check_breaker)],
    ScalingSpec: [Rule(needs=("min_replicas", "max_replicas"), blames="min_replicas", check=_check_replicas)],
    Variable: [Rule(needs=("name",), blames="name", check=_check_variable)],
    PodTemplate: [
        Rule(needs=("labels",), blames="labels", check=_check_labels),
        Rule(needs=("annotations",), blames="annotations", check=_check_annotations),
        Rule(needs=("env",), blames="env", check=_check_unique_variables),
    ],
    Timing: [Rule(needs=("sample_s", "fast_window_s"), blames="fast_window_s", check=_check_windows)],
}
"""Each has its like in crds/ingestpipelines.yaml: a CEL rule, a list's map key, or minProperties and maxProperties."""

SHAPES: Mapping[type, Shape] = {
    ColumnSpec: Shape(like=ColumnShape, build=_build_column, show=_show_column),
    DeleteWhen: Shape(
        like=DeleteWhenShape,
        build=lambda shape: DeleteWhen(path=read_path(shape.path), values=shape.values),
        show=lambda marker: DeleteWhenShape(path=show_path(marker.path), values=marker.values),
    ),
}
