"""Taking partitions over and keeping their positions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import asyncpg

from forebay_consumer import sql
from forebay_consumer.errors import CONFLICT, Fenced, SinkBroken, SinkUnavailable
from forebay_consumer.postgres_sink.connection import Session
from forebay_consumer.postgres_sink.predecessors import end_frozen_holders
from forebay_consumer.postgres_sink.refused import Refused
from forebay_consumer.records import Claim

CLAIM_LIMIT_S = 10.0
"""Seconds for a claim with all its waits for a predecessor; then the caller backs off and tries again."""

LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose positions: rows of `forebay.positions` belong to a group and topic, one pipeline and one table."""

    group: str
    topic: str
    pipeline: str
    target: str


async def read_stored_partitions(session: Session, owner: Owner) -> frozenset[int]:
    """Partitions that have a position. Raises SinkBroken("Conflict")."""
    rows = await session.fetch(sql.STORED_PARTITIONS, owner.group, owner.topic)
    for row in rows:
        if (row["pipeline"], row["target"]) != (owner.pipeline, owner.target):
            raise _conflict(owner, row)
    return frozenset(row["partition"] for row in rows)


async def initialize_positions(
    session: Session, owner: Owner, offsets: Mapping[int, int], *, first_start: bool, topic_id: str | None
) -> None:
    """Store positions where there are none. Consumers that start together take turns."""
    await session.execute(sql.BEGIN)
    await session.fetch(sql.LOCK_GROUP, owner.group, owner.topic)
    partitions = sorted(offsets)
    starts = [offsets[partition] for partition in partitions]
    whose = (owner.pipeline, owner.target)
    await session.fetch(sql.INITIALIZE, owner.group, owner.topic, partitions, starts, *whose, first_start, topic_id)
    await session.commit()


async def claim_partitions(
    session: Session, owner: Owner, partitions: tuple[int, ...], topic_id: str | None
) -> Mapping[int, Claim]:
    """New epochs and owners, behind a predecessor's COMMIT. Ends a frozen predecessor, waits for a healthy one.

    Raises SinkBroken("Conflict"), SinkUnavailable("LockedByPredecessor" | "PositionMissing"), and Refused.
    """
    if not partitions:
        return {}
    deadline = asyncio.get_running_loop().time() + CLAIM_LIMIT_S
    while True:
        try:
            claims = await _claim_once(session, owner, partitions, topic_id)
        except Refused as refused:
            if refused.symptom.sqlstate != LOCK_NOT_AVAILABLE:
                raise
            hunt = await end_frozen_holders(session, owner.group, owner.topic, partitions)
            if asyncio.get_running_loop().time() > deadline:
                message = hunt.obstacle or "the previous consumer has not finished its transaction"
                raise SinkUnavailable("LockedByPredecessor", message) from refused
            continue
        if len(claims) < len(partitions):
            await _explain_missing(session, owner, partitions, claims)
        return claims


async def _claim_once(
    session: Session, owner: Owner, partitions: tuple[int, ...], topic_id: str | None
) -> dict[int, Claim]:
    rows = await session.fetch(
        sql.CLAIM,
        owner.group,
        owner.topic,
        list(partitions),
        owner.pipeline,
        owner.target,
        session.backend.started,
        topic_id,
    )
    return {row["partition"]: Claim(**dict(row)) for row in rows}


async def _explain_missing(
    session: Session, owner: Owner, partitions: tuple[int, ...], claims: Mapping[int, Claim]
) -> None:
    """Always raises."""
    rows = await session.fetch(
        sql.CLAIM_CONFLICT, owner.group, owner.topic, list(partitions), owner.pipeline, owner.target
    )
    if rows:
        raise _conflict(owner, rows[0])
    missing = sorted(set(partitions) - claims.keys())
    raise SinkUnavailable(
        "PositionMissing", f"partitions {missing} have no stored position (a failover may have lost them)"
    )


def _conflict(owner: Owner, row: asyncpg.Record) -> SinkBroken:
    return SinkBroken(
        CONFLICT,
        f"group {owner.group} and topic {owner.topic} already belong to pipeline {row['pipeline']} and table "
        f"{row['target']}, not to {owner.pipeline} and {owner.target}: each would get a part of the records. "
        "Use another spec.source.group, or take the positions over with `forebay positions reset`",
    )


async def skip_position(session: Session, owner: Owner, claim: Claim, next_offset: int, topic_id: str | None) -> Claim:
    """Move one claimed position. Raises Fenced, and Refused."""
    moved = await session.fetch(
        sql.SKIP_POSITION,
        owner.group,
        owner.topic,
        claim.partition,
        claim.epoch,
        claim.owner,
        claim.next_offset,
        next_offset,
        topic_id,
    )
    if not moved:
        raise Fenced((claim.partition,))
    return replace(claim, next_offset=next_offset, topic_id=moved[0]["topic_id"])
