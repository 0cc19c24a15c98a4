"""Ends former holders that are frozen inside a transaction, and only those.

Seen: a consumer stopped in the middle of a COPY keeps its locks for ever. statement_timeout and
idle_in_transaction_session_timeout do not strike while the backend reads COPY data, and a stopped process' kernel still
answers keepalives. pg_terminate_backend frees them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from forebay_consumer import sql
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.refused import Refused

FROZEN_AFTER_S = 1.5
"""A transaction younger than this is no suspect. When we look, lock_timeout has passed: its holder has had 2 s."""

LOOKS = 3
"""A healthy holder may wait for its client at one look; not in the same statement at each of several."""

LOOK_INTERVAL_S = 0.15
"""Seconds between looks: longer than a healthy client leaves a backend waiting."""

GONE_TIMEOUT_S = 1.5
"""Seconds to wait until a terminated backend has rolled back."""

_DENIED = "42501"

Suspects = Mapping[tuple[int, datetime], tuple[datetime | None, datetime | None]]
"""(pid, backend start) -> (transaction start, state change): unchanged means that the same statement hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """terminated: backends ended. obstacle: why another could not be seen or ended, with the grant; None if none."""

    terminated: int
    obstacle: str | None


async def end_frozen_holders(session: Session, group: str, topic: str, partitions: tuple[int, ...] | None) -> Hunt:
    """Terminate holders of these partitions (None: all) that are frozen in a transaction. Call it outside of one."""
    suspects, obstacle = await _look(session, group, topic, partitions)
    for _ in range(LOOKS - 1):
        if not suspects:
            break
        await asyncio.sleep(LOOK_INTERVAL_S)
        again, obstacle = await _look(session, group, topic, partitions)
        suspects = {who: since for who, since in suspects.items() if again.get(who) == since}
    ended = 0
    for pid, started in suspects:
        try:
            ended += len(await session.fetch(sql.TERMINATE_BACKEND, pid, started))
        except Refused as refused:
            if refused.symptom.sqlstate != _DENIED:
                raise
            obstacle = _explain(session.backend.user, "pg_signal_backend")
    if ended:
        await _wait_until_gone(session, group, topic, partitions, suspects)
    return Hunt(terminated=ended, obstacle=obstacle)


async def _look(
    session: Session, group: str, topic: str, partitions: tuple[int, ...] | None
) -> tuple[Suspects, str | None]:
    rows = await _holders(session, group, topic, partitions)
    hidden = any(row["is_hidden"] for row in rows)
    stuck = {
        (row["pid"], row["backend_start"]): (row["xact_start"], row["state_change"]) for row in rows if row["is_stuck"]
    }
    return stuck, _explain(session.backend.user, "pg_read_all_stats, pg_signal_backend") if hidden else None


async def _holders(
    session: Session, group: str, topic: str, partitions: tuple[int, ...] | None
) -> list[asyncpg.Record]:
    return await session.fetch(
        sql.FIND_HOLDERS, group, topic, None if partitions is None else list(partitions), FROZEN_AFTER_S
    )


async def _wait_until_gone(
    session: Session, group: str, topic: str, partitions: tuple[int, ...] | None, suspects: Suspects
) -> None:
    """Poll until no terminated backend is left; after GONE_TIMEOUT_S the caller's own lock_timeout decides."""
    deadline = asyncio.get_running_loop().time() + GONE_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline:
        present = {(row["pid"], row["backend_start"]) for row in await _holders(session, group, topic, partitions)}
        if not present & suspects.keys():
            return
        await asyncio.sleep(0.02)


def _explain(user: str, roles: str) -> str:
    return (
        "a former consumer that logged in as another role may be frozen, and this user may not see or end it: "
        f"GRANT {roles} TO {sql.quote_identifier(user)};"
    )
