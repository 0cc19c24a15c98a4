"""A ScaledObject of KEDA -> what means the same in an IngestPipeline, and what has no equal. Pure.

Meanings and defaults are those of KEDA 2.20: apis/keda/v1alpha1/scaledobject_types.go, pkg/scalers/kafka_scaler.go, and
of the HorizontalPodAutoscaler that KEDA makes (autoscaling/v2). Both begin where the other's idea ends: KEDA divides
what waits by a constant, Forebay asks how soon it shall be written and learns what one consumer can do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import yaml
from forebay_api.v1alpha1 import ScalingSpec

from forebay_cli.errors import UsageProblem

KAFKA_TRIGGERS = ("kafka", "apache-kafka")

DEFAULT_MAX, DEFAULT_LAG_THRESHOLD, DEFAULT_COOLDOWN_S, DEFAULT_STABILIZATION_S = 100, 10, 300, 300
"""maxReplicaCount, lagThreshold, cooldownPeriod, scaleDown.stabilizationWindowSeconds."""

ANNOTATION = "autoscaling.keda.sh/"

MOST_REPLICAS, LONGEST_S = 1000, 86_400
"""Of an IngestPipeline."""

LEAST_CATCH_UP_S = 30
"""Starting a consumer takes seconds by itself."""

SIGN_IN = ("sasl", "tls", "saslTokenProvider", "awsRegion", "unsafeSsl")

TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})
"""Of Go's strconv.ParseBool."""

_OWN = ScalingSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """name: `namespace/name` of the ScaledObject. source, scaling: of the pipeline's spec.

    warnings: sentences that begin with the field that they are about.
    """

    name: str
    source: Mapping[str, Any]
    scaling: Mapping[str, Any]
    warnings: Sequence[str]


@dataclass(slots=True, kw_only=True)
class _Draft:
    """What is being written. `capacity`: records/s that one consumer writes, None: not told."""

    capacity: float | None
    source: dict[str, Any] = field(default_factory=dict)
    scaling: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, about: str, text: str) -> None:
        """Note what has no equal."""
        self.warnings.append(f"{about}: {text}")


def translate(body: Mapping[str, Any], capacity: float | None = None) -> Translation:
    """Translate one ScaledObject, parsed. capacity: records/s of one consumer, if known.

    Raises UsageProblem naming the field for what is no ScaledObject of Kafka's lag.
    """
    metadata, spec = _mapping(body, "metadata"), _mapping(body, "spec")
    draft = _Draft(capacity=capacity)
    _read_trigger(*_choose_trigger(spec, draft), draft)
    _read_bounds(spec, draft)
    _read_windows(spec, draft)
    _read_annotations(_mapping(metadata, "annotations", "metadata."), draft)
    _read_rest(spec, draft)
    namespace = metadata.get("namespace", "default")
    return Translation(
        name=f"{namespace}/{metadata.get('name', '?')}",
        source=draft.source,
        scaling=draft.scaling,
        warnings=tuple(draft.warnings),
    )


def render(translation: Translation) -> str:
    """As YAML, to be put into an IngestPipeline beside its sink."""
    body = {"spec": {"source": dict(translation.source), "scaling": dict(translation.scaling)}}
    return f"# From the ScaledObject {translation.name}.\n" + yaml.safe_dump(body, sort_keys=False)


def find_scaled_objects(documents: Sequence[object]) -> Iterator[Mapping[str, Any]]:
    """Those of a file, lists unpacked. Raises UsageProblem where there is none."""
    found = [each for document in documents for each in _unpack(document) if each.get("kind") == "ScaledObject"]
    if not found:
        raise UsageProblem("kind: expected a ScaledObject (keda.sh/v1alpha1)")
    yield from found


def _unpack(document: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(document, Mapping):
        items = document.get("items")
        if str(document.get("kind")).endswith("List") and isinstance(items, list):
            for item in items:
                yield from _unpack(item)
        else:
            yield document


def _choose_trigger(spec: Mapping[str, Any], draft: _Draft) -> tuple[str, Mapping[str, Any]]:
    """Where the settings of the first Kafka trigger stand, and they."""
    triggers = spec.get("triggers")
    if not isinstance(triggers, list) or not all(isinstance(each, Mapping) for each in triggers):
        raise UsageProblem("spec.triggers: expected a list of triggers")
    kafka = [(n, each) for n, each in enumerate(triggers) if each.get("type") in KAFKA_TRIGGERS]
    if not kafka:
        raise UsageProblem(f"spec.triggers: none is of type {' or '.join(KAFKA_TRIGGERS)}: there is no lag to follow")
    for number, each in enumerate(triggers):
        if each is kafka[0][1]:
            continue
        about = f"spec.triggers[{number}]"
        if each.get("type") in KAFKA_TRIGGERS:
            draft.warn(about, "a second Kafka trigger: make a pipeline for each topic")
        elif each.get("type") == "cron":
            draft.warn(about, "no equal: raise minReplicas before a known rush, or let the objective do it")
        else:
            draft.warn(about, f"no equal for {each.get('type')}: consumers follow what waits and how busy they are")
    number, trigger = kafka[0]
    if trigger.get("metricType", "AverageValue") != "AverageValue":
        draft.warn(f"spec.triggers[{number}].metricType", "no equal: the threshold is taken as each replica's share")
    if trigger.get("authenticationRef"):
        draft.warn(
            f"spec.triggers[{number}].authenticationRef",
            "put the consumers' credentials into the Secret of spec.source.configSecretRef, the operator's own into "
            "the chart's kafkaClients",
        )
    return f"spec.triggers[{number}].metadata", _mapping(trigger, "metadata", f"spec.triggers[{number}].")


def _read_trigger(at: str, trigger: Mapping[str, Any], draft: _Draft) -> None:
    _read_source(at, trigger, draft)
    threshold = _number(trigger, "lagThreshold", DEFAULT_LAG_THRESHOLD, at)
    if threshold <= 0:
        raise UsageProblem(f"{at}.lagThreshold: must be positive")
    if draft.capacity is not None:
        seconds = threshold / draft.capacity
        if seconds < LEAST_CATCH_UP_S:
            draft.warn(
                f"{at}.lagThreshold",
                f"{threshold:,.0f} waiting records are {seconds:,.1f} s of one consumer's work; "
                f"objective.catchUpSeconds {LEAST_CATCH_UP_S} is taken: less would add consumers at every hiccup",
            )
        draft.scaling["objective"] = {"catchUpSeconds": round(min(LONGEST_S, max(LEAST_CATCH_UP_S, seconds)), 1)}
        draft.scaling["capacityPerReplica"] = draft.capacity
    else:
        draft.warn(
            f"{at}.lagThreshold",
            f"{threshold:,.0f} waiting records for each replica are {threshold:,.0f}/c seconds of work, c being the "
            "records/s that one consumer writes: set objective.catchUpSeconds to that (or pass --capacity c); "
            f"{_OWN.objective.catch_up_s:g} s is taken now, and Forebay learns c by itself",
        )
    if _number(trigger, "activationLagThreshold", 0, at) > 0:
        draft.warn(f"{at}.activationLagThreshold", "no equal: a single waiting record wakes the pipeline")
    if str(trigger.get("partitionLimitation", "")).strip():
        draft.warn(f"{at}.partitionLimitation", "no equal: a pipeline owns all partitions of its topic")
    if _is_true(trigger, "allowIdleConsumers"):
        draft.warn(f"{at}.allowIdleConsumers", "no equal: more consumers than partitions would sit idle")
    if _is_true(trigger, "excludePersistentLag"):
        draft.warn(
            f"{at}.excludePersistentLag",
            "not needed: a partition that cannot be written is reported (DataLost, SinkReady), and is no reason to add "
            "consumers",
        )
    if _is_true(trigger, "scaleToZeroOnInvalidOffset"):
        draft.warn(f"{at}.scaleToZeroOnInvalidOffset", "no equal: without a committed offset at least one is kept")
    if signing := [name for name in SIGN_IN if str(trigger.get(name, "none")) not in ("none", "disable", "false")]:
        draft.warn(
            f"{at}.{signing[0]}", "goes into the Secret of spec.source.configSecretRef, as librdkafka's properties"
        )


def _read_source(at: str, trigger: Mapping[str, Any], draft: _Draft) -> None:
    for theirs, ours in (("bootstrapServers", "bootstrapServers"), ("topic", "topic"), ("consumerGroup", "group")):
        value = str(trigger.get(theirs) or "")
        if trigger.get(f"{theirs}FromEnv"):  # it wins
            draft.warn(f"{at}.{theirs}FromEnv", f"write the value itself into spec.source.{ours}")
        elif theirs == "topic" and (not value or "," in value):
            draft.warn(f"{at}.topic", "several topics are meant: make a pipeline for each")
        elif value:
            draft.source[ours] = value
        else:
            raise UsageProblem(f"{at}.{theirs}: is missing")
    draft.source["startFrom"] = "Committed"
    if str(trigger.get("offsetResetPolicy", "latest")) != "earliest":
        draft.warn(
            f"{at}.offsetResetPolicy",
            "latest: where the group has committed nothing, Committed begins at the log's start; for a group that "
            "never ran, write startFrom: Latest",
        )


def _read_bounds(spec: Mapping[str, Any], draft: _Draft) -> None:
    least = int(_number(spec, "minReplicaCount", 0, "spec"))
    most = int(_number(spec, "maxReplicaCount", DEFAULT_MAX, "spec"))
    if not 0 <= least <= most or most < 1:
        raise UsageProblem(f"spec.minReplicaCount: {least} is not between 0 and spec.maxReplicaCount, {most}")
    idle = spec.get("idleReplicaCount")
    if idle is not None and least:
        draft.warn(
            "spec.idleReplicaCount",
            f"taken as minReplicas 0; the {least} of minReplicaCount while records arrive have no equal: Forebay wakes "
            "to as many as are needed",
        )
        least = 0
    if most > MOST_REPLICAS:
        draft.warn("spec.maxReplicaCount", f"{MOST_REPLICAS} is the most that Forebay takes")
    draft.scaling["minReplicas"] = min(least, MOST_REPLICAS)
    draft.scaling["maxReplicas"] = min(most, MOST_REPLICAS)


def _read_windows(spec: Mapping[str, Any], draft: _Draft) -> None:
    at = "spec.advanced.horizontalPodAutoscalerConfig.behavior"
    advanced = _mapping(spec, "advanced", "spec.")
    behavior = _mapping(_mapping(advanced, "horizontalPodAutoscalerConfig", "spec.advanced."), "behavior")
    down, up = _mapping(behavior, "scaleDown", f"{at}."), _mapping(behavior, "scaleUp", f"{at}.")
    window = _number(down, "stabilizationWindowSeconds", DEFAULT_STABILIZATION_S, f"{at}.scaleDown")
    if draft.scaling["minReplicas"] == 0:
        window = max(window, _number(spec, "cooldownPeriod", DEFAULT_COOLDOWN_S, "spec"))
    draft.scaling["timing"] = {"scaleInWindowSeconds": int(min(LONGEST_S, max(0, window)))}
    for name, rules, switch in (("scaleDown", down, "pauseScaleIn"), ("scaleUp", up, "pauseScaleOut")):
        if rules.get("selectPolicy") == "Disabled":
            draft.scaling[switch] = True
        elif rules.get("policies"):
            draft.warn(f"{at}.{name}.policies", "no equal: each change goes to the needed number at once")
    if _number(up, "stabilizationWindowSeconds", 0, f"{at}.scaleUp") > 0:
        draft.warn(
            f"{at}.scaleUp.stabilizationWindowSeconds",
            "no equal: more consumers come after timing.scaleOutSamples samples that ask for them",
        )


def _read_annotations(annotations: Mapping[str, Any], draft: _Draft) -> None:
    def is_set(name: str) -> bool:
        return str(annotations.get(ANNOTATION + name, "false")) not in FALSE  # as KEDA: what it cannot read, it obeys

    fixed = _number(annotations, f"{ANNOTATION}paused-replicas", -1, "metadata.annotations")
    if fixed >= 0:
        draft.scaling |= {"mode": "Manual", "replicas": int(min(MOST_REPLICAS, fixed))}
    elif is_set("paused"):
        draft.scaling["mode"] = "Paused"
    for theirs, ours in (("paused-scale-in", "pauseScaleIn"), ("paused-scale-out", "pauseScaleOut")):
        if is_set(theirs):
            draft.scaling[ours] = True
    if is_set("force-activation"):
        draft.warn(f"metadata.annotations.{ANNOTATION}force-activation", "set minReplicas to 1 as long as you want it")


def _read_rest(spec: Mapping[str, Any], draft: _Draft) -> None:
    target = _mapping(spec, "scaleTargetRef").get("name", "its target")
    draft.warn(
        "spec.scaleTargetRef",
        f"{target} is another program: Forebay runs consumers of its own. Stop it before the pipeline starts, because "
        "both would be members of one group, and delete the ScaledObject",
    )
    fallback = _mapping(spec, "fallback")
    if fallback and fallback.get("behavior", "static") != "currentReplicas":
        draft.warn("spec.fallback", "no equal: while Kafka does not answer, the number of consumers stays as it is")
    if _mapping(_mapping(spec, "advanced"), "scalingModifiers", "spec.advanced."):
        draft.warn("spec.advanced.scalingModifiers", "no equal: there is one measure, how soon records are written")


def _mapping(body: Mapping[str, Any], name: str, at: str = "") -> Mapping[str, Any]:
    found = body.get(name) or {}
    if not isinstance(found, Mapping):
        raise UsageProblem(f"{at}{name}: expected an object")
    return found


def _number(body: Mapping[str, Any], name: str, default: float, at: str) -> float:
    """KEDA takes numbers of a trigger as text."""
    value = body.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(str(value))
    except ValueError:
        number = nan
    if not isfinite(number):
        raise UsageProblem(f"{at}.{name}: {value!r} is no number")
    return number


def _is_true(body: Mapping[str, Any], name: str) -> bool:
    return str(body.get(name, "false")) in TRUE
