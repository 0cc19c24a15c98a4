"""The release over its life: upgraded, removed, installed again, while pipelines and their consumers live on."""

from __future__ import annotations

from forebay_cli.local.deadlines import wait_until
from support.exactly_once import assert_exactly_once
from support.product import WAIT_S, Product
from support.product_plugin import NewPipeline


async def test_upgrade_changes_the_operator_and_disturbs_no_consumer(
    new_pipeline: NewPipeline, product: Product
) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    before, old_operators = pipeline.pod_ids(), set(product.pods())
    wave = pipeline.start_wave(30_000, 20)

    product.install("--set", "podAnnotations.test/upgrade=yes")

    assert wait_until(lambda: bool(product.pods()) and not old_operators & set(product.pods()), WAIT_S, 0.3)
    product.wait_leader()
    assert wave.wait(120.0) == 0
    await assert_exactly_once(pipeline)
    assert before <= pipeline.pod_ids(), "a consumer that ran was replaced"


async def test_uninstall_keeps_pipelines_and_consumers_and_a_new_release_goes_on(
    new_pipeline: NewPipeline, product: Product
) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    before = pipeline.pod_ids()

    product.uninstall()
    try:
        assert pipeline.read()["metadata"]["name"] == pipeline.name
        pipeline.produce(10_000)
        await assert_exactly_once(pipeline)
        assert pipeline.pod_ids() == before
    finally:
        product.install()

    product.wait_leader()
    pipeline.patch({"scaling": {"minReplicas": 2}})
    pipeline.wait_replicas(2)
    assert before <= pipeline.pod_ids(), "the consumer that ran was replaced"


def test_operator_logs_are_json_and_hold_no_secret(new_pipeline: NewPipeline, product: Product) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")

    logged = product.logs()

    lines = [line.split("] ", 1)[-1] for line in logged.splitlines()]
    assert lines
    assert all(line.startswith("{") for line in lines), [line for line in lines if not line.startswith("{")][:3]
    assert any("reconcileID" in line for line in lines)
    assert "only-for-tests" not in logged
    assert "Traceback" not in logged
