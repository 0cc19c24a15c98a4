"""The audit's SQL on a real database: it passes what is right, and finds each single thing that is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from forebay_cli.demo.audit import Spoil, Verdict, judge_facts
from forebay_cli.demo.audit_database import gather_facts, open_connection, spoil_row
from forebay_cli.demo.ledger import Entry, LedgerWriter, Poison
from forebay_consumer.schema_ddl import schema_sql
from support.testbed.servers import DatabaseFactory

pytestmark = pytest.mark.integration

PARTITIONS = 3
PER_PARTITION = 40
TABLE = "CREATE TABLE payments (id bigint NOT NULL)"
POSITION = """
    INSERT INTO forebay.positions ("group", topic, partition, epoch, owner, next_offset, pipeline, target)
    VALUES ('g', 't', $1, 1, gen_random_uuid(), $2, 'bank/payments', 'public.payments')
"""
LETTER = """
    INSERT INTO forebay.dead_letters ("group", topic, partition, record_offset, reason, message, target)
    VALUES ('g', 't', $1, $2, 'InvalidJSON', 'spoilt', 'public.payments')
"""


def build_entries() -> list[Entry]:
    """Every tenth record is spoilt."""
    return [
        Entry(partition, Poison.INVALID_JSON if offset % 10 == 3 else Poison.NONE, offset, partition * 1000 + offset)
        for partition in range(PARTITIONS)
        for offset in range(PER_PARTITION)
    ]


async def write_truth(connection: Any) -> None:
    """What an exactly-once consumer leaves."""
    await connection.execute(schema_sql())
    await connection.execute(TABLE)
    for entry in build_entries():
        if entry.poison:
            await connection.execute(LETTER, entry.partition, entry.offset)
        else:
            await connection.execute("INSERT INTO payments VALUES ($1)", entry.id)
    for partition in range(PARTITIONS):
        await connection.execute(POSITION, partition, PER_PARTITION)


async def audit(
    database: DatabaseFactory, folder: Path, spoil: Callable[[Any], Awaitable[Any]] | None = None
) -> Verdict:
    with LedgerWriter(folder / "ledger") as writer:
        for entry in build_entries():
            writer.add(entry)
    async with open_connection(database().dsn) as connection:
        await write_truth(connection)
        if spoil is not None:
            await spoil(connection)
        ledger = folder / "ledger"
        return judge_facts(await gather_facts(connection, ledger=ledger, table="payments", group="g", topic="t"))


async def test_the_truth_passes(database: DatabaseFactory, tmp_path: Path) -> None:
    verdict = await audit(database, tmp_path)
    assert verdict.problems == ()
    assert (verdict.produced, verdict.rows, verdict.dead_letters) == (120, 108, 12)


async def test_spoilt_rows_are_found(database: DatabaseFactory, tmp_path: Path) -> None:
    lost = await audit(database, tmp_path, lambda c: spoil_row(c, "payments", Spoil.LOSE))
    assert (lost.lost, lost.duplicated, lost.passed) == (1, 0, False)
    doubled = await audit(database, tmp_path, lambda c: spoil_row(c, "payments", Spoil.DUPLICATE))
    assert (doubled.lost, doubled.duplicated, doubled.passed) == (0, 1, False)


@pytest.mark.parametrize(
    ("statement", "lost", "duplicated"),
    [
        pytest.param("UPDATE payments SET id = 1001 WHERE id = 1002", 1, 1, id="one-lost-one-twice"),
        pytest.param("INSERT INTO payments VALUES (1003)", 0, 0, id="row-of-a-spoilt-record"),
        pytest.param(
            "DELETE FROM forebay.dead_letters WHERE partition = 1 AND record_offset = 13", 1, 0, id="no-letter"
        ),
        pytest.param(
            'INSERT INTO forebay.dead_letters ("group", topic, partition, record_offset, reason, message, target) '
            "SELECT 'g', 't', 0, 3, 'InvalidJSON', 'again', 'public.payments'",
            0,
            1,
            id="letter-twice",
        ),
        pytest.param(
            "UPDATE forebay.dead_letters SET record_offset = 4 WHERE record_offset = 3", 3, 0, id="wrong-letter"
        ),
        pytest.param("UPDATE forebay.positions SET next_offset = 39 WHERE partition = 2", 0, 0, id="position-behind"),
        pytest.param("DELETE FROM forebay.positions WHERE partition = 0", 0, 0, id="position-missing"),
    ],
)
async def test_anything_else_wrong_is_found(
    database: DatabaseFactory, tmp_path: Path, statement: str, lost: int, duplicated: int
) -> None:
    verdict = await audit(database, tmp_path, lambda c: c.execute(statement))
    assert not verdict.passed
    assert (verdict.lost, verdict.duplicated) == (lost, duplicated)
