"""What the operator's Kubernetes adapter does, on the API server in memory and on a real one without controllers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest
from forebay_operator.drift import find_drift
from forebay_operator.errors import ClusterUnavailable, NotFound, PipelineGone, WriteConflict
from forebay_operator.kubernetes_cluster.api import KubernetesApi
from forebay_operator.kubernetes_cluster.paths import CONFIG_MAPS, DEPLOYMENTS, PIPELINES, ResourceType, find_type
from forebay_operator.model import ReplicasWriter, RunningConsumer
from forebay_operator.resources import Json, render
from support.cluster_world import NAME, OBJECT, ClusterWorld, open_world
from support.fake_kubernetes import FakeKubernetes
from support.rendering import FULL, IMAGE
from support.testbed.servers import unique_name

BUSY_WRITES = 5
"""So many of a controller's writes fall just between the operator's look and its order."""

OTHER_UID = "99999999-2222-3333-4444-555555555555"

POD_TEMPLATE: Json = {
    "metadata": {"labels": {"app": "theirs"}},
    "spec": {"containers": [{"name": "theirs", "image": "none"}]},
}
FOREIGN_DEPLOYMENT: Json = {
    "kind": "Deployment",
    "spec": {"selector": {"matchLabels": {"app": "theirs"}}, "template": POD_TEMPLATE},
}


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ClusterWorld]:
    if request.param == "fake":
        async with FakeKubernetes().serve(tmp_path) as kubeconfig, open_world(kubeconfig, "bank") as fake:
            yield fake
    else:
        plane = request.getfixturevalue("control_plane")
        namespace = unique_name("cluster").replace("_", "-")
        plane.create_namespace(namespace)
        async with open_world(plane.kubeconfig, namespace) as real:
            yield real
            for pipeline in (await real.start_operator().list_pipelines()).bodies:
                with suppress(NotFound):
                    await real.api.delete(PIPELINES, namespace, pipeline["metadata"]["name"])


async def test_a_new_pipeline_has_no_workload(world: ClusterWorld) -> None:
    assert await world.look(await world.create_pipeline()) is None


@pytest.mark.parametrize("changes", [pytest.param("", id="minimal"), pytest.param(FULL, id="full")])
async def test_what_was_applied_is_accepted_and_has_not_drifted(world: ClusterWorld, changes: str) -> None:
    pipeline = await world.create_pipeline(changes)
    await world.start_operator().apply_workload(pipeline)
    differences = [
        find_drift(wanted, await world.get(find_type(wanted), wanted["metadata"]["name"]))
        for wanted in render(pipeline, IMAGE)
    ]
    assert differences == [None] * 5
    workload = await world.look(pipeline)
    assert workload is not None
    assert workload.is_current


async def test_a_created_workload_was_scaled_by_nobody(world: ClusterWorld) -> None:
    pipeline = await world.create_pipeline()
    await world.start_operator().apply_workload(pipeline)
    workload = await world.look(pipeline)
    assert workload is not None
    assert (workload.writer, workload.writer_name, workload.rival) == (ReplicasWriter.NOBODY, None, None)


async def test_applying_again_changes_nothing(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(FULL), world.start_operator()
    await operator.apply_workload(pipeline)
    kinds = [find_type(wanted) for wanted in render(pipeline, IMAGE)]
    before = [(await world.get(kind))["metadata"]["resourceVersion"] for kind in kinds]
    await world.start_operator().apply_workload(pipeline)
    assert before == [(await world.get(kind))["metadata"]["resourceVersion"] for kind in kinds]


@pytest.mark.parametrize("replicas", [0, 1, 3])
async def test_scaling_sets_the_replicas_and_applying_leaves_them(world: ClusterWorld, replicas: int) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 2)
    await operator.scale(pipeline, replicas)
    changed = await world.change_pipeline({"spec": {"consumer": {"maxRowsPerSecond": 7}}})
    await operator.apply_workload(changed)
    workload = await operator.read_workload(changed)
    assert workload is not None
    assert (workload.replicas, workload.writer) == (replicas, ReplicasWriter.OPERATOR)


async def test_an_order_for_the_number_that_is_there_already_owns_it(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 1)
    workload = await world.look(pipeline)
    assert workload is not None
    assert (workload.replicas, workload.writer) == (1, ReplicasWriter.OPERATOR)


async def test_an_order_after_a_persons_number_takes_it_over(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 2)
    await world.patch(DEPLOYMENTS, OBJECT, {"spec": {"replicas": 5}})
    await operator.read_workload(pipeline)
    await operator.scale(pipeline, 5)
    workload = await world.look(pipeline)
    assert workload is not None
    assert (workload.replicas, workload.writer) == (5, ReplicasWriter.OPERATOR)


async def test_a_number_by_hand_is_a_persons_and_named(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 2)
    await world.scale_by_hand(5)
    workload = await world.look(pipeline)
    assert workload is not None
    assert (workload.replicas, workload.writer, workload.writer_name) == (5, ReplicasWriter.PERSON, "kubectl")


async def test_an_autoscalers_number_is_told_from_a_persons(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 2)
    changes: Json = {"spec": {"replicas": 4}}
    await world.patch(DEPLOYMENTS, OBJECT, changes, manager="kube-controller-manager", subresource="scale")
    workload = await world.look(pipeline)
    assert workload is not None
    assert (workload.replicas, workload.writer) == (4, ReplicasWriter.AUTOSCALER)


async def test_scaling_after_a_hand_edit_that_was_not_seen_is_refused(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 2)
    await operator.read_workload(pipeline)
    await world.scale_by_hand(5)
    with pytest.raises(WriteConflict):
        await operator.scale(pipeline, 3)
    assert (await world.get())["spec"]["replicas"] == 5
    seen = await operator.read_workload(pipeline)
    assert seen is not None
    assert seen.writer is ReplicasWriter.PERSON


async def test_scaling_after_a_write_that_moved_no_replicas_is_done(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.read_workload(pipeline)
    await world.settle_deployment(1)
    await operator.scale(pipeline, 3)
    assert (await world.get())["spec"]["replicas"] == 3


async def test_scaling_outlasts_a_controller_that_writes_all_the_time(
    world: ClusterWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    read, pods = KubernetesApi.get, iter(range(1, BUSY_WRITES + 1))

    async def read_just_before_a_write(api: KubernetesApi, kind: ResourceType, namespace: str, name: str) -> Json:
        live = await read(api, kind, namespace, name)
        for count in islice(pods, 1):
            changes = {"status": {"replicas": count, "readyReplicas": count}}
            await world.patch(kind, name, changes, manager="kube-controller-manager", subresource="status")
        return live

    monkeypatch.setattr(KubernetesApi, "get", read_just_before_a_write)
    await operator.scale(pipeline, 3)
    assert (await world.get())["spec"]["replicas"] == 3
    assert not list(pods)


async def test_an_order_for_an_old_version_is_refused(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    old = (await world.get())["metadata"]["resourceVersion"]
    await world.settle_deployment(1)
    with pytest.raises(WriteConflict):
        await world.api.patch_scale(DEPLOYMENTS, world.namespace, OBJECT, replicas=3, resource_version=old)
    assert (await world.get())["spec"]["replicas"] == 1


async def test_an_autoscaler_of_the_deployment_is_a_rival(world: ClusterWorld) -> None:
    pipeline = await world.create_pipeline()
    await world.start_operator().apply_workload(pipeline)
    await world.add_autoscaler(name="of-us", kind="IngestPipeline", target=NAME, api_version="forebay.dev/v1alpha1")
    before = await world.look(pipeline)
    await world.add_autoscaler(name="of-the-deployment")
    after = await world.look(pipeline)
    assert before is not None
    assert after is not None
    assert (before.rival, after.rival) == (None, "HorizontalPodAutoscaler of-the-deployment")


async def test_a_foreign_deployment_is_neither_seen_nor_taken_over(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    theirs = await world.create_foreign(DEPLOYMENTS, FOREIGN_DEPLOYMENT)
    with pytest.raises(ClusterUnavailable, match="does not belong to this pipeline"):
        await operator.apply_workload(pipeline)
    with pytest.raises(WriteConflict):
        await operator.scale(pipeline, 4)
    assert await operator.read_workload(pipeline) is None
    assert (await world.get())["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]


async def test_before_a_foreign_object_is_found_nothing_is_written(world: ClusterWorld) -> None:
    pipeline = await world.create_pipeline()
    await world.create_foreign(DEPLOYMENTS, FOREIGN_DEPLOYMENT)
    with pytest.raises(ClusterUnavailable):
        await world.start_operator().apply_workload(pipeline)
    with pytest.raises(NotFound):
        await world.get(CONFIG_MAPS)


async def test_what_a_deleted_predecessor_left_is_waited_for(world: ClusterWorld) -> None:
    pipeline = await world.create_pipeline()
    owner = {"apiVersion": "forebay.dev/v1alpha1", "kind": "IngestPipeline", "name": NAME, "uid": OTHER_UID}
    await world.create_foreign(
        CONFIG_MAPS, {"kind": "ConfigMap", "metadata": {"ownerReferences": [{**owner, "controller": True}]}}
    )
    with pytest.raises(ClusterUnavailable, match="is being removed"):
        await world.start_operator().apply_workload(pipeline)


async def test_nothing_is_made_for_a_pipeline_that_is_gone(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await world.delete_pipeline()
    with pytest.raises(PipelineGone):
        await operator.apply_workload(pipeline)
    await world.create_pipeline()
    with pytest.raises(PipelineGone):
        await operator.apply_workload(pipeline)
    with pytest.raises(NotFound):
        await world.get()


async def test_a_hand_edit_of_the_deployment_is_seen_and_undone(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    grace = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    await world.patch(DEPLOYMENTS, OBJECT, grace)
    operator.touch(world.namespace, NAME)
    edited = await operator.read_workload(pipeline)
    await operator.apply_workload(pipeline)
    healed = await operator.read_workload(pipeline)
    assert edited is not None
    assert healed is not None
    assert (edited.is_current, healed.is_current) == (False, True)


@pytest.mark.parametrize("is_removed", [pytest.param(False, id="edited"), pytest.param(True, id="removed")])
async def test_what_happened_to_an_object_beside_the_deployment_is_undone(
    world: ClusterWorld, is_removed: bool
) -> None:
    pipeline = await world.create_pipeline()
    await world.start_operator().apply_workload(pipeline)
    if is_removed:
        await world.api.delete(CONFIG_MAPS, world.namespace, OBJECT)
    else:
        await world.patch(CONFIG_MAPS, OBJECT, {"data": {"pipeline.json": "{}"}})
    operator = world.start_operator()
    broken = await operator.read_workload(pipeline)
    await operator.apply_workload(pipeline)
    healed = await world.look(pipeline)
    assert broken is not None
    assert healed is not None
    assert (broken.is_current, healed.is_current) == (False, True)


async def test_what_the_spec_no_longer_asks_for_is_removed_and_what_others_added_stays(world: ClusterWorld) -> None:
    variable = "spec: {consumer: {podTemplate: {env: [{name: TZ, value: UTC}]}}}"
    pipeline, operator = await world.create_pipeline(variable), world.start_operator()
    await operator.apply_workload(pipeline)
    await world.patch(DEPLOYMENTS, OBJECT, {"metadata": {"labels": {"team": "theirs"}}})
    changed = await world.change_pipeline({"spec": {"consumer": {"podTemplate": {"env": []}}}})
    await operator.apply_workload(changed)
    live = await world.get()
    names = [variable["name"] for variable in live["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert "TZ" not in names
    assert "FOREBAY_PIPELINE_FILE" in names
    assert live["metadata"]["labels"]["team"] == "theirs"


async def test_consumers_are_the_pods_that_have_not_ended(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.scale(pipeline, 1)
    await world.add_pod("ended", phase="Failed")
    await world.add_pod("runs", phase="Running", ip="10.1.2.3")
    await world.settle_deployment(1)
    workload = await world.look(pipeline)
    assert workload is not None
    assert workload.consumers == (RunningConsumer(name="runs", state_url="http://10.1.2.3:8080/state"),)
    assert workload.is_settled


async def test_list_pipelines_hands_out_those_of_the_watched_namespaces(world: ClusterWorld) -> None:
    first, second = await world.create_pipeline(), await world.create_pipeline(name="orders")
    found = await world.start_operator().list_pipelines()
    assert {body["metadata"]["uid"] for body in found.bodies} == {first.uid, second.uid}


async def test_delete_removes_what_is_this_pipelines_alone(world: ClusterWorld) -> None:
    pipeline, operator = await world.create_pipeline(), world.start_operator()
    await operator.apply_workload(pipeline)
    await operator.delete(pipeline)
    assert await operator.read_workload(pipeline) is None
    theirs = await world.create_foreign(DEPLOYMENTS, FOREIGN_DEPLOYMENT)
    await operator.delete(pipeline)
    assert (await world.get())["metadata"]["uid"] == theirs["metadata"]["uid"]
