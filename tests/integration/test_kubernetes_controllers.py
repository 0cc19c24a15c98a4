"""The adapter beside Kubernetes' own controllers: they write to the same Deployment, and clean up after an owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from forebay_operator.errors import ClusterUnavailable, NotFound
from forebay_operator.kubernetes_cluster.paths import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from forebay_operator.model import ReplicasWriter
from forebay_operator.resources import Json, selector_text
from support.cluster_world import NAME, ClusterWorld, open_world
from support.testbed.control_plane import ControlPlane, start_control_plane

pytestmark = pytest.mark.integration

CONTROLLERS = (
    "deployment-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "replicaset-controller",
)
NAMESPACE = "bank"
OWNED = (SERVICE_ACCOUNTS, CONFIG_MAPS, SERVICES, DISRUPTION_BUDGETS, DEPLOYMENTS)

DEADLINE_S = 120.0
"""The garbage collector first learns of all kinds of resources, and again every 30 s of new ones."""

LOOK_EVERY_S = 0.2


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    plane = start_control_plane()
    try:
        plane.create_namespace(NAMESPACE)
        plane.start_controllers(*CONTROLLERS)
        yield plane
    finally:
        plane.remove()


@pytest.fixture
async def world(plane: ControlPlane) -> AsyncIterator[ClusterWorld]:
    async with open_world(plane.kubeconfig, NAMESPACE) as world:
        yield world
        try:
            await world.delete_pipeline()
        except NotFound:
            return
        await until(lambda: is_all_gone(world))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110 - another process changes it, nobody tells
            await asyncio.sleep(LOOK_EVERY_S)


async def list_pods(world: ClusterWorld) -> list[Json]:
    return await world.api.list_all(PODS, NAMESPACE, selector_text(NAME))


async def is_all_gone(world: ClusterWorld) -> bool:
    for kind in OWNED:
        try:
            await world.get(kind)
        except NotFound:
            continue
        return False
    return not await list_pods(world)


async def test_right_after_its_creation_a_deployment_takes_a_number(world: ClusterWorld) -> None:
    """Its controller writes to it at the same time, again and again."""
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 3)

    async def has_three_pods() -> bool:
        return len(await list_pods(world)) == 3

    await until(has_three_pods)
    workload = await world.look(pipeline)
    assert workload is not None
    assert (workload.replicas, workload.writer, workload.is_current) == (3, ReplicasWriter.OPERATOR, True)
    assert len(workload.consumers) == 3
    assert not workload.is_settled


async def test_the_controllers_own_fields_are_no_drift(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)

    async def is_seen_by_its_controller() -> bool:
        status = (await world.get()).get("status", {})
        return int(status.get("observedGeneration", 0)) >= 1

    await until(is_seen_by_its_controller)
    workload = await world.look(pipeline)
    assert workload is not None
    assert workload.is_current


async def test_what_a_pipeline_owned_goes_with_it_and_no_operator_is_needed(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 2)
    await world.delete_pipeline()
    await until(lambda: is_all_gone(world))
    assert await world.look(pipeline) is None


async def test_a_pipeline_created_again_gets_a_workload_of_its_own(world: ClusterWorld) -> None:
    first = await world.create_pipeline()
    await world.start_operator().apply_workload(first)
    await world.delete_pipeline()
    second, operator = await world.create_pipeline(), world.start_operator()

    async def is_applied() -> bool:
        try:
            await operator.apply_workload(second)
        except ClusterUnavailable as e:
            if "is being removed" not in str(e):
                raise
            return False
        return True

    await until(is_applied)
    workload = await operator.read_workload(second)
    assert workload is not None
    assert workload.is_current
    assert (await world.get())["metadata"]["ownerReferences"][0]["uid"] == second.uid


async def test_a_refused_pod_is_a_problem_of_the_workload(world: ClusterWorld) -> None:
    pipeline = await world.create_pipeline("spec: {consumer: {podTemplate: {serviceAccountName: nobody}}}")
    await world.start_operator().apply_workload(pipeline)

    async def has_problem() -> bool:
        seen = await world.look(pipeline)
        return seen is not None and seen.problem is not None

    await until(has_problem)
    workload = await world.look(pipeline)
    assert workload is not None
    assert workload.problem is not None
    assert "refuses to create consumers" in workload.problem
    assert "nobody" in workload.problem
