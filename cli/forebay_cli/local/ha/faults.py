"""What can happen to a cluster, each as a verb, and heal() for all of them.

A verb returns what it did. `expire` says when the leader's lock is given up, as the passing of Patroni's ttl would do
it: a killed node then costs a second instead of 20.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.crowd import Crowd
from forebay_cli.local.ha.health import PRIMARY
from forebay_cli.local.ha.network import Network
from forebay_cli.local.ha.patroni_config import LEADER_KEY
from forebay_cli.local.ha.patroni_member import PatroniMember
from forebay_cli.local.ha.patroni_rest import Role, post
from forebay_cli.local.ha.tail import LostTail, TailCutter
from forebay_cli.local.postgres_server import ConnectionParts
from forebay_cli.local.server_errors import ServerError

CALL_S = 60.0
"""Deadline of what Patroni is asked to do: a switchover takes 3 s, a restart 2 s."""
FILL_S = 60.0
NOTICE_S = 30.0
"""How long HAProxy may take to find a member gone: a second and a half, on a free machine."""
TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name NOT LIKE 'Patroni%';
"""
"""Patroni's own sessions are left alone: without them it would doubt its server."""


class Expiry(StrEnum):
    """When the lock of a leader that was lost is given up."""

    AT_ONCE = "at-once"
    """Before HAProxy has marked the old primary down: for up to a second it refuses every second connection."""
    WHEN_NOTICED = "when-noticed"
    """As soon as HAProxy has; as in the field, but without the wait."""
    NEVER = "never"
    """Patroni's ttl has to pass."""


class FaultKind(StrEnum):
    """Names for reports."""

    KILL_NODE = "kill-node"
    KILL_POSTMASTER = "kill-postmaster"
    KILL_PATRONI = "kill-patroni"
    FREEZE_NODE = "freeze-node"
    SWITCHOVER = "switchover"
    RESTART = "restart"
    REINIT = "reinit"
    EXPIRE_LEADER = "expire-leader"
    LOSE_TAIL = "lose-tail"
    STOP_ALL = "stop-all"
    FREEZE_ETCD = "freeze-etcd"
    DROP_REPLICA = "drop-replica"
    FILL_CONNECTIONS = "fill-connections"
    CUT_NETWORK = "cut-network"
    SLOW_NETWORK = "slow-network"
    TERMINATE_BACKENDS = "terminate-backends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What was done. member: to whom, None = to all or to etcd.

    at_s, done_at_s: just before and just after, on time.monotonic()'s clock; in between a client may still succeed.
    tail: of lose_tail. count: sessions ended or connections taken.
    """

    kind: FaultKind
    member: str | None
    at_s: float
    done_at_s: float
    tail: LostTail | None = None
    count: int | None = None


class FaultImpossible(ServerError):
    """The fault needs something that is not there: a leader, a replica, a network that can be cut."""


class HaFaults:
    """Does things to one cluster. member: None = the leader, or for reinit and drop_replica a replica."""

    def __init__(self, cluster: HaCluster) -> None:
        self._cluster = cluster
        self._crowds: list[Crowd] = []

    def kill_node(self, member: str | None = None, *, expire: Expiry = Expiry.AT_ONCE) -> Fault:
        """Lose a node: Patroni and PostgreSQL at once (SIGKILL)."""
        node = self._choose(member)
        at_s = time.monotonic()
        node.kill()
        self._give_up_lock(expire, node.name)
        return _report(FaultKind.KILL_NODE, node.name, at_s)

    def kill_postmaster(self, member: str | None = None) -> Fault:
        """Let PostgreSQL crash (SIGKILL); Patroni starts it again, or lets another take over."""
        node = self._choose(member)
        at_s = time.monotonic()
        node.kill_postmaster()
        return _report(FaultKind.KILL_POSTMASTER, node.name, at_s)

    def kill_patroni(self, member: str | None = None, *, expire: Expiry = Expiry.AT_ONCE) -> Fault:
        """Leave PostgreSQL alone without Patroni (SIGKILL): a primary that nobody will demote."""
        node = self._choose(member)
        at_s = time.monotonic()
        node.kill_patroni()
        self._give_up_lock(expire, node.name)
        return _report(FaultKind.KILL_PATRONI, node.name, at_s)

    def freeze_node(self, member: str | None = None, *, expire: Expiry = Expiry.AT_ONCE) -> Fault:
        """Stop a node without a word (SIGSTOP): it comes back as a zombie when healed."""
        node = self._choose(member)
        at_s = time.monotonic()
        node.freeze()
        self._give_up_lock(expire, node.name)
        return _report(FaultKind.FREEZE_NODE, node.name, at_s)

    def switchover(self, candidate: str | None = None) -> Fault:
        """Have the leader hand over in order, and wait for that; candidate: None = Patroni chooses."""
        node = self._choose(None)
        at_s = time.monotonic()
        body = {"leader": node.name} | ({} if candidate is None else {"candidate": candidate})
        post(node.place.ports.rest, "switchover", body, CALL_S)
        return _report(FaultKind.SWITCHOVER, node.name, at_s)

    def restart(self, member: str | None = None) -> Fault:
        """Restart PostgreSQL in order, and wait for that; the leader stays the leader."""
        node = self._choose(member)
        at_s = time.monotonic()
        post(node.place.ports.rest, "restart", {}, CALL_S)
        return _report(FaultKind.RESTART, node.name, at_s)

    def reinit(self, member: str | None = None) -> Fault:
        """Have a replica throw its data away and copy the leader's; returns when it has begun."""
        node = self._choose_replica(member)
        before = node.postmaster()
        at_s = time.monotonic()
        post(node.place.ports.rest, "reinitialize", {"force": True}, CALL_S)
        wait_until(lambda: node.postmaster() != before, CALL_S)
        return _report(FaultKind.REINIT, node.name, at_s)

    def expire_leader(self) -> Fault:
        """Take the lock from the leader, who takes it back at once when it is well, or else loses it to another."""
        at_s = time.monotonic()
        return _report(FaultKind.EXPIRE_LEADER, self._expire(None), at_s)

    def lose_tail(
        self,
        enough: Callable[[], bool] | None = None,
        *,
        wal_bytes: int = 64 * 1024,
        timeout_s: float = 30.0,
        expire: Expiry = Expiry.AT_ONCE,
    ) -> Fault:
        """Lose the leader, and with it whatever it acknowledges from now on until `enough`.

        No replica gets anything any more; once enough() holds (None: once the WAL has grown by wal_bytes), at the
        latest after timeout_s, the node is killed. In a synchronous mode nothing is acknowledged
        meanwhile: commits wait, and their outcome is unknown. fault.tail says what happened.
        """
        node = self._choose(None)
        cutter = TailCutter(self._cluster, node)
        tail = cutter.cut(enough, wal_bytes, timeout_s)
        at_s = time.monotonic()
        node.kill()
        self._give_up_lock(expire, node.name)
        return _report(FaultKind.LOSE_TAIL, node.name, at_s, tail=tail)

    def stop_all(self) -> Fault:
        """Lose every node at once (SIGKILL); etcd and HAProxy live."""
        at_s = time.monotonic()
        for node in self._cluster.nodes.values():
            node.kill()
        return _report(FaultKind.STOP_ALL, None, at_s)

    def start_all(self) -> None:
        """Start every node that does not run, without waiting."""
        for node in self._cluster.nodes.values():
            node.start()

    def freeze_etcd(self) -> Fault:
        """Stop etcd without a word (SIGSTOP): the primary steps down, unless settings.failsafe."""
        at_s = time.monotonic()
        self._cluster.etcd.freeze()
        return _report(FaultKind.FREEZE_ETCD, None, at_s)

    def drop_replica(self, member: str | None = None) -> Fault:
        """Lose a replica with its data. None: the synchronous one, if there is one."""
        node = self._choose_replica(member)
        at_s = time.monotonic()
        node.remove()
        return _report(FaultKind.DROP_REPLICA, node.name, at_s)

    def fill_connections(self, member: str | None = None) -> Fault:
        """Take every connection that an ordinary role can have, and each that becomes free, until healed."""
        node = self._choose(member)
        at_s = time.monotonic()
        crowd = Crowd(self._create_visitor(node))
        self._crowds.append(crowd)
        if not wait_until(crowd.has_filled, FILL_S):
            raise FaultImpossible(f"{node.name} still had connections to give after {FILL_S:.0f} s")
        return _report(FaultKind.FILL_CONNECTIONS, node.name, at_s, count=crowd.size)

    def terminate_backends(self, member: str | None = None) -> Fault:
        """End every session but Patroni's, as an administrator does (57P01)."""
        node = self._choose(member)
        at_s = time.monotonic()
        count = int(self._cluster.run_sql(TERMINATE, parts=node.admin()))
        return _report(FaultKind.TERMINATE_BACKENDS, node.name, at_s, count=count)

    def cut_network(self, member: str | None = None, *, expire: Expiry = Expiry.AT_ONCE) -> Fault:
        """Cut a member off from HAProxy, etcd and those who replicate from it; it goes on and knows nothing."""
        node = self._choose(member)
        at_s = time.monotonic()
        self._network.cut(node.name)
        self._give_up_lock(expire, node.name)
        return _report(FaultKind.CUT_NETWORK, node.name, at_s)

    def slow_network(
        self, member: str | None = None, *, delay_s: float = 0.05, bytes_per_s: float | None = None
    ) -> Fault:
        """Slow a member's network down: a delay for each piece in each direction, and a bound on bytes."""
        node = self._choose(member)
        at_s = time.monotonic()
        self._network.slow(node.name, delay_s=delay_s, bytes_per_s=bytes_per_s)
        return _report(FaultKind.SLOW_NETWORK, node.name, at_s)

    def heal(self) -> None:
        """Undo everything that was done, without waiting for the effect: cluster.wait_healthy() does."""
        self._cluster.etcd.thaw()
        if self._cluster.network is not None:
            self._cluster.network.mend()
        for crowd in self._crowds:
            crowd.leave()
        self._crowds.clear()
        for node in self._cluster.nodes.values():
            node.thaw()
        self.start_all()

    @property
    def _network(self) -> Network:
        if self._cluster.network is None:
            raise FaultImpossible("the cluster was made without a network that can be cut (HaSettings.network)")
        return self._cluster.network

    def _choose(self, member: str | None) -> PatroniMember:
        name = self._cluster.leader() if member is None else member
        if name is None:
            raise FaultImpossible("nobody holds the leader's lock")
        return self._cluster.nodes[name]

    def _choose_replica(self, member: str | None) -> PatroniMember:
        if member is not None:
            return self._cluster.nodes[member]
        replicas = [each for each in self._cluster.members() if each.role is Role.REPLICA]
        if not replicas:
            raise FaultImpossible("there is no replica")
        chosen = min(replicas, key=lambda each: each.sync_state != "sync")
        return self._cluster.nodes[chosen.name]

    def _give_up_lock(self, expire: Expiry, member: str) -> None:
        if expire is Expiry.WHEN_NOTICED:
            haproxy = self._cluster.haproxy
            wait_until(lambda: not haproxy.read_checks().get(PRIMARY, {}).get(member, False), NOTICE_S)
        if expire is not Expiry.NEVER:
            self._expire(member)

    def _expire(self, member: str | None) -> str | None:
        """End the leader's lease, if it is this member's (None: whoever's); return whose it was."""
        found = self._cluster.etcd.read(LEADER_KEY)
        if found is None or member not in (None, found.value):
            return None
        self._cluster.etcd.revoke(found.lease)
        return found.value

    def _create_visitor(self, node: PatroniMember) -> ConnectionParts:
        name, password = f"visitor_{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        admin = node.admin()
        sql = "CREATE ROLE :\"name\" LOGIN PASSWORD :'password';"
        self._cluster.run_sql(sql, parts=admin, variables={"name": name, "password": password})
        return ConnectionParts(host=admin.host, port=admin.port, dbname=admin.dbname, user=name, password=password)


def _report(
    kind: FaultKind, member: str | None, at_s: float, *, tail: LostTail | None = None, count: int | None = None
) -> Fault:
    return Fault(kind=kind, member=member, at_s=at_s, done_at_s=time.monotonic(), tail=tail, count=count)
