"""How busy the consumer is and how fast it may go. Pure: time comes in as an argument (monotonic seconds)."""

from __future__ import annotations

from collections import deque

WINDOW_S = 5.0
"""Seconds over which utilisation and rates are taken: the autoscaler samples every 5 s by default."""

BURST_S = 0.25
"""Seconds' worth of the cap that may be written at once after a pause."""


class Cap:
    """A token bucket with debt: a batch may overdraw it, the next one waits until the debt is paid.

    The wait comes before a batch is taken, so that what is taken is never outdated by a rebalance during the wait.
    """

    def __init__(self, rows_per_second: float, now: float) -> None:
        self._rate = rows_per_second
        self._tokens = rows_per_second * BURST_S
        self._at = now

    @property
    def burst_rows(self) -> int:
        """The largest batch that keeps the pace even."""
        return max(1, int(self._rate * BURST_S))

    def wait_s(self, now: float) -> float:
        """Seconds until the next batch may be taken."""
        self._tokens = min(self._rate * BURST_S, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, -self._tokens / self._rate)

    def spend(self, rows: int) -> None:
        """A batch of so many rows is taken."""
        self._tokens -= rows


class Utilisation:
    """The share of the last WINDOW_S seconds that one stage was at work."""

    def __init__(self, now: float) -> None:
        self._spans: deque[tuple[float, float]] = deque()
        self._began: float | None = None
        self._since = now

    def begin(self, now: float) -> None:
        """The stage starts working."""
        if self._began is None:
            self._began = now

    def end(self, now: float) -> None:
        """The stage waits for work again."""
        if self._began is not None:
            self._spans.append((self._began, now))
            self._began = None
        self._forget(now)

    def reset(self, now: float) -> None:
        """Forget everything: what came before says nothing about now (reconnect)."""
        self._spans.clear()
        self._began = None
        self._since = now

    def fraction(self, now: float) -> float | None:
        """0..1; None in the first second."""
        self._forget(now)
        start = max(self._since, now - WINDOW_S)
        if now - start < 1.0:
            return None
        spans = [*self._spans, (self._began, now)] if self._began is not None else list(self._spans)
        busy_s = sum(max(0.0, end - max(begin, start)) for begin, end in spans)
        return min(1.0, busy_s / (now - start))

    def _forget(self, now: float) -> None:
        while self._spans and self._spans[0][1] <= now - WINDOW_S:
            self._spans.popleft()


class SmallWrites:
    """Whether small transactions took most of the writing time of the last WINDOW_S seconds."""

    def __init__(self) -> None:
        self._writes: deque[tuple[float, float, bool]] = deque()

    def add(self, took_s: float, *, is_small: bool, now: float) -> None:
        """A transaction has ended just now."""
        self._writes.append((now, took_s, is_small))
        self._forget(now)

    def reset(self) -> None:
        """Forget everything."""
        self._writes.clear()

    def prevail(self, now: float) -> bool:
        """False also where nothing was written."""
        self._forget(now)
        small_s = sum(took_s for _, took_s, is_small in self._writes if is_small)
        return small_s > sum(took_s for _, took_s, _ in self._writes) / 2

    def _forget(self, now: float) -> None:
        while self._writes and self._writes[0][0] <= now - WINDOW_S:
            self._writes.popleft()


class Rate:
    """Records a second over the last WINDOW_S seconds."""

    def __init__(self, now: float) -> None:
        self._counts: deque[tuple[float, int]] = deque()
        self._since = now

    def add(self, records: int, now: float) -> None:
        """So many records were written just now."""
        self._counts.append((now, records))
        self._forget(now)

    def reset(self, now: float) -> None:
        """Forget everything."""
        self._counts.clear()
        self._since = now

    def per_second(self, now: float) -> float | None:
        """Records a second; None in the first second."""
        self._forget(now)
        start = max(self._since, now - WINDOW_S)
        if now - start < 1.0:
            return None
        return sum(n for at, n in self._counts if at > start) / (now - start)

    def _forget(self, now: float) -> None:
        while self._counts and self._counts[0][0] <= now - WINDOW_S:
            self._counts.popleft()
