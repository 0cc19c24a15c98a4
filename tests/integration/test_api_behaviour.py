"""What the operator asks of the API server, by its audit log: nothing that its role lacks, and no write while idle.

The operator runs as the chart's ServiceAccount. There are no nodes: the tests make the pods themselves.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.kafka_server import KafkaServer
from forebay_operator.kubernetes_cluster.paths import AUTOSCALERS, PIPELINES
from support.charted_operator import ChartedOperator, Right, install_rights
from support.operator_process import running_operators
from support.pretended_pods import LABEL, delete_pods, settle_deployments
from support.testbed.audit_log import AuditRecord
from support.testbed.control_plane import ControlPlane
from support.testbed.servers import TopicFactory, unique_name

pytestmark = pytest.mark.integration

PIPELINE_COUNT = 20

SEEN_S = 60.0
"""From a change to what the operator makes of it, on a machine that does other things as well."""

CALM_S, CALM_DEADLINE_S = 8.0, 120.0
"""All is settled when nothing was written for so long; and until then at most."""

IDLE_S = float(os.environ.get("FOREBAY_IDLE_SECONDS", "30"))
"""How long the idle operator is watched."""

POLL_S = 0.5
"""Between two looks at the audit log, which is long."""

BEHIND_AN_APPLY: set[Right] = {
    ("create", "", "configmaps"),
    ("create", "", "serviceaccounts"),
    ("create", "", "services"),
    ("create", "policy", "poddisruptionbudgets"),
    ("create", "apps", "deployments"),
}
"""Used, but not to be seen: an apply of what is not there yet needs this right, and is logged as a patch."""

Json = dict[str, Any]


class Bank:
    """A namespace with pipelines that read one empty topic."""

    def __init__(self, plane: ControlPlane, brokers: str, topic: str) -> None:
        self.plane = plane
        self.namespace = unique_name("bank").replace("_", "-")
        self._source = {"bootstrapServers": brokers, "topic": topic}
        plane.create_namespace(self.namespace)

    def apply(self, name: str, **scaling: Any) -> None:
        spec = {
            "source": self._source,
            "sink": {"connectionSecretRef": {"name": "db"}, "table": f"public.{name}"},
            "scaling": scaling,
        }
        body = {"apiVersion": "forebay.dev/v1alpha1", "kind": "IngestPipeline", "metadata": {"name": name}}
        self.plane.apply(PIPELINES.path(self.namespace, name), {**body, "spec": spec})

    def add_autoscaler(self, name: str) -> None:
        """One that moves the Deployment of this pipeline, which the operator must not like."""
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"{name}-consumer"}
        metric = {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
        }
        spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 2, "metrics": [metric]}
        body = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name}}
        self.plane.apply(AUTOSCALERS.path(self.namespace, name), {**body, "spec": spec})

    def condition(self, name: str, kind: str) -> str | None:
        """Its status; None before the operator wrote one."""
        status = self.plane.request("GET", PIPELINES.path(self.namespace, name)).get("status") or {}
        return next((each["status"] for each in status.get("conditions", ()) if each["type"] == kind), None)

    def replicas(self, name: str) -> int | None:
        """Of its Deployment; None while there is none."""
        selector = f"labelSelector={LABEL}={name}"
        found = self.plane.request("GET", f"/apis/apps/v1/namespaces/{self.namespace}/deployments?{selector}")["items"]
        return int(found[0]["spec"]["replicas"]) if found else None

    def settle(self) -> int:
        """Pods for all Deployments; returns how many there are."""
        return settle_deployments(self.plane, self.namespace)

    def clear(self) -> None:
        self.plane.request("DELETE", PIPELINES.path(self.namespace))
        delete_pods(self.plane, self.namespace)


@pytest.fixture
def bank(control_plane: ControlPlane, kafka: KafkaServer, topic: TopicFactory) -> Iterator[Bank]:
    bank = Bank(control_plane, kafka.bootstrap, topic(2))
    yield bank
    bank.clear()


@pytest.fixture(params=["cluster-wide", "namespaced"])
def installed(control_plane: ControlPlane, bank: Bank, request: pytest.FixtureRequest) -> Iterator[ChartedOperator]:
    """The chart's rights in a namespace of their own."""
    namespace = unique_name("ops").replace("_", "-")
    control_plane.create_namespace(namespace)
    watched = [] if request.param == "cluster-wide" else [bank.namespace]
    operator = install_rights(control_plane, namespace, {"watchNamespaces": watched})
    yield operator
    operator.remove_rights()


def writes_but_lease(records: list[AuditRecord]) -> list[str]:
    return [str(record) for record in records if record.is_write and record.resource != "leases"]


def is_calm(operator: ChartedOperator) -> bool:
    """It has written nothing but its Lease for a while."""
    since = datetime.now(UTC) - timedelta(seconds=CALM_S)
    return not writes_but_lease(operator.plane.read_audit(operator.user, since=since))


@pytest.mark.slow
def test_role_grants_what_is_used_and_nothing_beside(installed: ChartedOperator, bank: Bank, tmp_path: Path) -> None:
    first, second = installed.replica("replica-a", tmp_path), installed.replica("replica-b", tmp_path)
    with running_operators(first, second):
        bank.apply("payments", minReplicas=2)
        assert wait_until(lambda: bank.replicas("payments") == 2, SEEN_S, POLL_S)
        assert bank.settle() == 2
        assert wait_until(lambda: bank.condition("payments", "Conflict") == "False", SEEN_S, POLL_S)
        bank.add_autoscaler("payments")
        assert wait_until(lambda: bank.condition("payments", "Conflict") == "True", SEEN_S, POLL_S)
        assert wait_until(lambda: first.is_leader() or second.is_leader(), SEEN_S, POLL_S)
        leader, other = (first, second) if first.is_leader() else (second, first)
        leader.send(signal.SIGTERM)
        assert wait_until(other.is_leader, SEEN_S, POLL_S)

    records = installed.read_audit()
    used = {(record.verb, record.group, record.resource) for record in records}
    assert [str(record) for record in records if record.code in (401, 403)] == []
    assert installed.granted() - used == BEHIND_AN_APPLY


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["cluster-wide"], indirect=True)
def test_idle_operator_writes_its_lease_only(installed: ChartedOperator, bank: Bank, tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(PIPELINE_COUNT)]
    operator = installed.replica("replica-a", tmp_path)
    with running_operators(operator):
        for name in names:
            bank.apply(name)
        assert wait_until(lambda: all(bank.replicas(name) is not None for name in names), SEEN_S, POLL_S)
        assert wait_until(lambda: bank.settle() == PIPELINE_COUNT, SEEN_S, POLL_S)
        assert wait_until(lambda: is_calm(installed), CALM_DEADLINE_S, POLL_S)

        began, passes = datetime.now(UTC), count_passes(operator.read_metrics())
        wait_until(lambda: bool(writes_but_lease(installed.plane.read_audit(installed.user, since=began))), IDLE_S, 1.0)

        seen = installed.plane.read_audit(installed.user, since=began)
        assert writes_but_lease(seen) == []
        assert any(record.is_write for record in seen), "it did not even renew its Lease"
        assert count_passes(operator.read_metrics()) >= passes + PIPELINE_COUNT, "it did not work"
        assert operator.read_metrics()["forebay_operator_pipelines"] == PIPELINE_COUNT
    assert [str(record) for record in installed.read_audit() if record.code in (401, 403)] == []


def count_passes(metrics: dict[str, float]) -> float:
    return sum(value for name, value in metrics.items() if name.startswith("forebay_operator_reconcile_total{"))
