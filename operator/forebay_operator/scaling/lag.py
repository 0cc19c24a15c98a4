"""How far behind: lag and age of the backlog from one sample and the history of samples.

What must not live here: rates, sizes, anything that decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from forebay_api.v1alpha1 import StartFrom

from forebay_operator.model import LagSample, PartitionOffsets, Point, Snapshot

MAX_SNAPSHOTS = 400
"""Bound of the remembered history; at the default 5 s a sample and 300 s it holds 61."""

TAIL_RECORDS = 2
"""Lag that transaction markers alone can leave behind: they take offsets, but no consumer ever commits past the last
one until a record follows (KEDA #5675)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LagView:
    """records: known partition → lag. unknown: partitions without a trustworthy answer.

    waiting_records: their sum, without tails of transaction markers; a lower bound unless is_complete.
    is_committed: every partition has a committed offset. age_s: age of the oldest waiting record, 0 when none waits.
    """

    partitions: int
    records: Mapping[int, int]
    unknown: tuple[int, ...]
    waiting_records: int
    is_committed: bool
    age_s: float
    age_is_lower_bound: bool

    @property
    def is_complete(self) -> bool:
        """Every partition gave a trustworthy answer."""
        return not self.unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A lag view with the history that includes its sample."""

    view: LagView
    history: tuple[Snapshot, ...]
    held_until: Mapping[int, datetime]


def follow_lag(
    history: Sequence[Snapshot],
    held_until: Mapping[int, datetime],
    sample: LagSample,
    *,
    start_from: StartFrom,
    is_rewound: bool,
    hold_s: float,
    keep_s: float,
) -> Followed:
    """Add a sample to the history and say how far behind it shows the group.

    A partition whose end or commit went backwards (recreated topic, reset offsets, failover) or whose commit lies
    beyond its end loses its history and counts as unknown for hold_s. keep_s: how much history is kept.
    is_rewound: consumers say that a failover lost commits; one that goes backwards is then as good as any, and what
    it takes back was never written.
    """
    now = sample.taken_at
    points = {p: _point(o, start_from) for p, o in sample.partitions.items() if o is not None}
    if is_rewound:
        history = tuple(_take_back(snapshot, points) for snapshot in history)
    last = _last_points(history)
    broken = {p for p, point in points.items() if _is_broken(point, last.get(p))}
    held = {p: until for p, until in held_until.items() if until > now and p in sample.partitions}
    held.update(dict.fromkeys(broken, now + timedelta(seconds=hold_s)))
    good = {p: point for p, point in points.items() if p not in held}
    kept = _extend(_forget(history, broken), Snapshot(at=now, points=good), keep_s)
    return Followed(view=_view(sample, good, kept, hold_s), history=kept, held_until=held)


def _take_back(old: Snapshot, points: Mapping[int, Point]) -> Snapshot:
    """The snapshot as if nothing had been committed beyond today's commits."""
    return Snapshot(at=old.at, points={p: _lower(point, points.get(p)) for p, point in old.points.items()})


def _lower(point: Point, now: Point | None) -> Point:
    if now is None or now.committed is None or point.committed is None:
        return point
    return Point(end=point.end, committed=min(point.committed, now.committed))


def _point(offsets: PartitionOffsets, start_from: StartFrom) -> Point:
    if offsets.committed is not None:
        return Point(end=offsets.log_end, committed=max(offsets.committed, offsets.log_start))
    if start_from is StartFrom.LATEST:
        return Point(end=offsets.log_end, committed=None)
    return Point(end=offsets.log_end, committed=offsets.log_start)


def _is_broken(point: Point, before: Point | None) -> bool:
    if point.committed is not None and point.committed > point.end:
        return True
    if before is None:
        return False
    both_committed = point.committed is not None and before.committed is not None
    return point.end < before.end or bool(both_committed and (point.committed or 0) < (before.committed or 0))


def _last_points(history: Sequence[Snapshot]) -> Mapping[int, Point]:
    """The newest point of each partition."""
    newest: dict[int, Point] = {}
    for snapshot in history:
        newest.update(snapshot.points)
    return newest


def _forget(history: Sequence[Snapshot], partitions: set[int]) -> tuple[Snapshot, ...]:
    if not partitions:
        return tuple(history)
    return tuple(
        Snapshot(at=s.at, points={p: point for p, point in s.points.items() if p not in partitions}) for s in history
    )


def _extend(history: tuple[Snapshot, ...], snapshot: Snapshot, keep_s: float) -> tuple[Snapshot, ...]:
    oldest = snapshot.at - timedelta(seconds=keep_s)
    return (*(s for s in history if oldest <= s.at < snapshot.at), snapshot)[-MAX_SNAPSHOTS:]


def _view(sample: LagSample, good: Mapping[int, Point], history: Sequence[Snapshot], tail_s: float) -> LagView:
    records = {p: 0 if x.committed is None else x.end - x.committed for p, x in good.items()}
    waiting = {p: n for p, n in records.items() if n and not _is_tail(p, n, history, tail_s)}
    ages = [_age(p, good[p], history) for p in waiting]
    return LagView(
        partitions=len(sample.partitions),
        records=records,
        unknown=tuple(sorted(set(sample.partitions) - set(good))),
        waiting_records=sum(waiting.values()),
        is_committed=all(o is not None and o.committed is not None for o in sample.partitions.values()),
        age_s=max((age for age, _ in ages), default=0.0),
        age_is_lower_bound=any(bound for _, bound in ages),
    )


def _is_tail(partition: int, records: int, history: Sequence[Snapshot], tail_s: float) -> bool:
    """At most TAIL_RECORDS wait and nothing has moved for longer than tail_s."""
    if records > TAIL_RECORDS:
        return False
    seen = [(s.at, s.points[partition]) for s in history if partition in s.points]
    newest_at, newest = seen[-1]
    unchanged_since = newest_at
    for at, point in reversed(seen):
        if point != newest:
            break
        unchanged_since = at
    return (newest_at - unchanged_since).total_seconds() > tail_s


def _age(partition: int, point: Point, history: Sequence[Snapshot]) -> tuple[float, bool]:
    """Age of the first uncommitted record and whether it is only a lower bound: history does not reach back to it."""
    now = history[-1].at
    committed = point.committed or 0
    before: tuple[datetime, int] | None = None
    for snapshot in history:
        seen = snapshot.points.get(partition)
        if seen is None:
            continue
        if seen.end > committed:
            if before is None:
                return (now - snapshot.at).total_seconds(), True
            at, end = before
            share = (committed - end) / (seen.end - end)
            return (now - (at + share * (snapshot.at - at))).total_seconds(), False
        before = (snapshot.at, seen.end)
    return 0.0, False
