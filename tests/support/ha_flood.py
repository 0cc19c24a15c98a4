"""A flood into a highly available cluster: ways to hold a consumer at a chosen moment, and the audit at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from forebay_api.state import ConsumerState, SinkHealth
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.faults import Fault
from support.flood import ConsumerProcess, Flood, eventually
from support.ha_rig import Rig

MOMENT_S = 90.0
"""Deadline for a consumer to come to the moment that is waited for, on a busy machine."""
DRAIN_S = 120.0

SLOW_ROWS = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END';
CREATE TRIGGER slow BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION dawdle();
"""
"""A COPY of a few hundred records then takes a good part of a second."""

SLOW_COMMIT = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON forebay.positions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.next_offset > OLD.next_offset) EXECUTE FUNCTION dawdle();
"""
"""COMMIT first takes a second for each position."""

IS_DOING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'forebay:%'
    AND query ILIKE $2 AND state = 'active' AND ($3 OR wait_event_type = 'Lock')
"""


async def until_doing(rig: Rig, run: Flood, what: str, *, waits_for_a_lock: bool = False) -> None:
    """Wait until a consumer's backend on the leader executes a statement like this."""
    parts = rig.cluster.nodes[rig.find_leader()].admin()
    connection = await asyncpg.connect(
        host=parts.host, port=parts.port, user=parts.user, password=parts.password, database=parts.dbname
    )
    try:

        async def is_doing() -> bool:
            found = await connection.fetchval(IS_DOING, run.database.dbname, what, not waits_for_a_lock)
            return bool(found)

        await eventually(is_doing, MOMENT_S, lambda: f"nobody does {what}: {run.tails()}", every_s=0.01)
    finally:
        await connection.close()


@asynccontextmanager
async def holding(run: Flood, statement: str) -> AsyncIterator[None]:
    """Keep what the statement locks, until the block or the server ends."""
    connection = await asyncpg.connect(run.database.admin.dsn)
    try:
        await connection.execute(f"BEGIN; {statement}")
        yield
    finally:
        connection.terminate()


async def claimed(run: Flood, partitions: int) -> None:
    """Wait until the consumers read so many partitions together."""
    await eventually(lambda: sum(c.claimed() for c in run.processes) == partitions, MOMENT_S, run.tails)


async def shared_out(run: Flood, partitions: int) -> None:
    """Wait until the group has settled: the consumers read so many partitions together, and each of them some."""

    def is_shared_out() -> bool:
        claims = [c.claimed() for c in run.processes]
        return sum(claims) == partitions and all(claims)

    await eventually(is_shared_out, MOMENT_S, run.tails)


async def all_report(run: Flood, health: SinkHealth) -> None:
    """Wait until every consumer says that of the database."""

    def is_said() -> bool:
        states = [c.state() for c in run.processes]
        return all(s is not None and s.sink.health is health for s in states)

    await eventually(is_said, MOMENT_S, run.tails)


async def assert_exactly_once(rig: Rig, run: Flood, fault: Fault, *, records: int) -> None:
    """Heal, drain, and compare what was sent with what is stored."""
    assert await asyncio.to_thread(rig.watch.wait_writable, fault.done_at_s, MOMENT_S), "no primary came"
    rig.faults.heal()
    await run.producer_ended(MOMENT_S)
    await run.drained(DRAIN_S)
    verdict = await run.audit()
    assert (verdict.problems, verdict.lost, verdict.duplicated, verdict.produced) == ((), 0, 0, records), (
        f"{verdict}\n{run.tails()}"
    )
    assert all(process.child.is_running() for process in run.processes), "a consumer ended"


async def first_commit_at(run: Flood, after_s: float) -> float:
    """When the first rows were committed after that moment (both monotonic); needs track_commit_timestamp."""
    offset_s = time.time() - time.monotonic()
    sql = """
        SELECT extract(epoch FROM min(at))::float8 FROM (SELECT pg_xact_commit_timestamp(xmin) AS at FROM payments) c
        WHERE at > to_timestamp($1)
    """
    connection = await asyncpg.connect(run.database.admin.dsn)
    try:
        return float(await connection.fetchval(sql, after_s + offset_s)) - offset_s
    finally:
        await connection.close()


def total(run: Flood, counter: str) -> int:
    """Sum of one of the consumers' totals. Blocks while one does not answer in time, on a busy machine."""
    states: dict[ConsumerProcess, ConsumerState] = {}

    def have_answered() -> bool:
        states.update({c: state for c in run.processes if c not in states and (state := c.state()) is not None})
        return len(states) == len(run.processes)

    assert wait_until(have_answered, MOMENT_S), f"a consumer does not answer: {run.tails()}"
    return sum(_read(state, counter) for state in states.values())


def _read(state: ConsumerState, counter: str) -> int:
    return int(getattr(state.totals, counter))
