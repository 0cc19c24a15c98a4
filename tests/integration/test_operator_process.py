"""Two operators as processes against a bare control plane: who leads, what is seen, and what outages leave behind.

There is no controller-manager: nothing becomes of a Deployment, and nobody collects what a deleted resource owned.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.kafka_server import KafkaServer
from support.operator_process import OperatorProcess, running_operators
from support.pipeline_resources import PipelineResources
from support.testbed.control_plane import ControlPlane
from support.testbed.servers import TopicFactory, unique_name

pytestmark = pytest.mark.integration

SEEN_S = 60.0
"""From a change to what the operator makes of it; passes are a second apart."""

HANDED_OVER_S, TAKEN_OVER_S = 12.0, 60.0
"""Until another leads: after a Lease that was handed back, sooner than one runs out (15 s), and after one that did."""

RETURN_S = 90.0
"""Until the watches are back after the API server was away."""

PATIENT = {
    "FOREBAY_LEASE_DURATION_SECONDS": "120",
    "FOREBAY_RENEW_DEADLINE_SECONDS": "100",
}
"""A Lease that outlasts the API server's absence: here it is about the watches."""

OWNED = {"serviceaccount", "configmap", "service", "poddisruptionbudget", "deployment"}


@pytest.fixture
def pipelines(control_plane: ControlPlane, kafka: KafkaServer, topic: TopicFactory) -> Iterator[PipelineResources]:
    """IngestPipelines in a namespace of the test's own."""
    resources = PipelineResources(
        control_plane.kubeconfig, unique_name("ns").replace("_", "-"), kafka.bootstrap, topic(2)
    )
    resources.create_namespace()
    yield resources
    resources.delete_all()


@pytest.fixture
def operators(control_plane: ControlPlane, pipelines: PipelineResources, tmp_path: Path) -> list[OperatorProcess]:
    """Two replicas for that namespace, not started."""
    settings = {"FOREBAY_WATCH_NAMESPACES": pipelines.namespace}
    return [
        OperatorProcess(
            name=name,
            kubeconfig=control_plane.kubeconfig,
            folder=tmp_path,
            namespace=pipelines.namespace,
            settings=settings,
        )
        for name in ("replica-a", "replica-b")
    ]


def until(condition: Callable[[], bool], deadline_s: float) -> float:
    """Seconds that it took to hold."""
    started = time.monotonic()
    assert wait_until(condition, deadline_s), f"not within {deadline_s:g} s"
    return time.monotonic() - started


def test_one_replica_leads_and_what_it_owns_appears(
    operators: list[OperatorProcess], pipelines: PipelineResources
) -> None:
    first, second = operators
    with running_operators(first, second):
        until(lambda: first.is_leader() or second.is_leader(), TAKEN_OVER_S)
        pipelines.apply("payments")
        until(lambda: pipelines.owned("payments") == OWNED, SEEN_S)
        until(lambda: pipelines.status("payments").get("desiredReplicas") == 1, SEEN_S)

        assert [first.is_leader(), second.is_leader()].count(True) == 1
        assert [first.probe("/readyz"), second.probe("/readyz")] == [200, 200]
        assert [first.probe("/livez"), second.probe("/livez")] == [200, 200]
        leader, other = (first, second) if first.is_leader() else (second, first)
        assert leader.read_metrics()["forebay_operator_pipelines"] == 1
        assert not any(name.startswith("forebay_pipeline_") for name in other.read_metrics())


def test_leader_that_is_told_to_end_hands_over_at_once(
    operators: list[OperatorProcess], pipelines: PipelineResources
) -> None:
    first, second = operators
    with running_operators(first):
        until(first.is_leader, TAKEN_OVER_S)
        with running_operators(second):
            pipelines.apply("payments")
            until(lambda: pipelines.owned("payments") == OWNED, SEEN_S)

            first.send(signal.SIGTERM)

            assert until(second.is_leader, HANDED_OVER_S) < HANDED_OVER_S
            assert first.wait_end() == 0
            pipelines.apply("orders")
            until(lambda: pipelines.owned("orders") == OWNED, SEEN_S)


def test_leader_that_is_killed_is_replaced(operators: list[OperatorProcess], pipelines: PipelineResources) -> None:
    first, second = operators
    with running_operators(first):
        until(first.is_leader, TAKEN_OVER_S)
        with running_operators(second):
            first.send(signal.SIGKILL)

            assert until(second.is_leader, TAKEN_OVER_S) > 1.0
            pipelines.apply("payments")
            until(lambda: pipelines.owned("payments") == OWNED, SEEN_S)


def test_leader_whose_lease_was_taken_ends_with_an_error(
    operators: list[OperatorProcess], pipelines: PipelineResources
) -> None:
    first, _ = operators
    with running_operators(first):
        until(first.is_leader, TAKEN_OVER_S)

        pipelines.take_lease("forebay-operator", "somebody-else")

        assert first.wait_end(TAKEN_OVER_S) == 1


def test_changes_are_seen_after_the_api_server_was_away(
    control_plane: ControlPlane, operators: list[OperatorProcess], pipelines: PipelineResources
) -> None:
    first, _ = operators
    first.settings = {**first.settings, **PATIENT}
    with running_operators(first):
        until(first.is_leader, TAKEN_OVER_S)
        pipelines.apply("payments")
        until(lambda: pipelines.owned("payments") == OWNED, SEEN_S)
        pid = first.pid

        control_plane.restart_api_server()

        pipelines.apply("payments", maxReplicas=7)
        pipelines.apply("orders")
        until(lambda: pipelines.owned("orders") == OWNED, RETURN_S)
        until(lambda: pipelines.is_observed("payments"), RETURN_S)
        assert (first.exit_code, first.pid) == (None, pid)
        assert first.probe("/livez") == 200


def test_pipeline_deleted_while_no_operator_runs_gets_nothing_new(
    operators: list[OperatorProcess], pipelines: PipelineResources
) -> None:
    first, _ = operators
    with running_operators(first):
        pipelines.apply("payments")
        until(lambda: pipelines.owned("payments") == OWNED, SEEN_S + TAKEN_OVER_S)
    pipelines.delete("payments")
    pipelines.delete_owned("payments")

    with running_operators(first):
        until(first.is_leader, TAKEN_OVER_S)
        pipelines.apply("orders")  # served after everything that was there before
        until(lambda: pipelines.owned("orders") == OWNED, SEEN_S)
        assert pipelines.owned("payments") == set()


def test_recreated_pipeline_waits_until_its_predecessors_objects_are_gone(
    operators: list[OperatorProcess], pipelines: PipelineResources
) -> None:
    first, _ = operators
    with running_operators(first):
        pipelines.apply("payments")
        until(lambda: pipelines.owned("payments") == OWNED, SEEN_S + TAKEN_OVER_S)
        pipelines.delete("payments")
        pipelines.apply("payments")

        until(lambda: "ActionFailed" in pipelines.events("payments"), SEEN_S)
        pipelines.delete_owned("payments")

        until(lambda: pipelines.owned("payments") == OWNED, RETURN_S)
        assert pipelines.owner_uids("payments") == {pipelines.uid("payments")}
