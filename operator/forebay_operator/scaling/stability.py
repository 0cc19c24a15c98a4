"""When the group may be changed: it has settled after the last change, and need has lasted.

What must not live here: how large the group should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from forebay_operator.model import GroupState, GroupView, Recommendation, Workload

BLOCKED_AFTER_S = 300.0
"""A change that has not settled by then does not settle by itself: say so."""

MAX_RECOMMENDATIONS = 2000
"""Bound of the scale-in window's memory: 600 s at more than three samples a second."""


def find_unrest(workload: Workload, group: GroupView | None) -> str | None:
    """Why the group is not to be changed or learned from now, as a sentence; None when it is at rest."""
    running = len(workload.consumers)
    if workload.problem is not None:
        return workload.problem
    if not workload.is_settled:
        return f"{running} of {workload.replicas} consumers run; starts or stops are under way"
    if group is None:
        return "the consumer group could not be described"
    if running == 0:
        return None
    if group.state is not GroupState.STABLE:
        return f"the consumer group is {group.state.value.lower()}"
    if group.members != running:
        return f"the consumer group has {group.members} members and {running} consumers run"
    return None


def add_recommendation(
    window: Sequence[Recommendation], new: Recommendation, *, keep_s: float, max_gap_s: float
) -> tuple[Recommendation, ...]:
    """The scale-in window with one more entry; a gap starts it anew, because what was not seen may have been a peak."""
    if window and (new.at - window[-1].at).total_seconds() > max_gap_s:
        return (new,)
    oldest = new.at - timedelta(seconds=keep_s)
    inside = [r for r in window if r.at >= oldest]
    before = [r for r in window if r.at < oldest][-1:]  # proves that the window is full
    return (*before, *inside, new)[-MAX_RECOMMENDATIONS:]


def highest_recommendation(window: Sequence[Recommendation], *, window_s: float, now: datetime) -> int | None:
    """The most that was needed within the window; None until the window is full."""
    if not window or (now - window[0].at).total_seconds() < window_s:
        return None
    oldest = now - timedelta(seconds=window_s)
    return max((r.replicas for r in window if r.at >= oldest), default=None)
