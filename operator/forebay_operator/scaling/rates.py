"""How fast records arrive and are written, from the history of samples.

What must not live here: sizes, anything that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from forebay_operator.model import Point, Snapshot

MIN_SAMPLES = 3
"""Two samples make a rate out of one interval's jitter; three make a trend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Records/s over all partitions that can tell; None when none can. is_complete: every known partition could."""

    arrival_fast: float | None = None
    arrival_slow: float | None = None
    written: float | None = None
    is_complete: bool = False


def measure_rates(history: Sequence[Snapshot], *, fast_s: float, slow_s: float) -> Rates:
    """Rates over a fast and a slow window that end with the newest sample. Empty history: nothing is known."""
    if not history:
        return Rates()
    fast = _window(history, fast_s)
    arrival_fast, fast_missing = _rate(fast, _end)
    arrival_slow, slow_missing = _rate(_window(history, slow_s), _end)
    written, _ = _rate(fast, _committed)
    return Rates(
        arrival_fast=arrival_fast,
        arrival_slow=arrival_slow,
        written=written,
        is_complete=not fast_missing and not slow_missing and arrival_fast is not None,
    )


def _end(point: Point) -> int | None:
    return point.end


def _committed(point: Point) -> int | None:
    return point.committed


def _window(history: Sequence[Snapshot], seconds: float) -> Sequence[Snapshot]:
    """The snapshots of the last `seconds`, but never fewer than MIN_SAMPLES if there are as many."""
    start = history[-1].at - timedelta(seconds=seconds)
    inside = sum(1 for s in history if s.at >= start)
    return history[-max(inside, MIN_SAMPLES) :]


def _rate(window: Sequence[Snapshot], offset: Callable[[Point], int | None]) -> tuple[float | None, bool]:
    """Sum of the partitions' rates, and whether a partition of the newest snapshot could not tell."""
    total: float | None = None
    missing = False
    for partition in window[-1].points:
        rate = _partition_rate(window, partition, offset)
        if rate is None:
            missing = True
        else:
            total = rate + (total or 0.0)
    return total, missing


def _partition_rate(window: Sequence[Snapshot], partition: int, offset: Callable[[Point], int | None]) -> float | None:
    seen = [
        (s.at, value)
        for s in window
        if (point := s.points.get(partition)) is not None and (value := offset(point)) is not None
    ]
    if len(seen) < MIN_SAMPLES:
        return None
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    return (last - first) / (last_at - first_at).total_seconds()
