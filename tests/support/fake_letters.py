"""A table of dead letters and their topic in memory, for the upkeep's tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.letters import StoredLetter
from forebay_consumer.ports import Delivery

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
"""The moment at which the loop's time is 0."""

READ = 2
"""Letters that are read at once."""


@dataclass(slots=True)
class FakeLetters:
    """ports.LetterStore and ports.LetterSession. broken: what every call raises. fails_to_mark: the next so many
    marks are lost with the process that made them."""

    letters: dict[int, StoredLetter] = field(default_factory=dict)
    broken: Exception | None = None
    fails_to_mark: int = 0
    opened: int = 0
    open_now: int = 0
    purges: int = 0

    def add(self, *, partition: int = 0, age_days: float = 0.0, mirrored: bool = False) -> int:
        """One more letter; its id."""
        written_at = self._now() - timedelta(days=age_days)
        number = len(self.letters) + 1
        self.letters[number] = StoredLetter(
            id=number,
            topic="payments",
            partition=partition,
            offset=number,
            reason="InvalidJSON",
            column=None,
            message="broken",
            key=None,
            value=b"{",
            headers=(),
            timestamp=None,
            target="public.payments",
            created_at=written_at,
            mirrored_at=written_at if mirrored else None,
        )
        return number

    @property
    def unmirrored(self) -> set[int]:
        """Ids of those that were not marked."""
        return {letter.id for letter in self.letters.values() if letter.mirrored_at is None}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FakeLetters]:
        """As LetterStore.open."""
        self._check()
        self.opened += 1
        self.open_now += 1
        try:
            yield self
        finally:
            self.open_now -= 1

    async def read_unmirrored(self, partitions: Collection[int], after_id: int) -> Sequence[StoredLetter]:
        """As LetterSession."""
        self._check()
        return [letter for letter in self._waiting(partitions) if letter.id > after_id][:READ]

    async def mark_mirrored(self, ids: Collection[int]) -> None:
        """As LetterSession."""
        self._check()
        if self.fails_to_mark:
            self.fails_to_mark -= 1
            raise SinkUnavailable("ConnectionLost", "before the mark")
        for each in ids:
            self.letters[each] = replace(self.letters[each], mirrored_at=self._now())

    async def count_unmirrored(self, partitions: Collection[int]) -> tuple[int, float | None]:
        """As LetterSession."""
        waiting = self._waiting(partitions)
        ages = [(self._now() - letter.created_at).total_seconds() for letter in waiting]
        return len(waiting), max(ages, default=None)

    async def purge_old(self, partitions: Collection[int], *, days: int, only_mirrored: bool) -> int:
        """As LetterSession; one a call."""
        self.purges += 1
        for letter in list(self.letters.values()):
            is_old = letter.created_at < self._now() - timedelta(days=days)
            if is_old and letter.partition in partitions and (letter.mirrored_at is not None or not only_mirrored):
                del self.letters[letter.id]
                return 1
        return 0

    def _waiting(self, partitions: Collection[int]) -> list[StoredLetter]:
        return [
            letter
            for _, letter in sorted(self.letters.items())
            if letter.partition in partitions and letter.mirrored_at is None
        ]

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken

    @staticmethod
    def _now() -> datetime:
        return BEGIN + timedelta(seconds=asyncio.get_running_loop().time())


@dataclass(slots=True)
class FakeTopic:
    """ports.LetterTopic. got: ids as they came. trouble: the brokers take nothing; refused: ids they never take."""

    got: list[int] = field(default_factory=list)
    trouble: str | None = None
    refused: frozenset[int] = frozenset()
    attempts: int = 0
    is_closed: bool = False

    async def deliver(self, letters: Sequence[StoredLetter]) -> Delivery:
        """As LetterTopic."""
        self.attempts += 1
        await asyncio.sleep(0.01)
        if self.trouble is not None:
            return Delivery(delivered=frozenset(), trouble=self.trouble, is_blocked=True)
        taken = [letter.id for letter in letters if letter.id not in self.refused]
        self.got += taken
        return Delivery(delivered=frozenset(taken), trouble="too large" if len(taken) < len(letters) else None)

    def close(self) -> None:
        """As LetterTopic."""
        self.is_closed = True
