"""A highly available cluster in the hands of one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.faults import HaFaults
from forebay_cli.local.ha.patroni_rest import MemberState, Role
from forebay_cli.local.ha.primary_watch import PrimaryWatch

DEADLINE_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A healthy cluster, what can be done to it, and who watches."""

    cluster: HaCluster
    faults: HaFaults
    watch: PrimaryWatch

    def is_primary(self, member: str) -> bool:
        """Ask the member's PostgreSQL itself, around HAProxy and Patroni; SqlFailed when it does not answer."""
        sql = "SELECT NOT pg_is_in_recovery();"
        return self.cluster.run_sql(sql, parts=self.cluster.nodes[member].admin()) == "t"

    def find_leader(self) -> str:
        """Return who holds the lock, for sure."""
        leader = self.cluster.leader()
        assert leader is not None, "nobody holds the lock"
        return leader

    def find_member(self, fits: Callable[[MemberState], bool]) -> str:
        """Wait until a member fits, and return the first: on a busy machine one may not answer at once."""
        found: list[str] = []

        def is_found() -> bool:
            found[:] = [each.name for each in self.cluster.members() if fits(each)]
            return bool(found)

        assert wait_until(is_found, DEADLINE_S), f"no such member: {self.cluster.members()}"
        return found[0]

    def find_replica(self) -> str:
        """Return one of those that say that they are replicas."""
        return self.find_member(lambda each: each.role is Role.REPLICA)

    def wait_replayed(self) -> None:
        """Wait until every standby shows what is committed now: streaming alone does not say that."""
        position = self.cluster.run_sql("SELECT pg_current_wal_lsn();")
        reached = f"SELECT pg_last_wal_replay_lsn() >= '{position}';"
        waiting = self.cluster.nodes.keys() - {self.find_leader()}

        def have_all() -> bool:
            parts = [self.cluster.nodes[name].admin() for name in waiting]
            return all(self.cluster.run_sql(reached, parts=each) == "t" for each in parts)

        assert wait_until(have_all, DEADLINE_S), "a standby is behind"


@contextmanager
def use_rig(cluster: HaCluster) -> Iterator[Rig]:
    """Watch a healthy cluster, and heal it in the end, also after a failure: others use it, too."""
    faults = HaFaults(cluster)
    try:
        with PrimaryWatch(cluster.admin()) as watch:
            assert watch.wait_writable(0, DEADLINE_S)
            yield Rig(cluster=cluster, faults=faults, watch=watch)
    finally:
        faults.heal()
        cluster.wait_healthy(DEADLINE_S)
