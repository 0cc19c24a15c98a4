"""Replays of dead letters in mode Append, on real PostgreSQL: each row is written once, whatever happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forebay_api.v1alpha1 import ColumnSource, ColumnSpec
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.letters import Selection
from forebay_consumer.postgres_sink import catalog, letters_admin
from forebay_consumer.postgres_sink import replay as replaying
from forebay_consumer.records import Reason
from forebay_consumer.schema_ddl import schema_sql
from support.letters import feeder, letters_of, positions, remaining, replay, replay_fully
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration

EVENTS = "CREATE TABLE events (id bigint, note varchar(3))"
WIDEN = "ALTER TABLE events ALTER COLUMN note TYPE text"
PIPELINE = make_pipeline()
BAD, WORSE = {"id": 1, "note": "too long"}, {"id": "x", "note": "too long"}


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    await made.run(EVENTS)
    yield made
    for sink in made.opened:
        await sink.close()


async def events(rig: SinkRig) -> list[tuple[object, ...]]:
    return await rig.query("SELECT id, note FROM events ORDER BY id, note")


async def test_after_a_fix_the_rows_are_there_and_the_letters_gone(rig: SinkRig) -> None:
    consumer = await feeder(rig, PIPELINE)
    await consumer.write({"id": 0, "note": "ok"}, BAD, {"id": 2, "note": "also long"})
    before = await positions(rig)
    assert await remaining(rig) == [(0, 1, "OutOfRange"), (0, 2, "OutOfRange")]

    await rig.run(WIDEN)
    assert await replay(rig, PIPELINE) == (2, {})

    assert await events(rig) == [(0, "ok"), (1, "too long"), (2, "also long")]
    assert await remaining(rig) == []
    assert await positions(rig) == before
    assert await replay(rig, PIPELINE) == (0, {})


async def test_what_is_still_refused_stays_with_its_new_reason(rig: SinkRig) -> None:
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(BAD, {"id": 2, "note": "fine by then"}, b"{", WORSE)
    await rig.run(WIDEN, "ALTER TABLE events ADD CHECK (id > 1)")

    assert await replay(rig, PIPELINE) == (1, {"ConstraintViolation": 1, "InvalidJSON": 1, "WrongType": 1})

    assert await events(rig) == [(2, "fine by then")]
    found = await remaining(rig, "record_offset, reason, column_name, message, replayed_at > created_at")
    assert [row[:3] for row in found] == [
        (0, "ConstraintViolation", None),
        (2, "InvalidJSON", None),
        (3, "WrongType", "id"),
    ]
    assert "events_id_check" in found[0][3]
    assert all(row[4] for row in found)


async def test_a_plan_that_uses_more_of_a_record_finds_it_in_the_letter(rig: SinkRig) -> None:
    consumer = await feeder(rig, PIPELINE)
    headers = (("trace", b"old"), ("trace", b"abc"), ("raw", b"\xff\x00"), ("none", None))
    await consumer.write(BAD, keys=[b"k-1"], headers=headers)
    await rig.run(
        WIDEN,
        "ALTER TABLE events ADD k text, ADD trace text, ADD raw bytea, ADD at timestamptz, ADD p int, ADD o bigint",
    )
    columns = (
        ColumnSpec(name="note", source=ColumnSource.PATH, path=("note",)),
        ColumnSpec(name="k", source=ColumnSource.KEY),
        ColumnSpec(name="trace", source=ColumnSource.HEADER, header="trace"),
        ColumnSpec(name="raw", source=ColumnSource.HEADER, header="raw"),
        ColumnSpec(name="at", source=ColumnSource.TIMESTAMP),
        ColumnSpec(name="p", source=ColumnSource.PARTITION),
        ColumnSpec(name="o", source=ColumnSource.OFFSET),
    )
    sink = replace(PIPELINE.spec.sink, columns=columns)
    richer = replace(PIPELINE, spec=replace(PIPELINE.spec, sink=sink))

    assert await replay(rig, richer) == (1, {})

    at = datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert await rig.query("SELECT note, k, trace, raw, at, p, o FROM events") == [
        ("too long", "k-1", "abc", b"\xff\x00", at, 0, 0)
    ]


@pytest.mark.parametrize(
    ("selection", "offsets"),
    [
        pytest.param(Selection(reason=Reason.OUT_OF_RANGE), [0, 3], id="reason"),
        pytest.param(Selection(partition=1), [3], id="partition"),
        pytest.param(Selection(since=datetime.now(UTC) - timedelta(hours=1)), [3], id="since"),
        pytest.param(Selection(before=datetime.now(UTC) - timedelta(hours=1)), [0, 1], id="before"),
        pytest.param(Selection(ids=(1, 3, 999)), [0, 3], id="ids"),
        pytest.param(Selection(ids=(1, 3), partition=1), [3], id="all-that-is-said-holds"),
        pytest.param(Selection(ids=()), [], id="no-ids"),
    ],
)
async def test_only_what_was_chosen_is_touched(rig: SinkRig, selection: Selection, offsets: list[int]) -> None:
    consumer = await feeder(rig, PIPELINE, partitions=(0, 1))
    await consumer.write(BAD, b"{")
    await consumer.write({"id": 1, "note": ""}, {"id": 1, "note": ""}, {"id": 1, "note": ""}, BAD, partition=1)
    await rig.run("UPDATE forebay.dead_letters SET created_at = created_at - interval '1 day' WHERE partition = 0")
    await rig.run(WIDEN)
    async with letters_of(rig, PIPELINE) as admin:
        assert [row.offset for row in reversed(await admin.find(selection, 10))] == offsets
        assert sum(count.letters for count in await admin.count(selection)) == len(offsets)
    await replay(rig, PIPELINE, selection)
    tried = await rig.query("SELECT record_offset FROM forebay.dead_letters WHERE replayed_at IS NULL ORDER BY 1")
    assert [offset for (offset,) in tried] == sorted({0, 1, 3} - set(offsets))


async def test_letters_of_another_table_are_left_alone_and_counted(rig: SinkRig) -> None:
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(BAD, BAD)
    await rig.run(WIDEN, "UPDATE forebay.dead_letters SET target = 'public.former' WHERE record_offset = 0")
    assert await replay(rig, PIPELINE) == (1, {})
    async with letters_of(rig, PIPELINE) as admin:
        (count,) = await admin.count(Selection())
    assert (count.letters, count.elsewhere) == (1, 1)


async def test_letters_of_another_group_are_nobodys_business(rig: SinkRig) -> None:
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(BAD)
    await rig.run(WIDEN)
    other = make_pipeline(group="bank.other")
    assert await replay(rig, other) == (0, {})
    async with letters_of(rig, other) as admin:
        assert (await admin.count(Selection()), await admin.read([1])) == ((), ())
        assert await admin.purge(Selection()) == (0, 0)
    assert len(await remaining(rig)) == 1


async def test_many_letters_go_through_several_transactions(rig: SinkRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", 7)
    monkeypatch.setattr(replaying, "REPLAY_BYTES", 100)
    consumer = await feeder(rig, PIPELINE, partitions=(0, 1))
    for partition in (0, 1):
        await consumer.write(*({"id": n, "note": "long" * (n % 9 + 1)} for n in range(50)), b"[]", partition=partition)
    await rig.run(WIDEN)
    assert await replay(rig, PIPELINE) == (100, {"NotAnObject": 2})
    assert Counter(row[0] for row in await events(rig)) == dict.fromkeys(range(50), 2)


async def test_a_record_that_is_there_twice_is_written_twice(rig: SinkRig) -> None:
    """Positions that were moved back by hand write every record again, the bad ones too."""
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(BAD)
    columns = '"group", topic, partition, record_offset, reason, message, record_value, target'
    again = f"INSERT INTO forebay.dead_letters ({columns}) SELECT {columns} FROM forebay.dead_letters"
    await rig.run(again, WIDEN)
    assert await replay(rig, PIPELINE) == (2, {})
    assert len(await events(rig)) == 2


async def test_two_replays_at_once_write_each_row_once(rig: SinkRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", 5)
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(*({"id": n, "note": "too long"} for n in range(150)))
    await rig.run(WIDEN)
    async with AsyncExitStack() as stack:  # connected first: one could be done before another begins
        admins = [await stack.enter_async_context(letters_of(rig, PIPELINE)) for _ in range(3)]
        runs = await asyncio.gather(*(admin.replay(Selection(), discard_superseded=False) for admin in admins))
    assert sum(done.written for done, _ in runs) == 150
    assert sum(done.written > 0 for done, _ in runs) > 1, "they did not run at once"
    assert [row[0] for row in await events(rig)] == list(range(150))


async def test_a_letter_that_another_run_holds_is_not_tried_and_told(rig: SinkRig) -> None:
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(BAD, BAD)
    await rig.run(WIDEN)
    async with rig.admin() as other, other.transaction():
        await other.execute("SELECT 1 FROM forebay.dead_letters WHERE record_offset = 0 FOR UPDATE")
        done, waiting = await replay_fully(rig, PIPELINE)
    assert (done.written, waiting) == (1, 1)
    assert await replay(rig, PIPELINE) == (1, {})


async def test_a_replay_that_breaks_off_leaves_no_row_without_its_letter(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "REPLAY_LETTERS", 4)
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(*({"id": n, "note": "too long"} for n in range(10)))
    await rig.run(WIDEN)
    settle, steps = replaying.Replay._check_definition, 0

    async def die(self: replaying.Replay) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            self._session.terminate()
        await settle(self)

    monkeypatch.setattr(replaying.Replay, "_check_definition", die)
    with pytest.raises(SinkUnavailable):
        await replay(rig, PIPELINE)
    assert (len(await events(rig)), len(await remaining(rig))) == (4, 6)
    assert await replay(rig, PIPELINE) == (6, {})
    assert [row[0] for row in await events(rig)] == list(range(10))


async def test_a_table_that_changes_meanwhile_is_not_written_by_the_old_plan(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(BAD)
    await rig.run(WIDEN)
    describe = catalog.describe_target

    async def describe_and_change(*given: object) -> object:
        target = await describe(*given)  # type: ignore[arg-type]  # passed on
        await rig.run("ALTER TABLE events ADD extra text")
        return target

    monkeypatch.setattr(letters_admin, "describe_target", describe_and_change)
    with pytest.raises(SinkUnavailable, match="TableChanged"):
        await replay(rig, PIPELINE)
    assert (await events(rig), len(await remaining(rig))) == ([], 1)


async def test_the_granted_rights_are_enough_and_the_record_cannot_be_changed(
    database: DatabaseFactory, tmp_path: Path
) -> None:
    poor = SinkRig(database(owner=False), tmp_path / "poor")
    user = poor.database.user
    await poor.run(EVENTS, f'GRANT INSERT ON events TO "{user}"', schema_sql(grantee=user), as_user=False)
    consumer = await feeder(poor, PIPELINE)
    await consumer.write(BAD, b"{", b"{")
    await poor.run(WIDEN, as_user=False)
    assert await replay(poor, PIPELINE, Selection(ids=(1, 2))) == (1, {"InvalidJSON": 1})
    async with letters_of(poor, PIPELINE) as admin:
        assert await admin.purge(Selection(ids=(2,))) == (1, 1)
    with pytest.raises(Exception, match="permission denied"):
        await poor.run("UPDATE forebay.dead_letters SET record_value = NULL")
    await consumer.sink.close()


async def test_purging_deletes_what_was_chosen_in_bounded_statements(
    rig: SinkRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters_admin, "PURGE_LETTERS", 3)
    consumer = await feeder(rig, PIPELINE)
    await consumer.write(*[BAD] * 10, b"{")
    await rig.run("UPDATE forebay.dead_letters SET mirrored_at = now() WHERE record_offset < 4")
    async with letters_of(rig, PIPELINE) as admin:
        assert await admin.purge(Selection(reason=Reason.OUT_OF_RANGE)) == (10, 6)
        assert [row.reason for row in await admin.find(Selection(), 5)] == ["InvalidJSON"]
        (whole,) = await admin.read([11])
    assert (whole.value, whole.offset, whole.topic) == (b"{", 10, "payments")
