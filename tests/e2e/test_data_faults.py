"""Consumers and the primary are killed under load; every record still becomes one row."""

from __future__ import annotations

import json

from forebay_cli.local.deadlines import wait_until
from support.cluster_database import NAMESPACE
from support.exactly_once import assert_exactly_once
from support.kind_cluster import ClusterCommandFailed
from support.product import WAIT_S, PipelineOnCluster
from support.product_plugin import NewPipeline

RECORDS, SECONDS = 60_000, 30


async def test_killed_consumer_pods_lose_and_duplicate_nothing(new_pipeline: NewPipeline) -> None:
    pipeline = _start(new_pipeline, replicas=2)
    wave = pipeline.start_wave(RECORDS, SECONDS)

    for _ in range(3):
        already = pipeline.rows()
        assert wait_until(lambda already=already: pipeline.rows() > already, WAIT_S, 0.2)  # type: ignore[misc]
        victim = pipeline.running()[0]
        pipeline.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
        pipeline.wait_replicas(2)

    assert wave.wait(180.0) == 0
    await assert_exactly_once(pipeline)


async def test_evicted_consumer_drains_and_is_replaced(new_pipeline: NewPipeline) -> None:
    pipeline = _start(new_pipeline, replicas=2)
    wave = pipeline.start_wave(RECORDS, SECONDS)
    victim = pipeline.running()[0]

    _evict(pipeline, victim)

    assert wait_until(lambda: victim not in [p["metadata"]["name"] for p in pipeline.pods()], WAIT_S, 0.3)
    pipeline.wait_replicas(2)
    assert wave.wait(180.0) == 0
    await assert_exactly_once(pipeline)


def test_disruption_budget_lets_one_consumer_go_at_a_time(new_pipeline: NewPipeline) -> None:
    pipeline = _start(new_pipeline, replicas=2)
    pipeline.wait_condition("Ready", "True")
    budget = (
        "get",
        "poddisruptionbudget",
        f"{pipeline.name}-consumer",
        "--output=jsonpath={.status.disruptionsAllowed}",
    )
    assert wait_until(lambda: pipeline.kubectl(*budget) == "1", WAIT_S, 0.3), pipeline.kubectl(*budget)

    _evict(pipeline, pipeline.running()[0])

    # Not by a second eviction: kubectl repeats a refused one by itself until it is granted.
    assert pipeline.kubectl(*budget) == "0"


def _start(new_pipeline: NewPipeline, *, replicas: int) -> PipelineOnCluster:
    pipeline = new_pipeline(minReplicas=replicas, maxReplicas=replicas)
    pipeline.apply()
    pipeline.wait_replicas(replicas)
    pipeline.wait_condition("Ready", "True")
    return pipeline


def _evict(pipeline: PipelineOnCluster, pod: str) -> None:
    """As `kubectl drain` does it for every pod of a node: again, while the budget refuses."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"

    def is_granted() -> bool:
        try:
            pipeline.kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(body))
        except ClusterCommandFailed as refusal:
            if "disruption budget" not in refusal.said:  # its controller may not have seen the pods yet
                raise
            return False
        return True

    assert wait_until(is_granted, WAIT_S, 0.3), pipeline.describe()
