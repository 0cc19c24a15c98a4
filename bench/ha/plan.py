"""Which faults a campaign consists of: a seed makes the same list every time. Pure; does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from random import Random

from forebay_cli.local.ha.faults import Expiry, FaultKind
from forebay_cli.local.ha.settings import Durability


class Mode(StrEnum):
    """What an acknowledged commit has survived, as results name it."""

    ASYNC = "async"
    SYNC = "sync"
    QUORUM = "quorum"


DURABILITY = {
    Mode.ASYNC: Durability.ASYNCHRONOUS,
    Mode.SYNC: Durability.SYNCHRONOUS,
    Mode.QUORUM: Durability.QUORUM,
}

SHARES = {Mode.ASYNC: 0.4, Mode.SYNC: 0.3, Mode.QUORUM: 0.3}
"""Of all faults. The asynchronous mode has most: only there a failover takes acknowledged commits away."""

TAIL_SHARE = 0.3
"""Of the asynchronous mode's faults: so many lose an acknowledged tail; 12 of 100."""

QUIET = frozenset({FaultKind.REINIT, FaultKind.EXPIRE_LEADER, FaultKind.DROP_REPLICA, FaultKind.SLOW_NETWORK})
"""They threaten the cluster, but a healthy one goes on: there may be no outage to wait for."""

LOCK_IS_LEFT = frozenset(
    {
        FaultKind.KILL_NODE,
        FaultKind.KILL_PATRONI,
        FaultKind.FREEZE_NODE,
        FaultKind.CUT_NETWORK,
        FaultKind.LOSE_TAIL,
    }
)
"""The leader is lost without giving up its lock: Expiry says when that happens."""

EXPIRIES = (*[Expiry.WHEN_NOTICED] * 6, *[Expiry.AT_ONCE] * 3, Expiry.NEVER)
"""The wait for Patroni's ttl costs 20 s: one in ten."""

NEEDS_NETWORK = frozenset({FaultKind.CUT_NETWORK, FaultKind.SLOW_NETWORK})
"""They need a proxy before each member, which costs CPU: they come last in their mode, on a cluster of their own."""

SHORT = {
    Mode.ASYNC: (FaultKind.LOSE_TAIL, FaultKind.KILL_NODE, FaultKind.FILL_CONNECTIONS, FaultKind.CUT_NETWORK),
    Mode.SYNC: (FaultKind.KILL_POSTMASTER, FaultKind.SWITCHOVER, FaultKind.FREEZE_ETCD, FaultKind.STOP_ALL),
    Mode.QUORUM: (
        FaultKind.FREEZE_NODE,
        FaultKind.KILL_PATRONI,
        FaultKind.RESTART,
        FaultKind.TERMINATE_BACKENDS,
    ),
}
"""Every kind that interrupts clients, once, in all modes: what every change is tested with."""

EARLIEST_S, LATEST_S = 0.3, 2.5
"""The moment of a fault, after the first commits of its load: many batches, and any point of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One fault. number: its place in the campaign, from 0. seed: of its load and its chances.

    after_s: of load before it. expiry: None = the kind has none. strength: 0..1, how much where a kind can do more
    or less.
    """

    number: int
    seed: int
    mode: Mode
    kind: FaultKind
    after_s: float
    expiry: Expiry | None
    strength: float


def plan_campaign(seed: int, count: int) -> tuple[PlannedFault, ...]:
    """Return so many faults over all kinds and modes, mode by mode; the same for the same seed and count."""
    modes = list(Mode)
    counts = {mode: round(count * SHARES[mode]) for mode in modes[1:]}
    counts[Mode.ASYNC] = count - sum(counts.values())
    chosen = [(mode, kind) for mode in modes for kind in _choose_kinds(Random(f"{seed} {mode}"), mode, counts[mode])]
    return tuple(_plan(seed, number, mode, kind, EXPIRIES) for number, (mode, kind) in enumerate(chosen))


def plan_short_campaign(seed: int) -> tuple[PlannedFault, ...]:
    """Return the twelve of SHORT; none of them waits for Patroni's ttl."""
    chosen = [(mode, kind) for mode, kinds in SHORT.items() for kind in kinds]
    quick = tuple(each for each in EXPIRIES if each is not Expiry.NEVER)
    return tuple(_plan(seed, number, mode, kind, quick) for number, (mode, kind) in enumerate(chosen))


def _choose_kinds(dice: Random, mode: Mode, count: int) -> list[FaultKind]:
    tails = round(count * TAIL_SHARE) if mode is Mode.ASYNC else 0
    others = [kind for kind in FaultKind if not tails or kind is not FaultKind.LOSE_TAIL]
    dice.shuffle(others)
    kinds = [FaultKind.LOSE_TAIL] * tails + list(islice(cycle(others), count - tails))
    dice.shuffle(kinds)
    return sorted(kinds, key=lambda kind: kind in NEEDS_NETWORK)


def _plan(seed: int, number: int, mode: Mode, kind: FaultKind, expiries: tuple[Expiry, ...]) -> PlannedFault:
    own = seed * 1_000 + number
    dice = Random(own)
    return PlannedFault(
        number=number,
        seed=own,
        mode=mode,
        kind=kind,
        after_s=round(dice.uniform(EARLIEST_S, LATEST_S), 3),
        expiry=dice.choice(expiries) if kind in LOCK_IS_LEFT else None,
        strength=dice.random(),
    )
