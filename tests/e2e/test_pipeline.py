"""What everybody does first: apply a pipeline, see it work, change it, take it away, bring it back."""

from __future__ import annotations

import json

from forebay_cli.local.deadlines import wait_until
from support.exactly_once import assert_exactly_once
from support.product import WAIT_S
from support.product_plugin import NewPipeline


async def test_applied_pipeline_becomes_ready_and_writes_every_record_once(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.produce(40_000)

    pipeline.apply()

    pipeline.wait_condition("Ready", "True")
    await assert_exactly_once(pipeline)
    pipeline.wait_condition("LagAvailable", "True")
    status = pipeline.status()
    assert status["selector"] == f"app.kubernetes.io/name=forebay-consumer,forebay.dev/pipeline={pipeline.name}"
    assert (status["replicas"], status["partitions"]) == (len(pipeline.running()), 6)
    assert pipeline.restarts() == 0


def test_consumers_run_restricted_without_a_token(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()

    pipeline.apply()
    pipeline.wait_condition("Ready", "True")

    pod = pipeline.pods()[0]["spec"]
    mounts = [volume for volume in pod["volumes"] if "projected" in volume]
    container = pod["containers"][0]
    assert mounts == [], "a token of the API server is mounted"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "secretKeyRef" not in json.dumps(container.get("env", []))


async def test_changed_pipeline_replaces_its_consumers_and_loses_nothing(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    before = pipeline.pod_ids()
    wave = pipeline.start_wave(30_000, 10)

    pipeline.patch({"consumer": {"maxRowsPerSecond": 50_000}})

    assert wait_until(lambda: bool(pipeline.running()) and not before & pipeline.pod_ids(), WAIT_S, 0.3), (
        pipeline.describe()
    )
    assert wave.wait(120.0) == 0
    await assert_exactly_once(pipeline)


async def test_deleted_pipeline_takes_all_it_owns_along_and_resumes_when_made_again(
    new_pipeline: NewPipeline,
) -> None:
    pipeline = new_pipeline()
    pipeline.produce(20_000)
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    assert pipeline.owned()

    pipeline.delete()
    assert wait_until(lambda: not pipeline.owned(), WAIT_S, 0.5), pipeline.owned()
    pipeline.produce(20_000)
    pipeline.apply()

    await assert_exactly_once(pipeline)


async def test_pipeline_made_again_at_once_waits_for_its_predecessors_removal(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    old = pipeline.pod_ids()
    pipeline.produce(20_000)

    pipeline.delete()
    pipeline.apply()

    pipeline.wait_condition("Ready", "True")
    await assert_exactly_once(pipeline)
    assert wait_until(lambda: not old & pipeline.pod_ids(), WAIT_S, 0.5)


async def test_suspended_pipeline_drains_to_zero_and_comes_back(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline(minReplicas=2)
    pipeline.produce(10_000)
    pipeline.apply()
    pipeline.wait_replicas(2)

    pipeline.patch({"suspend": True})
    pipeline.wait_replicas(0)
    pipeline.wait_condition("Ready", "False", "Suspended")
    pipeline.produce(10_000)
    pipeline.patch({"suspend": False})

    pipeline.wait_replicas(2)
    await assert_exactly_once(pipeline)


def test_pipeline_with_a_missing_secret_says_so_and_recovers(new_pipeline: NewPipeline) -> None:
    pipeline = new_pipeline()
    reference = pipeline.spec["sink"].pop("postgresClusterRef")
    pipeline.spec["sink"]["connectionSecretRef"] = {"name": f"{pipeline.name}-db"}
    pipeline.apply()

    message = pipeline.wait_condition("Ready", "False", "BadCredentials")
    assert f"{pipeline.name}-db" in message

    password = pipeline.servers.through_haproxy().password
    pairs = {"host": reference["serviceName"], "dbname": "bank", "user": "ingest", "password": password}
    literals = [f"--from-literal={key}={value}" for key, value in pairs.items()]
    pipeline.kubectl("create", "secret", "generic", f"{pipeline.name}-db", *literals)
    pipeline.wait_condition("Ready", "True", deadline_s=180.0)  # the kubelet looks at Secrets about once a minute
    assert pipeline.restarts() == 0
