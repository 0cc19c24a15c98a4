"""Addresses of objects in the Kubernetes API, and the words in which RBAC and metrics speak of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forebay_api import wire

CORE_PREFIX_PARTS = 2
"""/api/VERSION"""

GROUP_PREFIX_PARTS = 3
"""/apis/GROUP/VERSION"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceType:
    """One kind of namespaced object. api_version: `v1` or `group/version`. plural: the word in the path."""

    api_version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Of the object, or of the collection without a name. namespace None: the collection in all namespaces."""
        prefix = "/apis" if "/" in self.api_version else "/api"
        parts = [prefix, self.api_version]
        parts += [] if namespace is None else ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(parts)


PIPELINES = ResourceType(api_version=wire.API_VERSION, plural=wire.PLURAL)
SERVICE_ACCOUNTS = ResourceType(api_version="v1", plural="serviceaccounts")
CONFIG_MAPS = ResourceType(api_version="v1", plural="configmaps")
SERVICES = ResourceType(api_version="v1", plural="services")
PODS = ResourceType(api_version="v1", plural="pods")
EVENTS = ResourceType(api_version="v1", plural="events")
DISRUPTION_BUDGETS = ResourceType(api_version="policy/v1", plural="poddisruptionbudgets")
DEPLOYMENTS = ResourceType(api_version="apps/v1", plural="deployments")
AUTOSCALERS = ResourceType(api_version="autoscaling/v2", plural="horizontalpodautoscalers")
LEASES = ResourceType(api_version="coordination.k8s.io/v1", plural="leases")

_BY_KIND = {
    "ServiceAccount": SERVICE_ACCOUNTS,
    "ConfigMap": CONFIG_MAPS,
    "Service": SERVICES,
    "PodDisruptionBudget": DISRUPTION_BUDGETS,
    "Deployment": DEPLOYMENTS,
}


def find_type(rendered: Mapping[str, Any]) -> ResourceType:
    """Of an object that resources.py made. Raises KeyError for any other kind."""
    return _BY_KIND[rendered["kind"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A request in RBAC's words. resource: `deployments` or `deployments/scale`."""

    verb: str
    resource: str
    group: str
    namespace: str | None
    name: str | None

    def __str__(self) -> str:
        target = self.resource if self.name is None else f"{self.resource} {self.name}"
        return f"{self.verb} {target}" if self.namespace is None else f"{self.verb} {target} in {self.namespace}"


_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def describe_request(method: str, path: str) -> Access:
    """What RBAC is asked for when this request comes. Paths outside /api and /apis count as a resource of their own."""
    parts = [part for part in path.split("/") if part]
    if not parts or parts[0] not in ("api", "apis"):
        return Access(verb=method.lower(), resource=path, group="", namespace=None, name=None)
    start = CORE_PREFIX_PARTS if parts[0] == "api" else GROUP_PREFIX_PARTS
    group = "" if parts[0] == "api" else parts[1]
    rest, namespace = parts[start:], None
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else None
    verb = _VERBS.get(method, "list" if name is None else "get")
    resource = "/".join([*rest[:1], *rest[2:3]])
    return Access(verb=verb, resource=resource, group=group, namespace=namespace, name=name)
