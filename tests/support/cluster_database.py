"""The Patroni cluster inside a test's cluster: who leads, SQL on the primary, kills, the audit."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, assert_never

from forebay_cli.demo.audit import Verdict, judge_facts
from forebay_cli.demo.audit_database import gather_facts, open_connection
from forebay_cli.demo.ledger import MAGIC, read_entries, summarize_entries
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.postgres_server import ConnectionParts, run_psql
from forebay_cli.local.server_errors import SqlFailed
from support.kind_cluster import ClusterCommandFailed, KindCluster

NAMESPACE = "bank"
CLUSTER_NAME = "acid-payments"
USER = "ingest"
DATABASE = "bank"
SECRET = f"{USER}.{CLUSTER_NAME}.credentials.postgresql.acid.zalan.do"
PRIMARY_NODE_PORT = 30432
PATRONI_NODE_PORT = 30808
ASK_S = 3.0
FIRST_LEADER_S = 20.0
"""A first primary takes three seconds on two free cores."""
PASSWORDS = {"postgres": "only-for-tests-1", USER: "only-for-tests-3"}
"""Of the Secrets in patroni.yaml."""


class Kill(StrEnum):
    """How a member ends.

    CRASH: every process by SIGKILL; the container is restarted with its data. DELETE: the pod is taken away at once,
    its successor copies the data. DRAIN: as an eviction does it, with time to hand over.
    """

    CRASH = "crash"
    DELETE = "delete"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What Patroni says of one member. role: leader, sync_standby, replica. state: running, streaming, starting, ..."""

    name: str
    role: str
    state: str
    timeline: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDatabase:
    """node_ip: any node's address, reachable from here."""

    cluster: KindCluster
    node_ip: str
    synchronous: bool
    members: int = 3

    def parts(self, user: str = USER, dbname: str = DATABASE) -> ConnectionParts:
        """How a client outside the cluster reaches the primary, whatever HAProxy does."""
        password = PASSWORDS[user]
        return ConnectionParts(host=self.node_ip, port=PRIMARY_NODE_PORT, dbname=dbname, user=user, password=password)

    def sql(self, query: str, user: str = USER) -> str:
        """Run SQL on the primary; rows as lines, tab-separated. Raises SqlFailed, also where there is no primary."""
        return run_psql(find_postgres(), self.parts(user), query)

    def read_members(self) -> tuple[Member, ...]:
        """All members as one of them knows them; empty while none answers."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://{self.node_ip}:{PATRONI_NODE_PORT}/cluster", timeout=ASK_S) as answer:
                found = json.load(answer)["members"]
        except (OSError, ValueError, KeyError):
            return ()
        return tuple(
            Member(name=m["name"], role=m["role"], state=m["state"], timeline=_read_timeline(m)) for m in found
        )

    def leader(self) -> str | None:
        """Name of the pod that leads; None while nobody does or nobody knows."""
        names = [m.name for m in self.read_members() if m.role == "leader" and m.state == "running"]
        return names[0] if len(names) == 1 else None

    def is_healthy(self) -> bool:
        """One leader, all others streaming on its timeline, and a synchronous one among them if so configured.

        Which the leader of today has named: Patroni lets nobody take over who was named by one before.
        """
        members = self.read_members()
        leaders = [m.name for m in members if m.role == "leader"]
        others = [m for m in members if m.role != "leader"]
        is_whole = (
            len(members) == self.members
            and len(leaders) == 1
            and all(m.state == "streaming" for m in others)
            and len({m.timeline for m in members}) == 1
        )
        if not is_whole or not self.synchronous:
            return is_whole
        return any(m.role == "sync_standby" for m in others) and self._read_record("sync").get("leader") == leaders[0]

    def is_writable(self) -> bool:
        """The Service of the primary leads to one that takes writes."""
        try:
            return self.sql("SELECT pg_is_in_recovery()") == "f"
        except SqlFailed:
            return False

    def wait_bootstrapped(self, deadline_s: float) -> None:
        """Wait for the first leader.

        On a busy machine Patroni can wait for ever: the request that makes one member the first is carried out, its
        answer comes too late, and that member believes another one to be the first. Then all stand still and we let
        them choose again.
        """
        tries = max(1, round(deadline_s / FIRST_LEADER_S))
        for _ in range(tries):
            if wait_until(lambda: self.leader() is not None, FIRST_LEADER_S, 0.2):
                return
            states = [m.state for m in self.read_members()]
            if states == ["stopped"] * self.members:
                self._kubectl("delete", "configmap", f"{CLUSTER_NAME}-config", "--ignore-not-found")
        raise AssertionError(f"nobody became the first primary: {self.read_members()}")

    def wait_healthy(self, deadline_s: float) -> None:
        """Wait until the cluster is whole; every fault begins with this, so that faults do not overlap by accident."""
        done = wait_until(lambda: self.is_healthy() and self.is_writable(), deadline_s, 0.2)
        assert done, f"not healthy after {deadline_s:.0f} s: {self.describe()}"

    def kill_leader(self, how: Kill) -> str:
        """End the primary and return its pod's name; does not wait for what follows."""
        name = self.leader()
        assert name is not None, f"nobody leads: {self.read_members()}"
        self.kill_member(name, how)
        return name

    def kill_member(self, name: str, how: Kill) -> None:
        """End the member in that pod."""
        match how:
            case Kill.CRASH:
                with suppress(ClusterCommandFailed):  # the shell dies with the container, or is told that it did
                    # -1: everything in the container except its process 1, which ends with Patroni
                    self._kubectl("exec", name, "--container=postgres", "--", "/bin/sh", "-c", "kill -9 -1")
            case Kill.DELETE:
                self._kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
            case Kill.DRAIN:
                self._kubectl("delete", "pod", name, "--wait=false")
            case _:
                assert_never(how)

    def wait_other_leader(self, than: str, deadline_s: float) -> str:
        """Wait until another pod leads and takes writes; return its name."""
        found: list[str] = []

        def look() -> bool:
            name = self.leader()
            if name is None or name == than or not self.is_writable():
                return False
            found.append(name)
            return True

        assert wait_until(look, deadline_s, 0.1), f"nobody took over from {than}: {self.describe()}"
        return found[0]

    def describe(self) -> str:
        """What is known of the cluster, for a failed wait: members, Patroni's records, the ends of all logs."""
        told = [str(self.read_members()), f"leader {self._read_record('leader')}", f"sync {self._read_record('sync')}"]
        for number in range(self.members):
            pod = f"{CLUSTER_NAME}-{number}"
            with suppress(ClusterCommandFailed):
                told.append(f"--- {pod}\n" + self._kubectl("logs", pod, "--container=postgres", "--tail=40"))
        return "\n".join(told)

    def _read_record(self, name: str) -> dict[str, str]:
        """One of the objects in which Patroni keeps its state; empty if there is none."""
        try:
            answer = self._kubectl("get", "configmap", f"{CLUSTER_NAME}-{name}", "--output=json")
        except ClusterCommandFailed:
            return {}
        return dict(json.loads(answer)["metadata"].get("annotations", {}))

    def is_drained(self, ledger: Path, *, group: str, topic: str) -> bool:
        """The stored positions are at the ledger's ends; also false while there is no primary or no schema yet."""
        query = (
            f"SELECT partition, next_offset FROM forebay.positions WHERE \"group\" = '{group}' AND topic = '{topic}'"
        )
        try:
            rows = self.sql(query, user="postgres")
        except SqlFailed:
            return False
        stored = {int(p): int(n) for p, n in (row.split("\t") for row in rows.splitlines())}
        return all(stored.get(p) == end for p, end in summarize_entries(read_entries(ledger)).ends.items())

    async def audit(self, ledger: Path, *, group: str, topic: str, table: str = "public.payments") -> Verdict:
        """Ledger against tables: lost, duplicated, gaps of each partition, positions. To be called when drained."""
        async with open_connection(self.parts("postgres").dsn) as connection:
            facts = await gather_facts(connection, ledger=ledger, table=table, group=group, topic=topic)
        return judge_facts(facts)

    def _kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", NAMESPACE, *arguments)


def merge_ledgers(ledgers: Sequence[Path], target: Path) -> Path:
    """Write several waves' ledgers as one; their ids must not overlap."""
    target.write_bytes(MAGIC + b"".join(ledger.read_bytes().removeprefix(MAGIC) for ledger in ledgers))
    return target


def _read_timeline(member: dict[str, Any]) -> int | None:
    value = member.get("timeline")
    return value if isinstance(value, int) else None
