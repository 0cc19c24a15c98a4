"""Rows that PostgreSQL refuses become dead letters, at the price of few statements."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from forebay_consumer.errors import SinkBroken
from forebay_consumer.records import WriteReceipt
from support.rows import Value, rows_batch, rows_chunk
from support.sinks import SinkRig
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration

ROWS = 10_000

PLAIN = "CREATE TABLE events (id bigint, note text)"
CHECKED = "CREATE TABLE events (id bigint CHECK (id >= 0), note text)"


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    yield made
    for sink in made.opened:
        await sink.close()


async def write(rig: SinkRig, rows: list[tuple[Value, ...]], *ddl: str) -> WriteReceipt:
    """Write the rows as one batch of partition 0 into a table made by the statements."""
    await rig.run(*ddl)
    sink, claims = await rig.claimed()
    return await sink.write(rows_batch(claims, rows_chunk(rows)))


def numbered(count: int = ROWS, **special: Value) -> list[tuple[Value, ...]]:
    """Rows (n, "n"); at7=-1 puts -1 into row 7's id."""
    return [(special.get(f"at{n}", n), f"{n}") for n in range(count)]


async def dead_offsets(rig: SinkRig) -> list[int]:
    return [row[0] for row in await rig.query("SELECT record_offset FROM forebay.dead_letters ORDER BY 1")]


async def test_one_poison_row_in_ten_thousand_costs_one_retry(rig: SinkRig) -> None:
    receipt = await write(rig, numbered(at7000=-1), CHECKED)
    assert (receipt.retries, receipt.copies, receipt.rows, receipt.dead_letters) == (1, 2, ROWS - 1, 1)
    assert await rig.value("SELECT count(*) FROM events") == ROWS - 1
    assert await rig.query(
        "SELECT record_offset, reason, message, record_value, record_timestamp IS NOT NULL FROM forebay.dead_letters"
    ) == [
        (
            7000,
            "ConstraintViolation",
            'constraint "events_id_check" refused the row (SQLSTATE 23514)',
            b'["-1", "7000"]',
            True,
        )
    ]
    assert await rig.value("SELECT next_offset FROM forebay.positions") == ROWS


async def test_many_poison_rows_are_isolated_within_one_transaction(rig: SinkRig) -> None:
    bad = {f"at{n}": -1 for n in range(50, ROWS, 100)}
    receipt = await write(rig, numbered(**bad), CHECKED)
    assert (receipt.rows, receipt.dead_letters) == (ROWS - 100, 100)
    assert receipt.retries == 4
    assert receipt.copies <= 4 + 3 * 100
    assert await dead_offsets(rig) == list(range(50, ROWS, 100))
    assert await rig.value("SELECT count(DISTINCT id) FROM events") == ROWS - 100


@pytest.mark.parametrize(
    ("row", "ddl", "reason"),
    [
        pytest.param((None, "x"), "CREATE TABLE events (id bigint NOT NULL, note text)", "NullField", id="not-null"),
        pytest.param((7, b"a\x00b"), PLAIN, "NulCharacter", id="nul"),
        pytest.param((7, b"\xff\xfe"), PLAIN, "InvalidUTF8", id="utf8"),
        pytest.param((7, "long"), "CREATE TABLE events (id bigint, note varchar(2))", "OutOfRange", id="varchar"),
        pytest.param((7, b""), "CREATE TABLE events (id bigint, note uuid)", "WrongType", id="bytes-of-no-uuid"),
        pytest.param((1, "x"), "CREATE TABLE events (id bigint UNIQUE, note text)", "ConstraintViolation", id="unique"),
        pytest.param(
            (1, "x"),
            "CREATE TABLE events (id bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, note text)",
            "ConstraintViolation",
            id="deferred-unique",
        ),
    ],
)
async def test_a_refused_row_is_located_at_once(rig: SinkRig, row: tuple[Value, ...], ddl: str, reason: str) -> None:
    good: Value = None if "uuid" in ddl else "g"
    receipt = await write(rig, [(1, good), (2, good), row, (3, good)], ddl)
    assert (receipt.rows, receipt.dead_letters, receipt.retries, receipt.copies) == (3, 1, 1, 2)
    assert await rig.query("SELECT record_offset, reason FROM forebay.dead_letters") == [(2, reason)]
    assert await rig.query("SELECT id FROM events ORDER BY id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("timing", ["NOT DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"])
async def test_a_missing_parent_is_found_by_the_key_in_the_detail(rig: SinkRig, timing: str) -> None:
    ddl = (
        "CREATE TABLE parents (id bigint PRIMARY KEY)",
        "INSERT INTO parents SELECT generate_series(0, 99)",
        f"CREATE TABLE events (id bigint REFERENCES parents {timing}, note text)",
    )
    rows: list[tuple[Value, ...]] = [(n % 100, "g") for n in range(1000)]
    rows[333] = rows[666] = (100, "orphan")
    receipt = await write(rig, rows, *ddl)
    assert (receipt.rows, receipt.dead_letters, receipt.retries, receipt.copies) == (998, 2, 1, 2)
    assert await dead_offsets(rig) == [333, 666]


async def test_a_row_that_nothing_names_is_found_by_halving(rig: SinkRig) -> None:
    ddl = (
        PLAIN,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.id = 777 THEN RAISE EXCEPTION 'no %', NEW.note; END IF; RETURN NULL; END $$",
        "CREATE TRIGGER refuse AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    receipt = await write(rig, numbered(1024), *ddl)
    assert (receipt.rows, receipt.dead_letters, receipt.retries) == (1023, 1, 1)
    assert receipt.copies <= 1 + 2 * 10 + 1
    assert await rig.query("SELECT record_offset, reason, message FROM forebay.dead_letters") == [
        (777, "RejectedByDatabase", "function refuse refused the row (SQLSTATE P0001)")
    ]


async def test_of_a_key_that_comes_twice_the_first_stays(rig: SinkRig) -> None:
    rows: list[tuple[Value, ...]] = [(n, "first") for n in range(100)]
    rows += [(5, "second"), (100, "x")]
    receipt = await write(rig, rows, "CREATE TABLE events (id bigint PRIMARY KEY, note text)")
    assert (receipt.dead_letters, receipt.copies) == (1, 2)
    assert await rig.value("SELECT note FROM events WHERE id = 5") == "first"
    assert await dead_offsets(rig) == [100]


async def test_a_batch_of_which_every_row_is_refused_stops_the_pipeline(rig: SinkRig) -> None:
    with pytest.raises(SinkBroken, match="Breaker"):
        await write(rig, [(-1, "x")] * 150, CHECKED)
    assert await rig.value("SELECT count(*) FROM forebay.dead_letters") == 0
    assert await rig.value("SELECT next_offset FROM forebay.positions") == 0


async def test_the_breaker_is_asked_before_commit_and_stops_the_search(rig: SinkRig) -> None:
    asked: list[tuple[int, int]] = []

    def admit(records: int, dead: int, _known: object) -> None:
        asked.append((records, dead))
        if dead > 10:
            raise SinkBroken("Breaker", "too many")

    await rig.run(CHECKED)
    sink, claims = await rig.claimed(admit=admit)
    with pytest.raises(SinkBroken, match="too many"):
        await sink.write(rows_batch(claims, rows_chunk([(-1, "x"), (1, "g")] * 500)))
    assert asked[-1] == (1000, 11)
    assert await rig.value("SELECT count(*) FROM events") == 0
