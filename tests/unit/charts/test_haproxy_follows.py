"""A real HAProxy with the chart's configuration before two members that answer as Patroni does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK
from forebay_cli.local.ha.haproxy_server import Haproxy
from support.fake_patroni import FakeMember, Role
from support.haproxy import run_haproxy

NOTICE_S = 60.0
"""A change of roles takes two failed checks, a second or two; the rest is patience with a busy machine."""
DRAIN_S = 6
BOUND = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Two members and the HAProxy before them; `one` begins as the primary."""

    one: FakeMember
    two: FakeMember
    haproxy: Haproxy

    def settles(self, primary: str, replica: str) -> bool:
        """Wait until the ports lead to these members ("" = to nobody)."""
        ports = ((self.haproxy.primary_port, primary), (self.haproxy.replicas_port, replica))
        return all(wait_until(lambda p=port, n=name: greet(p) == n, NOTICE_S) for port, name in ports)  # type: ignore[misc]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        one = stack.enter_context(FakeMember("one", Role.PRIMARY))
        two = stack.enter_context(FakeMember("two", Role.REPLICA))
        values = {
            "members": {"static": [one.as_static_value, two.as_static_value]},
            "replicas": {"maxLagBytes": BOUND},
            "drain": {"sessionSeconds": DRAIN_S},
        }
        haproxy = stack.enter_context(run_haproxy(values, tmp_path))
        yield Cluster(one=one, two=two, haproxy=haproxy)


@contextmanager
def session(port: int) -> Iterator[socket.socket]:
    """A connection whose reads give up after NOTICE_S."""
    with socket.create_connection((LOOPBACK, port), timeout=NOTICE_S) as connection:
        yield connection


def read(connection: socket.socket) -> str:
    """One answer without its line's end; empty when the connection was ended."""
    try:
        return connection.recv(100).decode().strip()
    except ConnectionError:
        return ""


def greet(port: int) -> str:
    """The name of the member behind the port, empty when there is none."""
    try:
        with session(port) as connection:
            return read(connection)
    except ConnectionError:
        return ""


def test_pod_is_not_ready_while_an_unchecked_member_counts_as_a_second_primary(tmp_path: Path) -> None:
    with FakeMember("one", Role.PRIMARY) as one, FakeMember("two", Role.REPLICA) as two:
        two.answering.clear()
        values = {
            "members": {"static": [one.as_static_value, two.as_static_value]},
            "checks": {"timeoutMilliseconds": 60000},
        }
        with run_haproxy(values, tmp_path, wait_for="/livez") as haproxy:
            # HAProxy 3.1 and later begin with members down instead.
            is_down = 'haproxy_server_status{proxy="primary",server="two",state="DOWN"} 1' in haproxy.ask("/metrics")[1]
            assert is_down or not haproxy.is_ready()

            two.answering.set()

            assert wait_until(haproxy.is_ready, NOTICE_S)
            assert greet(haproxy.primary_port) == "one"


def test_ports_lead_to_primary_and_replica(cluster: Cluster) -> None:
    assert cluster.settles(primary="one", replica="two")


def test_switched_primary_is_followed_and_its_old_sessions_are_cut(cluster: Cluster) -> None:
    assert cluster.settles(primary="one", replica="two")
    with session(cluster.haproxy.primary_port) as old:
        assert read(old) == "one"

        cluster.one.role, cluster.two.role = Role.REPLICA, Role.PRIMARY

        assert read(old) == ""
    assert cluster.settles(primary="two", replica="one")


def test_replica_too_far_behind_is_left_out_until_it_has_caught_up(cluster: Cluster) -> None:
    assert cluster.settles(primary="one", replica="two")

    cluster.two.lag_bytes = BOUND + 1
    assert cluster.settles(primary="one", replica="")

    cluster.two.lag_bytes = BOUND
    assert cluster.settles(primary="one", replica="two")


def test_without_a_primary_clients_are_told_at_once_and_the_pod_stays_in_the_service(cluster: Cluster) -> None:
    assert cluster.settles(primary="one", replica="two")

    cluster.one.role = Role.DOWN

    assert cluster.settles(primary="", replica="two")
    assert cluster.haproxy.is_ready()


def test_metrics_tell_which_member_is_up(cluster: Cluster) -> None:
    assert cluster.settles(primary="one", replica="two")

    status, metrics = cluster.haproxy.ask("/metrics")

    assert status == 200
    assert 'haproxy_server_status{proxy="primary",server="one",state="UP"} 1' in metrics
    assert 'haproxy_server_status{proxy="primary",server="two",state="DOWN"} 1' in metrics


def test_stopping_haproxy_takes_nobody_and_lets_sessions_live_on_for_the_drain_time(cluster: Cluster) -> None:
    assert cluster.settles(primary="one", replica="two")
    with session(cluster.haproxy.primary_port) as old:
        assert read(old) == "one"

        cluster.haproxy.stop_softly()

        assert wait_until(lambda: greet(cluster.haproxy.primary_port) == "", NOTICE_S)
        assert cluster.haproxy.child.is_running()
        assert read(old) == ""
    assert cluster.haproxy.child.wait(NOTICE_S) is not None
