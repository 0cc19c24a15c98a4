"""How long to wait before trying again. Pure: the random number comes in as an argument."""

from __future__ import annotations

FIRST_S = 0.05
"""A failover is over when HAProxy has a new primary; asking a few times in the first second costs nothing."""

LIMIT_S = 1.0
"""Longest pause while the database is away: the consumer's own share of an outage stays under a second."""

BROKEN_MIN_S = 10.0
BROKEN_MAX_S = 30.0
"""Between these: how often something that a person must repair (rights, password, table) is tried again."""


class Backoff:
    """Growing, jittered pauses (full jitter in the upper half, so that consumers do not come back all at once)."""

    def __init__(self) -> None:
        self._tries = 0

    def next_s(self, jitter: float) -> float:
        """The next pause in seconds; jitter: uniform in [0, 1)."""
        full = min(LIMIT_S, FIRST_S * 2.0 ** min(self._tries, 10))
        self._tries += 1
        return full * (0.5 + 0.5 * jitter)

    def reset(self) -> None:
        """It worked: begin with the shortest pause next time."""
        self._tries = 0


def broken_pause_s(jitter: float) -> float:
    """Pause while a person must act; jitter: uniform in [0, 1)."""
    return BROKEN_MIN_S + (BROKEN_MAX_S - BROKEN_MIN_S) * jitter
