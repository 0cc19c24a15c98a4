"""One trial: a steady load, one fault, and what is in the table when everything has been written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import assert_never

from forebay_cli.demo.ledger import LedgerWriter, read_entries, summarize_entries
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.primary_watch import PrimaryWatch

from bench.peers.attendant import Attendant, Care
from bench.peers.failover_rig import Audit, Field
from bench.peers.sinks import Sink
from bench.steady_load import SteadyLoad

LOOK_EVERY_S = 0.5
FIRST_ROWS_S = 90.0
LOAD_AFTER_S = 30.0
"""The load ends so long after the fault, even if the sink does not write again yet; what waits is drained later."""
DRAIN_S = 300.0
"""From the end of the load; start-up of a process and a person's restarts are within it, on a busy machine."""
TAIL_S = 20.0
HEAL_S = 120.0
"""Until the cluster is well again after the trial before; the load goes on meanwhile."""


class FaultName(StrEnum):
    """What happens in the middle of the load."""

    LOST_TAIL = "lost-tail"
    """The primary dies with its last commits, which no replica has; an asynchronous one takes over."""
    SWITCHOVER = "switchover"
    """An administrator has the primary hand over in order."""
    KILL_SINK = "kill-sink"
    """kill -9 of the sink's process; its supervisor starts it again at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """rate: records/s. warm_up_s, after_s: of the load before the fault, and once rows are written again."""

    rate: int
    warm_up_s: float
    after_s: float
    tail_rows: int
    """Rows that the old primary acknowledges before it dies with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one fault did to one sink.

    tail_rows: committed at the old primary while no replica received anything; None = another fault.
    rewound: see Sink.count_rewound. start_up_s: of the process, before the trial, until it reads; None = not taken.
    seconds_without_writes: the longest time without a commit from the fault on; None = nothing was written any more.
    database_outage_s: the part of it during which nobody could write.
    """

    produced: int
    rows: int
    lost: int
    duplicated: int
    tail_rows: int | None
    rewound: int | None
    start_up_s: float | None
    seconds_without_writes: float | None
    database_outage_s: float
    care: Care


def run_trial(field: Field, sink: Sink, table: str, fault: FaultName, load: Load, seed: int) -> Outcome:
    """Run it; the cluster is to be healed afterwards. Raises TimeoutError, ServerError."""
    ledger = field.folder / table / "ledger"
    started_at_s = time.monotonic()
    sink.start()
    start_up_s = time.monotonic() - started_at_s
    with PrimaryWatch(field.cluster.admin()) as watch, Attendant(sink) as attendant:
        with (
            LedgerWriter(ledger) as writer,
            SteadyLoad(field.kafka.bootstrap, table, rate=load.rate, seed=seed, ledger=writer) as sending,
        ):
            _wait_for_rows(field, table, load.rate, FIRST_ROWS_S)
            _wait_for_rows(field, table, int(load.rate * load.warm_up_s), FIRST_ROWS_S)
            field.cluster.wait_healthy(HEAL_S)
            at_s, tail_rows = _do(field, sink, table, fault, load)
            _wait_for_growth(field, table, int(load.rate * load.after_s))
            sending.stop()
        _wait_drained(field, sink, table, ledger)
        rewound = sink.count_rewound()
    audit = field.audit(table, ledger)
    fault_at_s = time.time() - (time.monotonic() - at_s)
    outages = [(each.writable_at_s or each.lost_at_s) - each.lost_at_s for each in watch.outages() if each.failed]
    return _judge(audit, attendant.report(), tail_rows, rewound, start_up_s, fault_at_s, max(outages, default=0.0))


def find_longest_pause(fault_at_s: float, commits_at_s: Sequence[float]) -> float | None:
    """Return the longest time between two commits from the fault on; None when there was none after it."""
    points = [fault_at_s, *sorted(at_s for at_s in commits_at_s if at_s > fault_at_s)]
    pauses = [later - earlier for earlier, later in pairwise(points)]
    return max(pauses, default=None)


def _judge(
    audit: Audit,
    care: Care,
    tail_rows: int | None,
    rewound: int | None,
    start_up_s: float,
    fault_at_s: float,
    database_outage_s: float,
) -> Outcome:
    return Outcome(
        produced=audit.produced,
        rows=audit.rows,
        lost=audit.lost,
        duplicated=audit.duplicated,
        tail_rows=tail_rows,
        rewound=rewound,
        start_up_s=start_up_s,
        seconds_without_writes=find_longest_pause(fault_at_s, audit.commits_at_s),
        database_outage_s=database_outage_s,
        care=care,
    )


def _do(field: Field, sink: Sink, table: str, fault: FaultName, load: Load) -> tuple[float, int | None]:
    """Do it; return when (monotonic), and how many acknowledged rows went with the primary."""
    match fault:
        case FaultName.LOST_TAIL:
            return _lose_tail(field, table, load.tail_rows)
        case FaultName.SWITCHOVER:
            return field.faults.switchover().at_s, None
        case FaultName.KILL_SINK:
            at_s = time.monotonic()
            sink.kill()
            return at_s, None
        case _:
            assert_never(fault)


def _lose_tail(field: Field, table: str, wanted: int) -> tuple[float, int]:
    primary = field.at_leader()
    counts: list[int] = []

    def is_enough() -> bool:
        rows = field.count_rows(table, primary)
        if rows is not None:
            counts.append(rows)
        return bool(counts) and counts[-1] - counts[0] >= wanted

    fault = field.faults.lose_tail(is_enough, timeout_s=TAIL_S)
    if fault.tail is None or not fault.tail.complete:
        raise TimeoutError(f"the tail did not grow by {wanted} rows within {TAIL_S:.0f} s: {counts}")
    return fault.at_s, counts[-1] - counts[0]


def _wait_for_rows(field: Field, table: str, rows: int, timeout_s: float) -> None:
    if not wait_until(lambda: (field.count_rows(table) or 0) >= rows, timeout_s, LOOK_EVERY_S):
        raise TimeoutError(f"{table} has {field.count_rows(table)} rows after {timeout_s:.0f} s, not {rows}")


def _wait_for_growth(field: Field, table: str, rows: int) -> None:
    """Wait until so many rows came after the fault, or until the load has lasted long enough."""
    found: list[int] = []

    def has_grown() -> bool:
        if (count := field.count_rows(table)) is not None:
            found.append(count)
        return bool(found) and found[-1] - min(found) >= rows

    wait_until(has_grown, LOAD_AFTER_S, LOOK_EVERY_S)


def _wait_drained(field: Field, sink: Sink, table: str, ledger: Path) -> None:
    """Wait until the group's offsets in Kafka are at the end: what has no row then is lost, not late."""
    ends = summarize_entries(read_entries(ledger)).ends

    def has_drained() -> bool:
        committed = field.read_committed(sink.group, table)
        return all(committed.get(partition, 0) >= end for partition, end in ends.items())

    if not wait_until(has_drained, DRAIN_S, LOOK_EVERY_S):
        raise TimeoutError(f"{table} was not drained within {DRAIN_S:.0f} s")
