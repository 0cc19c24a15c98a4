"""One drain: a full topic into an empty table, timed by commits, counted in the table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from bench.peers.connect_jars import ConnectJava
from bench.peers.keys import Expected
from bench.peers.offsets import Offsets
from bench.peers.runners import GATES, Runner, build_runner, read_logs
from bench.peers.sinks import Place
from bench.peers.variants import Engine, Variant
from bench.rig import Rig, cpu_seconds, peak_memory_mb
from bench.write_path import wait_for_members

TABLE = "payments"
QUIET_S = 1.5
"""Without a word in the write-ahead log for so long, it is worth counting: counting costs PostgreSQL CPU."""
LOOK_ANYWAY_S = 10.0
LOOK_EVERY_S = 0.25
SLOWEST = 4000
"""Records/s: a sink that is slower than this on a busy machine is given up."""
CREATE = """
DROP TABLE IF EXISTS {table};
CREATE TABLE {table} (
    id bigint{key}, account text, amount_cents bigint, currency text, merchant text{check}, status text, created_at text
);
"""


class TrialFailed(Exception):
    """A trial without a result: what was wrong, and the ends of the logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every trial needs."""

    rig: Rig
    connect: ConnectJava
    offsets: Offsets

    def make_place(self, topic: str, name: str) -> Place:
        """Return a place with a folder of its own."""
        folder = self.rig.folder / name
        folder.mkdir(exist_ok=True)
        database = self.rig.postgres.admin()
        return Place(bootstrap=self.rig.kafka.bootstrap, topic=topic, table=TABLE, database=database, folder=folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuMeter:
    """User and system seconds so far, of the sink and of PostgreSQL."""

    sink_s: float
    postgres_s: float

    @classmethod
    def read(cls, rig: Rig, runner: Runner) -> CpuMeter:
        """Read both."""
        assert rig.postgres.pid is not None
        return cls(sink_s=cpu_seconds(runner.pids()), postgres_s=cpu_seconds([rig.postgres.pid]))


async def measure_drain(
    bench: Bench, variant: Variant, name: str, topic: str, records: int, expected: Expected
) -> dict[str, float]:
    """Drain the topic once; return the figures. Raises TrialFailed, ServerError."""
    place = bench.make_place(topic, name)
    runner = build_runner(place, variant, name, bench.connect)
    connection = await asyncpg.connect(bench.rig.dsn)
    try:
        await create_table(connection, variant)
        async with hold_writes(bench.rig, variant.engine):
            await asyncio.to_thread(runner.start)
            await wait_for_members(bench.rig, runner.group, variant.members)
            before = CpuMeter.read(bench.rig, runner)
            opened_at = await connection.fetchval("SELECT clock_timestamp()")
        after = await wait_written(bench.rig, connection, runner, expected, records / SLOWEST)
        first_s, last_s = await read_commits(connection, opened_at)
        sink_s, postgres_s = after.sink_s - before.sink_s, after.postgres_s - before.postgres_s
        return {
            "rows_per_second": records / last_s,
            "rows_per_cpu_second": records / (sink_s + postgres_s),
            "sink_cpu_seconds": sink_s,
            "postgres_cpu_seconds": postgres_s,
            "seconds_to_first_commit": first_s,
            "peak_memory_mb": sum(peak_memory_mb(pid) for pid in runner.pids()),
        }
    except (TrialFailed, TimeoutError) as error:
        raise TrialFailed(f"{name}: {error}\n{read_logs(place.folder)}") from error
    finally:
        await asyncio.to_thread(runner.stop)
        await connection.close()


async def create_table(connection: asyncpg.Connection[Any], variant: Variant) -> None:
    """Make the table anew, with everything before it on disk."""
    key = " PRIMARY KEY" if variant.task.has_key else ""
    await connection.execute(CREATE.format(table=TABLE, key=key, check=""))
    await connection.execute("CHECKPOINT")


@asynccontextmanager
async def hold_writes(rig: Rig, engine: Engine) -> AsyncIterator[None]:
    """While the block runs the engine cannot write."""
    holder = await asyncpg.connect(rig.dsn)
    try:
        async with holder.transaction():
            await holder.execute(GATES[engine])
            yield
    finally:
        await holder.close()


async def wait_written(
    rig: Rig, connection: asyncpg.Connection[Any], runner: Runner, expected: Expected, slowest_s: float
) -> CpuMeter:
    """Wait until the table holds what is expected; return the CPU time up to then, without that of the last count.

    slowest_s: when to give up, and a minute more. Raises TrialFailed.
    """
    begun_s = counted_s = moved_s = time.monotonic()
    position = None
    while (now_s := time.monotonic()) - begun_s < slowest_s + 60.0:
        latest = await connection.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        if latest != position:
            position, moved_s = latest, now_s
        if now_s - max(moved_s, counted_s) > QUIET_S or now_s - counted_s > LOOK_ANYWAY_S:
            meter = CpuMeter.read(rig, runner)
            if await is_complete(connection, expected):
                return meter
            counted_s = time.monotonic()
            if trouble := await asyncio.to_thread(runner.find_trouble):
                raise TrialFailed(trouble)
        await asyncio.sleep(LOOK_EVERY_S)
    raise TrialFailed(f"not written within {slowest_s + 60.0:.0f} s")


async def is_complete(connection: asyncpg.Connection[Any], expected: Expected) -> bool:
    """Tell whether the table holds what is expected. Raises TrialFailed when it holds something else or more."""
    row = await connection.fetchrow(f"SELECT count(*), sum(id), sum(amount_cents) FROM {TABLE}")
    assert row is not None
    rows, ids, amounts = row
    if rows > expected.rows or (rows == expected.rows and ids != expected.ids):
        raise TrialFailed(f"{rows} rows with ids that add up to {ids}, not {expected}")
    return rows == expected.rows and expected.amounts in (None, amounts)


async def read_commits(connection: asyncpg.Connection[Any], since: datetime) -> tuple[float, float]:
    """Return the seconds from a moment to the first and to the last commit that have rows in the table."""
    row = await connection.fetchrow(
        "SELECT extract(epoch FROM min(at) - $1)::float8, extract(epoch FROM max(at) - $1)::float8 "
        f"FROM (SELECT pg_xact_commit_timestamp(xmin) AS at FROM {TABLE} GROUP BY xmin) AS transactions",
        since,
    )
    assert row is not None
    return row[0], row[1]
