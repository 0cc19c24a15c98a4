"""One fault under load: done, waited for, healed, and audited."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forebay_api.state import ConsumerState
from forebay_cli.demo.ledger import LedgerWriter
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.primary_watch import PrimaryWatch
from forebay_cli.local.server_errors import SqlFailed

from bench.ha.acknowledged import StateWatch
from bench.ha.audit import Audit, audit_table, read_ledger
from bench.ha.entry import Entry
from bench.ha.field import Field, subtract
from bench.ha.plan import QUIET, PlannedFault
from bench.ha.strikes import Struck, strike
from bench.ha.timings import Blackout, Shares, choose_outage, find_shares
from bench.steady_load import SteadyLoad

FIRST_COMMIT_S = 60.0
RECOVER_S = 90.0
QUIET_S = 6.0
"""How long to wait for the outage of a fault that may cause none."""
HEALTHY_S = 150.0
DRAIN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One fault, and what was seen while it lasted. acknowledged, heir: see Entry.lost_tail_records."""

    struck: Struck
    blackout: Blackout | None
    acknowledged: dict[int, int] | None
    heir: str | None


def run_fault(field: Field, planned: PlannedFault, rate: float) -> Entry:
    """Do one fault to a field, and leave it healed and drained. Raises CampaignFailed, ServerError."""
    field.cluster.wait_healthy(HEALTHY_S)
    field.empty_table()
    ledger = field.flood.folder / f"ledger-{planned.number}"
    before = field.read_states()
    with LedgerWriter(ledger) as writer:
        load = SteadyLoad(field.kafka.bootstrap, field.flood.topic, rate=rate, seed=planned.seed, ledger=writer)
        with load:
            seen = _strike_under_load(field, planned)
    drain(field, read_ledger(ledger).ends, DRAIN_S)
    after = field.read_states()
    field.cluster.wait_healthy(HEALTHY_S)  # what healing has set off may have cost a primary once more
    audit = audit_table(field.flood.database.admin.dsn, ledger)
    ledger.unlink()
    return _build_entry(field, planned, seen, audit, before, after)


def drain(field: Field, ends: Mapping[int, int], timeout_s: float) -> None:
    """Wait until the positions are there. Raises CampaignFailed."""
    stored: dict[int, int] = {}

    def is_drained() -> bool:
        try:
            stored.update(field.read_positions())
        except SqlFailed:
            return False
        return all(stored.get(partition) == end for partition, end in ends.items())

    if not wait_until(is_drained, timeout_s, 0.2):
        raise field.fail(f"the positions are {stored}, not {dict(ends)}, {timeout_s:.0f} s after the load")


def _strike_under_load(field: Field, planned: PlannedFault) -> _Seen:
    with PrimaryWatch(field.cluster.admin()) as watch, StateWatch(field.consumers) as states:
        began_at_s = time.monotonic()
        _wait_for_commits(field, watch, states, began_at_s)
        time.sleep(planned.after_s)  # the moment is the point
        since_s = time.monotonic()
        struck = strike(field, planned, watch, states)
        blackout = _wait_for_blackout(field, planned, struck, watch)
        _wait_for_commits(field, watch, states, blackout.writable_at_s if blackout else struck.fault.done_at_s)
        acknowledged = states.read_acknowledged(since_s) if struck.tail else None
        heir = field.cluster.leader()
        field.faults.heal()
        _wait_for_commits(field, watch, states, time.monotonic())
        return _Seen(struck=struck, blackout=blackout, acknowledged=acknowledged, heir=heir)


def _wait_for_commits(field: Field, watch: PrimaryWatch, states: StateWatch, since_s: float) -> None:
    """Wait until the watch and every consumer have committed since then."""
    if watch.wait_writable(since_s, RECOVER_S) is None:
        raise field.fail(f"nothing can be written through HAProxy for {RECOVER_S:.0f} s")
    if not wait_until(lambda: states.have_committed_since(since_s), RECOVER_S):
        raise field.fail(f"not every consumer has committed for {RECOVER_S:.0f} s")


def _wait_for_blackout(field: Field, planned: PlannedFault, struck: Struck, watch: PrimaryWatch) -> Blackout | None:
    """Wait for the outage to come and to end. Raises CampaignFailed when a fault that interrupts did not."""
    if struck.lost_at_s is not None and struck.writable_at_s is not None:
        return Blackout(lost_at_s=struck.lost_at_s, writable_at_s=struck.writable_at_s)
    is_quiet = planned.kind in QUIET
    found: list[Blackout] = []

    def is_over() -> bool:
        chosen = choose_outage(watch.outages(), struck.fault.at_s, with_slow=is_quiet)
        found[:] = [] if chosen is None else [chosen]
        return chosen is not None

    if not wait_until(is_over, QUIET_S if is_quiet else RECOVER_S) and not is_quiet:
        raise field.fail(f"{planned.kind} caused no outage, or one of more than {RECOVER_S:.0f} s")
    return found[0] if found else None


def _build_entry(
    field: Field,
    planned: PlannedFault,
    seen: _Seen,
    audit: Audit,
    before: Sequence[ConsumerState],
    after: Sequence[ConsumerState],
) -> Entry:
    shares = _find_shares(seen, audit, after)
    rewound = sum(b.totals.rewound_records - a.totals.rewound_records for a, b in zip(before, after, strict=True))
    written = sum(b.totals.records - a.totals.records for a, b in zip(before, after, strict=True))
    lost_tail, primary_tail = _measure_tail(seen)
    blackout = seen.blackout
    return Entry(
        number=planned.number,
        kind=str(planned.kind),
        mode=str(planned.mode),
        seed=planned.seed,
        expiry=None if planned.expiry is None else str(planned.expiry),
        produced=audit.produced,
        lost=audit.lost,
        duplicated=audit.duplicated,
        foreign=audit.foreign,
        disordered=audit.disordered,
        dead_letters=audit.dead_letters,
        outage_seconds=0.0 if blackout is None else round(blackout.writable_at_s - blackout.lost_at_s, 3),
        consumer_share_seconds=_round(shares.first_s),
        slowest_consumer_share_seconds=_round(shares.slowest_s),
        commit_pause_seconds=_round(shares.pause_s),
        rewound_records=rewound,
        lost_tail_records=lost_tail,
        primary_tail_records=primary_tail,
        written_again_records=written - audit.produced,
        consumers_restarted=sum(not each.child.is_running() for each in field.consumers),
        load_average=round(os.getloadavg()[0], 1),
    )


def _find_shares(seen: _Seen, audit: Audit, states: Sequence[ConsumerState]) -> Shares:
    owners = {p.partition: owner for owner, state in enumerate(states) for p in state.partitions}
    to_wall_s = time.time() - time.monotonic()
    writable_at_s = None if seen.blackout is None else seen.blackout.writable_at_s + to_wall_s
    return find_shares(audit.commits, owners, seen.struck.fault.at_s + to_wall_s, writable_at_s)


def _measure_tail(seen: _Seen) -> tuple[int | None, int | None]:
    """How many records went with the old primary: by what was acknowledged, and by its own table a moment earlier."""
    tail = seen.struck.tail
    if tail is None or seen.heir is None or seen.heir not in tail.replicas:
        return None, None
    heir = tail.replicas[seen.heir]
    lost = None if seen.acknowledged is None else subtract(seen.acknowledged, heir)
    return lost, subtract(tail.primary, heir)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
