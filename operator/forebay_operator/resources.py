"""An IngestPipeline → the Kubernetes objects that run its consumers, as plain JSON values. Pure.

What must not live here: the number of consumers, which is nobody's but the scale subresource's; reading or writing.
Every object is named NAME-consumer and owned by the pipeline: deleting that removes them all, operator or not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay_api import wire
from forebay_api.parse import OWN_PREFIX, pipeline_to_body, pipeline_to_consumer_body
from forebay_api.v1alpha1 import Pipeline, sink_secret_name
from forebay_api.wire import Env

from forebay_operator.revisions import scaling_revision

Json = dict[str, Any]

APP_NAME = "forebay-consumer"
MANAGED_BY = "forebay"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
PIPELINE_LABEL = f"{OWN_PREFIX}pipeline"
REVISION_ANNOTATION = f"{OWN_PREFIX}revision"
"""On the Deployment: changes with anything that is rendered, in any of the objects."""

CONFIG_REVISION_ANNOTATION = f"{OWN_PREFIX}config-revision"
"""On the pods: changes with what a consumer reads at its start, and so replaces them."""

SCALING_REVISION_ANNOTATION = f"{OWN_PREFIX}scaling-revision"
"""On the Deployment: the spec.scaling that it was last applied under."""

CONTAINER = "consumer"
HTTP_PORT_NAME = "http"
PIPELINE_FILE = "pipeline.json"
FOLDER = "/etc/forebay"
CA_FILE = "ca.crt"

GRACE_S = 30
"""A consumer drains within it: one transaction of the slowest kind, and a commit's deadline."""

TERMINATION_S = 45
"""Beyond the drain: the process' start of its end and the kubelet's own delays; then comes SIGKILL."""

USER = 65532
"""`nonroot` in the images' /etc/passwd; no user of a node by that number."""

SECRET_MODE = 0o440
"""The user reads through fsGroup."""

DEFAULT_RESOURCES: Mapping[str, Mapping[str, str]] = {
    "requests": {"cpu": "100m", "memory": "192Mi"},
    "limits": {"memory": "512Mi"},
}
"""Room for the buffers of one busy consumer; no limit of CPU, whose throttling looks like a slow database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerImage:
    """The operator's own release of the consumer. pull_policy None: Kubernetes chooses by the tag."""

    name: str
    pull_policy: str | None = None


def workload_name(pipeline_name: str) -> str:
    """Of all objects of a pipeline."""
    return f"{pipeline_name}-consumer"


def selector_of(pipeline_name: str) -> dict[str, str]:
    """Labels by which a pipeline's pods are found; they can never change once the Deployment exists."""
    return {"app.kubernetes.io/name": APP_NAME, PIPELINE_LABEL: pipeline_name}


def selector_text(pipeline_name: str) -> str:
    """The selector as it stands in a query or in the status."""
    return ",".join(f"{key}={value}" for key, value in selector_of(pipeline_name).items())


def render(pipeline: Pipeline, image: ConsumerImage) -> tuple[Json, ...]:
    """All objects in the order in which they are applied; the Deployment is last, without replicas.

    The pipeline must have its uid: without it the objects would belong to nobody.
    """
    if not pipeline.uid:
        raise ValueError("a pipeline without uid cannot own objects")
    objects: list[Json] = [
        _object("v1", "ServiceAccount", pipeline, automountServiceAccountToken=False),
        _object("v1", "ConfigMap", pipeline, data={PIPELINE_FILE: _config(pipeline)}),
        _object("v1", "Service", pipeline, spec=_service(pipeline)),
        _object("policy/v1", "PodDisruptionBudget", pipeline, spec=_disruption_budget(pipeline)),
        _object("apps/v1", "Deployment", pipeline, spec=_deployment(pipeline, image)),
    ]
    objects[-1]["metadata"]["annotations"] = {
        REVISION_ANNOTATION: _hash(objects),
        SCALING_REVISION_ANNOTATION: scaling_revision(pipeline.spec.scaling),
    }
    return tuple(objects)


def _object(api_version: str, kind: str, pipeline: Pipeline, **content: Any) -> Json:
    owner = {
        "apiVersion": wire.API_VERSION,
        "kind": wire.KIND,
        "name": pipeline.name,
        "uid": pipeline.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    metadata = {
        "name": workload_name(pipeline.name),
        "namespace": pipeline.namespace,
        "labels": _labels(pipeline),
        "ownerReferences": [owner],
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def _labels(pipeline: Pipeline) -> dict[str, str]:
    return {
        **selector_of(pipeline.name),
        "app.kubernetes.io/instance": pipeline.name,
        MANAGED_BY_LABEL: MANAGED_BY,
    }


def _config(pipeline: Pipeline) -> str:
    return json.dumps(pipeline_to_consumer_body(pipeline), indent=2, sort_keys=True) + "\n"


def _service(pipeline: Pipeline) -> Json:
    """For metrics; those of consumers that are not ready count most."""
    return {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector_of(pipeline.name),
        "ports": [
            {
                "name": "metrics",
                "port": wire.CONSUMER_HTTP_PORT,
                "targetPort": HTTP_PORT_NAME,
                "protocol": "TCP",
            }
        ],
    }


def _disruption_budget(pipeline: Pipeline) -> Json:
    """One at a time; a consumer that is not ready, as when the database is away, keeps no node from leaving."""
    return {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": selector_of(pipeline.name)},
    }


def _deployment(pipeline: Pipeline, image: ConsumerImage) -> Json:
    template = pipeline_to_body(pipeline)["spec"]["consumer"]["podTemplate"]
    return {
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": selector_of(pipeline.name)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "template": {
            "metadata": {
                "labels": {**template["labels"], **_labels(pipeline)},
                "annotations": {**template["annotations"], CONFIG_REVISION_ANNOTATION: _hash(_config(pipeline))},
            },
            "spec": _pod(pipeline, image, template),
        },
    }


_PASSED_ON = (
    "nodeSelector",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "priorityClassName",
    "imagePullSecrets",
)
"""Keys of podTemplate that a pod has under the same name."""


def _pod(pipeline: Pipeline, image: ConsumerImage, template: Mapping[str, Any]) -> Json:
    passed_on = {key: template[key] for key in _PASSED_ON if template[key]}
    return {
        **passed_on,
        "serviceAccountName": template["serviceAccountName"] or workload_name(pipeline.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TERMINATION_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(pipeline, image, template)],
        "volumes": [mount.volume for mount in _mounts(pipeline)],
    }


def _container(pipeline: Pipeline, image: ConsumerImage, template: Mapping[str, Any]) -> Json:
    policy = {} if image.pull_policy is None else {"imagePullPolicy": image.pull_policy}
    return {
        "name": CONTAINER,
        "image": pipeline.spec.consumer.image or image.name,
        **policy,
        "env": [*template["env"], *_environment(pipeline)],
        "ports": [{"name": HTTP_PORT_NAME, "containerPort": wire.CONSUMER_HTTP_PORT, "protocol": "TCP"}],
        "resources": _resources(pipeline),
        "livenessProbe": _probe("/livez", period_s=10, timeout_s=5, failures=6),
        "readinessProbe": _probe("/readyz", period_s=5, timeout_s=3, failures=2),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": mount.name, "mountPath": mount.path, "readOnly": True} for mount in _mounts(pipeline)
        ],
    }


def _probe(path: str, *, period_s: int, timeout_s: int, failures: int) -> Json:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period_s,
        "timeoutSeconds": timeout_s,
        "failureThreshold": failures,
    }


def _resources(pipeline: Pipeline) -> Json:
    """What the spec says, or the defaults, never a mixture: half of each can be a request above its limit."""
    spec = pipeline.spec.consumer.resources
    chosen = {"requests": spec.requests, "limits": spec.limits}
    source = chosen if any(chosen.values()) else DEFAULT_RESOURCES
    return {key: dict(values) for key, values in source.items() if values}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mount:
    """source: of the volume, in core/v1's words."""

    name: str
    source: Json

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.name}"

    @property
    def volume(self) -> Json:
        return {"name": self.name, **self.source}


def _mounts(pipeline: Pipeline) -> tuple[_Mount, ...]:
    """A Secret that is missing keeps no pod from starting: the consumer itself can say what it lacks."""
    spec = pipeline.spec
    mounts = [
        _Mount(name="pipeline", source={"configMap": {"name": workload_name(pipeline.name)}}),
        _mount_secret("sink", sink_secret_name(spec.sink)),
    ]
    if spec.source.config_secret_ref is not None:
        mounts.append(_mount_secret("kafka", spec.source.config_secret_ref.name))
    if spec.sink.tls.ca_secret_ref is not None:
        mounts.append(_mount_secret("sink-ca", spec.sink.tls.ca_secret_ref.name))
    return tuple(mounts)


def _mount_secret(name: str, secret: str) -> _Mount:
    return _Mount(name=name, source={"secret": {"secretName": secret, "optional": True, "defaultMode": SECRET_MODE}})


def _environment(pipeline: Pipeline) -> list[Json]:
    values = {
        Env.PIPELINE_FILE: f"{FOLDER}/pipeline/{PIPELINE_FILE}",
        Env.SINK_SECRET_DIR: f"{FOLDER}/sink",
        Env.GRACE_SECONDS: str(GRACE_S),
    }
    if pipeline.spec.source.config_secret_ref is not None:
        values[Env.KAFKA_CONFIG_DIR] = f"{FOLDER}/kafka"
    if pipeline.spec.sink.tls.ca_secret_ref is not None:
        values[Env.SINK_CA_FILE] = f"{FOLDER}/sink-ca/{CA_FILE}"
    pod_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    variables = [{"name": name.value, "value": value} for name, value in values.items()]
    return [*variables, {"name": Env.CONSUMER_ID.value, "valueFrom": pod_name}]


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
