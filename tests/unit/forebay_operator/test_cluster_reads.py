"""When the Kubernetes adapter asks the API server, when it does not, and what a crash after each write leaves."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import ClusterUnavailable
from forebay_operator.kubernetes_cluster.cluster import OTHERS_RESYNC_S, RESYNC_S, KubernetesCluster
from forebay_operator.kubernetes_cluster.paths import CONFIG_MAPS
from forebay_operator.resources import Json
from support.cluster_world import NAME, OBJECT, ClusterWorld, open_world
from support.fake_kubernetes import LOST, FakeKubernetes, Request, count_down
from support.pipeline_builders import START
from support.rendering import IMAGE

NAMESPACE = "bank"


class Rig:
    """An operator with a clock that the test moves."""

    def __init__(self, fake: FakeKubernetes, world: ClusterWorld) -> None:
        self.fake = fake
        self.world = world
        self.now_s = 1000.0
        self.operator = KubernetesCluster(
            world.api, image=IMAGE, now=lambda: START, jitter=lambda: 0.5, clock=lambda: self.now_s
        )

    async def count_requests(self, pipeline: Pipeline) -> int:
        """That one read makes."""
        before = len(self.fake.requests)
        await self.operator.read_workload(pipeline)
        return len(self.fake.requests) - before

    async def create(self) -> Pipeline:
        """A pipeline that runs, and has been looked at."""
        pipeline = await self.world.create_pipeline()
        await self.operator.apply_workload(pipeline)
        await self.operator.scale(pipeline, 2)
        await self.operator.read_workload(pipeline)
        return pipeline


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    fake = FakeKubernetes()
    async with fake.serve(tmp_path) as kubeconfig, open_world(kubeconfig, NAMESPACE) as world:
        yield Rig(fake, world)


async def test_an_idle_pipeline_costs_no_request(rig: Rig) -> None:
    pipeline = await rig.create()
    rig.now_s += RESYNC_S - 1
    assert await rig.count_requests(pipeline) == 0


async def test_a_touched_pipeline_is_read_once(rig: Rig) -> None:
    pipeline = await rig.create()
    rig.operator.touch(NAMESPACE, NAME)
    assert [await rig.count_requests(pipeline) for _ in range(2)] == [3, 0]


async def test_a_pipeline_without_events_is_read_after_a_while(rig: Rig) -> None:
    pipeline = await rig.create()
    rig.now_s += RESYNC_S
    assert [await rig.count_requests(pipeline) for _ in range(2)] == [3, 0]


async def test_the_objects_beside_the_deployment_are_read_less_often(rig: Rig) -> None:
    pipeline = await rig.create()
    rig.now_s += OTHERS_RESYNC_S
    assert await rig.count_requests(pipeline) == 7


async def test_a_touch_while_the_read_is_under_way_asks_for_another(rig: Rig) -> None:
    pipeline = await rig.create()

    def touch(request: Request) -> None:
        if request.resource == "deployments":
            rig.operator.touch(NAMESPACE, NAME)

    rig.operator.touch(NAMESPACE, NAME)
    rig.fake.fault = touch
    await rig.operator.read_workload(pipeline)
    rig.fake.fault = lambda _: None
    assert await rig.count_requests(pipeline) == 3


@pytest.mark.parametrize("resource", ["deployments", "pods", "horizontalpodautoscalers"])
async def test_a_read_that_fails_is_made_again(rig: Rig, resource: str) -> None:
    pipeline = await rig.create()
    rig.operator.touch(NAMESPACE, NAME)
    rig.fake.fault = lambda request: 500 if request.resource == resource else None
    with pytest.raises(ClusterUnavailable):
        await rig.operator.read_workload(pipeline)
    rig.fake.fault = lambda _: None
    assert await rig.count_requests(pipeline) == 3


async def test_another_spec_is_judged_without_a_request(rig: Rig) -> None:
    await rig.create()
    changed = await rig.world.change_pipeline({"spec": {"consumer": {"maxRowsPerSecond": 7}}})
    before = len(rig.fake.requests)
    workload = await rig.operator.read_workload(changed)
    assert workload is not None
    assert (workload.is_current, len(rig.fake.requests) - before) == (False, 0)


async def test_a_forgotten_pipeline_is_read_anew(rig: Rig) -> None:
    pipeline = await rig.create()
    rig.operator.forget(NAMESPACE, NAME)
    assert await rig.count_requests(pipeline) > 0


async def test_what_the_server_always_changes_is_applied_once_not_for_ever(rig: Rig) -> None:
    def add_sidecar(body: Json) -> None:
        if body["kind"] == "Deployment":
            body["spec"]["revisionHistoryLimit"] = 10

    rig.fake.admit = add_sidecar
    pipeline = await rig.create()
    workload = await rig.operator.read_workload(pipeline)
    assert workload is not None
    assert workload.is_current


async def test_scaling_is_tried_again_while_others_write_and_then_given_up(rig: Rig) -> None:
    pipeline = await rig.create()
    rig.fake.fault = lambda request: 409 if request.resource == "deployments/scale" else None
    with pytest.raises(ClusterUnavailable):
        await rig.operator.scale(pipeline, 5)
    rig.fake.fault = lambda _: None
    await rig.operator.scale(pipeline, 4)
    assert (rig.fake.find("deployments", NAMESPACE, OBJECT) or {})["spec"]["replicas"] == 4


# --- crashes --------------------------------------------------------------------------------------------------------

WRITES = 6
"""Five objects and the replicas."""

VOLATILE = ("resourceVersion", "uid", "generation")
KINDS = ("serviceaccounts", "configmaps", "services", "poddisruptionbudgets", "deployments")


def end_state(fake: FakeKubernetes) -> list[Json]:
    """All owned objects without what is new in each life."""
    found = [copy.deepcopy(fake.find(kind, NAMESPACE, OBJECT) or {"metadata": {}}) for kind in KINDS]
    for body in found:
        body["metadata"] = {key: value for key, value in body["metadata"].items() if key not in VOLATILE}
    return found


async def bring_up(operator: KubernetesCluster, pipeline: Pipeline) -> None:
    """What a pass does with a new pipeline, and with one that is half there."""
    workload = await operator.read_workload(pipeline)
    if workload is None or not workload.is_current:
        await operator.apply_workload(pipeline)
    if workload is None or workload.replicas != 3:
        await operator.scale(pipeline, 3)


@pytest.mark.parametrize("status", [pytest.param(LOST, id="after"), pytest.param(503, id="before")])
@pytest.mark.parametrize("n", range(1, WRITES + 1))
async def test_a_crash_around_the_nth_write_ends_in_the_undisturbed_state(rig: Rig, n: int, status: int) -> None:
    pipeline = await rig.world.create_pipeline()
    rig.fake.fault = count_down(n, status)
    with pytest.raises(ClusterUnavailable):
        await bring_up(rig.world.start_operator(), pipeline)
    rig.fake.fault = lambda _: None
    await bring_up(rig.world.start_operator(), pipeline)
    disturbed = end_state(rig.fake)

    for kind in KINDS:
        rig.fake.drop(kind, NAMESPACE, OBJECT)
    await bring_up(rig.world.start_operator(), pipeline)
    assert disturbed == end_state(rig.fake)


async def test_a_second_run_writes_nothing(rig: Rig) -> None:
    pipeline = await rig.world.create_pipeline()
    await bring_up(rig.world.start_operator(), pipeline)
    before = len(rig.fake.writes)
    await bring_up(rig.world.start_operator(), pipeline)
    assert len(rig.fake.writes) == before


async def test_a_config_map_that_vanished_is_noticed_at_the_slow_resync(rig: Rig) -> None:
    pipeline = await rig.create()
    await rig.world.api.delete(CONFIG_MAPS, NAMESPACE, OBJECT)
    rig.now_s += OTHERS_RESYNC_S
    workload = await rig.operator.read_workload(pipeline)
    assert workload is not None
    assert not workload.is_current
