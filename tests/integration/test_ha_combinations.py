"""Failovers at the worst moments, and together with other faults: nothing is lost, nothing is written twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.server_errors import SqlFailed
from forebay_consumer import schema_ddl
from support.flood import PATIENT, Flood, eventually
from support.ha_flood import (
    MOMENT_S,
    SLOW_COMMIT,
    SLOW_ROWS,
    assert_exactly_once,
    claimed,
    holding,
    shared_out,
    total,
    until_doing,
)
from support.ha_rig import Rig, use_rig
from support.testbed.servers import KafkaFactory, create_database, create_topic

pytestmark = [pytest.mark.integration, pytest.mark.slow]

RECORDS, LOAD_S = 6_000, 6.0
KEYED = "ALTER TABLE payments ADD PRIMARY KEY (id)"
UPSERT = {"mode": "Upsert", "keyColumns": ["id"]}
WRITTEN = "SELECT sum(next_offset) FROM forebay.positions;"


@pytest.fixture(scope="module")
def asynchronous() -> Iterator[HaCluster]:
    """A running cluster for all tests of this file; they leave it healthy."""
    with HaCluster() as cluster:
        yield cluster


@pytest.fixture
def rig(asynchronous: HaCluster) -> Iterator[Rig]:
    """The cluster, healthy and watched; healed in the end."""
    with use_rig(asynchronous) as rig:
        yield rig


@pytest.fixture
def start(rig: Rig, flood: Callable[..., Flood]) -> Callable[..., Flood]:
    """start(consumers=n, sql=...) begins a flood into a database of its own on the cluster."""

    def begin(*, consumers: int = 2, sql: str = "", **more: object) -> Flood:
        run = flood(database=create_database(rig.cluster), **more)
        if sql:
            run.run_sql(sql)
        for _ in range(consumers):
            run.start_consumer()
        return run

    return begin


async def load(run: Flood, *, seed: int, records: int = RECORDS, seconds: float = LOAD_S) -> None:
    """Begin the flood once the group has settled: every consumer has its share."""
    await shared_out(run, 6)
    run.start_producer(records=records, seconds=seconds, seed=seed)


async def test_failover_in_the_middle_of_a_copy(rig: Rig, start: Callable[..., Flood]) -> None:
    run = start(sql=SLOW_ROWS)
    await load(run, seed=1)
    await until_doing(rig, run, "COPY%")
    fault = rig.faults.kill_node()
    await assert_exactly_once(rig, run, fault, records=RECORDS)


async def test_failover_in_the_middle_of_a_commit(rig: Rig, start: Callable[..., Flood]) -> None:
    run = start(consumers=1)
    await claimed(run, 6)
    run.run_sql(SLOW_COMMIT)
    run.start_producer(records=300, seconds=3, seed=2)
    await until_doing(rig, run, "COMMIT%")
    fault = rig.faults.kill_node()
    assert await asyncio.to_thread(rig.watch.wait_writable, fault.done_at_s, MOMENT_S)
    assert await asyncio.to_thread(wait_until, lambda: is_quick_again(run), MOMENT_S, 0.2)
    await assert_exactly_once(rig, run, fault, records=300)
    assert run.has_logged("outcome of a commit unknown")


def is_quick_again(run: Flood) -> bool:
    """HAProxy may still lead the next connection to the dead server."""
    try:
        run.run_sql("DROP TRIGGER IF EXISTS slow ON forebay.positions")
    except SqlFailed:
        return False
    return True


async def test_failover_in_the_middle_of_a_claim(rig: Rig, start: Callable[..., Flood]) -> None:
    run = start(consumers=1)
    await load(run, seed=3)
    async with holding(run, "SELECT 1 FROM forebay.positions FOR UPDATE"):
        run.start_consumer()
        await until_doing(rig, run, "%UPDATE forebay.positions%", waits_for_a_lock=True)
        fault = rig.faults.kill_node()
    await assert_exactly_once(rig, run, fault, records=RECORDS)


async def test_failover_while_the_schema_is_made(rig: Rig, start: Callable[..., Flood]) -> None:
    run = start(consumers=0)
    async with holding(run, schema_ddl.LOCK_SCHEMA):
        for _ in range(2):
            run.start_consumer()
        await until_doing(rig, run, "%advisory%", waits_for_a_lock=True)
        fault = rig.faults.kill_node()
    await load(run, seed=4)
    await assert_exactly_once(rig, run, fault, records=RECORDS)


async def test_two_failovers_in_a_row_the_second_before_all_have_come_back(
    rig: Rig, start: Callable[..., Flood]
) -> None:
    run = start()
    await load(run, seed=5)
    first = rig.faults.kill_node()
    assert await asyncio.to_thread(rig.watch.wait_writable, first.done_at_s, MOMENT_S)
    fault = rig.faults.kill_node(rig.find_leader())
    await assert_exactly_once(rig, run, fault, records=RECORDS)


@pytest.mark.parametrize(
    "pipeline",
    [
        pytest.param({}, id="append"),
        pytest.param({"consumer": {"lanes": 2}}, id="append-two-lanes"),
        pytest.param({"sql": KEYED, "sink": UPSERT, "consumer": {"lanes": 2}}, id="upsert-two-lanes"),
    ],
)
async def test_failover_that_loses_acknowledged_commits_is_rewound_by_what_was_lost(
    rig: Rig, start: Callable[..., Flood], pipeline: dict[str, Any]
) -> None:
    run = start(consumers=1, **pipeline)
    await load(run, seed=6, records=2 * RECORDS, seconds=2 * LOAD_S)
    await eventually(lambda: total(run, "records") > 0, MOMENT_S, run.tails)
    at_leader = rig.cluster.nodes[rig.find_leader()].admin(run.database.dbname)
    replicated: list[int] = []

    def is_acknowledged() -> bool:
        if not replicated:  # the cut is just behind us: at most so many
            replicated.append(int(rig.cluster.run_sql(WRITTEN, parts=at_leader)))
        return total(run, "records") > replicated[0] + 200

    fault = await asyncio.to_thread(rig.faults.lose_tail, is_acknowledged)
    assert fault.tail is not None
    assert fault.tail.complete
    await assert_exactly_once(rig, run, fault, records=2 * RECORDS)
    rewound = total(run, "rewound_records")
    assert rewound > 200
    if not run.has_logged("outcome of a commit unknown"):
        assert total(run, "records") == 2 * RECORDS + rewound, "what was lost is what was read again"


async def test_failover_while_a_consumer_is_killed_and_another_takes_over(
    rig: Rig, start: Callable[..., Flood]
) -> None:
    dice = random.Random(7)
    run = start()
    await load(run, seed=7)
    await asyncio.sleep(dice.uniform(0.5, 2.0))  # the moment is the point
    run.kill(dice.choice(run.processes))
    run.start_consumer()
    fault = rig.faults.kill_node()
    await assert_exactly_once(rig, run, fault, records=RECORDS)


async def test_failover_that_loses_acknowledged_commits_while_partitions_move_to_a_new_consumer(
    rig: Rig, start: Callable[..., Flood]
) -> None:
    run = start(consumers=1)
    await load(run, seed=8)
    joining = run.start_consumer()
    assert wait_until(lambda: (s := joining.state()) is not None and len(s.partitions) > 0, MOMENT_S, 0.02)
    fault = await asyncio.to_thread(rig.faults.lose_tail)
    await assert_exactly_once(rig, run, fault, records=RECORDS)


async def test_broker_away_while_the_database_is_away(
    rig: Rig, start: Callable[..., Flood], own_kafka: KafkaFactory
) -> None:
    broker = own_kafka()
    create_topic(broker.bootstrap, "payments", 6, {})
    run = start(kafka=broker, topic="payments")
    await load(run, seed=9)
    await eventually(lambda: total(run, "records") > 0, MOMENT_S, run.tails)
    broker.kill()
    fault = rig.faults.kill_node()
    await asyncio.to_thread(broker.start)
    await assert_exactly_once(rig, run, fault, records=RECORDS)


async def test_switchover_under_load_leaves_the_members_of_the_group_alone(
    rig: Rig, start: Callable[..., Flood]
) -> None:
    run = start(kafka_config=PATIENT)
    await load(run, seed=10)
    await eventually(lambda: total(run, "records") > 0, MOMENT_S, run.tails)
    before = [len(process.log()) for process in run.processes]
    fault = await asyncio.to_thread(rig.faults.switchover)
    await assert_exactly_once(rig, run, fault, records=RECORDS)
    since = [process.log()[start:] for process, start in zip(run.processes, before, strict=True)]
    assert any("sink not ready" in log for log in since), "no consumer noticed the switchover"
    assert not any("partitions revoked" in log for log in since), "the group changed"
