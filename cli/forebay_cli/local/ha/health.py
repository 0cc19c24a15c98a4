"""Whether a cluster is as it should be, from what its members and HAProxy say; pure."""

from __future__ import annotations

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


def find_trouble(
    leader: str | None, members: Sequence[MemberState], checks: Checks, durability: Durability
) -> str | None:
    """Return the first thing that is not as it should be, for a person to read; None when all is well."""
    return (
        _judge_members(leader, members) or _judge_standby(members, durability) or _judge_checks(leader, members, checks)
    )


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


def _judge_standby(members: Sequence[MemberState], durability: Durability) -> str | None:
    states = [each.sync_state for each in members if each.role is Role.REPLICA]
    if durability is Durability.ASYNCHRONOUS or not states:
        return None
    if durability is Durability.QUORUM:
        return None if set(states) == {"quorum"} else f"not every replica is in the quorum: {states}"
    return None if states.count("sync") == 1 else f"there is no one synchronous standby: {states}"


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
