"""All servers of the database gone for a while, under load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from forebay_api.state import PartitionState, SinkHealth
from forebay_cli.local.ha.cluster import HaCluster
from support.flood import PATIENT, Flood, eventually
from support.ha_flood import MOMENT_S, all_report, assert_exactly_once, shared_out, total
from support.ha_rig import Rig, use_rig
from support.testbed.servers import create_database

pytestmark = [pytest.mark.integration, pytest.mark.slow]

OUTAGE_S = 30.0
"""Three sessions of the group: a member that did not poll, or that waited for the database, would be out of it."""


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A cluster of this file's own, which is healed and removed in the end."""
    with HaCluster() as cluster, use_rig(cluster) as rig:
        yield rig


async def test_all_servers_gone_for_thirty_seconds_cost_nothing_but_time(rig: Rig, flood: Callable[..., Flood]) -> None:
    run = flood(database=create_database(rig.cluster), kafka_config=PATIENT)
    for _ in range(2):
        run.start_consumer()
    await shared_out(run, 6)
    before = [len(process.log()) for process in run.processes]
    run.start_producer(records=40_000, seconds=20)
    pids = [process.child.pid for process in run.processes]
    await eventually(lambda: total(run, "records") > 0, MOMENT_S, run.tails)
    await asyncio.sleep(2.0)  # in the middle of the load
    fault = rig.faults.stop_all()
    await all_report(run, SinkHealth.AWAY)
    await asyncio.sleep(OUTAGE_S)  # it has to last
    for process in run.processes:
        state, ready = process.state(), process.read("/readyz")
        assert state is not None
        assert [p.state for p in state.partitions] == [PartitionState.CLAIMING] * 3, "it left the group"
        assert (state.paused_because, state.records_per_second) != (None, None)
        assert ready is not None
        assert (ready[0], "sink: " in ready[1]) == (503, True)
    rig.faults.heal()
    await assert_exactly_once(rig, run, fault, records=40_000)
    assert [process.child.pid for process in run.processes] == pids
    since = [process.log()[start:] for process, start in zip(run.processes, before, strict=True)]
    assert not any("partitions revoked" in log for log in since), "the group changed"
