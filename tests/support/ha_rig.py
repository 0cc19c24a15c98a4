"""A highly available cluster in the hands of one test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.faults import HaFaults
from forebay_cli.local.ha.primary_watch import PrimaryWatch

DEADLINE_S = 60.0


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

    def wait_replayed(self) -> None:
        """Wait until every standby shows what is committed now: streaming alone does not say that."""
        position = self.cluster.run_sql("SELECT pg_current_wal_lsn();")
        standbys = [self.cluster.nodes[name].admin() for name in self.cluster.nodes.keys() - {self.find_leader()}]
        sql = f"SELECT pg_last_wal_replay_lsn() >= '{position}';"

        def is_replayed() -> bool:
            return all(self.cluster.run_sql(sql, parts=parts) == "t" for parts in standbys)

        assert wait_until(is_replayed, DEADLINE_S), f"a standby did not come to {position}"


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
