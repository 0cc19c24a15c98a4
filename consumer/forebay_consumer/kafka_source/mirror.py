"""Which positions Kafka should know, and which it knows: a copy for lag tools, never the truth. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

INTERVAL_S = 1.0
"""Commits to Kafka are at least so far apart."""

ANSWER_S = 10.0
"""A commit without an answer counts as failed after this time."""


class Mirror:
    """Newest wanted and last confirmed position of each partition."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._sent: Mapping[int, int] | None = None
        self._sent_at = float("-inf")
        self.failures = 0

    def want(self, positions: Mapping[int, int]) -> None:
        """Remember the newest positions, forwards or backwards."""
        self._wanted.update(positions)

    def forget(self, partitions: Iterable[int]) -> None:
        """Drop partitions that belong to somebody else now."""
        for partition in partitions:
            self._wanted.pop(partition, None)
            self._known.pop(partition, None)

    @property
    def is_sending(self) -> bool:
        """A commit is under way."""
        return self._sent is not None

    def take_due(self, assigned: Iterable[int], now: float, *, at_once: bool = False) -> Mapping[int, int]:
        """Positions to commit now; empty when nothing changed, or the last commit is too young or unanswered.

        Follow it with confirm() or refuse().
        """
        if self._sent is not None and now - self._sent_at > ANSWER_S:
            self.refuse()
        if self._sent is not None or (not at_once and now - self._sent_at < INTERVAL_S):
            return {}
        owned = {p: self._wanted[p] for p in assigned if p in self._wanted}
        due = {p: offset for p, offset in owned.items() if self._known.get(p) != offset}
        if due:
            self._sent, self._sent_at = due, now
        return due

    def confirm(self) -> None:
        """Kafka has taken the positions sent last."""
        for partition, offset in (self._sent or {}).items():
            if partition in self._wanted:
                self._known[partition] = offset
        self._sent = None

    def refuse(self) -> None:
        """Kafka has not taken them; they are due again."""
        self.failures += 1
        self._sent = None

    def reset(self) -> None:
        """A new client: nothing is under way, nothing is known."""
        self._known.clear()
        self._sent = None
