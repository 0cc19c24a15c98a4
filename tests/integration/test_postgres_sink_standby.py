"""A commit that was waiting for a synchronous standby is not taken for one that the standby has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from forebay_consumer.errors import SinkUnavailable
from support.rows import rows_batch, rows_chunk
from support.sinks import SinkRig
from support.testbed.servers import PostgresFactory, create_database

pytestmark = pytest.mark.integration

CANCEL = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture
async def rig(own_postgres: PostgresFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(create_database(own_postgres()), tmp_path / "secret")
    yield made
    for sink in made.opened:
        sink.terminate()


async def until_commits_wait(rig: SinkRig, admin: Any) -> None:
    """The checkpointer makes all others wait some time after a session has the new setting."""
    async with asyncio.timeout(60), rig.admin() as other:
        while True:
            committing = asyncio.ensure_future(other.execute("SELECT pg_logical_emit_message(true, 'test', '')"))
            while not committing.done():
                if await admin.fetchval(CANCEL):
                    await committing
                    return
                await asyncio.sleep(0.02)


async def test_a_cancelled_wait_for_the_standby_is_an_unknown_outcome(rig: SinkRig) -> None:
    await rig.run("CREATE TABLE events (id bigint, note text)")
    sink, claims = await rig.claimed()
    async with rig.admin() as admin:
        await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await admin.execute("SELECT pg_reload_conf()")
        await until_commits_wait(rig, admin)
        writing = asyncio.ensure_future(sink.write(rows_batch(claims, rows_chunk([(1, "x")]))))
        async with asyncio.timeout(60):
            while not await admin.fetchval(CANCEL):  # noqa: ASYNC110  the server's state has no event
                await asyncio.sleep(0.02)
    with pytest.raises(SinkUnavailable) as seen:
        await writing
    assert (seen.value.reason, seen.value.outcome_unknown) == ("NotReplicated", True)
    assert await rig.value("SELECT count(*) FROM events") == 1
