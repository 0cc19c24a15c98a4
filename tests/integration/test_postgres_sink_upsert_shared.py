"""Mode Upsert with several consumers, a frozen one among them, and random operations against a model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forebay_consumer import sql, sql_upsert
from forebay_consumer.postgres_sink import PostgresSink
from forebay_consumer.staging import Staging
from support.rows import encode_row
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory
from support.upserts import DIRECT, MARKED, Record, Tombstone, Upserting, start

pytestmark = pytest.mark.integration

EVENTS = "CREATE TABLE events (id bigint PRIMARY KEY, note text CHECK (note <> 'bad'), state text DEFAULT 'new')"

both_ways = pytest.mark.parametrize("staging", [Staging(), DIRECT], ids=["staged", "direct"])


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        sink.terminate()


def wire(sink: PostgresSink) -> Any:
    """The client library's connection of a sink."""
    assert sink._session is not None
    return sink._session._connection


async def wait_for(rig: SinkRig, condition: str, *args: object) -> None:
    """Poll a condition on pg_stat_activity until it holds."""
    async with asyncio.timeout(60), rig.admin() as admin:
        found = f"SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE {condition})"
        while not await admin.fetchval(found, *args):  # noqa: ASYNC110  another process' state has no event
            await asyncio.sleep(0.02)


@both_ways
async def test_consumers_with_the_same_keys_wait_for_each_other_without_a_deadlock(
    rig: SinkRig, staging: Staging
) -> None:
    """A key belongs into one partition, but nobody stops a producer from another opinion."""
    await rig.run(EVENTS)
    consumers = [await start(rig, partitions=(number,), staging=staging) for number in range(2)]

    async def work(consumer: Upserting, partition: int) -> None:
        dice = random.Random(partition)
        for turn in range(12):
            keys = list(range(400))
            dice.shuffle(keys)
            await consumer.write(*({"id": key, "note": f"{partition}/{turn}"} for key in keys), partition=partition)

    async with asyncio.TaskGroup() as tasks:
        for number, consumer in enumerate(consumers):
            tasks.create_task(work(consumer, number))
    assert await rig.value("SELECT count(*) FROM events") == 400
    assert await rig.value("SELECT count(DISTINCT note) FROM events") == 1
    assert await rig.value("SELECT min(note) FROM events") in ("0/11", "1/11")
    assert await rig.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def freeze_in_merge(rig: SinkRig, zombie: Upserting, notes: str) -> None:
    """The consumer has merged the ids 0..99 and does nothing more: the rows are locked."""
    connection = wire(zombie.sink)
    plan = zombie.sink._target.plan if zombie.sink._target else None
    assert plan is not None
    await connection.execute(sql.BEGIN)
    await connection.execute(sql_upsert.build_stage(plan, "forebay_stage90", ("id", "note", "state"), ("id", "note")))
    rows = sql.COPY_BINARY_HEADER + b"".join(encode_row((n, notes)) for n in range(100))

    async def send() -> AsyncIterator[bytes]:
        yield rows

    await connection.copy_to_table("forebay_stage90", source=send(), format="binary")
    await connection.execute(sql_upsert.build_merge(plan, "forebay_stage90", ("id", "note")))


@both_ways
async def test_a_successor_writes_within_five_seconds_of_a_predecessor_frozen_with_its_rows_locked(
    rig: SinkRig, staging: Staging
) -> None:
    await rig.run(EVENTS)
    zombie = await start(rig)
    await zombie.write({"id": 1, "note": "old"})
    await freeze_in_merge(rig, zombie, "zombie")
    successor = await start(rig, staging=staging)
    async with asyncio.timeout(5):
        receipt = await successor.write(*({"id": n, "note": "new"} for n in range(50)), {"id": 60, "op": "d"})
    assert receipt.rows == 50
    assert await rig.query("SELECT DISTINCT note FROM events") == [("new",)]


async def test_a_successor_deletes_the_rows_that_a_predecessor_frozen_in_copy_has_locked(rig: SinkRig) -> None:
    """The predecessor hangs in the middle of a COPY straight into the table."""
    await rig.run(EVENTS)
    zombie = await start(rig)
    await zombie.write(*({"id": n, "note": "old"} for n in range(10)))

    async def send() -> AsyncIterator[bytes]:
        yield sql.COPY_BINARY_HEADER + b"".join(encode_row((n, "zombie", "s")) for n in range(100, 5000))
        await asyncio.Event().wait()

    connection = wire(zombie.sink)
    await connection.execute("BEGIN; UPDATE events SET note = 'zombie' WHERE id < 10")
    task = asyncio.ensure_future(connection.copy_to_table("events", source=send(), format="binary"))
    await wait_for(rig, "pid = $1 AND query LIKE 'COPY%' AND wait_event_type = 'Client'", connection.get_server_pid())
    try:
        successor = await start(rig)
        async with asyncio.timeout(5):
            await successor.write(Tombstone(3), {"id": 200, "note": "new"}, *({"id": n, "op": "d"} for n in range(10)))
        assert await rig.query("SELECT id, note FROM events") == [(200, "new")]
    finally:
        connection.terminate()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


Model = dict[int, tuple[str | None, str | None]]


def apply(model: Model, record: Record) -> bool:
    """What a record does to the table, read as if it came alone; False: it is dead."""
    if isinstance(record, Tombstone):
        model.pop(record.key, None)
        return True
    assert isinstance(record, dict)
    if record.get("op") == "d":
        model.pop(record["id"], None)
        return True
    if record.get("note") == "bad":
        return False
    model[record["id"]] = (record.get("note"), record.get("state", "new"))
    return True


def draw_record(dice: random.Random, keys: int) -> Record:
    key = dice.randrange(keys)
    match dice.randrange(10):
        case 0:
            return Tombstone(key)
        case 1:
            return {"id": key, "op": "d"}
        case 2:
            return {"id": key, "note": "n" + str(dice.randrange(4))}
        case 3:
            return {"id": key, "state": None}
        case 4 if dice.random() < 0.3:
            return {"id": key, "note": "bad", "state": "x"}
        case _:
            return {"id": key, "note": "n" + str(dice.randrange(4)), "state": "s" + str(dice.randrange(3))}


@pytest.mark.parametrize("seed", range(5))
async def test_random_operations_in_random_batches_leave_what_the_model_says(rig: SinkRig, seed: int) -> None:
    """Both ways, with conflicts, rewinds, new connections and refused rows; each record as if it had come alone."""
    dice = random.Random(seed)
    await rig.run(EVENTS)
    pipeline = make_pipeline(key=("id",), delete_when=MARKED)
    consumer = await start(rig, pipeline=pipeline)
    model: Model = {}
    log: list[Record] = []
    for _ in range(40):
        match dice.randrange(12):
            case 0:
                consumer = await start(rig, pipeline=pipeline)
            case 1 if log:
                model, consumer = await rewind(rig, log, dice.randrange(len(log)), model)
            case 2 | 3 | 4:
                consumer.writer.staging = replace(DIRECT, hold=8)
        batch = [draw_record(dice, keys=dice.choice([4, 12, 40])) for _ in range(dice.randint(1, 12))]
        log += batch
        await consumer.write(*batch, pieces=dice.randint(1, 3))
        for record in batch:
            apply(model, record)
        found = await rig.query("SELECT id, note, state FROM events")
        assert {key: (note, state) for key, note, state in found} == model


async def rewind(rig: SinkRig, log: list[Record], offset: int, model: Model) -> tuple[Model, Upserting]:
    """A failover took the position back but not the rows: the records from there on are written once more."""
    await rig.run(f"UPDATE forebay.positions SET next_offset = {offset}")
    consumer = await start(rig, pipeline=make_pipeline(key=("id",), delete_when=MARKED))
    again = dict(model)
    await consumer.write(*log[offset:])
    for record in log[offset:]:
        apply(again, record)
    return again, consumer
