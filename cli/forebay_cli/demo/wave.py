"""The load: quiet, flood, quiet, as arithmetic on the time since the start. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FLOOD_FACTOR = 13
"""The flood's rate as a multiple of the quiet one: several consumers against one, for caps near 6,000 rows/s."""

QUIET_BEFORE = 15 / 90
"""Share of the time before the flood: long enough to see one consumer at rest."""

FLOOD = 28 / 90
"""Share of the flood: long enough for several decisions."""

DEFAULT_SECONDS = 90.0
DEFAULT_RECORDS = 620_000
DEFAULT_HA_RECORDS = 200_000
"""Three members write each row, and beside Kafka they leave less of a laptop: less is as much work."""

HA_CAP = 2_000
"""Of each consumer, in rows/s: this flood then needs four of them, too."""


class WavePhase(StrEnum):
    """Where the wave is."""

    QUIET = "quiet"
    FLOOD = "flood"
    CALM = "quiet again"
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """records: how many in all, exactly. seconds: how long it takes."""

    records: int = DEFAULT_RECORDS
    seconds: float = DEFAULT_SECONDS

    def __post_init__(self) -> None:
        if self.records < 1 or self.seconds <= 0:
            raise ValueError("a wave needs at least one record and more than 0 seconds")

    @property
    def flood_starts_s(self) -> float:
        """Seconds from the start to the flood."""
        return self.seconds * QUIET_BEFORE

    @property
    def flood_ends_s(self) -> float:
        """Seconds from the start to the end of the flood."""
        return self.seconds * (QUIET_BEFORE + FLOOD)

    @property
    def quiet_rate(self) -> float:
        """Records/s outside the flood."""
        flood_s = self.flood_ends_s - self.flood_starts_s
        return self.records / (self.seconds - flood_s + FLOOD_FACTOR * flood_s)

    @property
    def flood_rate(self) -> float:
        """Records/s in the flood."""
        return self.quiet_rate * FLOOD_FACTOR

    def phase_at(self, elapsed_s: float) -> WavePhase:
        """The phase at a time since the start."""
        if elapsed_s >= self.seconds:
            return WavePhase.OVER
        if elapsed_s >= self.flood_ends_s:
            return WavePhase.CALM
        return WavePhase.FLOOD if elapsed_s >= self.flood_starts_s else WavePhase.QUIET

    def due_at(self, elapsed_s: float) -> int:
        """Records that should have been sent by then; all of them once the time is over."""
        if elapsed_s >= self.seconds:
            return self.records
        flood_s = min(max(elapsed_s - self.flood_starts_s, 0.0), self.flood_ends_s - self.flood_starts_s)
        quiet_s = max(elapsed_s, 0.0) - flood_s
        return min(self.records, int(self.quiet_rate * quiet_s + self.flood_rate * flood_s))
