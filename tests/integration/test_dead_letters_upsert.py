"""Replays of dead letters in mode Upsert, on real PostgreSQL: a row that may be newer is never replaced."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from forebay_api.v1alpha1 import ColumnSource, ColumnSpec, Pipeline
from forebay_consumer.errors import SinkBroken, SinkUnavailable
from forebay_consumer.letters import Selection
from forebay_consumer.postgres_sink import replay as replaying
from support.letters import feeder, letters_of, remaining, replay, replay_fully, with_version
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory
from support.upserts import MARKED

pytestmark = pytest.mark.integration

EVENTS = "CREATE TABLE events (id bigint PRIMARY KEY, note varchar(3), v bigint, mine text DEFAULT 'kept')"
WIDEN = "ALTER TABLE events ALTER COLUMN note TYPE text"
PLAIN = make_pipeline(columns=("id", "note", "v"), key=("id",), delete_when=MARKED)
VERSIONED = with_version(PLAIN, "v")

LONG = "too long"


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    await made.run(EVENTS)
    yield made
    for sink in made.opened:
        await sink.close()


async def events(rig: SinkRig) -> list[tuple[object, ...]]:
    return await rig.query("SELECT id, note, v FROM events ORDER BY id")


def record(key: int, note: str = LONG, v: int | None = None) -> dict[str, object]:
    return {"id": key, "note": note, "v": v}


def deletion(key: int, v: int | None = None) -> dict[str, object]:
    return {"id": key, "op": "d", "v": v}


@pytest.mark.parametrize("pipeline", [PLAIN, VERSIONED], ids=["plain", "versioned"])
async def test_a_key_that_is_not_there_is_inserted(rig: SinkRig, pipeline: Pipeline) -> None:
    consumer = await feeder(rig, pipeline)
    await consumer.write(record(1, v=5), record(2, v=6), record(3, "ok", v=7))
    await rig.run(WIDEN)
    assert await replay(rig, pipeline) == (2, {})
    assert await events(rig) == [(1, LONG, 5), (2, LONG, 6), (3, "ok", 7)]
    assert await rig.value("SELECT mine FROM events WHERE id = 1") == "kept"


async def test_without_versions_a_key_that_is_there_is_left_alone_and_the_letter_stays(rig: SinkRig) -> None:
    consumer = await feeder(rig, PLAIN)
    await consumer.write(record(1, v=1), record(2, v=1))
    await consumer.write(record(1, "new", v=2))
    await rig.run(WIDEN)

    assert await replay(rig, PLAIN) == (1, {"Superseded": 1})
    assert await events(rig) == [(1, "new", 2), (2, LONG, 1)]
    ((offset, reason, message),) = await remaining(rig, "record_offset, reason, message")
    assert (offset, reason) == (0, "Superseded")
    assert "spec.sink.versionColumn" in message

    assert await replay(rig, PLAIN) == (0, {"Superseded": 1}), "the answer is the same each time"
    assert await replay(rig, PLAIN, discard=True) == (1, {})
    assert (await events(rig))[0] == (1, "new", 2)
    assert await remaining(rig) == []


@pytest.mark.parametrize(
    ("letter", "row", "is_written"),
    [
        pytest.param(5, 4, True, id="higher"),
        pytest.param(5, 5, False, id="equal"),
        pytest.param(5, 6, False, id="lower"),
        pytest.param(None, 4, False, id="letter-without-version"),
        pytest.param(5, None, False, id="row-without-version"),
    ],
)
@pytest.mark.parametrize("is_deletion", [False, True], ids=["row", "deletion"])
async def test_with_versions_the_higher_one_counts(
    rig: SinkRig, letter: int | None, row: int | None, is_written: bool, is_deletion: bool
) -> None:
    # a key that the column's type refuses at first, so that a deletion can be a dead letter
    await rig.run("ALTER TABLE events ALTER COLUMN id TYPE int")
    consumer = await feeder(rig, VERSIONED)
    key = 2**31
    await consumer.write(deletion(key, letter) if is_deletion else record(key, "abc", letter))
    assert [reason for *_, reason in await remaining(rig)] == ["OutOfRange"]
    await rig.run("ALTER TABLE events ALTER COLUMN id TYPE bigint")
    await rig.run(f"INSERT INTO events (id, note, v) VALUES ({key}, 'row', {'NULL' if row is None else row})")

    assert await replay(rig, VERSIONED) == ((1, {}) if is_written else (0, {"Superseded": 1}))

    written: list[tuple[object, ...]] = [] if is_deletion else [(key, "abc", letter)]
    assert await events(rig) == (written if is_written else [(key, "row", row)])
    if not is_written:
        ((message,),) = await remaining(rig, "message")
        assert message.startswith("a later record of this key has been written: v of its row")


@pytest.mark.parametrize("pipeline", [PLAIN, VERSIONED], ids=["plain", "versioned"])
async def test_a_deletion_of_a_key_that_is_not_there_is_done(rig: SinkRig, pipeline: Pipeline) -> None:
    await rig.run("ALTER TABLE events ALTER COLUMN id TYPE int")
    consumer = await feeder(rig, pipeline)
    await consumer.write(deletion(2**31), None, keys=[None, b"2147483649"])
    assert await rig.value("SELECT count(*) FROM forebay.dead_letters") == 2
    await rig.run("ALTER TABLE events ALTER COLUMN id TYPE bigint")
    assert await replay(rig, pipeline) == (2, {})
    assert await events(rig) == []


async def test_a_tombstone_has_a_version_only_outside_of_its_value(rig: SinkRig) -> None:
    await rig.run("ALTER TABLE events ALTER COLUMN id TYPE int")
    consumer = await feeder(rig, VERSIONED)
    key = 2**31
    await consumer.write(None, keys=[str(key).encode()], timestamp_ms=5_000)
    await rig.run("ALTER TABLE events ALTER COLUMN id TYPE bigint", f"INSERT INTO events VALUES ({key}, 'row', 4)")
    assert await replay(rig, VERSIONED) == (0, {"Superseded": 1})

    timed = [ColumnSpec(name="v", source=ColumnSource.TIMESTAMP)]
    columns = (*(spec for spec in VERSIONED.spec.sink.columns if spec.name != "v"), *timed)
    sink = replace(VERSIONED.spec.sink, columns=columns)
    by_time = replace(VERSIONED, spec=replace(VERSIONED.spec, sink=sink))
    await rig.run("UPDATE events SET v = 5000")
    assert await replay(rig, by_time) == (0, {"Superseded": 1})
    await rig.run("UPDATE events SET v = 4999")
    assert await replay(rig, by_time) == (1, {})
    assert await events(rig) == []


@pytest.mark.parametrize("letters", [1, 2, 500])
@pytest.mark.parametrize("pipeline", [PLAIN, VERSIONED], ids=["plain", "versioned"])
async def test_of_several_letters_of_a_key_the_last_counts_in_one_transaction_and_in_several(
    rig: SinkRig, pipeline: Pipeline, letters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", letters)
    consumer = await feeder(rig, pipeline)
    await consumer.write(*(record(n % 3, f"{LONG} {n}", v=n) for n in range(12)))
    await rig.run(WIDEN)
    assert await replay(rig, pipeline) == (3, {"Superseded": 9})
    assert await events(rig) == [(n, f"{LONG} {9 + n}", 9 + n) for n in range(3)]


async def test_the_last_letter_counts_that_the_database_takes(rig: SinkRig) -> None:
    consumer = await feeder(rig, PLAIN)
    await consumer.write(record(1, "older one"), record(1, "forbidden"))
    await rig.run(WIDEN, "ALTER TABLE events ADD CHECK (note <> 'forbidden')")
    assert await replay(rig, PLAIN) == (1, {"ConstraintViolation": 1})
    assert await events(rig) == [(1, "older one", None)]


async def test_a_row_that_a_trigger_swallows_is_done_as_it_would_be_from_kafka(rig: SinkRig) -> None:
    consumer = await feeder(rig, PLAIN)
    await consumer.write(record(1), record(2))
    await rig.run(
        WIDEN,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.id = 1 THEN RETURN NULL; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER swallow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    assert await replay(rig, PLAIN) == (2, {})
    assert await events(rig) == [(2, LONG, None)]


async def waiting(rig: SinkRig) -> None:
    """Wait until a statement waits for a lock."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(60), rig.admin() as admin:
        while not await admin.fetchval(waits):  # noqa: ASYNC110  the server's state has no event
            await asyncio.sleep(0.02)


async def test_a_row_that_is_being_written_meanwhile_is_waited_for_and_left_alone(rig: SinkRig) -> None:
    consumer = await feeder(rig, PLAIN)
    await consumer.write(record(1))
    await rig.run(WIDEN)
    async with rig.admin() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("INSERT INTO events VALUES (1, 'from the consumer')")
        run = asyncio.create_task(replay(rig, PLAIN))
        await waiting(rig)
        await asyncio.sleep(0.8)  # longer than REPLAY_LOCK_TIMEOUT: it has given way at least once
        assert not run.done()
        await transaction.commit()
        assert await run == (0, {"Superseded": 1})
    assert await events(rig) == [(1, "from the consumer", None)]


async def test_a_replay_gives_way_to_a_consumer_and_says_so_in_the_end(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "GIVE_WAY_TRIES", 2)
    consumer = await feeder(rig, PLAIN)
    await consumer.write(record(1))
    await rig.run(WIDEN)
    async with rig.admin() as other, other.transaction():
        await other.execute("INSERT INTO events VALUES (1, 'from the consumer')")
        with pytest.raises(SinkUnavailable, match=r"LockTimeout.*run it again"):
            async with asyncio.timeout(60):
                await replay(rig, PLAIN)
    assert len(await remaining(rig)) == 1


async def test_replays_at_once_take_turns_and_the_last_letter_of_a_key_wins(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", 4)
    consumer = await feeder(rig, PLAIN)
    await consumer.write(*(record(n % 10, f"{LONG} {n}") for n in range(60)))
    await rig.run(WIDEN)
    runs = await asyncio.gather(*(replay_fully(rig, PLAIN) for _ in range(3)))
    assert sum(done.written for done, _ in runs) == 10
    assert await events(rig) == [(n, f"{LONG} {50 + n}", None) for n in range(10)]


async def test_a_second_replay_writes_no_older_letter_while_the_first_holds_the_newer_one(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", 1)
    consumer = await feeder(rig, PLAIN)
    await consumer.write(record(1, "the older one"), record(1, "the newer one"))
    await rig.run(WIDEN)
    write, held = replaying.Replay._write, asyncio.Event()

    async def write_late(self: replaying.Replay, *given: Any) -> Any:
        if not held.is_set():
            held.set()
            await asyncio.sleep(1.0)
        return await write(self, *given)

    monkeypatch.setattr(replaying.Replay, "_write", write_late)
    first = asyncio.create_task(replay_fully(rig, PLAIN))
    await held.wait()
    await asyncio.gather(first, replay_fully(rig, PLAIN))
    assert await events(rig) == [(1, "the newer one", None)]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        pytest.param("absent", "no column 'absent'", id="absent"),
        pytest.param("mine", "nothing fills column 'mine'", id="not-filled"),
        pytest.param("note", "must be a number, a date or a timestamp", id="text"),
    ],
)
async def test_a_version_that_cannot_be_one_is_refused_with_the_remedy(rig: SinkRig, column: str, told: str) -> None:
    with pytest.raises(SinkBroken, match=rf"spec\.sink\.versionColumn: .*{told}"):
        await rig.sink(with_version(PLAIN, column)).connect()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("is_versioned", [False, True], ids=["plain", "versioned"])
async def test_random_histories_end_as_the_rule_says(
    rig: SinkRig, seed: int, is_versioned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versioned: as if no record had ever been bad. Plain: what was written later stays; else the last letter."""
    chance = random.Random(seed)
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", chance.choice([1, 3, 10]))
    pipeline = VERSIONED if is_versioned else PLAIN
    consumer = await feeder(rig, pipeline, partitions=(0, 1))
    good: dict[int, tuple[object, ...]] = {}
    bad: dict[int, tuple[object, ...]] = {}
    for step in range(12):
        partition = chance.randrange(2)
        batch = []
        for place in range(chance.randrange(1, 8)):
            key, v = 2 * chance.randrange(6) + partition, 100 * step + place
            is_bad = chance.random() < 0.5
            (bad if is_bad else good)[key] = (key, LONG if is_bad else "ok", v)
            batch.append(record(key, LONG if is_bad else "ok", v))
        await consumer.write(*batch, partition=partition)
    await rig.run(WIDEN)
    if is_versioned:
        expected = {key: max(good.get(key, (0, "", -1)), bad.get(key, (0, "", -1)), key=_version) for key in good | bad}
    else:
        expected = bad | good

    await replay(rig, pipeline)

    assert await events(rig) == [expected[key] for key in sorted(expected)]
    async with letters_of(rig, pipeline) as admin:
        assert {count.reason for count in await admin.count(Selection())} <= {"Superseded"}


@pytest.mark.parametrize("pipeline", [PLAIN, VERSIONED], ids=["plain", "versioned"])
async def test_a_consumer_that_writes_the_same_keys_meanwhile_is_not_disturbed_and_has_the_last_word(
    rig: SinkRig, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", 15)
    chance = random.Random(11)
    consumer = await feeder(rig, pipeline)
    await consumer.write(*(record(chance.randrange(80), v=n) for n in range(600)))
    keys_of_letters = {json.loads(value)["id"] for (value,) in await remaining(rig, "record_value")}
    await rig.run(WIDEN)
    last: dict[int, tuple[object, ...]] = {}

    async def consume() -> None:
        consuming = await feeder(rig, pipeline)
        for step in range(60):
            batch = [record(chance.randrange(70), "ok", 1000 + 100 * step + place) for place in range(30)]
            await consuming.write(*batch)  # raises when it is fenced, deadlocked or kept waiting
            last.update({int(str(each["id"])): (each["id"], "ok", each["v"]) for each in batch})

    _, (done, _) = await asyncio.gather(consume(), replay_fully(rig, pipeline))

    found = {row[0]: row for row in await events(rig)}
    assert {key: found[key] for key in last} == last
    assert set(found) == keys_of_letters | set(last)
    assert done.written > 0
    assert done.left["Superseded"] + done.written == 600


def _version(row: tuple[object, ...]) -> int:
    assert isinstance(row[2], int)
    return row[2]
