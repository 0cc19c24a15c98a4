"""Stops the pipeline before it dead-letters a whole topic because of one systemic mistake.

Pure. No rival has it: each of them dead-letters everything when a field is renamed upstream.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from forebay_api.v1alpha1 import DeadLetterSpec

from forebay_consumer.errors import SinkBroken
from forebay_consumer.records import DeadLetter


class Breaker:
    """Watches the share of dead letters among the last written records.

    A batch that would raise the share above the limit is refused before its COMMIT and does not count, so the window
    stays what was written: trying again lets at most `minimum` further dead letters through in all.
    """

    def __init__(self, spec: DeadLetterSpec) -> None:
        self._spec = spec
        self._window: deque[tuple[int, int]] = deque()
        self._records = 0
        self._dead = 0

    def admit(self, records: int, dead_letters: int, known: Sequence[DeadLetter] = ()) -> None:
        """Raises SinkBroken("Breaker") when writing these would exceed the allowed share of dead letters.

        known: those of them whose reason is known already, for the message.
        """
        if dead_letters == 0:
            return
        dead = self._dead + dead_letters
        among = max(self._records + records, 1)
        if dead >= self._spec.minimum and dead > self._spec.max_fraction * among:
            raise SinkBroken(
                "Breaker",
                f"{dead} of the last {among} records cannot be written, more than "
                f"spec.sink.deadLetters.maxFraction {self._spec.max_fraction:g} allows: nothing more is written. "
                f"{describe_commonest(known)}Repair the table or the producer, or raise the limit",
            )

    def written(self, records: int, dead_letters: int) -> None:
        """Count a committed batch; the oldest ones leave the window."""
        self._window.append((records, dead_letters))
        self._records += records
        self._dead += dead_letters
        while len(self._window) > 1 and self._records - self._window[0][0] >= self._spec.window_records:
            old_records, old_dead = self._window.popleft()
            self._records -= old_records
            self._dead -= old_dead


def describe_commonest(letters: Sequence[DeadLetter]) -> str:
    """The commonest reason with one example, as a sentence; empty when none is known."""
    if not letters:
        return ""
    (reason, column), count = Counter((letter.reason, letter.column) for letter in letters).most_common(1)[0]
    example = next(letter for letter in letters if (letter.reason, letter.column) == (reason, column))
    where = f" (column {column})" if column else ""
    return (
        f"Most of them ({count} of {len(letters)}): {reason}{where}: {example.message}, "
        f"for one at partition {example.partition}, offset {example.offset}. "
    )
