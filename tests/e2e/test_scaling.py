"""Replicas on the cluster: with the load, to zero and back, by hand, and never in a fight."""

from __future__ import annotations

import json

import pytest
from forebay_cli.local.deadlines import wait_until
from support.exactly_once import assert_exactly_once
from support.product import WAIT_S, PipelineOnCluster, Product
from support.product_plugin import NewPipeline

STILL_PASSES = 8
"""Passes of the loop during which nothing may move: more than any rule needs to make up its mind."""


async def test_replicas_follow_the_load_up_and_down(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(maxReplicas=3, objective={"maxAgeSeconds": 5, "catchUpSeconds": 20})
    pipeline.spec["consumer"]["maxRowsPerSecond"] = 2_000
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")

    wave = pipeline.start_wave(120_000, 40)

    assert wait_until(lambda: (pipeline.replicas() or 0) >= 2, WAIT_S, 0.3), pipeline.describe()
    assert wave.wait(120.0) == 0
    await assert_exactly_once(pipeline)
    pipeline.wait_replicas(1, deadline_s=120.0)
    assert "Scaled" in pipeline.event_reasons()


async def test_idle_pipeline_goes_to_zero_and_the_first_records_wake_it(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(minReplicas=0)
    pipeline.produce(5_000)
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    await assert_exactly_once(pipeline)

    pipeline.wait_replicas(0, deadline_s=150.0)
    pipeline.wait_condition("Ready", "True", "Idle")
    pipeline.produce(5_000)

    assert wait_until(lambda: (pipeline.replicas() or 0) > 0, WAIT_S, 0.3), pipeline.describe()
    await assert_exactly_once(pipeline)


def test_manual_mode_follows_kubectl_scale(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(mode="Manual", replicas=1)
    pipeline.apply()
    pipeline.wait_replicas(1)

    pipeline.kubectl("scale", f"ingest/{pipeline.name}", "--replicas=3")

    pipeline.wait_replicas(3)
    shown = json.loads(
        pipeline.kubectl(
            "get", "--raw", f"/apis/forebay.dev/v1alpha1/namespaces/bank/ingestpipelines/{pipeline.name}/scale"
        )
    )
    assert shown["spec"]["replicas"] == 3
    assert wait_until(lambda: pipeline.status()["replicas"] == 3, WAIT_S, 0.3)


@pytest.mark.parametrize("mode", ["Observe", "Paused"])
async def test_observing_and_paused_pipelines_move_nothing(new_pipeline: NewPipeline, mode: str) -> None:
    pipeline = new_pipeline(mode=mode, maxReplicas=3, objective={"maxAgeSeconds": 2, "catchUpSeconds": 5})
    pipeline.spec["consumer"]["maxRowsPerSecond"] = 1_000
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")

    before = _generation(pipeline)

    pipeline.produce(20_000)

    await assert_exactly_once(pipeline)
    assert (_generation(pipeline), pipeline.replicas()) == (before, 1), pipeline.describe()
    if mode == "Observe":
        assert pipeline.status()["desiredReplicas"] == 1


def test_autoscaler_on_the_deployment_is_a_conflict_and_no_fight(new_pipeline: NewPipeline, product: Product) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")

    deployment = f"deployment/{pipeline.name}-consumer"
    pipeline.kubectl("autoscale", deployment, "--min=2", "--max=4", "--cpu=80%", f"--name={pipeline.name}")
    try:
        message = pipeline.wait_condition("Conflict", "True", "RivalController")
        assert pipeline.name in message
        pipeline.wait_replicas(2)
        _assert_still(product, pipeline, 2)
    finally:
        pipeline.kubectl("delete", "hpa", pipeline.name)

    pipeline.wait_condition("Conflict", "False")
    pipeline.wait_replicas(1)
    told = {"Conflict", "ConflictOver"}  # an event follows the status that it is about
    assert wait_until(lambda: told <= set(pipeline.event_reasons()), WAIT_S, 0.3), pipeline.event_reasons()


def test_deployment_scaled_by_hand_is_a_conflict_until_the_old_number(
    new_pipeline: NewPipeline, product: Product
) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    deployment = f"deployment/{pipeline.name}-consumer"

    pipeline.kubectl("scale", deployment, "--replicas=3")
    message = pipeline.wait_condition("Conflict", "True", "EditedByHand")
    pipeline.wait_replicas(3)
    _assert_still(product, pipeline, 3)
    pipeline.kubectl("scale", deployment, "--replicas=1")

    pipeline.wait_condition("Conflict", "False")
    assert "kubectl" in message


def test_deployment_scaled_by_hand_is_taken_over_by_a_change_of_scaling(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    pipeline.kubectl("scale", f"deployment/{pipeline.name}-consumer", "--replicas=3")
    pipeline.wait_condition("Conflict", "True", "EditedByHand")

    pipeline.patch({"scaling": {"minReplicas": 2, "maxReplicas": 2}})

    pipeline.wait_condition("Conflict", "False")
    pipeline.wait_replicas(2)


def _assert_still(product: Product, pipeline: PipelineOnCluster, replicas: int) -> None:
    """The operator looks several times and writes nothing to the Deployment."""
    before, passes = _generation(pipeline), {product.last_pass(pipeline.name)}

    def has_looked() -> bool:
        passes.add(product.last_pass(pipeline.name))
        return len(passes) > STILL_PASSES

    assert wait_until(has_looked, WAIT_S, 0.3), "the loop stands still"
    assert (_generation(pipeline), pipeline.replicas()) == (before, replicas), pipeline.describe()


def _generation(pipeline: PipelineOnCluster) -> int:
    """Rises with every write that changes the Deployment's spec, replicas included."""
    found = pipeline.deployment()
    assert found is not None
    return int(found["metadata"]["generation"])
