"""What a consumer says of itself at /state: the contract between a consumer and whoever scales it.

Unknown is None. Readers ignore keys that they do not know, so that a newer consumer can serve an older operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from forebay_api.fields import Reader, write


class Phase(StrEnum):
    """Where a consumer is in its life."""

    STARTING = "Starting"
    RUNNING = "Running"
    DRAINING = "Draining"


class SinkHealth(StrEnum):
    """READY: last transaction or claim succeeded. AWAY: connection lost or refused, retried for ever.
    BROKEN: a person must repair something (rights, table, password, breaker), retried for ever. UNKNOWN: never tried.
    """

    READY = "Ready"
    AWAY = "Away"
    BROKEN = "Broken"
    UNKNOWN = "Unknown"


class PartitionState(StrEnum):
    """RUNNING: being read. CLAIMING: assigned, not claimed yet. STOPPED: will not be read; `why` says so."""

    RUNNING = "Running"
    CLAIMING = "Claiming"
    STOPPED = "Stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkState:
    """reason: a CamelCase word (`Unreachable`, `ReadOnly`, `AuthenticationFailed`, `PermissionDenied`, `TableMissing`,
    `ColumnUnfilled`, `Breaker`, `Conflict`, `DiskFull`, ...); message: what happened and the remedy.
    since: aware ISO 8601.
    """

    health: SinkHealth
    reason: str | None = None
    message: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReport:
    """next_offset: first offset not written; None before the first claim. epoch likewise."""

    partition: int
    state: PartitionState
    epoch: int | None = None
    next_offset: int | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counters since the process started. records = rows + dead_letters.

    lost_records: skipped because retention removed them. made_anew: partitions moved to the start of a topic that was
    deleted and made anew; nobody knows what of the old one was not written.
    """

    records: int = 0
    record_bytes: int = 0
    rows: int = 0
    dead_letters: int = 0
    transactions: int = 0
    retries: int = 0
    fenced: int = 0
    claims: int = 0
    rewound_records: int = 0
    gap_records: int = 0
    lost_records: int = 0
    made_anew: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterState:
    """What this consumer does with the dead letters of its partitions after they were written.

    mirrored, purged: copied to the topic, and deleted because of their age, since the process started.
    unmirrored: those that the topic does not have; None: there is no topic, or they were not counted yet.
    oldest_unmirrored_s: age of the oldest of them; None: there is none, or likewise.
    message: what keeps them from the topic, or from being deleted, and the remedy; None: nothing. Records are written
        all the same.
    """

    mirrored: int = 0
    purged: int = 0
    unmirrored: int | None = None
    oldest_unmirrored_s: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerState:
    """One answer of /state.

    busy_fraction: 0..1 over the last seconds, the largest utilisation of any stage (fetch+decode, write); waiting at
        the consumer's own cap counts as busy. None: not running long enough to tell, or the sink is not ready.
    busy_with_small_writes: most of the time that makes busy_fraction went into transactions so small that they are
        round trips and waiting for the disk: larger ones would take hardly longer, and what this consumer could write
        cannot be told from it.
    records_per_second: written (rows and dead letters) over the same window; None likewise.
    oldest_unwritten_s: age of the oldest record held but not written; None when nothing is held.
    source_message: what is wrong with Kafka (unreachable broker, missing topic, refused credentials); None: nothing.
    """

    consumer: str
    pipeline: str
    phase: Phase
    sink: SinkState
    partitions: tuple[PartitionReport, ...]
    totals: Totals
    busy_fraction: float | None
    records_per_second: float | None
    oldest_unwritten_s: float | None
    buffered_bytes: int
    paused_because: str | None
    source_message: str | None
    uptime_s: float
    busy_with_small_writes: bool = False
    dead_letters: DeadLetterState = field(default_factory=DeadLetterState)


def to_json_object(state: ConsumerState) -> dict[str, Any]:
    """The JSON object served at /state: every field in camelCase, a last `_s` spelled `Seconds`; unknown is null."""
    body: dict[str, Any] = write(state, {})
    return body


def from_json_object(body: Mapping[str, Any]) -> ConsumerState:
    """The inverse of to_json_object. Raises ValueError naming the first key that is missing or of a wrong type."""
    reader = Reader(lenient=None)
    state = reader.read(ConsumerState, body, "")
    if not isinstance(state, ConsumerState):
        raise ValueError(str(reader.problems[0]))
    return state
