"""Lease, status, events and conflicts, on the API server in memory and on a real one without controllers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from forebay_operator.clock import SystemClock
from forebay_operator.config import LeaseTiming
from forebay_operator.errors import NotFound, PipelineGone
from forebay_operator.kubernetes_cluster.lease import LeaseElection
from forebay_operator.kubernetes_cluster.paths import AUTOSCALERS, DEPLOYMENTS, LEASES
from support.cluster_world import NAME, OBJECT, ClusterWorld, open_world
from support.fake_kubernetes import FakeKubernetes
from support.testbed.servers import unique_name
from support.whole_passes import WholePasses

TIMING = LeaseTiming(lease_duration_s=3, renew_deadline_s=2, retry_period_s=0.3)
LEASE = "forebay-operator"
SLACK_S = 30.0
"""For two busy cores, on top of what the timing says."""

CALM = "{spec: {scaling: {minReplicas: 2}}}"


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ClusterWorld]:
    if request.param == "fake":
        async with FakeKubernetes().serve(tmp_path) as kubeconfig, open_world(kubeconfig, "bank") as fake:
            yield fake
    else:
        plane = request.getfixturevalue("control_plane")
        namespace = unique_name("records").replace("_", "-")
        plane.create_namespace(namespace)
        async with open_world(plane.kubeconfig, namespace) as real:
            yield real
            with suppress(NotFound):
                await real.delete_pipeline()


# --- lease ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Candidate:
    """A process that takes part."""

    election: LeaseElection
    started: asyncio.Event = field(default_factory=asyncio.Event)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    async def _on_started(self) -> None:
        self.started.set()

    async def _on_lost(self) -> None:
        self.lost.set()

    async def kill(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task


def join(world: ClusterWorld, identity: str) -> Candidate:
    one = Candidate(
        LeaseElection(
            world.api,
            namespace=world.namespace,
            name=LEASE,
            identity=identity,
            timing=TIMING,
            now=SystemClock().now,
        )
    )
    one.task = asyncio.create_task(one.election.run(one._on_started, one._on_lost))
    return one


async def within(event: asyncio.Event, seconds: float) -> None:
    async with asyncio.timeout(seconds + SLACK_S):
        await event.wait()


async def holder(world: ClusterWorld) -> str:
    return str((await world.get(LEASES, LEASE))["spec"].get("holderIdentity"))


async def renewed_at(world: ClusterWorld) -> datetime:
    return datetime.fromisoformat((await world.get(LEASES, LEASE))["spec"]["renewTime"])


async def test_one_of_two_candidates_leads_and_the_other_follows_a_release(world: ClusterWorld) -> None:
    first = join(world, "a")
    await within(first.started, 0)
    second = join(world, "b")
    await asyncio.sleep(2 * TIMING.retry_period_s)  # it has looked by then
    assert (second.started.is_set(), await holder(world)) == (False, "a")

    await first.kill()
    await first.election.release()

    assert await holder(world) in ("", "b")
    await within(second.started, TIMING.retry_period_s)
    assert (await world.get(LEASES, LEASE))["spec"]["leaseTransitions"] >= 1
    await second.kill()


async def test_a_killed_leader_is_followed_after_the_duration(world: ClusterWorld) -> None:
    first = join(world, "a")
    await within(first.started, 0)
    second = join(world, "b")
    await asyncio.sleep(2 * TIMING.retry_period_s)
    await first.kill()
    last = await renewed_at(world)

    await within(second.started, TIMING.lease_duration_s + TIMING.retry_period_s)

    waited = await renewed_at(world) - last
    assert waited.total_seconds() > TIMING.lease_duration_s - TIMING.retry_period_s
    await second.kill()


async def test_a_lease_taken_by_force_is_lost(world: ClusterWorld) -> None:
    first = join(world, "a")
    await within(first.started, 0)

    await world.patch(LEASES, LEASE, {"spec": {"holderIdentity": "somebody"}})

    await within(first.lost, TIMING.renew_deadline_s)
    assert not first.election.is_leader


# --- status and events ----------------------------------------------------------------------------------------------


async def test_status_is_taken_whole_and_a_restart_writes_nothing(world: ClusterWorld) -> None:
    await world.create_pipeline(CALM)
    passes = WholePasses(world)
    await passes.run(4)
    before = await passes.resource()

    passes.restart()
    await passes.run(4)

    after = await passes.resource()
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert (after["status"]["desiredReplicas"], after["status"]["partitions"]) == (2, 4)
    assert f"forebay.dev/pipeline={NAME}" in after["status"]["selector"].split(",")


async def test_what_is_no_longer_known_leaves_the_status(world: ClusterWorld) -> None:
    await world.create_pipeline(CALM)
    passes = WholePasses(world)
    await passes.run(2)
    assert "lagRecords" in await passes.status()

    passes.lag.silent = {0, 1, 2, 3}
    passes.lag.topics.clear()
    for _ in range(2):
        passes.now += timedelta(seconds=61)
        await passes.run(3)

    assert (await passes.condition("LagAvailable"))[0] == "False"


async def test_events_are_told_once(world: ClusterWorld) -> None:
    await world.create_pipeline(CALM)
    passes = WholePasses(world)

    await passes.run(4)

    events = await passes.events()
    assert events.count("Scaled") == 1
    assert len(events) == len(set(events))


async def test_record_of_a_deleted_or_recreated_pipeline_finds_it_gone(world: ClusterWorld) -> None:
    pipeline = await world.create_pipeline(CALM)
    passes = WholePasses(world)
    await passes.run(1)
    report = passes.last_report
    assert report is not None
    changed = replace(report, generation=99)
    await world.delete_pipeline()
    with pytest.raises(PipelineGone):
        await passes.recorder.record(pipeline, changed)

    await world.create_pipeline(CALM)
    with pytest.raises(PipelineGone):
        await passes.recorder.record(pipeline, changed)

    assert not (await passes.resource()).get("status")


# --- conflicts ------------------------------------------------------------------------------------------------------


async def test_hand_edit_is_left_alone_also_by_a_restart_until_the_old_number(world: ClusterWorld) -> None:
    await world.create_pipeline(CALM)
    passes = WholePasses(world)
    await passes.run()
    await world.scale_by_hand(1)
    await passes.run()
    assert (await passes.condition("Conflict"), await passes.replicas()) == (("True", "EditedByHand"), 1)

    passes.restart()
    await passes.run()
    assert (await passes.condition("Conflict"), await passes.replicas()) == (("True", "EditedByHand"), 1)
    assert (await passes.status())["desiredReplicas"] == 2

    await world.scale_by_hand(2)
    await passes.run()
    assert await passes.condition("Conflict") == ("False", "NoOtherWriter")
    assert [e for e in await passes.events() if e.startswith("Conflict")] == ["Conflict", "ConflictOver"]


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        pytest.param({"minReplicas": 3}, 3, id="another-number"),
        pytest.param({"mode": "Paused"}, 5, id="the-number-stays"),
        pytest.param({"mode": "Manual", "replicas": 4}, 4, id="manual"),
        pytest.param({"mode": "Manual", "replicas": 5}, 5, id="manual-same-number"),
    ],
)
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_changed_scaling_takes_the_number_back(
    world: ClusterWorld, scaling: dict[str, object], expected: int, is_restarted: bool
) -> None:
    await world.create_pipeline(CALM)
    passes = WholePasses(world)
    await passes.run()
    await world.scale_by_hand(5 if scaling != {"minReplicas": 3} else 1)
    await passes.run()
    assert (await passes.condition("Conflict"))[0] == "True"

    await world.change_pipeline({"spec": {"scaling": scaling}})
    if is_restarted:
        passes.restart()
    await passes.run()
    passes.restart()
    await passes.run()

    assert (await passes.condition("Conflict"), await passes.replicas()) == (("False", "NoOtherWriter"), expected)
    assert (await passes.status())["desiredReplicas"] == expected


@pytest.mark.parametrize("mode", ["Enforce", "Observe", "Manual", "Paused"])
async def test_autoscaler_of_the_deployment_is_left_alone_until_it_is_removed(world: ClusterWorld, mode: str) -> None:
    await world.create_pipeline(f"{{spec: {{scaling: {{mode: {mode}, replicas: 2, minReplicas: 2}}}}}}")
    passes = WholePasses(world)
    await passes.run()
    await world.add_autoscaler()
    await world.patch(
        DEPLOYMENTS, OBJECT, {"spec": {"replicas": 1}}, manager="kube-controller-manager", subresource="scale"
    )
    for _ in range(2):
        await passes.run()
        assert (await passes.condition("Conflict"), await passes.replicas()) == (("True", "RivalController"), 1)
        passes.restart()

    for autoscaler in await world.api.list_all(AUTOSCALERS, world.namespace):
        await world.api.delete(AUTOSCALERS, world.namespace, autoscaler["metadata"]["name"])
    await passes.run()

    assert await passes.condition("Conflict") == ("False", "NoOtherWriter")
    assert await passes.replicas() == {"Enforce": 2, "Manual": 2, "Observe": 1, "Paused": 1}[mode]


async def test_hand_edit_conflicts_in_manual_mode_and_suspend_wins(world: ClusterWorld) -> None:
    await world.create_pipeline("{spec: {scaling: {mode: Manual, replicas: 3}}}")
    passes = WholePasses(world)
    await passes.run()
    assert await passes.replicas() == 3
    await world.change_pipeline({"spec": {"scaling": {"replicas": 4}}})
    await passes.run()
    assert await passes.replicas() == 4
    await world.scale_by_hand(1)
    await passes.run()
    assert (await passes.condition("Conflict"), await passes.replicas()) == (("True", "EditedByHand"), 1)

    await world.change_pipeline({"spec": {"suspend": True}})
    await passes.run()

    assert await passes.replicas() == 0
