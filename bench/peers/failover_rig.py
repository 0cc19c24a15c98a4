"""The servers of the comparison under faults, the places of its trials, and the audit of one table."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from forebay_cli.demo.ledger import read_entries
from forebay_cli.kafka_admin import KafkaAdmin
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.free_ports import LOOPBACK
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.faults import HaFaults
from forebay_cli.local.ha.settings import QUICK_PARAMETERS, Durability, HaSettings
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from forebay_cli.local.postgres_server import ConnectionParts
from forebay_cli.local.process import create_guarded_folder
from forebay_cli.local.server_errors import SqlFailed

from bench.peers.offsets import Offsets
from bench.peers.sinks import Place

PARTITIONS = 6
DATABASE = ROLE = "bench"
PARAMETERS = {**QUICK_PARAMETERS, "track_commit_timestamp": "on"}
"""The audit reads from the rows when they were committed."""

TABLE = """
CREATE TABLE {table} (
    id bigint{key}, account text, amount_cents bigint, currency text, merchant text, status text, created_at text
);
"""
_LOST = "SELECT count(*) FROM produced p WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.id = p.id)"
_ROWS = "SELECT count(*), count(DISTINCT id) FROM {table}"
_COMMITS = """
    SELECT DISTINCT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at FROM {table} ORDER BY at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The table against the ledger. commits_at_s: when its rows were committed, ascending, seconds since the epoch."""

    produced: int
    rows: int
    lost: int
    duplicated: int
    commits_at_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Kafka, a highly available PostgreSQL, and what can be done to it."""

    kafka: KafkaServer
    cluster: HaCluster
    faults: HaFaults
    folder: Path
    database: ConnectionParts
    offsets: Offsets

    def make_place(self, name: str, *, with_key: bool) -> Place:
        """Make a topic and an empty table for one trial."""
        folder = self.folder / name
        folder.mkdir()
        KafkaAdmin(self.kafka.bootstrap).create_topic(name, PARTITIONS)
        key = " PRIMARY KEY" if with_key else ""
        self.cluster.run_sql(TABLE.format(table=name, key=key), parts=self.database)
        return Place(bootstrap=self.kafka.bootstrap, topic=name, table=name, database=self.database, folder=folder)

    def count_rows(self, table: str, at: ConnectionParts | None = None) -> int | None:
        """Count the rows, through HAProxy (None) or at one member; None while nobody answers."""
        try:
            return int(self.cluster.run_sql(f"SELECT count(*) FROM {table};", parts=at or self.database))
        except (SqlFailed, subprocess.TimeoutExpired):
            return None

    def at_leader(self) -> ConnectionParts:
        """Return how to sign in to the leader around HAProxy."""
        leader = self.cluster.leader()
        assert leader is not None, "nobody holds the lock"
        return self.cluster.nodes[leader].admin(DATABASE)

    def read_committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the group's offsets in Kafka; nothing while Kafka does not say."""
        return self.offsets.read_committed(group, topic)

    def audit(self, table: str, ledger: Path) -> Audit:
        """Compare the table with what was delivered."""
        return asyncio.run(_audit(self.database, table, ledger))


@contextmanager
def open_field() -> Iterator[Field]:
    """Start Kafka and three Patroni members behind HAProxy, asynchronous; all gone afterwards."""
    folder = create_guarded_folder(prefix="forebay-failover-")
    cache = choose_cache_folder(os.environ)
    kafka = KafkaServer(folder / "kafka", cache=cache, options=KafkaOptions(heap_mb=512))
    try:
        kafka.start()
        settings = HaSettings(durability=Durability.ASYNCHRONOUS, parameters=PARAMETERS)
        with HaCluster(settings, cache=cache) as cluster:
            password = secrets.token_urlsafe(12)
            cluster.create_role(ROLE, password)
            cluster.create_database(DATABASE, ROLE)
            database = ConnectionParts(
                host=LOOPBACK, port=cluster.primary_port, dbname=DATABASE, user=ROLE, password=password
            )
            offsets = Offsets(kafka.bootstrap)
            faults = HaFaults(cluster)
            yield Field(kafka=kafka, cluster=cluster, faults=faults, folder=folder, database=database, offsets=offsets)
    finally:
        kafka.kill()
        shutil.rmtree(folder, ignore_errors=True)


async def _audit(parts: ConnectionParts, table: str, ledger: Path) -> Audit:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(parts.dsn)
    try:
        await connection.execute("CREATE TEMP TABLE produced (id bigint PRIMARY KEY)")
        ids = [(entry.id,) for entry in read_entries(ledger)]
        await connection.copy_records_to_table("produced", records=ids)
        rows, distinct = await connection.fetchrow(_ROWS.format(table=table)) or (0, 0)
        commits = await connection.fetch(_COMMITS.format(table=table))
        return Audit(
            produced=len(ids),
            rows=rows,
            lost=await connection.fetchval(_LOST.format(table=table)),
            duplicated=rows - distinct,
            commits_at_s=tuple(each["at"] for each in commits if each["at"] is not None),
        )
    finally:
        await connection.close()
