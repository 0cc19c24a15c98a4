"""What one round did, as it is stored. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultFact:
    """One fault. at_seconds: since the round's first commit. hits: see strikes.Struck."""

    name: str
    at_seconds: float
    took_seconds: float
    hits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one round did. Field names are those of the stored results; seconds and records.

    kind: the names of its faults, in order, joined by +. lost, duplicated: see demo.audit.Verdict; in mode Upsert a key
    whose row is not of its last record is lost. rewound: records by which a position went backwards under a consumer;
    nothing here takes commits back, so there must be none. retries: transactions repeated without their bad rows, as
    far as consumers could still be asked. unknown: COMMITs of which a consumer heard no outcome. fenced: batches.
    outage_seconds: from the begin of the first fault to the end of the last one. consumer_share_seconds: from then to
    the first commit; 0 = all was written before. drain_seconds: until everything was, from the end of the last fault
    or of the load, whichever was later. problems: every way in which a rule was broken.
    """

    seed: int
    kind: str
    mode: str
    protocol: str
    consumers: int
    lanes: int
    faults: tuple[FaultFact, ...]
    produced: int
    dead_letters: int
    lost: int
    duplicated: int
    rewound: int
    retries: int
    unknown: int
    fenced: int
    outage_seconds: float
    consumer_share_seconds: float
    drain_seconds: float
    took_seconds: float
    problems: tuple[str, ...]
