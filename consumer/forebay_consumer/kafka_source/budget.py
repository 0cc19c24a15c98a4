"""How many bytes of records may be on their way from Kafka to the database."""

from __future__ import annotations

import threading

RECORD_OVERHEAD_BYTES = 100
"""What a record costs in Python beyond its value (object header, offset, list slots): small records fill memory too."""

FIRST_GUESS_BYTES = 200
"""Average record assumed before any was seen."""

WEIGHT = 0.2
"""Weight of the newest poll in the moving average of the record's size."""


class Budget:
    """Bytes handed over and not given back. take() is called by the thread, release() by the event loop."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._used = 0
        self._average = float(FIRST_GUESS_BYTES)
        self._changed = threading.Condition()

    def take(self, size_bytes: int, records: int) -> None:
        """Count what is handed over; records >= 1."""
        with self._changed:
            self._used += size_bytes
            self._average += WEIGHT * (size_bytes / records - self._average)

    def release(self, size_bytes: int) -> None:
        """Count what came back."""
        with self._changed:
            self._used = max(0, self._used - size_bytes)
            self._changed.notify()

    @property
    def used_bytes(self) -> int:
        """What is on its way now."""
        return self._used

    @property
    def is_full(self) -> bool:
        """Nothing more should be read."""
        return self._used >= self._value_limit

    @property
    def has_half(self) -> bool:
        """Enough came back to go on after a pause."""
        return self._used <= self._value_limit / 2

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until the budget is no longer full; False when it still is after the timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.is_full, timeout_s)

    def poll_records(self, most: int) -> int:
        """How many records one poll may bring: at most an eighth of the budget, so that it overshoots little."""
        return max(1, min(most, int(self._value_limit / 8 / max(1.0, self._average))))

    @property
    def _value_limit(self) -> float:
        return self._limit * self._average / (self._average + RECORD_OVERHEAD_BYTES)
