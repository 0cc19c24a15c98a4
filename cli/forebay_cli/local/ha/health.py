"""Whether a cluster is as it should be, from what its members and HAProxy say; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from forebay_cli.local.ha.patroni_rest import MemberState, Role
from forebay_cli.local.ha.settings import Durability

PRIMARY, REPLICAS = "primary", "replicas"
"""HAProxy's two doors, by the names that the chart gives."""

Checks = Mapping[str, Mapping[str, bool]]
"""door -> member -> whether HAProxy sends clients there."""


def join_members(members: Sequence[MemberState], sync_states: Mapping[str, str]) -> tuple[MemberState, ...]:
    """Add what a replica cannot say of itself: how far it is behind, and how the primary sees it."""
    positions = [each.wal_position for each in members if each.role is Role.PRIMARY]
    ahead = positions[0] if len(positions) == 1 else None
    return tuple(
        replace(each, lag_bytes=_subtract(ahead, each.wal_position), sync_state=sync_states.get(each.name))
        if each.role is Role.REPLICA
        else each
        for each in members
    )


def read_heirs(sync: str | None) -> frozenset[str]:
    """Return who may take over in a synchronous mode, from what Patroni stores; None = nothing is stored."""
    names = json.loads(sync).get("sync_standby") if sync else None
    return frozenset(names.split(",")) if names else frozenset()


def find_trouble(
    leader: str | None,
    members: Sequence[MemberState],
    heirs: frozenset[str],
    checks: Checks,
    durability: Durability,
) -> str | None:
    """Return the first thing that is not as it should be, for a person to read; None when all is well.

    heirs: see read_heirs().
    """
    trouble = _judge_members(leader, members) or _judge_standby(members, heirs, durability)
    return trouble or _judge_checks(leader, members, checks)


def _judge_members(leader: str | None, members: Sequence[MemberState]) -> str | None:
    if leader is None:
        return "nobody holds the leader's lock"
    for each in members:
        wanted = Role.PRIMARY if each.name == leader else Role.REPLICA
        if each.role is not wanted or each.state != "running":
            return f"{each.name} should be a running {wanted} but is {each.role or 'silent'}, {each.state}"
        if wanted is Role.REPLICA and not each.streaming:
            return f"{each.name} is not streaming"
    timelines = {each.timeline for each in members}
    if len(timelines) != 1 or None in timelines:
        return f"the members are on different timelines: {[each.timeline for each in members]}"
    return None


def _judge_standby(members: Sequence[MemberState], heirs: frozenset[str], durability: Durability) -> str | None:
    replicas = {each.name for each in members if each.role is Role.REPLICA}
    if durability is Durability.ASYNCHRONOUS or not replicas:
        return None
    is_quorum = durability is Durability.QUORUM
    waited_for = {each.name for each in members if each.sync_state == ("quorum" if is_quorum else "sync")}
    if len(waited_for) != (len(replicas) if is_quorum else 1):
        return f"commits wait for {sorted(waited_for)} of {sorted(replicas)}"
    # PostgreSQL waits for a standby a moment before Patroni lets it take over: a failover in between finds nobody.
    return None if heirs == waited_for else f"commits wait for {sorted(waited_for)}, but {sorted(heirs)} may take over"


def _judge_checks(leader: str | None, members: Sequence[MemberState], checks: Checks) -> str | None:
    wanted = {
        PRIMARY: {each.name: each.name == leader for each in members},
        REPLICAS: {each.name: each.name != leader for each in members},
    }
    for door, servers in wanted.items():
        if dict(checks.get(door, {})) != servers:
            return f"HAProxy's {door} should lead to {servers} but leads to {dict(checks.get(door, {}))}"
    return None


def _subtract(ahead: int | None, behind: int | None) -> int | None:
    return None if ahead is None or behind is None else max(0, ahead - behind)
