"""Nothing is lost and nothing written twice, whatever is killed under load."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from forebay_cli.demo.audit import Verdict
from forebay_cli.local.postgres_server import StopMode
from support.flood import GRACE_S, NEW, Flood, eventually
from support.testbed.servers import KafkaFactory, PostgresFactory, create_database, create_topic

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(420)]


async def assert_exactly_once(flood: Flood, records: int) -> Verdict:
    await flood.producer_ended(120)
    await flood.drained(120)
    verdict = await flood.audit()
    assert verdict.problems == (), flood.tails()
    assert (verdict.lost, verdict.duplicated, verdict.produced) == (0, 0, records)
    assert verdict.dead_letters > 0
    return verdict


async def under_load(flood: Flood, consumers: int, records: int, seconds: float) -> None:
    for _ in range(consumers):
        flood.start_consumer()
    await eventually(lambda: sum(c.claimed() for c in flood.processes) == 6, 90, flood.tails)
    flood.start_producer(records=records, seconds=seconds)


async def test_consumers_killed_at_twenty_random_moments_lose_and_repeat_nothing(
    flood: Callable[..., Flood],
) -> None:
    run, dice = flood(), random.Random(20)
    await under_load(run, consumers=3, records=150_000, seconds=40)
    for _ in range(20):
        await asyncio.sleep(dice.uniform(0.2, 3.0))  # the moment is the point
        run.kill(dice.choice(run.processes))
        run.start_consumer()
    await assert_exactly_once(run, 150_000)


async def test_broker_killed_three_times_loses_and_repeats_nothing(
    flood: Callable[..., Flood], own_kafka: KafkaFactory
) -> None:
    broker, dice = own_kafka(), random.Random(3)
    create_topic(broker.bootstrap, "payments", 6, {})
    run = flood(kafka=broker, topic="payments")
    await under_load(run, consumers=2, records=80_000, seconds=25)
    for _ in range(3):
        await asyncio.sleep(dice.uniform(2.0, 5.0))
        broker.kill()
        await asyncio.to_thread(broker.start)
    await assert_exactly_once(run, 80_000)


async def test_postgres_shut_down_immediately_five_times_loses_and_repeats_nothing(
    flood: Callable[..., Flood], own_postgres: PostgresFactory
) -> None:
    server, dice = own_postgres(), random.Random(5)
    run = flood(database=create_database(server))
    await under_load(run, consumers=2, records=100_000, seconds=25)
    pids = {c.child.pid for c in run.processes}
    for _ in range(5):
        await asyncio.sleep(dice.uniform(1.0, 4.0))
        server.stop(StopMode.IMMEDIATE)
        await asyncio.to_thread(server.start)
    await assert_exactly_once(run, 100_000)
    assert {c.child.pid for c in run.processes if c.child.is_running()} == pids, "a consumer ended"


async def test_killed_consumers_of_the_new_group_protocol_with_two_lanes_lose_and_repeat_nothing(
    flood: Callable[..., Flood],
) -> None:
    run, dice = flood(kafka_config=NEW, consumer={"lanes": 2}), random.Random(848)
    await under_load(run, consumers=3, records=60_000, seconds=20)
    for _ in range(6):
        await asyncio.sleep(dice.uniform(0.5, 3.0))
        run.kill(dice.choice(run.processes))
        run.start_consumer()
    await assert_exactly_once(run, 60_000)


async def test_terminated_consumer_drains_within_its_grace_period_and_exits_with_0(
    flood: Callable[..., Flood],
) -> None:
    run: Any = flood()
    await under_load(run, consumers=2, records=40_000, seconds=8)
    first = run.processes[0]
    await eventually(lambda: (s := first.state()) is not None and s.totals.rows > 0, 90, run.tails)
    first.child.send(15)
    assert first.child.wait(GRACE_S + 5) == 0  # another code says that it was not done within its grace period
    run.processes.remove(first)
    await assert_exactly_once(run, 40_000)
