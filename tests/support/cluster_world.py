"""A namespace on an API server, fake or real, and everything that happens around the operator in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forebay_api.parse import parse_pipeline
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.kubernetes_cluster.api import APPLY_TYPE, KubernetesApi
from forebay_operator.kubernetes_cluster.cluster import KubernetesCluster
from forebay_operator.kubernetes_cluster.paths import AUTOSCALERS, DEPLOYMENTS, PIPELINES, PODS, ResourceType
from forebay_operator.model import Workload
from forebay_operator.resources import ConsumerImage, Json, selector_of, workload_name
from support.kubernetes_objects import build_autoscaler
from support.rendering import IMAGE
from support.resources import build_resource

NAME = "payments"
OBJECT = workload_name(NAME)
MERGE_TYPE = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWorld:
    """api: with all rights."""

    api: KubernetesApi
    namespace: str

    def start_operator(self, image: ConsumerImage = IMAGE) -> KubernetesCluster:
        """The adapter of an operator that has just started, and knows nothing."""
        return KubernetesCluster(self.api, image=image, now=lambda: datetime.now(UTC), namespaces=(self.namespace,))

    async def create(self, kind: ResourceType, body: Json) -> Json:
        """Raises WriteConflict when it exists."""
        return await self.api.request("POST", kind.path(self.namespace), body=body)

    async def look(self, pipeline: Pipeline) -> Workload | None:
        """What an operator sees that has just started."""
        return await self.start_operator().read_workload(pipeline)

    async def create_pipeline(self, changes: str = "", *, name: str = NAME) -> Pipeline:
        """A minimal one with changes merged into it."""
        body = build_resource(changes)
        body["metadata"] = {"name": name, "namespace": self.namespace}
        return parse_pipeline(await self.create(PIPELINES, body))

    async def change_pipeline(self, changes: Json) -> Pipeline:
        """As by `kubectl patch`."""
        return parse_pipeline(await self.patch(PIPELINES, NAME, changes, manager="kubectl-patch"))

    async def delete_pipeline(self) -> None:
        """What it owns goes where something collects garbage."""
        await self.api.delete(PIPELINES, self.namespace, NAME)

    async def get(self, kind: ResourceType = DEPLOYMENTS, name: str = OBJECT) -> Json:
        """Raises NotFound."""
        return await self.api.get(kind, self.namespace, name)

    async def patch(
        self, kind: ResourceType, name: str, changes: Json, *, manager: str = "kubectl-edit", subresource: str = ""
    ) -> Json:
        """A person's merge patch."""
        path = kind.path(self.namespace, name, subresource or None)
        query = {"fieldManager": manager}
        return await self.api.request("PATCH", path, query=query, body=changes, content_type=MERGE_TYPE)

    async def scale_by_hand(self, replicas: int) -> None:
        """As `kubectl scale deployment`."""
        changes = {"spec": {"replicas": replicas}}
        await self.patch(DEPLOYMENTS, OBJECT, changes, manager="kubectl", subresource="scale")

    async def add_autoscaler(self, **target: str) -> None:
        """Of the Deployment, unless told."""
        body = build_autoscaler(**target)
        body["metadata"]["namespace"] = self.namespace
        await self.create(AUTOSCALERS, body)

    async def add_pod(self, name: str, *, phase: str, ip: str | None = None) -> None:
        """A consumer's pod as its ReplicaSet and kubelet would have made it."""
        spec = {"containers": [{"name": "consumer", "image": "none"}], "serviceAccountName": OBJECT}
        metadata = {"name": name, "namespace": self.namespace, "labels": selector_of(NAME)}
        await self.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        status: Json = {"phase": phase} | ({} if ip is None else {"podIP": ip, "podIPs": [{"ip": ip}]})
        await self.patch(PODS, name, {"status": status}, manager="kubelet", subresource="status")

    async def settle_deployment(self, replicas: int) -> None:
        """As the Deployment's controller tells that all its pods are of the present template."""
        generation = (await self.get())["metadata"]["generation"]
        numbers = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
        status = {"status": {"observedGeneration": generation, **numbers}}
        await self.patch(DEPLOYMENTS, OBJECT, status, manager="kube-controller-manager", subresource="status")

    async def create_foreign(self, kind: ResourceType, body: Json) -> Json:
        """An object of the name that ours would have, applied by somebody else."""
        metadata = {**body.get("metadata", {}), "name": OBJECT, "namespace": self.namespace}
        path = kind.path(self.namespace, OBJECT)
        query = {"fieldManager": "somebody", "force": "true"}
        whole = {"apiVersion": kind.api_version, **body, "metadata": metadata}
        return await self.api.request("PATCH", path, query=query, body=whole, content_type=APPLY_TYPE)


@asynccontextmanager
async def open_world(kubeconfig: Path, namespace: str, **options: Any) -> AsyncIterator[ClusterWorld]:
    """options: KubernetesApi's."""
    async with KubernetesApi(kubeconfig=kubeconfig, **options) as api:
        yield ClusterWorld(api=api, namespace=namespace)
