"""The charts' values: every one described, known to the schema, and bad ones refused in words that help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from support.charts import CHARTS, HelmRefused, render

NAMES = ("forebay", "patroni-haproxy")
REQUIRED: dict[str, dict[str, Any]] = {"forebay": {}, "patroni-haproxy": {"clusterName": "acid-payments"}}
WITHOUT_DEFAULT = {"global", "resources.claims"}
"""Values that a values.yaml leaves out: one is Helm's own, one is rare."""


def read_schema(chart: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((CHARTS / chart / "values.schema.json").read_text())
    return schema


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node below the root with its path; items of lists have [] in theirs."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}{name}", child
        yield from walk(child, f"{path}{name}.")
    if isinstance(items := schema.get("items"), dict):
        yield f"{path}[]", items
        yield from walk(items, f"{path}[].")


def leaves(values: dict[str, Any], known: dict[str, dict[str, Any]], path: str = "") -> Iterator[str]:
    """Paths of the values; a map whose names are free is a leaf."""
    for name, value in values.items():
        if isinstance(value, dict) and "properties" in known.get(f"{path}{name}", {}):
            yield from leaves(value, known, f"{path}{name}.")
        else:
            yield f"{path}{name}"


@pytest.mark.parametrize("chart", NAMES)
def test_every_value_is_described_and_every_object_is_closed(chart: str) -> None:
    schema = read_schema(chart)
    nodes = dict(walk(schema))

    assert [path for path, node in nodes.items() if not node.get("description", "").endswith(".")] == []
    assert [path for path, node in nodes.items() if "properties" in node and node["additionalProperties"]] == []
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("chart", NAMES)
def test_schema_and_default_values_know_the_same_names(chart: str) -> None:
    known = dict(walk(read_schema(chart)))
    defaults = set(leaves(yaml.safe_load((CHARTS / chart / "values.yaml").read_text()), known))

    described = {path for path, node in known.items() if "properties" not in node and "[]" not in path}

    assert defaults == described - WITHOUT_DEFAULT


BAD = [
    pytest.param("forebay", {"replicas": 3}, "additional properties 'replicas' not allowed", id="unknown"),
    pytest.param("forebay", {"image": {"tga": "x"}}, "'/image': additional properties 'tga'", id="misspelled"),
    pytest.param("forebay", {"replicaCount": "2"}, "'/replicaCount': got string, want integer", id="text"),
    pytest.param("forebay", {"replicaCount": -1}, "'/replicaCount': minimum", id="negative"),
    pytest.param("forebay", {"watchNamespaces": "bank"}, "got string, want array", id="one-namespace-as-text"),
    pytest.param("forebay", {"watchNamespaces": ["Bank"]}, "'/watchNamespaces/0': 'Bank'", id="namespace-name"),
    pytest.param("forebay", {"watchNamespaces": ["a", "a"]}, "'/watchNamespaces'", id="namespace-twice"),
    pytest.param("forebay", {"kafkaClients": [{"brokers": "a:1"}]}, "missing property 'secretName'", id="no-secret"),
    pytest.param("forebay", {"kafkaClients": [{"brokers": "a", "secretName": "s"}]}, "/brokers': 'a'", id="no-port"),
    pytest.param("forebay", {"logLevel": "info"}, "must be one of 'DEBUG'", id="log-level"),
    pytest.param("forebay", {"image": {"digest": "0123"}}, "'/image/digest': '0123'", id="digest"),
    pytest.param("forebay", {"image": {"pullPolicy": "Sometimes"}}, "must be one of 'Always'", id="pull-policy"),
    pytest.param("forebay", {"crds": {"keep": "yes"}}, "'/crds/keep': got string, want boolean", id="keep"),
    pytest.param("forebay", {"extraEnv": {"A": "b"}}, "'/extraEnv': got object, want array", id="env-as-map"),
    pytest.param("forebay", {"podLabels": {"a": 1}}, "'/podLabels/a': got number, want string", id="label-number"),
    pytest.param("forebay", {"pdb": {"maxUnavailable": "half"}}, "'/pdb/maxUnavailable'", id="budget"),
    pytest.param("patroni-haproxy", {"clusterName": ""}, "'/clusterName'", id="no-cluster"),
    pytest.param("patroni-haproxy", {"members": {"static": [{"name": "a"}]}}, "missing property 'host'", id="no-host"),
    pytest.param("patroni-haproxy", {"primary": {"port": 80}}, "'/primary/port': minimum", id="privileged-port"),
    pytest.param("patroni-haproxy", {"replicas": {"maxLagBytes": "16MB"}}, "want integer", id="lag-with-unit"),
    pytest.param("patroni-haproxy", {"checks": {"fall": 0}}, "'/checks/fall': minimum", id="never-down"),
    pytest.param("patroni-haproxy", {"bind": "all"}, "'/bind': 'all'", id="bind"),
    pytest.param("patroni-haproxy", {"drain": {"sessionSeconds": 3600}}, "'/drain/sessionSeconds'", id="long-drain"),
]


@pytest.mark.parametrize(("chart", "values", "expected"), BAD)
def test_bad_value_is_refused_by_name(chart: str, values: dict[str, Any], expected: str) -> None:
    with pytest.raises(HelmRefused) as refused:
        render(chart, REQUIRED[chart] | values)

    assert expected in refused.value.said
