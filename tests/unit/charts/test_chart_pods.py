"""What every pod of every chart has: the restricted Pod Security Standard, a read-only root, values passed through."""

from __future__ import annotations

from typing import Any

import pytest
from support.charts import pick, render

CHARTS = (
    pytest.param("forebay", {}, id="forebay"),
    pytest.param("patroni-haproxy", {"clusterName": "acid-payments"}, id="patroni-haproxy"),
)
PASSED = {
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "db", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"x": "y"}},
    "topologySpreadConstraints": [{"maxSkew": 2}],
    "priorityClassName": "high",
    "imagePullSecrets": [{"name": "registry"}],
}


def read_template(chart: str, values: dict[str, Any]) -> dict[str, Any]:
    """The Deployment's pod template."""
    template: dict[str, Any] = pick(render(chart, values), "Deployment")["spec"]["template"]
    return template


@pytest.mark.parametrize(("chart", "values"), CHARTS)
def test_pods_are_restricted_with_a_read_only_root(chart: str, values: dict[str, Any]) -> None:
    pod = read_template(chart, values)["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert [each["securityContext"] for each in pod["containers"]] == [
        {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    ]
    assert all(pod.get(key) is None for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers"))
    assert all("hostPath" not in each for each in pod["volumes"])


@pytest.mark.parametrize(("chart", "values"), CHARTS)
def test_placement_is_passed_through(chart: str, values: dict[str, Any]) -> None:
    template = read_template(chart, values | PASSED | {"podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}})

    assert {key: template["spec"][key] for key in PASSED} == PASSED
    assert template["metadata"]["annotations"]["a"] == "b"
    assert template["metadata"]["labels"]["c"] == "d"


@pytest.mark.parametrize(("chart", "values"), CHARTS)
def test_replicas_spread_over_nodes_and_leave_one_by_one(chart: str, values: dict[str, Any]) -> None:
    objects = render(chart, values)
    deployment = pick(objects, "Deployment")["spec"]
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]

    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"]["matchLabels"] == deployment["selector"]["matchLabels"]
    assert pick(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize(("chart", "values"), CHARTS)
def test_every_object_but_cluster_wide_ones_names_its_namespace(chart: str, values: dict[str, Any]) -> None:
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}

    missing = [
        each["kind"]
        for each in render(chart, values)
        if each["metadata"].get("namespace") != "ops" and each["kind"] not in cluster_wide
    ]

    assert missing == []


@pytest.mark.parametrize(("chart", "values"), CHARTS)
def test_budget_and_metrics_service_can_be_left_out(chart: str, values: dict[str, Any]) -> None:
    objects = render(chart, values | {"pdb": {"enabled": False}, "metrics": {"service": {"enabled": False}}})

    assert "PodDisruptionBudget" not in {each["kind"] for each in objects}
    assert [each for each in objects if each["metadata"]["name"].endswith("-metrics")] == []
