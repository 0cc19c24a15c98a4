"""The highly available cluster: every mode comes up, waits as it should, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.faults import Expiry, HaFaults
from forebay_cli.local.ha.primary_watch import PrimaryWatch
from forebay_cli.local.ha.settings import Durability, HaSettings
from forebay_cli.local.process_table import find_family, is_alive, read_process
from forebay_cli.local.shared_memory import SEGMENTS
from support.ha_rig import DEADLINE_S, Rig, use_rig

pytestmark = pytest.mark.integration

STARTER = Path(__file__).parents[1] / "support" / "testbed" / "ha_starter.py"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep';"


@pytest.fixture(scope="module")
def synchronous() -> Iterator[HaCluster]:
    """A running cluster for all tests of this file; they leave it healthy."""
    with HaCluster(HaSettings(durability=Durability.SYNCHRONOUS)) as cluster:
        yield cluster


@pytest.fixture
def rig(synchronous: HaCluster) -> Iterator[Rig]:
    """The cluster, healthy and watched; healed in the end."""
    with use_rig(synchronous) as rig:
        yield rig


def test_synchronous_standby_is_the_one_that_takes_over(rig: Rig) -> None:
    heir = rig.find_member(lambda each: each.sync_state == "sync")

    fault = rig.faults.kill_patroni()

    assert fault.member is not None
    assert rig.cluster.wait_new_primary(fault.member, DEADLINE_S) == heir
    assert rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)
    orphan = rig.cluster.nodes[fault.member]
    assert orphan.patroni() is None
    assert rig.is_primary(fault.member), "a PostgreSQL that lost its Patroni is not demoted by anybody"


def test_loss_of_the_synchronous_standby_makes_another_one_that(rig: Rig) -> None:
    fault = rig.faults.drop_replica()

    assert fault.member is not None
    assert not rig.cluster.nodes[fault.member].place.data.exists()
    rest = rig.cluster.nodes.keys() - {fault.member}
    assert wait_until(lambda: [each in rest for each in _find_synchronous(rig.cluster)] == [True], DEADLINE_S)
    assert rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)


def test_reinit_copies_the_leaders_data_once_more(rig: Rig) -> None:
    replica = rig.find_replica()
    mark = rig.cluster.nodes[replica].place.data / "mark"
    mark.touch()

    rig.faults.reinit(replica)
    rig.cluster.wait_healthy(DEADLINE_S)

    assert not mark.exists()


def test_primary_steps_down_while_etcd_is_frozen(rig: Rig) -> None:
    fault = rig.faults.freeze_etcd()

    assert wait_until(lambda: any(each.failed for each in rig.watch.outages()), DEADLINE_S)
    lost_at_s = next(each.lost_at_s for each in rig.watch.outages() if each.failed)
    assert lost_at_s > fault.at_s
    rig.faults.heal()
    assert rig.watch.wait_writable(lost_at_s, DEADLINE_S)


def test_everything_stopped_comes_back_with_its_data(rig: Rig) -> None:
    rig.cluster.run_sql("CREATE TABLE kept AS SELECT generate_series(1, 100) AS n;")

    fault = rig.faults.stop_all()
    assert [each.role for each in rig.cluster.members()] == [None, None, None]
    assert not any(node.is_running() for node in rig.cluster.nodes.values())
    rig.faults.start_all()

    assert rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)
    rig.cluster.wait_healthy(DEADLINE_S)
    assert rig.cluster.run_sql("SELECT count(*) FROM kept;") == "100"


def test_two_clusters_side_by_side_lose_their_standbys_and_only_the_strict_one_waits() -> None:
    settings = [HaSettings(durability=each) for each in (Durability.QUORUM, Durability.STRICT)]
    with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
        quorum, strict = threads.map(lambda each: stack.enter_context(HaCluster(each)), settings)
        assert wait_until(lambda: _read_sync_states(quorum) == ["", "quorum", "quorum"], DEADLINE_S)
        assert wait_until(lambda: _read_sync_states(strict) == ["", "async", "sync"], DEADLINE_S)
        watches = [stack.enter_context(PrimaryWatch(each.admin())) for each in (quorum, strict)]
        assert all(each.wait_writable(0, DEADLINE_S) for each in watches)

        dropped = [_drop_standbys(each) for each in (quorum, strict)]

        assert watches[0].wait_writable(dropped[0], DEADLINE_S), "quorum goes on without standbys"
        leader = strict.leader()
        assert leader is not None
        admin = strict.nodes[leader].admin()
        assert wait_until(lambda: strict.run_sql(WAITING, parts=admin) != "0", DEADLINE_S)
        since_s = time.monotonic()  # the watch may have heard late of a commit that a standby still confirmed
        assert watches[1].wait_writable(since_s, 3 * settings[1].timing.loop_wait_s) is None
        HaFaults(strict).heal()
        assert watches[1].wait_writable(since_s, DEADLINE_S), "strict goes on with the first standby"
        assert not watches[1].outages()[-1].failed, "its commit waited, nothing broke"


def test_kill_of_the_program_that_started_a_cluster_leaves_nothing_behind() -> None:
    with ExitStack() as stack:
        starter = stack.enter_context(subprocess.Popen([sys.executable, STARTER], stdout=subprocess.PIPE, text=True))
        stack.callback(starter.kill)  # before it is waited for, also when an assertion fails
        assert starter.stdout is not None
        told = json.loads(starter.stdout.readline())
        started = read_process(starter.pid)
        assert started is not None
        processes = find_family([started])
        assert len(processes) > 30, "Patroni's and PostgreSQL's own processes were not seen"
        assert set(told["segments"]) <= set(SEGMENTS.read_text().split())
        os.kill(starter.pid, signal.SIGKILL)
        assert wait_until(lambda: not any(map(is_alive, processes)), DEADLINE_S)
        assert wait_until(lambda: not Path(told["folder"]).exists(), DEADLINE_S)
        assert not set(told["segments"]) & set(SEGMENTS.read_text().split())  # removed before the folder


def _find_synchronous(cluster: HaCluster) -> list[str]:
    """Names of those that commits wait for."""
    return [each.name for each in cluster.members() if each.sync_state == "sync"]


def _read_sync_states(cluster: HaCluster) -> list[str]:
    """Sorted; the primary's is empty, and that of a member that nobody tells of."""
    return sorted(each.sync_state or "" for each in cluster.members())


def _drop_standbys(cluster: HaCluster) -> float:
    """Kill all but the leader; return when the last was dead."""
    leader = cluster.leader()
    faults = [HaFaults(cluster).kill_node(name, expire=Expiry.NEVER) for name in cluster.nodes if name != leader]
    return max(each.done_at_s for each in faults)
