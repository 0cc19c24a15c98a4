"""Every fault does to the cluster what its name says, and can be healed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.faults import Expiry
from forebay_cli.local.ha.patroni_config import LEADER_KEY
from forebay_cli.local.ha.settings import FAST, HaSettings
from forebay_cli.local.postgres_server import ConnectionParts
from forebay_cli.local.process_table import PROC, is_alive
from forebay_cli.local.server_errors import SqlFailed
from support.ha_rig import DEADLINE_S, Rig, use_rig
from support.testbed.servers import create_database

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def asynchronous() -> Iterator[HaCluster]:
    """A running cluster for all tests of this file; they leave it healthy."""
    with HaCluster(HaSettings(network=True)) as cluster:
        yield cluster


@pytest.fixture
def rig(asynchronous: HaCluster) -> Iterator[Rig]:
    """The cluster, healthy and watched; healed in the end."""
    with use_rig(asynchronous) as rig:
        yield rig


def test_killed_node_is_replaced_before_its_lock_would_have_expired(rig: Rig) -> None:
    fault = rig.faults.kill_node()

    assert fault.member is not None
    heir = rig.cluster.wait_new_primary(fault.member, DEADLINE_S)
    assert not rig.cluster.nodes[fault.member].is_running()
    writable_at_s = rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)
    assert writable_at_s is not None
    assert writable_at_s - fault.at_s < FAST.ttl_s - 2 * FAST.loop_wait_s
    rig.faults.heal()
    rig.cluster.wait_healthy(DEADLINE_S)
    assert rig.find_member(lambda each: each.name == fault.member and each.role is not None) == fault.member
    assert not rig.is_primary(fault.member)
    assert rig.find_leader() == heir


def test_watch_tells_when_the_primary_was_lost_and_found(rig: Rig) -> None:
    wrote_at_s = rig.watch.wrote_at_s()
    assert wrote_at_s is not None
    fault = rig.faults.kill_node(expire=Expiry.WHEN_NOTICED)

    assert not rig.cluster.haproxy.read_checks()["primary"][str(fault.member)]
    writable_at_s = rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)
    outage = next(each for each in rig.watch.outages() if each.failed)  # a slow commit before is one, too
    assert outage.writable_at_s is not None
    assert writable_at_s is not None
    assert wrote_at_s <= outage.lost_at_s < outage.writable_at_s <= writable_at_s
    assert outage.writable_at_s > fault.at_s


def test_killed_postmaster_leaves_patroni_alive(rig: Rig) -> None:
    node = rig.cluster.nodes[rig.find_leader()]
    patroni, postmaster = node.patroni(), node.postmaster()
    assert postmaster is not None

    fault = rig.faults.kill_postmaster()

    assert wait_until(lambda: not is_alive(postmaster), DEADLINE_S)
    assert node.patroni() == patroni
    assert rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)


def test_frozen_node_is_replaced_and_comes_back_as_a_replica(rig: Rig) -> None:
    fault = rig.faults.freeze_node()

    assert fault.member is not None
    node = rig.cluster.nodes[fault.member]
    postmaster = node.postmaster()
    assert postmaster is not None
    stat = PROC / str(postmaster.pid) / "stat"
    assert wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", DEADLINE_S)
    rig.cluster.wait_new_primary(fault.member, DEADLINE_S)
    rig.faults.heal()
    rig.cluster.wait_healthy(DEADLINE_S)
    assert node.postmaster() is not None
    assert not rig.is_primary(fault.member)


def test_switchover_leads_to_the_candidate(rig: Rig) -> None:
    candidate = rig.find_replica()

    rig.faults.switchover(candidate)

    assert rig.find_leader() == candidate
    assert wait_until(lambda: any(each.failed and each.writable_at_s for each in rig.watch.outages()), DEADLINE_S)


def test_restart_keeps_the_leader(rig: Rig) -> None:
    leader = rig.find_leader()
    before = rig.cluster.nodes[leader].postmaster()

    rig.faults.restart()

    assert rig.find_leader() == leader
    assert rig.cluster.nodes[leader].postmaster() != before


def test_lost_tail_is_acknowledged_and_gone(rig: Rig) -> None:
    rig.cluster.run_sql("DROP TABLE IF EXISTS tail; CREATE TABLE tail (n int); INSERT INTO tail VALUES (0);")
    rig.cluster.wait_healthy(DEADLINE_S)
    assert wait_until(lambda: all(each.lag_bytes in (0, None) for each in rig.cluster.members()), DEADLINE_S)
    acknowledged = iter(range(1, 4))

    def commit() -> bool:
        number = next(acknowledged)
        rig.cluster.run_sql(f"INSERT INTO tail VALUES ({number});")
        return number == 3

    fault = rig.faults.lose_tail(commit)

    assert fault.tail is not None
    assert fault.tail.complete
    assert fault.tail.to_position > fault.tail.from_position
    assert rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)
    heir = rig.cluster.nodes[rig.find_leader()]
    assert rig.cluster.run_sql("SELECT max(n) FROM tail;", parts=heir.admin()) == "0"


def test_terminated_backends_come_back_at_once(rig: Rig) -> None:
    leader = rig.find_leader()

    fault = rig.faults.terminate_backends()

    assert fault.count is not None
    assert fault.count >= 1
    assert wait_until(lambda: any(each.failed and each.writable_at_s for each in rig.watch.outages()), DEADLINE_S)
    assert rig.find_leader() == leader


def test_full_server_refuses_ordinary_clients_until_healed(rig: Rig) -> None:
    parts = create_database(rig.cluster).parts

    fault = rig.faults.fill_connections()

    assert fault.count is not None
    assert fault.count > rig.cluster.settings.max_connections / 2
    with pytest.raises(SqlFailed, match=r"remaining connection slots|too many clients"):
        rig.cluster.run_sql("SELECT 1;", parts=parts)
    rig.faults.heal()
    assert wait_until(lambda: _can_connect(rig, parts), DEADLINE_S)


def test_cut_off_leader_is_replaced_and_steps_down_by_itself(rig: Rig) -> None:
    fault = rig.faults.cut_network()

    assert fault.member is not None
    rig.cluster.wait_new_primary(fault.member, DEADLINE_S)
    assert rig.watch.wait_writable(fault.done_at_s, DEADLINE_S)
    assert wait_until(lambda: not _is_primary_or_down(rig, str(fault.member)), DEADLINE_S)


def test_slow_network_delays_every_answer(rig: Rig) -> None:
    delay_s = 0.1
    rig.faults.slow_network(delay_s=delay_s)
    begun_at_s = time.monotonic()

    assert rig.cluster.run_sql("SELECT 1;") == "1"

    assert time.monotonic() - begun_at_s > 4 * delay_s, "signing in and asking takes at least two ways there and back"


def test_expired_lock_of_a_healthy_leader_is_taken_again(rig: Rig) -> None:
    before = rig.cluster.etcd.read(LEADER_KEY)
    assert before is not None

    fault = rig.faults.expire_leader()

    assert fault.member == before.value
    rig.cluster.wait_healthy(DEADLINE_S)
    after = rig.cluster.etcd.read(LEADER_KEY)
    assert after is not None
    assert after.lease != before.lease


def _can_connect(rig: Rig, parts: ConnectionParts) -> bool:
    try:
        return rig.cluster.run_sql("SELECT 1;", parts=parts) == "1"
    except SqlFailed:
        return False


def _is_primary_or_down(rig: Rig, member: str) -> bool:
    try:
        return rig.is_primary(member)
    except SqlFailed:
        return True
