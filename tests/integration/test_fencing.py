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

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

KEYED_TABLE = TABLE.replace("id bigint NOT NULL", "id bigint PRIMARY KEY")

MOMENT_S = 60.0
"""Deadline for what takes a few seconds on a free machine."""
PROGRESS = "SELECT tuples_processed FROM pg_stat_progress_copy WHERE datname = current_database()"
DEEP_IN_COPY = 1_100
"""Rows. A binary COPY inserts a thousand at a time (MAX_BUFFERED_TUPLES), so the first are in the table and its index;
and behind these lies more of the batch than the sockets on the way hold for a client that is stopped."""


@pytest.mark.parametrize("config", [pytest.param(CLASSIC, id="classic"), pytest.param(NEW, id="consumer")])
async def test_consumer_stopped_past_its_session_is_fenced_when_it_wakes(
    flood: Callable[..., Flood], config: dict[str, str]
) -> None:
    run = flood(kafka_config=config)
    zombie = run.start_consumer()
    await eventually(lambda: zombie.claimed() == 6, MOMENT_S, run.tails)
    run.start_producer(records=60_000, seconds=14)
    await eventually(lambda: (s := zombie.state()) is not None and s.totals.rows > 1_000, MOMENT_S, run.tails)
    zombie.child.send(signal.SIGSTOP)
    heir = run.start_consumer()
    await eventually(lambda: heir.claimed() == 6, MOMENT_S, run.tails)
    zombie.child.send(signal.SIGCONT)
    await run.producer_ended(60)
    await run.drained(90)
    await eventually(lambda: zombie.claimed() == heir.claimed() == 3, MOMENT_S, run.tails)
    verdict = await run.audit()
    assert (verdict.problems, verdict.lost, verdict.duplicated) == ((), 0, 0)
    state = zombie.state()
    assert state is not None
    assert state.uptime_s > 5, "the zombie was not restarted: it found out by itself"


async def freeze_in_copy(run: Flood, victim: ConsumerProcess) -> None:
    """SIGSTOP the consumer so that its backend waits in the middle of COPY for data that will not come."""
    connection = await asyncpg.connect(run.database.admin.dsn)
    try:
        await eventually(
            lambda: _is_deep_in_copy(connection), 60, lambda: f"never deep in COPY: {run.tails()}", every_s=0.02
        )
        victim.child.send(signal.SIGSTOP)
        seen = [-1, 0]

        async def stands_still() -> bool:
            seen[:] = [seen[1], await connection.fetchval(PROGRESS) or 0]
            return seen[0] == seen[1]

        await eventually(stands_still, MOMENT_S, "the backend still receives", every_s=1.0)
        assert seen[1] > DEEP_IN_COPY, "the COPY ended although its client is stopped"
    finally:
        await connection.close()


async def _is_deep_in_copy(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    return (await connection.fetchval(PROGRESS) or 0) > DEEP_IN_COPY


async def test_owner_frozen_in_copy_into_a_table_with_a_key_delays_its_heir_by_less_than_five_seconds(
    flood: Callable[..., Flood],
) -> None:
    run = flood(table=KEYED_TABLE, partitions=1)
    preload(run.kafka.bootstrap, run.topic, run.ledger, [payment(n, width=4_000) for n in range(10_000)])
    async with slow_proxy(run.database.host, run.database.port, bytes_per_s=2_000_000) as port:
        run.write_secret(port=str(port))
        zombie = run.start_consumer()
        await freeze_in_copy(run, zombie)
        run.write_secret()
        heir = run.start_consumer()
        await eventually(lambda: heir.claimed() == 1, MOMENT_S, run.tails)
        claimed_at = time.monotonic()
        await eventually(
            lambda: (s := heir.state()) is not None and s.totals.rows > 0, MOMENT_S, run.tails, every_s=0.05
        )
        took_s = time.monotonic() - claimed_at
        zombie.child.send(signal.SIGCONT)
        await run.drained(90)
    verdict = await run.audit()
    assert (verdict.problems, verdict.lost, verdict.duplicated) == ((), 0, 0)
    assert took_s < 5.0, run.tails()
