"""Commits that wait for a synchronous standby: a wait that somebody cancels is no proof of anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.cluster import HaCluster
from forebay_cli.local.ha.faults import Expiry
from forebay_cli.local.ha.settings import Durability, HaSettings
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.postgres_sink import PostgresSink
from support.ha_rig import DEADLINE_S, Rig, use_rig
from support.rows import rows_batch, rows_chunk
from support.sinks import SinkRig, write_secret
from support.testbed.servers import create_database

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CANCEL = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT';"


@pytest.fixture(scope="module")
def synchronous() -> Iterator[HaCluster]:
    """A running cluster for all tests of this file; they leave it healthy."""
    with HaCluster(HaSettings(durability=Durability.SYNCHRONOUS)) as cluster:
        yield cluster


@pytest.fixture
def rig(synchronous: HaCluster) -> Iterator[Rig]:
    """The cluster, healthy and watched; healed in the end."""
    with use_rig(synchronous) as rig:
        yield rig


@pytest.fixture
async def sinks(rig: Rig, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(create_database(rig.cluster), tmp_path / "secret")
    await made.run("CREATE TABLE events (id bigint, note text)")
    yield made
    for sink in made.opened:
        sink.terminate()


async def write_cancelled(rig: Rig, sinks: SinkRig, lose: bool) -> PostgresSink:
    """Write two records; the wait for the standby is cancelled. lose: and the primary dies with them."""
    sink, claims = await sinks.claimed()
    leader = rig.cluster.nodes[rig.find_leader()].admin()
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    async def write() -> SinkUnavailable:
        await told.wait()
        with pytest.raises(SinkUnavailable) as seen:
            await sink.write(rows_batch(claims, rows_chunk([(1, "a"), (2, "b")])))
        return seen.value

    def is_cancelled() -> bool:
        loop.call_soon_threadsafe(told.set)
        return rig.cluster.run_sql(CANCEL, parts=leader) != "0"

    writing = asyncio.create_task(write())
    if lose:
        fault = await asyncio.to_thread(rig.faults.lose_tail, is_cancelled)
        assert fault.tail is not None
        assert fault.tail.complete
        assert await asyncio.to_thread(rig.watch.wait_writable, fault.done_at_s, DEADLINE_S)
    else:
        for name in rig.cluster.nodes.keys() - {rig.find_leader()}:
            rig.faults.freeze_node(name, expire=Expiry.NEVER)
        assert await asyncio.to_thread(wait_until, is_cancelled, DEADLINE_S)
        rig.faults.heal()
    error = await writing
    assert (error.reason, error.outcome_unknown) == ("NotReplicated", True)
    return sink


@pytest.mark.parametrize(
    ("lose", "position"), [pytest.param(True, 0, id="lost-by-a-failover"), pytest.param(False, 2, id="kept")]
)
async def test_a_commit_whose_wait_was_cancelled_is_what_the_next_claim_says(
    rig: Rig, sinks: SinkRig, lose: bool, position: int
) -> None:
    sink = await write_cancelled(rig, sinks, lose)

    await connected(sink)
    claim = (await sink.claim([0]))[0]

    assert claim.next_offset == position
    if position == 0:
        await sink.write(rows_batch({0: claim}, rows_chunk([(1, "a"), (2, "b")])))
    rig.faults.heal()
    await asyncio.to_thread(rig.cluster.wait_healthy, DEADLINE_S)
    assert await sinks.query("SELECT id FROM events ORDER BY id") == [(1,), (2,)]


async def test_a_standby_is_never_written_to(rig: Rig, sinks: SinkRig) -> None:
    sink, _ = await sinks.claimed()
    await asyncio.to_thread(rig.cluster.wait_healthy, DEADLINE_S)
    await asyncio.to_thread(rig.wait_replayed)
    write_secret(sinks.folder, port=rig.cluster.replicas_port)
    assert (await refused(sink)).reason == "ReadOnly"


async def test_a_session_that_finds_itself_on_a_standby_claims_nothing_and_ends(rig: Rig, sinks: SinkRig) -> None:
    """As if the check at the beginning had come a moment too early."""
    sink, _ = await sinks.claimed()
    await asyncio.to_thread(rig.cluster.wait_healthy, DEADLINE_S)
    await asyncio.to_thread(rig.wait_replayed)
    parts = sinks.database.parts
    standby = await asyncpg.connect(
        host=parts.host, port=rig.cluster.replicas_port, user=parts.user, password=parts.password, database=parts.dbname
    )
    assert sink._session is not None
    sink._session.terminate()
    sink._session._connection = standby
    with pytest.raises(SinkUnavailable) as seen:
        await sink.claim([0])
    assert seen.value.reason == "ReadOnly"
    assert standby.is_closed(), "a pool would keep a session that no longer writes"


async def connected(sink: PostgresSink) -> None:
    """As the pipeline does: again and again. HAProxy may still know the dead primary."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await sink.connect()
            except SinkUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def refused(sink: PostgresSink) -> SinkUnavailable:
    """What the server says, once it answers in time."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with pytest.raises(SinkUnavailable) as seen:
                await sink.connect()
            if seen.value.reason != "TimedOut":
                return seen.value
