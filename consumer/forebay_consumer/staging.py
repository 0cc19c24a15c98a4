"""Mode Upsert: when rows are copied straight into the table, and when by way of a temporary table. Pure.

Straight is cheaper, but one key that the table has already undoes the whole COPY and leaves its rows behind as dead
ones. So it is tried only after a number of statements in a row that met no such key. That number doubles with every
conflict: the dead rows of failed COPYs are at most one for FIRST_HOLD rows that were written, and where keys keep
coming back one for LAST_HOLD.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST_HOLD = 8
"""Statements by way of the temporary table before the first attempt: some seconds under load."""

LAST_HOLD = 512
"""At one statement a second an attempt every nine minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """What the last statements have met.

    hold: staged statements in a row without a conflict before rows are copied straight. calm: how many it were so far;
    once straight, how many statements went well since the hold was last lowered.
    """

    hold: int = FIRST_HOLD
    calm: int = 0
    is_direct: bool = False

    def after_staged(self, *, met_known_keys: bool) -> Staging:
        """A statement by way of the temporary table was done."""
        calm = 0 if met_known_keys else self.calm + 1
        if calm < self.hold:
            return replace(self, calm=calm, is_direct=False)
        return replace(self, calm=0, is_direct=True)

    def after_direct(self) -> Staging:
        """A straight COPY went well; as many as the hold say that the stream has changed for the better."""
        if self.calm + 1 < self.hold:
            return replace(self, calm=self.calm + 1)
        return replace(self, calm=0, hold=max(FIRST_HOLD, self.hold // 2))

    def after_conflict(self) -> Staging:
        """A straight COPY met a key that the table has."""
        return Staging(hold=min(LAST_HOLD, 2 * self.hold))

    def after_connect(self) -> Staging:
        """A new connection may read again what an earlier one wrote."""
        return Staging(hold=self.hold)
