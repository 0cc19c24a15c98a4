"""Predecessors that are frozen inside a transaction are ended; healthy ones are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from forebay_consumer import sql
from forebay_consumer.errors import Fenced, SinkUnavailable
from forebay_consumer.postgres_sink import PostgresSink
from forebay_consumer.postgres_sink import connection as door
from support.rows import encode_row, rows_batch, rows_chunk
from support.sinks import SinkRig, write_secret
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration

KEYED = "CREATE TABLE events (id bigint PRIMARY KEY, note text)"


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        sink.terminate()


def slow_commit(seconds: int) -> tuple[str, str]:
    """DDL that makes each COMMIT of a row last so long."""
    return (
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()",
    )


def wire(sink: PostgresSink) -> Any:
    """The client library's connection of a sink."""
    assert sink._session is not None
    return sink._session._connection


async def wait_for(rig: SinkRig, condition: str, *args: object, expected: bool = True) -> None:
    """Poll a condition on pg_stat_activity until it holds."""
    async with asyncio.timeout(60), rig.admin() as admin:
        found = f"SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE {condition}) = $1"
        while not await admin.fetchval(found, expected, *args):  # noqa: ASYNC110  another process' state has no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def frozen_in_copy(rig: SinkRig, sink: PostgresSink, rows: int = 2000) -> AsyncIterator[None]:
    """The sink's connection has begun a COPY of the ids 0..rows and sends nothing more."""

    async def send() -> AsyncIterator[bytes]:
        yield sql.COPY_BINARY_HEADER + b"".join(encode_row((n, "zombie")) for n in range(rows))
        await asyncio.Event().wait()

    connection = wire(sink)
    pid = connection.get_server_pid()
    await connection.execute(sql.BEGIN)
    task = asyncio.ensure_future(connection.copy_to_table("events", source=send(), format="binary"))
    await wait_for(rig, "pid = $2 AND query LIKE 'COPY%' AND wait_event_type = 'Client'", pid)
    try:
        yield
    finally:
        connection.terminate()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_successor_writes_within_five_seconds_of_a_predecessor_frozen_in_copy(rig: SinkRig) -> None:
    await rig.run(KEYED)
    zombie, _ = await rig.claimed()
    async with frozen_in_copy(rig, zombie):
        successor, claims = await rig.claimed()
        async with asyncio.timeout(5):
            receipt = await successor.write(rows_batch(claims, rows_chunk([(n, "new") for n in range(100)])))
    assert receipt.rows == 100
    assert await rig.query("SELECT DISTINCT note FROM events") == [("new",)]


async def test_a_zombie_from_several_owners_ago_is_ended_too(rig: SinkRig) -> None:
    await rig.run(KEYED)
    zombies = [(await rig.claimed())[0] for _ in range(2)]
    async with frozen_in_copy(rig, zombies[0], rows=10_000), frozen_in_copy(rig, zombies[1], rows=0):
        for _ in range(3):
            await rig.claimed()
        successor, claims = await rig.claimed()
        async with asyncio.timeout(5):
            await successor.write(rows_batch(claims, rows_chunk([(n, "new") for n in range(100)])))
    assert await rig.value("SELECT count(*) FROM events WHERE note = 'new'") == 100


async def test_a_claim_ends_a_predecessor_frozen_before_its_commit(rig: SinkRig) -> None:
    await rig.run(KEYED)
    zombie, _ = await rig.claimed()
    await wire(zombie).execute("BEGIN; UPDATE forebay.positions SET next_offset = 99")
    successor = rig.sink()
    await successor.connect()
    async with asyncio.timeout(5):
        claims = await successor.claim([0])
    assert (claims[0].epoch, claims[0].next_offset) == (2, 0)


async def test_a_claim_waits_for_the_commit_of_a_healthy_predecessor(rig: SinkRig) -> None:
    await rig.run(KEYED)
    healthy, old = await rig.claimed()
    successor = rig.sink()
    await successor.connect()
    await wire(healthy).execute("BEGIN; UPDATE forebay.positions SET next_offset = 99")
    claiming = asyncio.ensure_future(successor.claim([0]))
    await wait_for(rig, "wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'")
    await wire(healthy).execute("COMMIT")
    claims = await claiming
    assert claims[0].next_offset == 99
    with pytest.raises(Fenced):
        await healthy.write(rows_batch(old, rows_chunk([(1, "x")])))
    assert await healthy.stored_partitions() == frozenset({0})


async def test_a_predecessor_that_is_slow_but_working_is_not_ended(rig: SinkRig) -> None:
    await rig.run(KEYED)
    busy, _ = await rig.claimed()
    successor = rig.sink()
    await successor.connect()
    await wire(busy).execute("BEGIN; UPDATE forebay.positions SET next_offset = 99")
    working = asyncio.ensure_future(wire(busy).execute("SELECT pg_sleep(3)"))
    claiming = asyncio.ensure_future(successor.claim([0]))
    await working
    await wire(busy).execute("COMMIT")
    assert (await claiming)[0].next_offset == 99


async def test_a_frozen_session_of_another_role_is_named_with_the_grant(rig: SinkRig, tmp_path: Path) -> None:
    await rig.run(KEYED)
    zombie, _ = await rig.claimed()
    other = f"other_{rig.database.user}"
    await rig.run(
        f"CREATE ROLE {other} LOGIN PASSWORD 'pw'",
        f"GRANT ALL ON SCHEMA forebay, public TO {other}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA forebay, public TO {other}",
        as_user=False,
    )
    folder = write_secret(
        tmp_path / "other",
        host="127.0.0.1",
        port=rig.database.port,
        dbname=rig.database.dbname,
        user=other,
        password="pw",
    )
    try:
        async with frozen_in_copy(rig, zombie):
            successor, claims = await rig.claimed(folder=folder)
            with pytest.raises(
                SinkUnavailable, match=f'GRANT pg_read_all_stats, pg_signal_backend TO "{other}"'
            ) as seen:
                await successor.write(rows_batch(claims, rows_chunk([(1, "new")])))
            assert seen.value.reason == "LockedByPredecessor"
            await rig.run(f"GRANT pg_read_all_stats, pg_signal_backend TO {other}", as_user=False)
            successor, claims = await rig.claimed(folder=folder)
            receipt = await successor.write(rows_batch(claims, rows_chunk([(1, "new")])))
        assert receipt.rows == 1
    finally:
        for sink in rig.opened:
            sink.terminate()
        await rig.run(f"DROP OWNED BY {other}", f"DROP ROLE {other}", as_user=False)


async def test_a_write_cancelled_in_its_commit_sends_no_cancel_request(rig: SinkRig) -> None:
    await rig.run(KEYED, *slow_commit(1))
    sink, claims = await rig.claimed()
    pid = wire(sink).get_server_pid()
    writing = asyncio.ensure_future(sink.write(rows_batch(claims, rows_chunk([(1, "x")]))))
    await wait_for(rig, "pid = $2 AND query = 'COMMIT' AND wait_event = 'PgSleep'", pid)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await wait_for(rig, "pid = $2", pid, expected=False)
    _, again = await rig.claimed()
    assert again[0].next_offset == await rig.value("SELECT count(*) FROM events") == 1


async def test_a_commit_that_outlasts_its_limit_has_an_unknown_outcome(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "COMMIT_LIMIT_S", 0.3)
    await rig.run(KEYED, *slow_commit(2))
    sink, claims = await rig.claimed()
    with pytest.raises(SinkUnavailable) as seen:
        await sink.write(rows_batch(claims, rows_chunk([(1, "x")])))
    assert (seen.value.reason, seen.value.outcome_unknown) == ("CommitTimedOut", True)
    successor = rig.sink()
    await successor.connect()
    claims = dict(await successor.claim([0]))
    assert claims[0].next_offset == await rig.value("SELECT count(*) FROM events")


async def test_terminate_during_a_commit_leaves_its_outcome_to_the_next_claim(rig: SinkRig) -> None:
    await rig.run(KEYED, *slow_commit(1))
    sink, claims = await rig.claimed()
    pid = wire(sink).get_server_pid()
    writing = asyncio.ensure_future(sink.write(rows_batch(claims, rows_chunk([(1, "x")]))))
    await wait_for(rig, "pid = $2 AND query = 'COMMIT' AND wait_event = 'PgSleep'", pid)
    sink.terminate()
    with pytest.raises(SinkUnavailable) as seen:
        await writing
    assert seen.value.outcome_unknown
    _, again = await rig.claimed()
    assert again[0].next_offset == await rig.value("SELECT count(*) FROM events")
