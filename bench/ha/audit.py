"""The table against the ledger of one fault's load, and when its rows were committed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from forebay_cli.demo.ledger import LedgerSummary, read_entries, summarize_entries

QUERY_S = 600.0
"""Two million records are sorted, on a busy machine."""
_LOST = "SELECT count(*) FROM produced p WHERE NOT EXISTS (SELECT FROM payments t WHERE t.id = p.id)"
_FOREIGN = "SELECT count(*) FROM payments t WHERE NOT EXISTS (SELECT FROM produced p WHERE p.id = t.id)"
_ROWS = "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM payments"
_DISORDERED = """
    SELECT count(*) FROM (
        SELECT pg_xact_commit_timestamp(t.xmin) AS at,
               lag(pg_xact_commit_timestamp(t.xmin)) OVER (PARTITION BY p."partition" ORDER BY p."offset") AS before
        FROM produced p JOIN payments t USING (id)) AS sequence
    WHERE at < before
"""
"""Records that were committed before one of their own partition that they follow."""
_COMMITS = """
    SELECT p."partition" AS p, extract(epoch FROM pg_xact_commit_timestamp(t.xmin))::float8 AS at
    FROM produced p JOIN payments t USING (id)
    WHERE pg_xact_commit_timestamp(t.xmin) IS NOT NULL GROUP BY 1, 2 ORDER BY 2
"""
_STRAY = "SELECT count(*) FROM forebay.dead_letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One transaction's share of one partition. at_s: seconds since the epoch."""

    partition: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """lost: delivered, and neither in the table nor a dead letter. duplicated: rows beyond the first of each id.

    foreign: rows that are of no record of this load. disordered: committed before a record that they follow.
    dead_letters: nothing was spoilt, so there must be none. commits: ascending.
    """

    produced: int
    lost: int
    duplicated: int
    foreign: int
    disordered: int
    dead_letters: int
    commits: tuple[Commit, ...]


def read_ledger(ledger: Path) -> LedgerSummary:
    """Return what was delivered."""
    return summarize_entries(read_entries(ledger))


def audit_table(dsn: str, ledger: Path) -> Audit:
    """Compare the table with what was delivered; the consumers must have drained."""
    return asyncio.run(_audit(dsn, ledger))


async def _audit(dsn: str, ledger: Path) -> Audit:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn, command_timeout=QUERY_S)
    try:
        await connection.execute('CREATE TEMP TABLE produced ("partition" int, "offset" bigint, id bigint PRIMARY KEY)')
        entries = [(entry.partition, entry.offset, entry.id) for entry in read_entries(ledger)]
        await connection.copy_records_to_table("produced", records=entries)
        await connection.execute("ANALYZE produced")
        rows = await connection.fetchrow(_ROWS)
        assert rows is not None, "an aggregate returns one row"
        commits = await connection.fetch(_COMMITS)
        return Audit(
            produced=len(entries),
            lost=await connection.fetchval(_LOST),
            duplicated=rows["n"] - rows["ids"],
            foreign=await connection.fetchval(_FOREIGN),
            disordered=await connection.fetchval(_DISORDERED),
            dead_letters=await connection.fetchval(_STRAY),
            commits=tuple(Commit(partition=each["p"], at_s=each["at"]) for each in commits),
        )
    finally:
        await connection.close()
