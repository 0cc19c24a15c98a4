"""How long to wait before trying again. Pure: the random number comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Seconds before the first and, after doubling each time, at most before any further try."""

    first_s: float
    limit_s: float


AWAY = Pauses(first_s=0.05, limit_s=1.0)
"""The database is away. A failover is over when HAProxy has a new primary: asking often costs nothing, and the
consumer's own share of an outage stays under a second."""

BROKEN = Pauses(first_s=1.0, limit_s=30.0)
"""A person must repair something (rights, password, table): in the long run every 15 to 30 s."""


class Backoff:
    """Growing pauses with jitter in their upper half, so that consumers do not come back all at once."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._tries = 0

    def next_s(self, jitter: float) -> float:
        """The next pause in seconds; jitter: uniform in [0, 1)."""
        full = min(self._pauses.limit_s, self._pauses.first_s * 2.0 ** min(self._tries, 10))
        self._tries += 1
        return full * (0.5 + 0.5 * jitter)

    def reset(self) -> None:
        """It worked: begin with the shortest pause next time."""
        self._tries = 0
