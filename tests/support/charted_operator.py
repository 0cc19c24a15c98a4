"""The operator as its chart installs it, with the ServiceAccount and the rights of that, but as a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.charts import pick, render
from support.operator_process import OperatorProcess
from support.testbed.audit_log import AuditRecord
from support.testbed.control_plane import ControlPlane

RIGHTS = {
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{name}",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles/{name}",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/{name}",
}
"""What of the chart is applied."""

IN_PODS_ONLY = ("FOREBAY_KAFKA_CLIENTS_DIR", "FOREBAY_HTTP_PORT")

Right = tuple[str, str, str]
"""verb, API group, resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartedOperator:
    """An installation. objects: the chart's, as rendered."""

    plane: ControlPlane
    namespace: str
    kubeconfig: Path
    objects: list[dict[str, Any]]

    @property
    def user(self) -> str:
        """The name under which the API server knows it."""
        return f"system:serviceaccount:{self.namespace}:{pick(self.objects, 'ServiceAccount')['metadata']['name']}"

    def replica(self, name: str, folder: Path) -> OperatorProcess:
        """One that was not started yet, with the environment of the chart's Deployment."""
        (container,) = pick(self.objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        told = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        settings = {key: value for key, value in told.items() if key not in IN_PODS_ONLY}
        return OperatorProcess(
            name=name, kubeconfig=self.kubeconfig, folder=folder, namespace=self.namespace, settings=settings
        )

    def granted(self) -> set[Right]:
        """Every right of its roles."""
        rules = [rule for each in self.objects if each["kind"] in ("Role", "ClusterRole") for rule in each["rules"]]
        return {
            (verb, group, resource)
            for rule in rules
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }

    def read_audit(self) -> list[AuditRecord]:
        """Its requests so far."""
        return self.plane.read_audit(self.user)

    def remove_rights(self) -> None:
        """Take away what is not in its namespace."""
        for each in self.objects:
            if each["kind"] in ("ClusterRole", "ClusterRoleBinding"):
                self.plane.request("DELETE", RIGHTS[each["kind"]].format(**each["metadata"]))


def install_rights(plane: ControlPlane, namespace: str, values: Mapping[str, Any]) -> ChartedOperator:
    """In a namespace that exists. values: of the chart."""
    objects = render("forebay", values, release=namespace, namespace=namespace)
    for each in objects:
        if each["kind"] in RIGHTS:
            plane.apply(RIGHTS[each["kind"]].format(**each["metadata"]), each)
    kubeconfig = plane.kubeconfig_for(namespace, pick(objects, "ServiceAccount")["metadata"]["name"])
    return ChartedOperator(plane=plane, namespace=namespace, kubeconfig=kubeconfig, objects=objects)
