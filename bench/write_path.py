"""How fast and how dear is the way from Kafka into PostgreSQL, compared with a bare loop in the same run?

    python -m bench.write_path [--records 4000000 --repeats 5]

A topic is filled once; each variant drains all of it into an empty table, variants interleaved. Consumers wait at a
gate until each of them has its partitions. rows/s: rows committed after all were let through, by commit timestamps,
over the time to the last commit. rows per CPU-second: rows over user + system seconds of consumers and PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient
from forebay_api.wire import API_VERSION, KIND, Env
from forebay_consumer.schema_ddl import schema_sql

from bench.bare_loop import GATE
from bench.results import ROOT, Metric, describe_environment, write_results
from bench.rig import TABLE, Rig, cpu_seconds, peak_memory_mb, preload, start_rig, wait_for_rows

TOPIC = "payments"
PARTITIONS = 6
JOIN_S = 60.0
DRAIN_S = 300.0
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What drains the topic, and how many of it."""

    name: str
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One drain."""

    rows_per_s: float
    rows_per_cpu_s: float
    memory_mb: float


VARIANTS = tuple(Variant(name=name, members=n) for n in (1, 2) for name in ("forebay", "polars", "msgspec"))


async def measure(rig: Rig, variant: Variant, records: int, turn: int) -> Figures:
    """Drain the topic once into an empty table."""
    group = f"{variant.name}-{variant.members}-{turn}"
    return await drain(rig, variant, group, records, lambda number: start(rig, variant, group, number))


async def drain(
    rig: Rig, variant: Variant, group: str, records: int, begin: Callable[[int], subprocess.Popen[bytes]]
) -> Figures:
    """Drain the topic once into the emptied table. begin(n) starts the n-th consumer."""
    connection = await asyncpg.connect(rig.dsn)
    await connection.execute("TRUNCATE payments")
    await connection.execute("CHECKPOINT")
    processes: list[subprocess.Popen[bytes]] = []
    try:
        async with gate(rig, connection, variant):
            processes = [begin(n) for n in range(variant.members)]
            await wait_for_members(rig, group, variant.members)
            pids = [p.pid for p in processes]
            assert rig.postgres.pid is not None
            before = cpu_seconds([*pids, rig.postgres.pid])
        await wait_for_rows(connection, records, DRAIN_S)
        cpu = cpu_seconds([*pids, rig.postgres.pid]) - before
        memory = max(peak_memory_mb(pid) for pid in pids)
        rate = await committed_rate(connection, variant, group)
        rows = await connection.fetchval("SELECT count(*) FROM payments")
        if rows != records:
            raise RuntimeError(f"{group}: {rows} rows instead of {records}")
        return Figures(rows_per_s=rate, rows_per_cpu_s=records / cpu, memory_mb=memory)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM if variant.name == "forebay" else signal.SIGKILL)
        for process in processes:
            process.wait(40)
        await connection.close()


@asynccontextmanager
async def gate(rig: Rig, connection: asyncpg.Connection, variant: Variant) -> AsyncIterator[None]:
    """While the block runs nobody can write: ours waits to claim, a bare loop for the advisory lock."""
    if variant.name != "forebay":
        await connection.execute("SELECT pg_advisory_lock($1)", GATE)
        yield
        await connection.execute("SELECT pg_advisory_unlock($1)", GATE)
        return
    holder = await asyncpg.connect(rig.dsn)
    async with holder.transaction():
        await holder.execute("LOCK TABLE forebay.positions IN EXCLUSIVE MODE")
        yield
    await holder.close()


def start(rig: Rig, variant: Variant, group: str, number: int) -> subprocess.Popen[bytes]:
    """One consumer process."""
    log = (rig.folder / f"{group}-{number}.log").open("wb")
    if variant.name == "forebay":
        command = [sys.executable, "-m", "forebay_consumer"]
        return subprocess.Popen(command, env={**os.environ, **consumer_environment(rig, group)}, stdout=log, stderr=log)
    command = [sys.executable, "-m", "bench.bare_loop", "--encoder", variant.name, "--bootstrap", rig.kafka.bootstrap]
    command += ["--topic", TOPIC, "--group", group, "--dsn", rig.dsn, "--members", str(variant.members)]
    return subprocess.Popen([*command, "--partitions", str(PARTITIONS)], cwd=ROOT, stdout=log, stderr=log)


def consumer_environment(
    rig: Rig, group: str, *, sink: Mapping[str, Any] = NOTHING, consumer: Mapping[str, Any] = NOTHING
) -> dict[str, str]:
    """What one consumer of ours is told. sink, consumer: parts that come to the spec's."""
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": "bench", "name": group},
        "spec": {
            "source": {"bootstrapServers": rig.kafka.bootstrap, "topic": TOPIC, "group": group},
            "sink": {"connectionSecretRef": {"name": "bench"}, "table": "public.payments", **sink},
            "consumer": dict(consumer),
        },
    }
    (rig.folder / f"{group}.json").write_text(json.dumps(body))
    secret = rig.folder / "secret"
    secret.mkdir(exist_ok=True)
    (secret / "uri").write_text(rig.dsn)
    return {
        Env.PIPELINE_FILE: str(rig.folder / f"{group}.json"),
        Env.SINK_SECRET_DIR: str(secret),
        Env.HTTP_HOST: "127.0.0.1",
        Env.HTTP_PORT: "0",
    }


async def wait_for_members(rig: Rig, group: str, members: int) -> None:
    """Until the group is stable and each member has its share."""
    admin = AdminClient({"bootstrap.servers": rig.kafka.bootstrap})
    async with asyncio.timeout(JOIN_S):
        wanted = [PARTITIONS // members] * members
        while await asyncio.to_thread(shares_of, admin, group) != wanted:  # noqa: ASYNC110  Kafka tells nobody
            await asyncio.sleep(0.2)


def shares_of(admin: AdminClient, group: str) -> list[int] | None:
    """Partitions of each member; None while the group is not stable or its coordinator not loaded."""
    try:
        described = admin.describe_consumer_groups([group])[group].result(10)
    except (KafkaException, TimeoutError):
        return None
    if described.state is not ConsumerGroupState.STABLE:
        return None
    return [len(m.assignment.topic_partitions) for m in described.members if m.assignment]


async def committed_rate(connection: asyncpg.Connection, variant: Variant, group: str) -> float:
    """Rows a second from the moment when every member may write to the last commit."""
    if variant.name == "forebay":
        start = await connection.fetchval('SELECT max(claimed_at) FROM forebay.positions WHERE "group" = $1', group)
    else:
        start = await connection.fetchval("SELECT min(pg_xact_commit_timestamp(xmin)) FROM payments")
    rate = await connection.fetchval(
        """WITH commits AS (SELECT pg_xact_commit_timestamp(xmin) AS at, n
                            FROM (SELECT xmin, count(*) AS n FROM payments GROUP BY xmin) AS transactions)
           SELECT sum(n) FILTER (WHERE at > $1) / extract(epoch FROM max(at) - $1) FROM commits""",
        start,
    )
    return float(rate)


async def run(records: int, repeats: int, names: list[str]) -> Path:
    """All variants, interleaved, after one warm-up round that does not count."""
    variants = [v for v in VARIANTS if not names or v.name in names]
    taken: dict[Variant, list[Figures]] = {v: [] for v in variants}
    with start_rig() as rig:
        preload(rig.kafka.bootstrap, TOPIC, records, PARTITIONS)
        await prepare_database(rig)
        for turn in range(-1, repeats):
            for variant in variants:
                figures = await measure(rig, variant, records, turn)
                print(
                    f"{turn:3d} {variant.name:8s} x{variant.members}: {figures.rows_per_s:9,.0f} rows/s "
                    f"{figures.rows_per_cpu_s:9,.0f} rows/CPU-s {figures.memory_mb:5.0f} MB",
                    flush=True,
                )
                if turn >= 0:
                    taken[variant].append(figures)
        server = await server_version(rig)
    environment = describe_environment(postgresql=server, kafka="4.4.0", records=records, partitions=PARTITIONS)
    return write_results("write_path", "Kafka to PostgreSQL, append", environment, metrics_of(taken))


async def prepare_database(rig: Rig) -> None:
    """The table and, so that the gate can lock it, Forebay's schema."""
    connection = await asyncpg.connect(rig.dsn)
    await connection.execute(TABLE)
    await connection.execute(schema_sql())
    await connection.close()


async def server_version(rig: Rig) -> str:
    """PostgreSQL's."""
    connection = await asyncpg.connect(rig.dsn)
    version = str(await connection.fetchval("SHOW server_version"))
    await connection.close()
    return version


def metrics_of(taken: dict[Variant, list[Figures]]) -> dict[str, Metric]:
    """The figures under their published names: of the bare loops the better, and each by its name."""
    metrics: dict[str, Metric] = {}
    for field, unit, label in (
        ("rows_per_cpu_s", "rows/CPU-s", "rows_per_cpu_second"),
        ("rows_per_s", "rows/s", "rows_per_second"),
    ):
        for variant, figures in taken.items():
            name = "append" if variant.name == "forebay" else f"bare_{variant.name}"
            values = [getattr(f, field) for f in figures]
            metrics[f"{name}_{label}_{variant.members}"] = Metric(values=values, unit=unit)
        for members in (1, 2):
            bare = [m for key, m in metrics.items() if key.startswith("bare_") and key.endswith(f"{label}_{members}")]
            if bare:
                metrics[f"bare_loop_{label}_{members}"] = max(bare, key=lambda m: statistics.median(m.values))
    ours = [f.memory_mb for v, figures in taken.items() if v.name == "forebay" for f in figures]
    if ours:
        metrics["consumer_peak_memory_mb"] = Metric(values=ours, unit="MB")
    return metrics


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="forebay polars msgspec")
    args = parser.parse_args()
    print(asyncio.run(run(args.records, args.repeats, args.only)))
