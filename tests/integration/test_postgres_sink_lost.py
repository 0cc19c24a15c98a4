"""A server that goes away in the middle of something: noticed at once, classed, and resolved by the next claim."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.postgres_sink import PostgresSink
from forebay_consumer.postgres_sink.connection import CONNECT_FIRST_S
from forebay_consumer.records import Batch, Claim
from support.fault_proxy import FaultProxy, Way, fault_proxy
from support.rows import rows_batch, rows_chunk
from support.sinks import SinkRig, write_secret
from support.testbed.servers import DatabaseFactory, FreshDatabase

pytestmark = pytest.mark.integration

TABLE = "CREATE TABLE events (id bigint, note text)"
AT_ONCE_S = 3.0
"""Far below the time limit of a COPY, with room for a busy machine; a retry would be noticed as well."""

Runner = Callable[[Coroutine[Any, Any, None]], None]


@asynccontextmanager
async def behind_proxy(database: FreshDatabase, folder: Path) -> AsyncIterator[tuple[SinkRig, FaultProxy]]:
    """A rig whose sinks go through the proxy, and whose superuser does not."""
    rig = SinkRig(database, folder)
    await rig.run(TABLE)
    async with fault_proxy(database.host, database.port) as proxy:
        write_secret(rig.folder, port=proxy.port)
        try:
            yield rig, proxy
        finally:
            for sink in rig.opened:
                sink.terminate()


@pytest.fixture
async def lost(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[tuple[SinkRig, FaultProxy]]:
    async with behind_proxy(database(), tmp_path / "secret") as pair:
        yield pair


def large_batch(claims: dict[int, Claim]) -> Batch:
    """Some 12 MB: more than the sockets on the way hold."""
    return rows_batch(claims, rows_chunk([(n, "x" * 100_000) for n in range(120)]))


async def write_until_lost(sink: PostgresSink, batch: Batch) -> SinkUnavailable:
    with pytest.raises(SinkUnavailable) as seen:
        await sink.write(batch)
    return seen.value


@pytest.mark.parametrize("runner", [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")])
@pytest.mark.parametrize("cut_after", [0, 300_000, 4_000_000])
def test_a_server_that_dies_in_the_middle_of_a_copy_is_noticed_at_once(
    runner: Runner, cut_after: int, database: DatabaseFactory, tmp_path: Path
) -> None:
    fresh = database()

    async def scene() -> None:
        async with behind_proxy(fresh, tmp_path / "secret") as (rig, proxy):
            sink, claims = await rig.claimed()
            proxy.cut_after = proxy.sent_bytes + cut_after + 100_000
            began = time.monotonic()
            error = await write_until_lost(sink, large_batch(claims))
            assert time.monotonic() - began < AT_ONCE_S
            assert (error.reason, error.outcome_unknown) == ("ConnectionLost", False)
            proxy.cut_after = None
            await sink.connect()
            assert (await sink.claim([0]))[0].next_offset == 0
            assert await rig.value("SELECT count(*) FROM events") == 0

    runner(scene())


@pytest.mark.parametrize("runner", [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")])
def test_a_server_that_freezes_in_the_middle_of_a_copy_and_is_cut_off_is_noticed_at_once(
    runner: Runner, database: DatabaseFactory, tmp_path: Path
) -> None:
    fresh = database()

    async def scene() -> None:
        async with behind_proxy(fresh, tmp_path / "secret") as (rig, proxy):
            sink, claims = await rig.claimed()
            proxy.freeze()
            writing = asyncio.ensure_future(write_until_lost(sink, large_batch(claims)))
            done, _ = await asyncio.wait({writing}, timeout=0.5)
            assert not done, "a silent server is no lost one"
            began = time.monotonic()
            proxy.cut()
            assert (await writing).reason == "ConnectionLost"
            assert time.monotonic() - began < AT_ONCE_S

    runner(scene())


async def test_a_commit_whose_answer_is_lost_is_resolved_by_the_next_claim(lost: tuple[SinkRig, FaultProxy]) -> None:
    rig, proxy = lost
    sink, claims = await rig.claimed()
    proxy.deaf_to = b"COMMIT\x00"
    writing = asyncio.ensure_future(write_until_lost(sink, rows_batch(claims, rows_chunk([(1, "a"), (2, "b")]))))
    async with asyncio.timeout(60):
        while await rig.value("SELECT next_offset FROM forebay.positions") != 2:  # noqa: ASYNC110  the server's state
            await asyncio.sleep(0.02)
    assert not writing.done()
    proxy.deaf_to = None
    proxy.cut()
    error = await writing
    assert (error.reason, error.outcome_unknown) == ("ConnectionLost", True)
    await sink.connect()
    assert (await sink.claim([0]))[0].next_offset == 2
    assert await rig.value("SELECT count(*) FROM events") == 2


async def test_a_commit_that_never_arrived_is_resolved_by_the_next_claim(lost: tuple[SinkRig, FaultProxy]) -> None:
    rig, proxy = lost
    sink, claims = await rig.claimed()
    assert sink._session is not None
    await sink._session.execute("SELECT 1")
    proxy.freeze()
    committing = asyncio.ensure_future(sink._session.commit())
    await asyncio.wait({committing}, timeout=0.2)
    proxy.cut()
    with pytest.raises(SinkUnavailable) as seen:
        await committing
    assert seen.value.outcome_unknown
    proxy.thaw()
    await sink.connect()
    assert (await sink.claim([0]))[0].next_offset == claims[0].next_offset == 0


async def test_a_connection_lost_while_idle_is_noticed_by_the_next_call(lost: tuple[SinkRig, FaultProxy]) -> None:
    rig, proxy = lost
    sink, claims = await rig.claimed()
    proxy.cut()
    error = await write_until_lost(sink, rows_batch(claims, rows_chunk([(1, "a")])))
    assert error.reason == "ConnectionLost"
    await sink.connect()
    assert await sink.claim([0])


@pytest.mark.parametrize(
    ("function", "reason"), [("pg_terminate_backend", "ConnectionLost"), ("pg_cancel_backend", "Cancelled")]
)
async def test_a_backend_that_is_ended_or_cancelled_in_the_middle_of_a_copy_writes_nothing(
    lost: tuple[SinkRig, FaultProxy], function: str, reason: str
) -> None:
    rig, proxy = lost
    sink, claims = await rig.claimed()
    assert sink._session is not None
    pid = sink._session.backend.pid
    lock = "BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE"
    async with rig.admin() as admin:
        await admin.execute(lock)
        writing = asyncio.ensure_future(write_until_lost(sink, large_batch(claims)))
        waits = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
        async with asyncio.timeout(60):
            while not await admin.fetchval(waits, pid):  # noqa: ASYNC110  the server's state has no event
                await asyncio.sleep(0.02)
        assert await admin.fetchval(f"SELECT {function}($1)", pid)
        assert (await writing).reason == reason
        await admin.execute("ROLLBACK")
    await sink.connect()
    assert (await sink.claim([0]))[0].next_offset == 0
    assert proxy.accepted >= 2


async def test_nobody_behind_the_proxy_is_told_at_once(lost: tuple[SinkRig, FaultProxy]) -> None:
    rig, proxy = lost
    proxy.way = Way.REFUSE
    began = time.monotonic()
    with pytest.raises(SinkUnavailable) as seen:
        await rig.sink().connect()
    assert seen.value.reason in ("Unreachable", "ConnectionLost")
    assert time.monotonic() - began < AT_ONCE_S


async def test_a_frozen_server_is_given_up_soon_and_a_slow_one_gets_its_time(
    lost: tuple[SinkRig, FaultProxy],
) -> None:
    rig, proxy = lost
    proxy.freeze()
    sink, took = rig.sink(patient=False), []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(SinkUnavailable) as seen:
            await sink.connect()
        assert seen.value.reason == "TimedOut"
        took.append(time.monotonic() - began)
    assert CONNECT_FIRST_S * 0.9 < took[0] < CONNECT_FIRST_S + AT_ONCE_S
    assert took[2] > CONNECT_FIRST_S * 3.9
    proxy.cut()
    proxy.thaw()
    await sink.connect()
    assert sink._connect_limit.seconds < took[2]
