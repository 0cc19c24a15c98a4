"""A consumer that stops and comes back later can neither repeat a row nor stand in the way of its successor."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import asyncpg
import pytest
from support.flood import CLASSIC, NEW, TABLE, ConsumerProcess, Flood, eventually
from support.preload import payment, preload
from support.slow_proxy import slow_proxy

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(180)]

KEYED_TABLE = TABLE.replace("id bigint NOT NULL", "id bigint PRIMARY KEY")

IN_COPY = """
SELECT count(*) FROM pg_stat_activity
WHERE query LIKE 'COPY%' AND state = 'active' AND wait_event = 'ClientRead' AND datname = current_database()
"""
COPYING = "SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 100 AND datname = current_database()"


@pytest.mark.parametrize("config", [pytest.param(CLASSIC, id="classic"), pytest.param(NEW, id="consumer")])
async def test_consumer_stopped_past_its_session_is_fenced_when_it_wakes(
    flood: Callable[..., Flood], config: dict[str, str]
) -> None:
    run = flood(kafka_config=config)
    zombie = run.start_consumer()
    await eventually(lambda: zombie.claimed() == 6, 40, run.tails)
    run.start_producer(records=60_000, seconds=14)
    await eventually(lambda: (s := zombie.state()) is not None and s.totals.rows > 1_000, 20, run.tails)
    zombie.child.send(signal.SIGSTOP)
    heir = run.start_consumer()
    await eventually(lambda: heir.claimed() == 6, 40, run.tails)
    zombie.child.send(signal.SIGCONT)
    await run.producer_ended(60)
    await run.drained(90)
    await eventually(lambda: zombie.claimed() == heir.claimed() == 3, 60, run.tails)
    verdict = await run.audit()
    assert (verdict.problems, verdict.lost, verdict.duplicated) == ((), 0, 0)
    state = zombie.state()
    assert state is not None
    assert state.uptime_s > 5, "the zombie was not restarted: it found out by itself"


async def freeze_in_copy(run: Flood, victim: ConsumerProcess) -> None:
    """SIGSTOP the consumer so that its backend waits in the middle of COPY for data that will not come."""
    connection = await asyncpg.connect(run.database.admin.dsn)
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not await connection.fetchval(COPYING):
                await connection.execute("SELECT pg_sleep(0.02)")
                continue
            victim.child.send(signal.SIGSTOP)
            for _ in range(50):
                if await connection.fetchval(IN_COPY):
                    return
                await connection.execute("SELECT pg_sleep(0.1)")
            victim.child.send(signal.SIGCONT)
        raise AssertionError(f"never met in COPY: {run.tails()}")
    finally:
        await connection.close()


async def test_owner_frozen_in_copy_into_a_table_with_a_key_delays_its_heir_by_less_than_five_seconds(
    flood: Callable[..., Flood],
) -> None:
    run = flood(table=KEYED_TABLE, partitions=1)
    preload(run.kafka.bootstrap, run.topic, run.ledger, [payment(n, width=8_000) for n in range(5_000)])
    async with slow_proxy(run.database.host, run.database.port, bytes_per_s=1_000_000) as port:
        run.write_secret(port=str(port))
        zombie = run.start_consumer()
        await freeze_in_copy(run, zombie)
        run.write_secret()
        heir = run.start_consumer()
        await eventually(lambda: heir.claimed() == 1, 30, run.tails)
        claimed_at = time.monotonic()
        await eventually(lambda: (s := heir.state()) is not None and s.totals.rows > 0, 20, run.tails, every_s=0.05)
        took_s = time.monotonic() - claimed_at
        zombie.child.send(signal.SIGCONT)
        await run.drained(90)
    verdict = await run.audit()
    assert (verdict.problems, verdict.lost, verdict.duplicated) == ((), 0, 0)
    assert took_s < 5.0, run.tails()
