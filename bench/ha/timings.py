"""Outages and the consumers' share of them, from what was seen. Pure; seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from forebay_cli.local.ha.primary_watch import Outage

from bench.ha.audit import Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A time without a writable primary, on time.monotonic()'s clock: both ends known."""

    lost_at_s: float
    writable_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """first, slowest: to the first commit, and to that of the last consumer. pause: the longest one.

    None = no commit that would tell.
    """

    first_s: float | None
    slowest_s: float | None
    pause_s: float | None


def choose_outage(outages: Iterable[Outage], struck_at_s: float, *, with_slow: bool) -> Blackout | None:
    """Return the longest outage that ended after struck_at_s; None = there was none, or it is not over.

    with_slow: also one in which nothing failed and a commit only took long. It may have begun before: commits wait for
    a standby that is being cut off.
    """
    over = [
        Blackout(lost_at_s=each.lost_at_s, writable_at_s=each.writable_at_s)
        for each in outages
        if each.writable_at_s is not None and each.writable_at_s > struck_at_s and (each.failed or with_slow)
    ]
    return max(over, key=lambda each: each.writable_at_s - each.lost_at_s, default=None)


def find_shares(
    commits: Sequence[Commit], owners: Mapping[int, int], struck_at_s: float, writable_at_s: float | None
) -> Shares:
    """Return how long the consumers took after writable_at_s; None = no outage, then the longest pause is theirs.

    owners: partition -> consumer. Times as those of the commits.
    """
    pause_s = _find_longest_pause([each.at_s for each in commits], struck_at_s)
    if writable_at_s is None:
        own = [[each.at_s for each in commits if owners[each.partition] == owner] for owner in set(owners.values())]
        pauses = [_find_longest_pause(times, struck_at_s) for times in own]
        return Shares(first_s=pause_s, slowest_s=_find_last(pauses), pause_s=pause_s)
    firsts = {owner: _find_first(commits, owners, owner, writable_at_s) for owner in set(owners.values())}
    taken = [at_s - writable_at_s for at_s in firsts.values() if at_s is not None]
    return Shares(
        first_s=min(taken, default=None),
        slowest_s=max(taken) if len(taken) == len(firsts) else None,
        pause_s=pause_s,
    )


def _find_first(commits: Sequence[Commit], owners: Mapping[int, int], owner: int, since_s: float) -> float | None:
    return min((c.at_s for c in commits if owners[c.partition] == owner and c.at_s >= since_s), default=None)


def _find_last(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None


def _find_longest_pause(times: Sequence[float], struck_at_s: float) -> float | None:
    """The longest pause that ends after struck_at_s."""
    return max((later - earlier for earlier, later in pairwise(sorted(times)) if later > struck_at_s), default=None)
