"""A Deployment, its Pods and the autoscalers around → the Workload that the loop sees. Pure.

What must not live here: requests; what is done about any of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from forebay_api import wire

from forebay_operator.model import ReplicasWriter, RunningConsumer, Workload
from forebay_operator.resources import SCALING_REVISION_ANNOTATION

SCALER = "forebay-scaler"
"""The field manager under which the operator sets replicas, apart from that of its applies: an apply that leaves out a
field which its manager once owned removes it."""

AUTOSCALER_MANAGER = "kube-controller-manager"
"""Writes spec.replicas for a HorizontalPodAutoscaler only, by way of the scale subresource."""

_ENDED = ("Succeeded", "Failed")
_HARMLESS = ("ContainerCreating", "PodInitializing")
"""Reasons of a waiting container that every start has for a while."""

_LOST_AFTER = timedelta(seconds=60)
"""Past the end of its grace a pod is killed within seconds; one that stays longer is on a node that does not answer."""

_MAX_CHARS = 300
"""Of a message from a container or the kubelet, in a condition."""

Json = Mapping[str, Any]


def build_workload(
    deployment: Json, pods: Sequence[Json], autoscalers: Sequence[Json], *, is_current: bool, now: datetime
) -> Workload:
    """What the loop may know of a pipeline's Deployment.

    pods: those that its selector finds. autoscalers: HorizontalPodAutoscalers of its namespace. A pod that a dead node
    cannot let go of, which can last until a person removes the node, is none of the consumers.
    """
    writer, writer_name = find_writer(deployment)
    live = sorted((pod for pod in pods if _phase(pod) not in _ENDED and not _is_lost(pod, now)), key=_name)
    replicas = _replicas(deployment)
    return Workload(
        replicas=replicas,
        consumers=tuple(RunningConsumer(name=_name(pod), state_url=_state_url(pod)) for pod in live),
        is_current=is_current,
        is_settled=_is_settled(deployment, live, replicas),
        problem=find_problem(deployment, live),
        writer=writer,
        writer_name=writer_name,
        rival=find_rival(deployment, autoscalers),
        scaling_revision=(deployment["metadata"].get("annotations") or {}).get(SCALING_REVISION_ANNOTATION),
    )


def _name(thing: Json) -> str:
    return str(thing["metadata"]["name"])


def _phase(pod: Json) -> str | None:
    return (pod.get("status") or {}).get("phase")


def _is_lost(pod: Json, now: datetime) -> bool:
    """deletionTimestamp: when its grace ends."""
    ends_at = pod["metadata"].get("deletionTimestamp")
    return ends_at is not None and now - datetime.fromisoformat(ends_at) > _LOST_AFTER


def _replicas(deployment: Json) -> int:
    """The API server always fills it in, with 1."""
    return int(deployment["spec"].get("replicas", 1))


def _state_url(pod: Json) -> str | None:
    address = pod.get("status", {}).get("podIP")
    if not address:
        return None
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{wire.CONSUMER_HTTP_PORT}/state"


def _is_settled(deployment: Json, live: Sequence[Json], replicas: int) -> bool:
    """Running, not ready: a consumer whose database is away is not ready for hours, and nothing starts or stops."""
    status, metadata = deployment.get("status") or {}, deployment["metadata"]
    return (
        status.get("observedGeneration", 0) >= metadata.get("generation", 0)
        and "deletionTimestamp" not in metadata
        and status.get("updatedReplicas", 0) == replicas == len(live)
        and all(_phase(pod) == "Running" and "deletionTimestamp" not in pod["metadata"] for pod in live)
    )


# --- who moved the replicas -----------------------------------------------------------------------------------------


def find_writer(deployment: Json) -> tuple[ReplicasWriter, str | None]:
    """Who set spec.replicas, and its name unless it was the operator: the field's owners tell."""
    owners = [
        entry
        for entry in deployment["metadata"].get("managedFields") or ()
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    names = [str(entry.get("manager", "unknown")) for entry in owners]
    if not owners:
        return ReplicasWriter.NOBODY, None
    if SCALER in names:
        return ReplicasWriter.OPERATOR, None
    if any(entry.get("manager") == AUTOSCALER_MANAGER and entry.get("subresource") == "scale" for entry in owners):
        return ReplicasWriter.AUTOSCALER, AUTOSCALER_MANAGER
    return ReplicasWriter.PERSON, ", ".join(sorted(names))


def find_rival(deployment: Json, autoscalers: Iterable[Json]) -> str | None:
    """The autoscaler that targets this Deployment; one that targets the IngestPipeline is no rival."""
    names = [_name(autoscaler) for autoscaler in autoscalers if targets(autoscaler, _name(deployment))]
    return f"HorizontalPodAutoscaler {min(names)}" if names else None


def targets(autoscaler: Json, deployment_name: str) -> bool:
    """Whether a HorizontalPodAutoscaler moves the replicas of the Deployment of this name."""
    target = autoscaler.get("spec", {}).get("scaleTargetRef") or {}
    group = str(target.get("apiVersion", "apps/v1")).partition("/")[0]
    return group == "apps" and target.get("kind") == "Deployment" and target.get("name") == deployment_name


# --- what is wrong --------------------------------------------------------------------------------------------------


def find_problem(deployment: Json, live: Sequence[Json]) -> str | None:
    """Why consumers do not start, or keep ending; None when nothing is wrong."""
    conditions = (deployment.get("status") or {}).get("conditions") or ()
    refused = next((c for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"), None)
    if refused is not None:
        return f"Kubernetes refuses to create consumers: {_shorten(refused.get('message', refused.get('reason', '')))}"
    staying = [pod for pod in live if "deletionTimestamp" not in pod["metadata"]]
    for judge in (_judge_containers, _judge_scheduling):
        found = [(_name(pod), why) for pod in staying if (why := judge(pod)) is not None]
        if found:
            name, why = found[0]
            others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            return f"{name}{others}: {why}"
    return None


def _judge_containers(pod: Json) -> str | None:
    for status in pod.get("status", {}).get("containerStatuses") or ():
        why = _judge_container(status)
        if why is not None:
            return why
    return None


def _judge_container(status: Json) -> str | None:
    state, last = status.get("state") or {}, (status.get("lastState") or {}).get("terminated")
    if "terminated" in state:
        return _describe_end(state["terminated"])
    waiting = state.get("waiting")
    if waiting is None:  # it runs; one that ended before and is not ready yet has not shown that it will stay
        return None if status.get("ready") or last is None or not last.get("exitCode") else _describe_end(last)
    reason = waiting.get("reason") or ""
    if reason in _HARMLESS or not reason:
        return None
    if reason == "CrashLoopBackOff" and last is not None:
        return f"{reason}: {_describe_end(last)}"
    message = waiting.get("message")
    return f"{reason}: {_shorten(message)}" if message else reason


def _describe_end(terminated: Json) -> str:
    reason = terminated.get("reason")
    named = f" ({reason})" if reason not in (None, "Error", "Completed") else ""
    last_words = _read_last_words(terminated.get("message") or "")
    return f"ended with exit code {terminated.get('exitCode')}{named}" + (f": {last_words}" if last_words else "")


def _read_last_words(text: str) -> str:
    """The end of a container's log in one line; of the consumer's own JSON lines, what a person wants of them."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        entry = json.loads(lines[-1])
    except ValueError:
        return _shorten(lines[-1])
    if not isinstance(entry, Mapping):
        return _shorten(lines[-1])
    trace = str(entry.get("traceback", "")).strip().splitlines()[-1:]
    return _shorten(": ".join([str(entry.get("message", "")), *trace]))


def _judge_scheduling(pod: Json) -> str | None:
    for condition in pod.get("status", {}).get("conditions") or ():
        is_refused = condition.get("status") == "False" and condition.get("reason") == "Unschedulable"
        if condition.get("type") == "PodScheduled" and is_refused:
            return f"Unschedulable: {_shorten(condition.get('message', ''))}"
    return None


def _shorten(text: str) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= _MAX_CHARS else line[: _MAX_CHARS - 1] + "…"
