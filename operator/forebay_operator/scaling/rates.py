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
    """Records/s over all partitions that can tell; None when none can. is_complete: every known partition could.

    arrival_surge: since consumers first seemed too few, None when they do not. Only a part of the fast window may lie
    behind a step of the load, and who sizes by the whole of it grows a second time a minute later.
    """

    arrival_fast: float | None = None
    arrival_slow: float | None = None
    arrival_surge: float | None = None
    written: float | None = None
    is_complete: bool = False

    @property
    def demand(self) -> float | None:
        """What to be ready for: the largest of what is known."""
        known = [r for r in (self.arrival_fast, self.arrival_slow, self.arrival_surge) if r is not None]
        return max(known, default=None)


def measure_rates(history: Sequence[Snapshot], *, fast_s: float, slow_s: float, hungry_samples: int = 0) -> Rates:
    """Rates over a fast and a slow window that end with the newest sample. Empty history: nothing is known.

    hungry_samples: how many before the newest, in a row, asked for more consumers.
    """
    if not history:
        return Rates()
    fast = _window(history, fast_s)
    arrival_fast, fast_missing = _rate(fast, _end)
    arrival_slow, slow_missing = _rate(_window(history, slow_s), _end)
    arrival_surge, _ = _rate(fast[-1 - hungry_samples :], _end, at_least=2) if hungry_samples else (None, False)
    written, _ = _rate(fast, _committed)
    return Rates(
        arrival_fast=arrival_fast,
        arrival_slow=arrival_slow,
        arrival_surge=arrival_surge,
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


def _rate(
    window: Sequence[Snapshot], offset: Callable[[Point], int | None], at_least: int = MIN_SAMPLES
) -> tuple[float | None, bool]:
    """Sum of the partitions' rates, and whether a partition of the newest snapshot could not tell."""
    total: float | None = None
    missing = False
    for partition in window[-1].points:
        rate = _partition_rate(window, partition, offset, at_least)
        if rate is None:
            missing = True
        else:
            total = rate + (total or 0.0)
    return total, missing


def _partition_rate(
    window: Sequence[Snapshot], partition: int, offset: Callable[[Point], int | None], at_least: int
) -> float | None:
    seen = [
        (s.at, value)
        for s in window
        if (point := s.points.get(partition)) is not None and (value := offset(point)) is not None
    ]
    if len(seen) < at_least:
        return None
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    return (last - first) / (last_at - first_at).total_seconds()
