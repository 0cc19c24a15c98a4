"""Deployments, Pods and autoscalers as an API server shows them."""

from __future__ import annotations

from typing import Any

from forebay_operator.resources import SCALING_REVISION_ANNOTATION, selector_of, workload_name

Json = dict[str, Any]


def build_deployment(*, replicas: int = 1, name: str = "payments", **status: Any) -> Json:
    """One at rest with all its pods; status: what differs from that."""
    return {
        "metadata": {
            "name": workload_name(name),
            "generation": 3,
            "annotations": {SCALING_REVISION_ANNOTATION: "abc"},
            "managedFields": [build_owner("forebay-scaler", subresource="scale")],
        },
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 3, "updatedReplicas": replicas, **status},
    }


def build_owner(manager: str, *, subresource: str | None = None, fields: Json | None = None) -> Json:
    """An entry of managedFields; fields: what it owns, spec.replicas unless told."""
    entry: Json = {"manager": manager, "operation": "Update", "fieldsV1": fields or {"f:spec": {"f:replicas": {}}}}
    return entry if subresource is None else {**entry, "subresource": subresource}


def build_pod(
    name: str = "payments-consumer-1",
    *,
    phase: str = "Running",
    ip: str | None = "10.0.0.1",
    leaves: bool = False,
    container: Json | None = None,
    conditions: list[Json] | None = None,
    pipeline: str = "payments",
) -> Json:
    """container: its status besides being ready."""
    metadata: Json = {"name": name, "labels": selector_of(pipeline)}
    status: Json = {"phase": phase, "conditions": conditions or []}
    if leaves:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if ip is not None:
        status["podIP"] = ip
    status["containerStatuses"] = [{"name": "consumer", "ready": container is None, **(container or {})}]
    return {"metadata": metadata, "status": status}


def build_autoscaler(
    name: str = "hpa", *, kind: str = "Deployment", target: str = "payments-consumer", api_version: str = "apps/v1"
) -> Json:
    """A HorizontalPodAutoscaler that no metrics server will ever feed."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "bank"},
        "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": api_version, "kind": kind, "name": target}},
    }
