"""Gathers the audit's facts by SQL: the ledger is copied into a temporary table and compared with what is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, assert_never, cast

import asyncpg

from forebay_cli.demo.audit import AuditFacts, Gap, Spoil
from forebay_cli.demo.ledger import read_entries, summarize_entries

QUERY_TIMEOUT_S = 300.0
"""Longest single query: sorting some ten million ids on a busy machine."""

_LEDGER_TABLE = "forebay_audit_ledger"
_MAKE_LEDGER = f"""
    CREATE TEMP TABLE {_LEDGER_TABLE} ("partition" int, poison smallint, "offset" bigint, id bigint)
"""
_GAPS = """
    SELECT l."partition" AS p, count(*) AS n, min(l."offset") AS first, max(l."offset") AS last
    FROM forebay_audit_ledger l LEFT JOIN {table} t ON t.{id} = l.id
    WHERE l.poison = 0 AND t.{id} IS NULL GROUP BY 1 ORDER BY 1
"""
_ROWS = "SELECT count(*) AS n, count(DISTINCT {id}) AS ids, count(*) FILTER (WHERE {id} IS NULL) AS nulls FROM {table}"
_FOREIGN_ROWS = """
    SELECT count(*) FROM {table} t
    WHERE NOT EXISTS (SELECT FROM forebay_audit_ledger l WHERE l.id = t.{id} AND l.poison = 0)
"""
_DEAD_LETTERS = """
    SELECT count(*) AS n, count(DISTINCT ("partition", record_offset)) AS positions
    FROM forebay.dead_letters WHERE "group" = $1 AND topic = $2
"""
_MISSING_DEAD_LETTERS = """
    SELECT count(*) FROM forebay_audit_ledger l WHERE l.poison <> 0 AND NOT EXISTS (
        SELECT FROM forebay.dead_letters d
        WHERE d."group" = $1 AND d.topic = $2 AND d."partition" = l."partition" AND d.record_offset = l."offset")
"""
_FOREIGN_DEAD_LETTERS = """
    SELECT count(*) FROM forebay.dead_letters d WHERE d."group" = $1 AND d.topic = $2 AND NOT EXISTS (
        SELECT FROM forebay_audit_ledger l
        WHERE l.poison <> 0 AND d."partition" = l."partition" AND d.record_offset = l."offset")
"""
_REASONS = """
    SELECT reason, count(*) AS n FROM forebay.dead_letters WHERE "group" = $1 AND topic = $2
    GROUP BY 1 ORDER BY 2 DESC, 1
"""
_POSITIONS = """
    SELECT "partition" AS p, next_offset AS n FROM forebay.positions WHERE "group" = $1 AND topic = $2 ORDER BY 1
"""
_LOSE_ROW = "DELETE FROM {table} WHERE ctid = (SELECT ctid FROM {table} ORDER BY ctid LIMIT 1)"
_DUPLICATE_ROW = """
    INSERT INTO {table} SELECT * FROM {table} WHERE ctid = (SELECT ctid FROM {table} ORDER BY ctid LIMIT 1)
"""


@asynccontextmanager
async def open_connection(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection for the audit alone."""
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def gather_facts(
    connection: asyncpg.Connection[Any], *, ledger: Path, table: str, group: str, topic: str, id_column: str = "id"
) -> AuditFacts:
    """Compare the database with the ledger file, in one snapshot.

    table, id_column: SQL, quoted by the caller where needed. The consumers must have drained.
    """
    summary = summarize_entries(read_entries(ledger))
    async with connection.transaction(isolation="repeatable_read"):
        await _load_ledger(connection, ledger)
        names = {"table": table, "id": id_column}
        rows = await _one_row(connection, _ROWS.format(**names))
        gaps = await connection.fetch(_GAPS.format(**names), timeout=QUERY_TIMEOUT_S)
        foreign_rows = await _number(connection, _FOREIGN_ROWS.format(**names))
        dead = await _one_row(connection, _DEAD_LETTERS, group, topic)
        facts = AuditFacts(
            ledger=summary,
            rows=rows["n"],
            distinct_ids=rows["ids"],
            gaps=tuple(
                Gap(partition=g["p"], records=g["n"], first_offset=g["first"], last_offset=g["last"]) for g in gaps
            ),
            surplus_rows=rows["n"] - rows["nulls"] - rows["ids"],
            foreign_rows=foreign_rows,
            dead_letters=dead["n"],
            missing_dead_letters=await _number(connection, _MISSING_DEAD_LETTERS, group, topic),
            surplus_dead_letters=dead["n"] - dead["positions"],
            foreign_dead_letters=await _number(connection, _FOREIGN_DEAD_LETTERS, group, topic),
            positions={r["p"]: r["n"] for r in await connection.fetch(_POSITIONS, group, topic)},
            dead_letters_by_reason={r["reason"]: r["n"] for r in await connection.fetch(_REASONS, group, topic)},
        )
        await connection.execute(f"DROP TABLE {_LEDGER_TABLE}")
    return facts


async def _load_ledger(connection: asyncpg.Connection[Any], ledger: Path) -> None:
    await connection.execute(_MAKE_LEDGER)
    await connection.copy_records_to_table(_LEDGER_TABLE, records=read_entries(ledger), timeout=QUERY_TIMEOUT_S)
    await connection.execute(f"ANALYZE {_LEDGER_TABLE}", timeout=QUERY_TIMEOUT_S)


async def _one_row(connection: asyncpg.Connection[Any], query: str, *arguments: object) -> asyncpg.Record:
    row = await connection.fetchrow(query, *arguments, timeout=QUERY_TIMEOUT_S)
    assert row is not None, "an aggregate without GROUP BY returns one row"
    return cast(asyncpg.Record, row)


async def _number(connection: asyncpg.Connection[Any], query: str, *arguments: object) -> int:
    return cast(int, await connection.fetchval(query, *arguments, timeout=QUERY_TIMEOUT_S))


async def spoil_row(connection: asyncpg.Connection[Any], table: str, how: Spoil) -> None:
    """Lose or double one row, so that the audit has something to find."""
    match how:
        case Spoil.LOSE:
            statement = _LOSE_ROW
        case Spoil.DUPLICATE:
            statement = _DUPLICATE_ROW
        case _:
            assert_never(how)
    await connection.execute(statement.format(table=table))
