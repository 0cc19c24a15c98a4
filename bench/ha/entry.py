"""What one fault did, as it is stored. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one fault did. Field names are those of the stored results; seconds and records.

    outage_seconds: last commit before to first commit after, of a tiny client beside the consumers; 0 = none.
    consumer_share_seconds: from the moment when a commit through HAProxy succeeded again to the first of the consumers;
    without an outage the longest pause in their commits, all of which is theirs.
    slowest_consumer_share_seconds: the same, until each consumer has committed.
    commit_pause_seconds: the longest time without a row being committed, from the fault on; None = no commit after it.
    rewound_records: by the consumers' own count. lost_tail_records: acknowledged on the old primary and not there on
    the new one, from positions; None = no such fault, or not seen. written_again_records: acknowledged commits minus
    records of the load, from counters. primary_tail_records: as lost_tail_records, by the old primary's own table a
    moment earlier: at most that. consumers_restarted: ended processes. load_average: the machine's, of one minute.
    """

    number: int
    kind: str
    mode: str
    seed: int
    expiry: str | None
    produced: int
    lost: int
    duplicated: int
    foreign: int
    disordered: int
    dead_letters: int
    outage_seconds: float
    consumer_share_seconds: float | None
    slowest_consumer_share_seconds: float | None
    commit_pause_seconds: float | None
    rewound_records: int
    lost_tail_records: int | None
    primary_tail_records: int | None
    written_again_records: int
    consumers_restarted: int
    load_average: float

    def find_problems(self) -> list[str]:
        """Return every way in which the rules were broken; figures are judged elsewhere."""
        wrong = {
            "records lost": self.lost,
            "rows too many": self.duplicated,
            "rows of no record": self.foreign,
            "records out of order": self.disordered,
            "dead letters": self.dead_letters,
            "consumers ended": self.consumers_restarted,
        }
        problems = [f"{count} {what}" for what, count in wrong.items() if count]
        if self.lost_tail_records not in (None, self.rewound_records):
            problems.append(f"{self.rewound_records} records rewound, but {self.lost_tail_records} were lost")
        if self.rewound_records < (self.primary_tail_records or 0):
            problems.append(f"{self.rewound_records} records rewound, but {self.primary_tail_records} were seen to go")
        return problems
