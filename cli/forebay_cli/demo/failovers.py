"""What became of the database in the demo: who leads, each failover, and whether the product kept its word. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from forebay_cli.demo.wave import Wave

KILL_AT = 0.4
"""When the primary is killed, as a share of the flood: consumers multiply and every one of them is writing."""

SWITCH_AT = 0.72
"""When an administrator hands over, as a share of the wave: the killed member is back by then."""

TAIL_SECONDS = 1.0
"""Of the flood, acknowledged by the primary and replicated to nobody: seldom that much, and plain to see."""


class FailoverKind(StrEnum):
    """How the primary changed."""

    KILLED = "killed"
    HANDED_OVER = "handed over"


class MemberRole(StrEnum):
    """What a member does at this moment, for people."""

    LEADS = "leads"
    FOLLOWS = "follows"
    DOWN = "is down"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberLine:
    """One member of the cluster."""

    name: str
    role: MemberRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover:
    """outage_s: nobody could write for so long. lost_records: committed by the old primary and had by nobody else.

    None: could not be told.
    """

    kind: FailoverKind
    old: str
    new: str
    outage_s: float
    lost_records: int | None = 0


@dataclass(slots=True)
class DatabaseScene:
    """members: as they were last seen. outage_since: monotonic seconds of the last commit, None = rows are taken."""

    members: tuple[MemberLine, ...] = ()
    outage_since: float | None = None
    failovers: list[Failover] = field(default_factory=list)

    @property
    def lost_on_old_primary(self) -> int | None:
        """Of all failovers; None when one of them could not be told."""
        lost = [each.lost_records for each in self.failovers]
        known = [each for each in lost if each is not None]
        return sum(known) if len(known) == len(lost) else None


def kill_at_s(wave: Wave) -> float:
    """Seconds from the wave's start."""
    return wave.flood_starts_s + KILL_AT * (wave.flood_ends_s - wave.flood_starts_s)


def switch_at_s(wave: Wave) -> float:
    """Seconds from the wave's start."""
    return SWITCH_AT * wave.seconds


def tail_records(wave: Wave) -> int:
    """So many records at least are lost with the primary."""
    return max(100, int(TAIL_SECONDS * wave.flood_rate))


def describe_members(scene: DatabaseScene) -> str:
    """Who leads and who follows, as a clause."""
    parts = []
    for role in MemberRole:
        names = [each.name for each in scene.members if each.role is role]
        if names:
            verb = role.value if len(names) == 1 else {"leads": "lead", "follows": "follow"}.get(role, "are down")
            parts.append(f"{_join(names)} {verb}")
    return ", ".join(parts) or "nothing is known yet"


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def tell_cut(old: str) -> str:
    """The acknowledged tail begins."""
    return f"{old} is cut off from its standbys: what it acknowledges from now on, nobody else has"


def tell_kill(old: str, records: int) -> str:
    """The fault."""
    return f"{old} is KILLED, Patroni and PostgreSQL at once, with more than {records:,} records that only it has"


def tell_early_kill(old: str) -> str:
    """The fault, when consumers were too slow for the tail that was meant to be lost."""
    return f"{old} is KILLED, Patroni and PostgreSQL at once, with fewer records than planned that only it has"


def tell_failover(failover: Failover) -> str:
    """Who took over."""
    how = "nobody could write" if failover.outage_s else "nobody noticed: nothing could not be written"
    lasted = f"{how} for {failover.outage_s:.1f} s" if failover.outage_s else how
    if failover.kind is FailoverKind.HANDED_OVER:
        return f"an administrator had {failover.old} hand over: {failover.new} leads now; {lasted}"
    return f"{failover.new} leads now, without them; {lasted}"


def tell_lost(old: str, records: int | None, why_unknown: str = "") -> str:
    """What the old primary's disk shows."""
    if records is None:
        return f"how much was lost with {old} is not known: {why_unknown}"
    return f"the disk of {old} holds {records:,} committed records that no other member has; Kafka has them still"


def judge_failovers(scene: DatabaseScene, *, rewound: int, troubles: Collection[str]) -> tuple[str, ...]:
    """What the failovers should not have caused, or should have and did not; one sentence each.

    rewound: records that consumers read again. troubles: of consumers that ended by themselves.
    """
    problems = [f"a consumer was restarted: {trouble}" for trouble in troubles]
    lost = scene.lost_on_old_primary
    if not scene.failovers:
        problems.append("the primary was not lost: there is nothing to prove")
    if lost and not rewound:
        problems.append(f"{lost:,} records were lost with the old primary, and consumers read none of them again")
    return tuple(problems)


def build_failover_facts(scene: DatabaseScene, *, rewound: int) -> dict[str, Any]:
    """For the last line. outage_seconds: one for each failover."""
    return {
        "failovers": len(scene.failovers),
        "outage_seconds": [round(each.outage_s, 1) for each in scene.failovers],
        "rewound": rewound,
        "lost_on_old_primary": scene.lost_on_old_primary,
    }
