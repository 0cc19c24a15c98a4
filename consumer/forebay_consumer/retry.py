"""How long to wait before trying again, and for an answer. Pure: the random number comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Seconds before the first try and, doubled each time, before any further one.

    limit_s: the longest pause at first. patient_s: the longest in the end; in between it is so many hundredths of the
    time waited already.
    """

    first_s: float
    limit_s: float
    patient_s: float


PATIENCE = 0.01
"""Share of an outage that a consumer may add to it: a pause is no longer than that, once limit_s is too short."""

AWAY = Pauses(first_s=0.05, limit_s=0.3, patient_s=1.0)
"""The database is away. A failover is over when HAProxy has a new primary: asking costs little, HAProxy itself refuses
while there is none. 50 consumers ask some 220 times a second in all at first, and 70 times after 100 s."""

FAILING = Pauses(first_s=0.05, limit_s=1.0, patient_s=1.0)
"""The database lets itself be reached and claimed, and then fails again and again: each try costs it a transaction."""

BROKEN = Pauses(first_s=1.0, limit_s=30.0, patient_s=30.0)
"""A person must repair something (rights, password, table): in the long run every 15 to 30 s."""


class Backoff:
    """Growing pauses with jitter in their upper half, so that consumers do not come back all at once."""

    def __init__(self, pauses: Pauses) -> None:
        self._pauses = pauses
        self._tries = 0
        self._waited_s = 0.0

    def next_s(self, jitter: float) -> float:
        """The next pause in seconds; jitter: uniform in [0, 1)."""
        pauses = self._pauses
        limit_s = max(pauses.limit_s, min(pauses.patient_s, PATIENCE * self._waited_s))
        full = min(limit_s, pauses.first_s * 2.0 ** min(self._tries, 10))
        self._tries += 1
        pause_s = full * (0.5 + 0.5 * jitter)
        self._waited_s += pause_s
        return pause_s

    def reset(self) -> None:
        """It worked: begin with the shortest pause next time."""
        self._tries = 0
        self._waited_s = 0.0


SLOWER = 4.0
"""How much longer than the last one an answer may take."""


class AnswerLimit:
    """How long to wait for an answer: short at first, doubled each time that was too short, up to most_s.

    A server that is frozen accepts and stays silent, and the next attempt may lead to its successor; one that is
    drowned needs time, and is known to by the time that its last answer took.
    """

    def __init__(self, *, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._usual_s = first_s
        self.seconds = first_s

    def was_too_short(self) -> None:
        """No answer came in time."""
        self.seconds = min(self._most_s, 2 * self.seconds)

    def was_refused(self) -> None:
        """An answer came, but not the one hoped for, which would have taken longer."""
        self.seconds = self._usual_s

    def was_enough(self, took_s: float) -> None:
        """The answer took so long."""
        self._usual_s = min(self._most_s, max(self._first_s, SLOWER * took_s))
        self.seconds = self._usual_s
