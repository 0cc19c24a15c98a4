"""One trial under an even load: how long from a record's Kafka timestamp to its commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from forebay_cli.kafka_admin import KafkaAdmin

from bench.ha.report import find_percentile
from bench.peers.drain_trial import TABLE, Bench, CpuMeter, TrialFailed, create_table
from bench.peers.runners import Runner, build_runner, read_logs
from bench.peers.variants import Variant
from bench.steady_load import SteadyLoad, describe_moment
from bench.write_path import PARTITIONS, wait_for_members

FIRST_ROW_S = 120.0
LATE_S = 60.0
LOOK_EVERY_S = 0.5
AGES = f"""
SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - created_at::timestamptz)::float8 * 1000 AS age_ms
FROM {TABLE} WHERE created_at::timestamptz BETWEEN $1::text::timestamptz AND $2::text::timestamptz
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The load. warm_up_s: of it, from the first row on, before anything counts."""

    rate: int
    warm_up_s: float
    counted_s: float


async def measure_steady(bench: Bench, variant: Variant, name: str, pace: Pace, seed: int) -> dict[str, float]:
    """Run one load; return the figures. Raises TrialFailed, ServerError."""
    await asyncio.to_thread(KafkaAdmin(bench.rig.kafka.bootstrap).create_topic, name, PARTITIONS)
    place = bench.make_place(name, name)
    runner = build_runner(place, variant, name, bench.connect)
    connection = await asyncpg.connect(bench.rig.dsn)
    try:
        await create_table(connection, variant)
        await asyncio.to_thread(runner.start)
        await wait_for_members(bench.rig, runner.group, variant.members)
        return await _measure_load(bench, runner, connection, name, pace, seed)
    except (TrialFailed, TimeoutError) as error:
        raise TrialFailed(f"{name}: {error}\n{read_logs(place.folder)}") from error
    finally:
        await asyncio.to_thread(runner.stop)
        await connection.close()


async def _measure_load(
    bench: Bench, runner: Runner, connection: asyncpg.Connection[Any], topic: str, pace: Pace, seed: int
) -> dict[str, float]:
    load = SteadyLoad(bench.rig.kafka.bootstrap, topic, rate=pace.rate, seed=seed)
    with load:
        # A first row may take long where Java is cold and the processors are busy; that is no latency of the load.
        await _wait_for_rows(connection, runner, 1, FIRST_ROW_S)
        await asyncio.sleep(pace.warm_up_s)
        since, before = describe_now(), CpuMeter.read(bench.rig, runner)
        await asyncio.sleep(pace.counted_s)
        until, after = describe_now(), CpuMeter.read(bench.rig, runner)
    found = await _wait_for_rows(connection, runner, load.delivered, LATE_S)
    if found > load.delivered:
        raise TrialFailed(f"{found} rows of {load.delivered}")
    ages_ms = [row["age_ms"] for row in await connection.fetch(AGES, since, until)]
    cpu_s = after.sink_s - before.sink_s + after.postgres_s - before.postgres_s
    return {**summarize_ages(ages_ms), "busy_processors": cpu_s / pace.counted_s}


def describe_now() -> str:
    """Return this moment as records have it."""
    return describe_moment(time.time_ns() // 10**6)


def summarize_ages(ages_ms: Sequence[float]) -> dict[str, float]:
    """Return percentiles, each an age that occurred, and how many were counted."""
    percentiles = {f"p{hundredths}_ms": find_percentile(ages_ms, hundredths) for hundredths in (50, 99)}
    return {**percentiles, "max_ms": max(ages_ms), "rows": len(ages_ms)}


async def _wait_for_rows(connection: asyncpg.Connection[Any], runner: Runner, rows: int, timeout_s: float) -> int:
    """Wait until there are so many, or more; return how many there are. Raises TrialFailed."""
    deadline = time.monotonic() + timeout_s
    while (found := int(await connection.fetchval(f"SELECT count(*) FROM {TABLE}"))) < rows:
        trouble = await asyncio.to_thread(runner.find_trouble)
        if trouble is not None or time.monotonic() > deadline:
            raise TrialFailed(f"{found} rows of {rows}; {trouble or 'it goes on'}")
        await asyncio.sleep(LOOK_EVERY_S)
    return found
