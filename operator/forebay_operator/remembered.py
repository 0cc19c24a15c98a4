"""Parts of a pipeline's memory that are values of their own: what was known before a restart, and of the database.

What must not live here: rules, clocks. Times are aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from forebay_api.state import SinkHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """last_decision was made under this generation, before a restart. since: first pass after it, None before that."""

    generation: int
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The database takes no rows. health: AWAY or BROKEN. reason, message: the last consumer's that said so."""

    since: datetime
    health: SinkHealth
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkMemory:
    """What passes remember of the database.

    outage: None while it takes rows, or was never tried. opened_at: when the last outage ended, None = there was none.
    rewound: running consumer → records that it read again, because a failover had lost their commits.
    rewound_before: as many were counted, the first of them before this process began; 0 once every consumer was heard.
    rewound_untold: of the records that were read again, those that nobody was told of yet. rewound_at: when the last of
    them were seen, None = never.
    """

    outage: Outage | None = None
    opened_at: datetime | None = None
    rewound: Mapping[str, int] = field(default_factory=dict)
    rewound_before: int = 0
    rewound_untold: int = 0
    rewound_at: datetime | None = None

    @property
    def rewound_records(self) -> int:
        """What the running consumers read again since each was started."""
        return max(self.rewound_before, sum(self.rewound.values()))

    @property
    def rewound_told(self) -> int:
        """The same without what nobody was told of yet."""
        return self.rewound_records - self.rewound_untold
