"""The operator and the API server fail; the consumers do not notice, and the successor does nothing twice."""

from __future__ import annotations

import time

import pytest
from forebay_cli.local.deadlines import wait_until
from support.exactly_once import assert_exactly_once
from support.kind_cluster import ClusterCommandFailed, KindCluster
from support.product import WAIT_S, PipelineOnCluster, Product
from support.product_plugin import NewPipeline

pytestmark = pytest.mark.operator

TAKEOVER_S = 20.0
"""Promise: a leader that is killed has a successor within this time (Lease of 15 s, asked for every 2 s)."""


async def test_killed_leader_is_followed_within_twenty_seconds(new_pipeline: NewPipeline, product: Product) -> None:
    pipeline = _start(new_pipeline)
    before = _untouched(pipeline)
    wave = pipeline.start_wave(40_000, 20)
    old = product.wait_leader()

    product.kubectl("delete", "pod", old, "--grace-period=0", "--force")

    product.wait_leader(other_than=old, deadline_s=TAKEOVER_S)
    _wait_looked_at(product, pipeline)
    assert wave.wait(120.0) == 0
    await assert_exactly_once(pipeline)
    assert _untouched(pipeline) == before, pipeline.describe()


async def test_leader_that_is_asked_to_leave_hands_over(new_pipeline: NewPipeline, product: Product) -> None:
    pipeline = _start(new_pipeline)
    before = _untouched(pipeline)
    old = product.wait_leader()

    product.kubectl("delete", "pod", old, "--wait=false")

    product.wait_leader(other_than=old, deadline_s=TAKEOVER_S)
    _wait_looked_at(product, pipeline)
    assert _untouched(pipeline) == before, pipeline.describe()


async def test_consumers_work_on_without_any_operator(new_pipeline: NewPipeline, product: Product) -> None:
    pipeline = _start(new_pipeline)
    before = _untouched(pipeline)
    product.stop_operator()
    try:
        pipeline.produce(30_000)
        await assert_exactly_once(pipeline)
    finally:
        product.start_operator()

    _wait_looked_at(product, pipeline)
    assert _untouched(pipeline) == before, pipeline.describe()


@pytest.mark.alone
async def test_restarted_api_server_disturbs_nobody_and_changes_are_seen_again(
    cluster: KindCluster, new_pipeline: NewPipeline, product: Product
) -> None:
    pipeline = _start(new_pipeline)
    before = pipeline.pod_ids()
    restarts = pipeline.restarts()
    wave = pipeline.start_wave(40_000, 20)

    _restart_api_server(cluster)

    assert wave.wait(120.0) == 0
    await assert_exactly_once(pipeline)
    assert (pipeline.pod_ids(), pipeline.restarts()) == (before, restarts), pipeline.describe()
    product.wait_leader()
    pipeline.patch({"scaling": {"minReplicas": 2, "maxReplicas": 2}})
    pipeline.wait_replicas(2)


def _restart_api_server(cluster: KindCluster) -> None:
    """End its process, as a crash does; the kubelet starts another. Every watch is cut."""
    node = next(name for name in cluster.nodes if name.endswith("control-plane"))

    def read_container() -> str:
        return cluster.engine.docker("exec", node, "crictl", "ps", "--quiet", "--name", "kube-apiserver").strip()

    old = read_container()
    cluster.engine.docker("exec", node, "crictl", "stop", "--timeout", "0", old)

    def answers() -> bool:
        try:
            return read_container() not in ("", old) and cluster.kubectl("get", "--raw", "/readyz") == "ok"
        except ClusterCommandFailed:
            return False

    assert wait_until(answers, WAIT_S, 0.5), "the API server did not come back"


def _start(new_pipeline: NewPipeline) -> PipelineOnCluster:
    pipeline = new_pipeline(maxReplicas=1)  # so that whatever moves is a fault's doing, not the load's
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    pipeline.wait_replicas(1)
    return pipeline


def _untouched(pipeline: PipelineOnCluster) -> tuple[set[str], int, int]:
    """Pods, their restarts, and the generation of the Deployment: the same while nobody does anything."""
    found = pipeline.deployment()
    assert found is not None
    return pipeline.pod_ids(), pipeline.restarts(), int(found["metadata"]["generation"])


def _wait_looked_at(product: Product, pipeline: PipelineOnCluster) -> None:
    """Wait for two passes that began after now."""
    for _ in range(2):
        now = time.time()
        assert wait_until(lambda now=now: product.last_pass(pipeline.name) > now, WAIT_S, 0.3), product.logs()[-3000:]  # type: ignore[misc]
