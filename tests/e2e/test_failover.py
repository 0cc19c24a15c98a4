"""The primary is killed under load; every record still becomes one row."""

from __future__ import annotations

import pytest
from forebay_cli.local.deadlines import wait_until
from support.cluster_database import Kill
from support.exactly_once import assert_exactly_once
from support.product import WAIT_S
from support.product_plugin import NewPipeline

RECORDS, SECONDS = 60_000, 30
FAILOVER_S = 120.0


@pytest.mark.parametrize("how", [Kill.DELETE, Kill.CRASH])
async def test_primary_killed_under_load_costs_no_record(new_pipeline: NewPipeline, how: Kill) -> None:
    pipeline = new_pipeline(minReplicas=2, maxReplicas=2)
    pipeline.apply()
    pipeline.wait_replicas(2)
    pipeline.wait_condition("Ready", "True")
    before = pipeline.pod_ids()
    wave = pipeline.start_wave(RECORDS, SECONDS)
    assert wait_until(lambda: pipeline.rows() > 0, WAIT_S, 0.2)

    old = pipeline.servers.database.kill_leader(how)

    pipeline.servers.database.wait_other_leader(old, FAILOVER_S)
    assert wave.wait(180.0) == 0
    await assert_exactly_once(pipeline)
    assert (pipeline.pod_ids(), pipeline.restarts()) == (before, 0), "consumers wait, they do not crash"
