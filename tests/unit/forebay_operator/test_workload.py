"""What the loop is told of a Deployment, its pods and the autoscalers around."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from forebay_operator.model import ReplicasWriter, RunningConsumer, Workload
from forebay_operator.workload import build_workload
from support.kubernetes_objects import build_autoscaler, build_deployment, build_owner, build_pod

Json = dict[str, Any]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""When the grace of pods that leave ends."""


def build(deployment: Json, *pods: Json, autoscalers: tuple[Json, ...] = ()) -> Workload:
    return build_workload(deployment, pods, autoscalers, is_current=True, now=NOW)


def test_a_deployment_at_rest_is_settled_and_has_no_problem() -> None:
    assert build(build_deployment(), build_pod()) == Workload(
        replicas=1,
        consumers=(RunningConsumer(name="payments-consumer-1", state_url="http://10.0.0.1:8080/state"),),
        is_current=True,
        is_settled=True,
        scaling_revision="abc",
    )


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(build_pod(ip="fd00::7"), "http://[fd00::7]:8080/state", id="ipv6-is-bracketed"),
        pytest.param(build_pod(ip=None, phase="Pending"), None, id="no-address-yet"),
    ],
)
def test_state_url_follows_the_address_of_the_pod(pod: Json, expected: str | None) -> None:
    assert build(build_deployment(), pod).consumers[0].state_url == expected


def test_consumers_are_all_pods_that_have_not_ended_those_that_leave_included() -> None:
    pods = (
        build_pod("b", leaves=True),
        build_pod("a", phase="Pending"),
        build_pod("c", phase="Succeeded"),
        build_pod("d", phase="Failed"),
    )
    assert [consumer.name for consumer in build(build_deployment(), *pods).consumers] == ["a", "b"]


@pytest.mark.parametrize(
    ("deployment", "pods"),
    [
        pytest.param(build_deployment(observedGeneration=2), [build_pod()], id="not-yet-looked-at"),
        pytest.param({**build_deployment(), "status": {}}, [build_pod()], id="no-status"),
        pytest.param(build_deployment(replicas=2, updatedReplicas=1), [build_pod()], id="a-pod-is-missing"),
        pytest.param(build_deployment(updatedReplicas=0), [build_pod()], id="the-pod-is-of-an-old-revision"),
        pytest.param(build_deployment(), [build_pod("a"), build_pod("b")], id="one-too-many"),
        pytest.param(build_deployment(), [build_pod(leaves=True)], id="leaving"),
        pytest.param(build_deployment(), [build_pod(phase="Pending")], id="not-started"),
        pytest.param(build_deployment(replicas=0), [build_pod(leaves=True)], id="draining-to-zero"),
    ],
)
def test_a_workload_with_anything_under_way_is_not_settled(deployment: Json, pods: list[Json]) -> None:
    assert not build(deployment, *pods).is_settled


@pytest.mark.parametrize(
    ("deployment", "pods"),
    [
        pytest.param(build_deployment(replicas=0), [], id="none-wanted-none-there"),
        pytest.param(build_deployment(replicas=0, updatedReplicas=0), [build_pod(phase="Failed")], id="ended-pods"),
        pytest.param(build_deployment(), [build_pod(container={"ready": False})], id="running-but-not-ready"),
    ],
)
def test_a_workload_with_nothing_under_way_is_settled(deployment: Json, pods: list[Json]) -> None:
    assert build(deployment, *pods).is_settled


def test_a_pod_that_a_dead_node_cannot_let_go_of_is_no_consumer_and_holds_nothing_up() -> None:
    pods = (build_pod("lost", leaves=True), build_pod("new"))
    leaving, lost = (
        build_workload(build_deployment(), pods, (), is_current=True, now=NOW + timedelta(seconds=late_s))
        for late_s in (30, 90)
    )

    assert ([consumer.name for consumer in leaving.consumers], leaving.is_settled) == (["lost", "new"], False)
    assert ([consumer.name for consumer in lost.consumers], lost.is_settled) == (["new"], True)


TEMPLATE_ONLY: Json = {"f:spec": {"f:template": {}}}

WRITERS = [
    pytest.param([], ReplicasWriter.NOBODY, None, id="nobody"),
    pytest.param([build_owner("forebay", fields=TEMPLATE_ONLY)], ReplicasWriter.NOBODY, None, id="applied-only"),
    pytest.param([build_owner("x", fields={"f:status": {}})], ReplicasWriter.NOBODY, None, id="status-only"),
    pytest.param([build_owner("forebay-scaler", subresource="scale")], ReplicasWriter.OPERATOR, None, id="operator"),
    pytest.param(
        [build_owner("argocd"), build_owner("forebay-scaler")], ReplicasWriter.OPERATOR, None, id="shared-with-us"
    ),
    pytest.param(
        [build_owner("kube-controller-manager", subresource="scale")],
        ReplicasWriter.AUTOSCALER,
        "kube-controller-manager",
        id="autoscaler",
    ),
    pytest.param([build_owner("kubectl", subresource="scale")], ReplicasWriter.PERSON, "kubectl", id="kubectl-scale"),
    pytest.param([build_owner("kubectl-edit")], ReplicasWriter.PERSON, "kubectl-edit", id="kubectl-edit"),
    pytest.param([build_owner("keda")], ReplicasWriter.PERSON, "keda", id="another-controller"),
    pytest.param([build_owner("b"), build_owner("a")], ReplicasWriter.PERSON, "a, b", id="two-of-them"),
]


@pytest.mark.parametrize(("owners", "writer", "name"), WRITERS)
def test_the_writer_is_the_owner_of_the_replicas(owners: list[Json], writer: ReplicasWriter, name: str | None) -> None:
    deployment = build_deployment()
    deployment["metadata"]["managedFields"] = owners
    workload = build(deployment)
    assert (workload.writer, workload.writer_name) == (writer, name)


@pytest.mark.parametrize(
    ("autoscaler", "rival"),
    [
        pytest.param(build_autoscaler(), "HorizontalPodAutoscaler hpa", id="our-deployment"),
        pytest.param(build_autoscaler(target="other-consumer"), None, id="another-deployment"),
        pytest.param(
            build_autoscaler(kind="IngestPipeline", target="payments", api_version="forebay.dev/v1alpha1"),
            None,
            id="the-pipeline-itself",
        ),
        pytest.param(build_autoscaler(kind="StatefulSet"), None, id="another-kind-of-that-name"),
    ],
)
def test_a_rival_is_an_autoscaler_of_the_deployment(autoscaler: Json, rival: str | None) -> None:
    assert build(build_deployment(), autoscalers=(autoscaler,)).rival == rival


def _ended(code: int, message: str = "", reason: str = "Error") -> Json:
    return {"exitCode": code, "reason": reason, "message": message}


JSON_LINES = "\n".join(
    [
        json.dumps({"message": "starting"}),
        json.dumps({"message": "consumer failed", "traceback": "Traceback\n  File\nMemoryError: no room"}),
    ]
)

PROBLEMS = [
    pytest.param(
        {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image x"}}},
        "p: ImagePullBackOff: Back-off pulling image x",
        id="image",
    ),
    pytest.param(
        {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": _ended(2, "a\nbad port\n")}},
        "p: CrashLoopBackOff: ended with exit code 2: bad port",
        id="crash-loop-tells-the-last-words",
    ),
    pytest.param(
        {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": _ended(1, JSON_LINES)}},
        "p: CrashLoopBackOff: ended with exit code 1: consumer failed: MemoryError: no room",
        id="crash-loop-of-json-lines",
    ),
    pytest.param(
        {"state": {"terminated": _ended(137, reason="OOMKilled")}},
        "p: ended with exit code 137 (OOMKilled)",
        id="out-of-memory",
    ),
    pytest.param(
        {"state": {"running": {}}, "lastState": {"terminated": _ended(1, "lost")}},
        "p: ended with exit code 1: lost",
        id="started-again-and-not-ready-yet",
    ),
    pytest.param(
        {"ready": True, "state": {"running": {}}, "lastState": {"terminated": _ended(1, "lost")}},
        None,
        id="started-again-and-ready",
    ),
    pytest.param({"state": {"running": {}}}, None, id="not-ready-is-not-broken"),
    pytest.param({"state": {"waiting": {"reason": "ContainerCreating"}}}, None, id="starting"),
    pytest.param(
        {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": "no such user"}}},
        "p: CreateContainerConfigError: no such user",
        id="configuration",
    ),
]


@pytest.mark.parametrize(("container", "problem"), PROBLEMS)
def test_the_problem_of_a_container_is_told(container: Json, problem: str | None) -> None:
    assert build(build_deployment(), build_pod("p", container=container)).problem == problem


def test_a_pod_that_no_node_takes_is_a_problem() -> None:
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no cpu"}
    pods = [build_pod(name, phase="Pending", ip=None, conditions=[refused]) for name in ("b", "a")]
    assert build(build_deployment(replicas=2), *pods).problem == "a (and 1 more): Unschedulable: 0/1 nodes: no cpu"


def test_a_refusal_to_create_pods_comes_first() -> None:
    refusal = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: q"}
    broken = build_pod(container={"state": {"terminated": _ended(1)}})
    problem = build(build_deployment(conditions=[refusal]), broken).problem
    assert problem == "Kubernetes refuses to create consumers: exceeded quota: q"


def test_a_consumer_that_leaves_is_no_problem() -> None:
    pod = build_pod(leaves=True, container={"state": {"terminated": _ended(1)}})
    assert build(build_deployment(), pod).problem is None


def test_a_long_message_is_cut() -> None:
    container = {"state": {"waiting": {"reason": "CreateContainerError", "message": "x" * 5000}}}
    problem = build(build_deployment(), build_pod(container=container)).problem
    assert problem is not None
    assert len(problem) < 400
