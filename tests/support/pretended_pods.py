"""What a Deployment's controller and a kubelet would do, on a control plane that has neither: pods, at once running."""

from __future__ import annotations

from typing import Any

from support.testbed.control_plane import MERGE, ControlPlane

LABEL = "forebay.dev/pipeline"
"""On everything that the operator makes for a pipeline."""

Json = dict[str, Any]


def settle_deployments(plane: ControlPlane, namespace: str) -> int:
    """Give each pipeline's Deployment as many running pods as it asks for; returns how many these are.

    A pod without an address: nobody will answer for it.
    """
    pods = _list(plane, f"/api/v1/namespaces/{namespace}/pods")
    deployments = _list(plane, f"/apis/apps/v1/namespaces/{namespace}/deployments")
    for deployment in deployments:
        mine = deployment["metadata"]["labels"][LABEL]
        _settle(plane, deployment, {p["metadata"]["name"] for p in pods if p["metadata"]["labels"][LABEL] == mine})
    return sum(int(deployment["spec"]["replicas"]) for deployment in deployments)


def delete_pods(plane: ControlPlane, namespace: str) -> None:
    """All of them, at once."""
    plane.request("DELETE", f"/api/v1/namespaces/{namespace}/pods?gracePeriodSeconds=0&labelSelector={LABEL}")


def _list(plane: ControlPlane, path: str) -> list[Json]:
    return list(plane.request("GET", f"{path}?labelSelector={LABEL}")["items"])


def _settle(plane: ControlPlane, deployment: Json, present: set[str]) -> None:
    meta, replicas = deployment["metadata"], deployment["spec"]["replicas"]
    pods = f"/api/v1/namespaces/{meta['namespace']}/pods"
    wanted = {f"{meta['name']}-{number}" for number in range(replicas)}
    for name in sorted(wanted - present):
        template = deployment["spec"]["template"]
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name}}
        plane.request("POST", pods, {**body, "spec": template["spec"]})
        plane.request("PATCH", f"{pods}/{name}/status", {"status": {"phase": "Running"}}, content=MERGE)
    for name in sorted(present - wanted):
        plane.request("DELETE", f"{pods}/{name}?gracePeriodSeconds=0")
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    status = {"observedGeneration": meta["generation"], **counts}
    if (deployment.get("status") or {}).items() >= {k: v for k, v in status.items() if v}.items():
        return
    path = f"/apis/apps/v1/namespaces/{meta['namespace']}/deployments/{meta['name']}/status"
    plane.request("PATCH", path, {"status": status}, content=MERGE)
