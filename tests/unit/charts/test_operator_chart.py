"""The chart forebay: what it renders in both modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.charts import REPOSITORY, HelmRefused, pick, render, render_notes

CLUSTER_WIDE: dict[str, Any] = {}
NAMESPACED: dict[str, Any] = {"watchNamespaces": ["bank", "shop"]}
CLIENTS = [
    {"brokers": "a.example.com:9093,b.example.com:9093", "secretName": "kafka-a"},
    {"secretName": "kafka-b"},
]
GRANTED = {
    ("forebay.dev", "ingestpipelines"): {"get", "list", "watch"},
    ("forebay.dev", "ingestpipelines/status"): {"patch"},
    ("apps", "deployments"): {"get", "list", "watch", "create", "patch"},
    ("apps", "deployments/scale"): {"patch"},
    ("", "configmaps"): {"get", "create", "patch"},
    ("", "serviceaccounts"): {"get", "create", "patch"},
    ("", "services"): {"get", "create", "patch"},
    ("", "pods"): {"list", "watch"},
    ("policy", "poddisruptionbudgets"): {"get", "create", "patch"},
    ("autoscaling", "horizontalpodautoscalers"): {"list", "watch"},
    ("", "events"): {"create"},
}
"""Everything the operator may do, written a second time: a right is never won or lost by accident."""
LEADER = [
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["forebay-leader"],
        "verbs": ["get", "update"],
    },
]


def expand(rules: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    """(API group, resource) -> verbs."""
    return {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def read_pod(values: dict[str, Any]) -> dict[str, Any]:
    """The pod's spec in the operator's Deployment."""
    pod: dict[str, Any] = pick(render("forebay", values), "Deployment")["spec"]["template"]["spec"]
    return pod


def read_env(values: dict[str, Any]) -> dict[str, Any]:
    """The operator's environment: name -> value, or the path of the pod's field."""
    (container,) = read_pod(values)["containers"]
    return {
        each["name"]: each["value"] if "value" in each else each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in container["env"]
    }


def test_cluster_wide_mode_grants_the_rules_once_for_all_namespaces() -> None:
    objects = render("forebay", CLUSTER_WIDE)
    binding = pick(objects, "ClusterRoleBinding")

    assert expand(pick(objects, "ClusterRole")["rules"]) == GRANTED
    assert binding["roleRef"]["name"] == "forebay"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "forebay", "namespace": "ops"}]


def test_namespaced_mode_grants_the_same_rules_in_each_namespace_and_nothing_cluster_wide() -> None:
    objects = render("forebay", NAMESPACED)
    roles = {
        each["metadata"]["namespace"]: each["rules"]
        for each in objects
        if each["kind"] == "Role" and each["metadata"]["name"] == "forebay"
    }
    bound = {
        each["metadata"]["namespace"]: each["subjects"]
        for each in objects
        if each["kind"] == "RoleBinding" and each["roleRef"]["name"] == "forebay"
    }

    assert {namespace: expand(rules) for namespace, rules in roles.items()} == {"bank": GRANTED, "shop": GRANTED}
    account = {"kind": "ServiceAccount", "name": "forebay", "namespace": "ops"}
    assert bound == {"bank": [account], "shop": [account]}
    assert {each["kind"] for each in objects}.isdisjoint({"ClusterRole", "ClusterRoleBinding"})


@pytest.mark.parametrize(
    "values", [pytest.param(CLUSTER_WIDE, id="cluster"), pytest.param(NAMESPACED, id="namespaced")]
)
def test_lease_is_granted_in_the_operators_own_namespace_alone(values: dict[str, Any]) -> None:
    role = pick(render("forebay", values), "Role", "forebay-leader")

    assert role["metadata"]["namespace"] == "ops"
    assert role["rules"] == LEADER
    assert read_env(values)["FOREBAY_LEASE_NAME"] == "forebay-leader"


@pytest.mark.parametrize(
    "values", [pytest.param(CLUSTER_WIDE, id="cluster"), pytest.param(NAMESPACED, id="namespaced")]
)
def test_no_rule_names_a_secret_or_holds_a_wildcard(values: dict[str, Any]) -> None:
    rules = [rule for each in render("forebay", values) for rule in each.get("rules", [])]
    words = {word for rule in rules for words in rule.values() for word in words}

    assert rules
    assert "secrets" not in words
    assert [word for word in words if "*" in word] == []


def test_definition_equals_that_of_crds_and_is_kept() -> None:
    original = yaml.safe_load((REPOSITORY / "crds" / "ingestpipelines.yaml").read_text())

    rendered = pick(render("forebay"), "CustomResourceDefinition")

    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered["metadata"].pop("labels")["app.kubernetes.io/instance"] == "forebay"
    assert rendered == original


@pytest.mark.parametrize(
    ("crds", "expected"),
    [
        pytest.param({"enabled": False}, [], id="off"),
        pytest.param({"keep": False}, [None], id="not-kept"),
        pytest.param({}, [{"helm.sh/resource-policy": "keep"}], id="default"),
    ],
)
def test_definition_can_be_left_out_and_given_up(crds: dict[str, bool], expected: list[Any]) -> None:
    objects = render("forebay", {"crds": crds})

    found = [each["metadata"].get("annotations") for each in objects if each["kind"] == "CustomResourceDefinition"]

    assert found == expected


def test_environment_is_what_the_operator_reads() -> None:
    assert read_env(NAMESPACED) == {
        "FOREBAY_NAMESPACE": "metadata.namespace",
        "FOREBAY_POD_NAME": "metadata.name",
        "FOREBAY_WATCH_NAMESPACES": "bank,shop",
        "FOREBAY_CONSUMER_IMAGE": "forebay-consumer:0.1.0",
        "FOREBAY_CONSUMER_IMAGE_PULL_POLICY": "IfNotPresent",
        "FOREBAY_KAFKA_CLIENTS_DIR": "/etc/forebay/kafka-clients",
        "FOREBAY_LEASE_NAME": "forebay-leader",
        "FOREBAY_LEASE_DURATION_SECONDS": "15",
        "FOREBAY_RENEW_DEADLINE_SECONDS": "10",
        "FOREBAY_RETRY_PERIOD_SECONDS": "2",
        "FOREBAY_HTTP_PORT": "8080",
        "FOREBAY_LOG_LEVEL": "INFO",
    }


def test_digest_wins_over_the_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    values = {
        "image": {"tag": "1.2.3"},
        "consumerImage": {"repository": "r.example.com/c", "tag": "1.2.3", "digest": digest},
    }

    assert read_pod(values)["containers"][0]["image"] == "forebay-operator:1.2.3"
    assert read_env(values)["FOREBAY_CONSUMER_IMAGE"] == f"r.example.com/c@{digest}"


def test_each_kafka_client_is_a_folder_with_its_brokers() -> None:
    objects = render("forebay", {"kafkaClients": CLIENTS})
    pod = pick(objects, "Deployment")["spec"]["template"]["spec"]
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each["projected"]["sources"] for each in pod["volumes"] if "projected" in each}
    items = [{"key": "0", "path": "bootstrap.servers"}]

    assert pick(objects, "ConfigMap")["data"] == {"0": CLIENTS[0]["brokers"]}
    assert {mounts[name]: sources for name, sources in volumes.items()} == {
        "/etc/forebay/kafka-clients/0": [
            {"secret": {"name": "kafka-a"}},
            {"configMap": {"name": "forebay-kafka-clients", "items": items}},
        ],
        "/etc/forebay/kafka-clients/1": [{"secret": {"name": "kafka-b"}}],
    }


def test_without_kafka_clients_nothing_is_mounted_but_the_temporary_folder() -> None:
    objects = render("forebay")
    pod = pick(objects, "Deployment")["spec"]["template"]["spec"]

    assert [each["name"] for each in pod["volumes"]] == ["tmp"]
    assert [each for each in objects if each["kind"] == "ConfigMap"] == []


def test_selectors_find_the_pods_and_stay_when_the_version_changes() -> None:
    objects = render("forebay", {"podLabels": {"team": "data"}})
    deployment = pick(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        pick(objects, "Service")["spec"]["selector"],
        pick(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]

    assert all(selector.items() <= labels.items() for selector in selectors)
    assert all("app.kubernetes.io/version" not in selector for selector in selectors)
    assert labels["team"] == "data"


@pytest.mark.parametrize(
    ("election", "expected"),
    [
        pytest.param({"renewDeadlineSeconds": 15}, "renewDeadlineSeconds (15) must be below", id="deadline"),
        pytest.param({"retryPeriodSeconds": 10}, "retryPeriodSeconds (10) must be below", id="period"),
    ],
)
def test_election_times_that_cannot_work_are_refused(election: dict[str, int], expected: str) -> None:
    with pytest.raises(HelmRefused) as refused:
        render("forebay", {"leaderElection": election})

    assert expected in refused.value.said


@pytest.mark.parametrize(
    ("values", "expected", "absent"),
    [
        pytest.param(CLUSTER_WIDE, "in the whole cluster", "EVERY IngestPipeline", id="cluster"),
        pytest.param(NAMESPACED, "in bank, shop", "EVERY IngestPipeline", id="namespaced"),
        pytest.param({"crds": {"keep": False}}, "EVERY IngestPipeline", "leaves the definition", id="not-kept"),
        pytest.param({"crds": {"enabled": False}}, "apply the definition yourself", "EVERY", id="without-definition"),
    ],
)
def test_notes_say_what_is_served_and_what_an_uninstall_takes(
    values: dict[str, Any], expected: str, absent: str
) -> None:
    notes = render_notes("forebay", values)

    assert "kubectl --namespace ops rollout status deployment/forebay" in notes
    assert expected in notes
    assert absent not in notes


def test_chart_carries_a_copy_of_the_definition_and_no_link() -> None:
    copied: Path = REPOSITORY / "charts" / "forebay" / "files" / "ingestpipelines.yaml"

    assert copied.read_text() == (REPOSITORY / "crds" / "ingestpipelines.yaml").read_text()
    assert not copied.is_symlink()
