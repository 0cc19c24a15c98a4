"""The operator fails; the consumers do not notice, and the successor does nothing twice."""

from __future__ import annotations

import time

from forebay_cli.local.deadlines import wait_until
from support.exactly_once import assert_exactly_once
from support.product import WAIT_S, PipelineOnCluster, Product
from support.product_plugin import NewPipeline

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


def test_deleted_pipeline_goes_also_while_the_operator_is_away(new_pipeline: NewPipeline, product: Product) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    product.stop_operator()
    try:
        pipeline.delete()

        assert wait_until(lambda: not pipeline.owned(), WAIT_S, 0.5), pipeline.owned()
    finally:
        product.start_operator()


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
