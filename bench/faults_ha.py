"""Does anything get lost or written twice, whatever happens to a highly available PostgreSQL under load?

    python -m bench.faults_ha [--count 100 --seed 1 --rate 2000]      the campaign, resumable
    python -m bench.faults_ha --scenario short                       twelve faults, one of each kind that interrupts
    python -m bench.faults_ha --scenario everything-down [--down 300]

Real Kafka, three Patroni members behind HAProxy in each mode in turn, two consumers as processes, a steady load with a
ledger. A line a fault. A campaign that was interrupted goes on where it was; --fresh begins anew. Exit code 1:
something was lost, written twice or out of order, or not counted, or a fault could not be done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from forebay_cli.local.kafka_jars import KAFKA_VERSION
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.server_errors import ServerError

from bench.ha.entry import Entry
from bench.ha.everything_down import SLACK_S, run_everything_down
from bench.ha.field import CONSUMERS, PARTITIONS, CampaignFailed, Field, open_field, start_kafka
from bench.ha.plan import NEEDS_NETWORK, Mode, PlannedFault, plan_campaign, plan_short_campaign
from bench.ha.report import add_everything_down, write_report
from bench.ha.trial import run_fault
from bench.progress import add_progress, choose_progress, read_progress
from bench.results import describe_environment

TRIES = 2
"""A server that does not come up on a busy machine is no finding; the same fault failing twice is one."""
PACKAGES = ("asyncpg", "confluent-kafka", "msgspec", "uvloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """progress: entries done, one a line; None = not kept. until_s: begin no fault after that, monotonic.

    modes: do only the faults of these now.
    """

    faults: Sequence[PlannedFault]
    modes: Sequence[Mode]
    rate: float
    progress: Path | None
    until_s: float | None


class Campaign:
    """Runs an order, and keeps one field open for as many faults as it bears."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.entries = _read_progress(order)
        self.failures: list[str] = []

    def run(self) -> None:
        """Do every fault that is not done yet."""
        done = {entry.number for entry in self.entries}
        wanted = [planned for planned in self._order.faults if planned.mode in self._order.modes]
        missing = [planned for planned in wanted if planned.number not in done]
        if not missing or self._is_late():
            return
        with start_kafka() as (kafka, folder):
            for (mode, network), planned in groupby(missing, key=lambda each: (each.mode, each.kind in NEEDS_NETWORK)):
                self._run_alike(kafka, folder, mode, network, list(planned))

    def _run_alike(
        self, kafka: KafkaServer, folder: Path, mode: Mode, network: bool, waiting: list[PlannedFault]
    ) -> None:
        tries = 0
        while waiting and not self._is_late():
            try:
                with open_field(kafka, folder, mode, network=network) as field:
                    while waiting and not self._is_late():
                        self._run_one(field, waiting[0])
                        waiting.pop(0)
                        tries = 0
            except (CampaignFailed, ServerError, TimeoutError) as error:
                tries += 1
                what = f"{mode} {waiting[0].kind} seed {waiting[0].seed}, try {tries}: {error}"
                print(f"FAILED {what}", flush=True)
                if tries == TRIES:
                    self.failures.append(what.splitlines()[0])
                    waiting.pop(0)
                    tries = 0

    def _run_one(self, field: Field, planned: PlannedFault) -> None:
        began_at_s = time.monotonic()
        entry = run_fault(field, planned, self._order.rate)
        self.entries.append(entry)
        add_progress(self._order.progress, asdict(entry))
        print(_describe(entry, len(self._order.faults), time.monotonic() - began_at_s), flush=True)

    def _is_late(self) -> bool:
        return self._order.until_s is not None and time.monotonic() > self._order.until_s


def run_campaign(order: Order, store: Path | None) -> int:
    """Run it and store it; returns the exit code."""
    before = os.getloadavg()[0]
    campaign = Campaign(order)
    campaign.run()
    entries = sorted(campaign.entries, key=lambda each: each.number)
    environment = describe_environment(
        PACKAGES,
        kafka=KAFKA_VERSION,
        partitions=PARTITIONS,
        consumers=CONSUMERS,
        records_per_second=order.rate,
        faults_planned=len(order.faults),
        faults_failed=campaign.failures,
        load_average_before=round(before, 1),
        load_average_after=round(os.getloadavg()[0], 1),
    )
    print(write_report(environment, entries, store))
    problems = [f"fault {each.number}: {', '.join(found)}" for each in entries if (found := each.find_problems())]
    print("\n".join([*problems, *campaign.failures, f"{len(entries)} of {len(order.faults)} faults"]), flush=True)
    return 1 if problems or campaign.failures or len(entries) < len(order.faults) else 0


def run_down(rate: float, down_s: float, store: Path | None, slack_s: float) -> int:
    """Run everything-down and store it beside a campaign; returns the exit code."""
    before = os.getloadavg()[0]
    with start_kafka() as (kafka, folder), open_field(kafka, folder, Mode.ASYNC, consumers=0) as field:
        entry = run_everything_down(field, rate, down_s, backlog_s=min(30.0, down_s))
    loads = f"{before:.1f} before, {os.getloadavg()[0]:.1f} after"
    facts = {**asdict(entry), "load_average": loads, **describe_environment(PACKAGES, kafka=KAFKA_VERSION)}
    print(add_everything_down(facts, store))
    problems = entry.find_problems(slack_s)
    print(json.dumps(asdict(entry), indent=1), *problems, sep="\n", flush=True)
    return 1 if problems else 0


def _read_progress(order: Order) -> list[Entry]:
    entries = [Entry(**done) for done in read_progress(order.progress)]
    planned = {(each.number, each.seed, str(each.kind)) for each in order.faults}
    found = {each.number: each for each in entries if (each.number, each.seed, each.kind) in planned}
    return list(found.values())


def _describe(entry: Entry, of: int, took_s: float) -> str:
    share = "-" if entry.consumer_share_seconds is None else f"{entry.consumer_share_seconds:.2f}"
    slowest = "-" if entry.slowest_consumer_share_seconds is None else f"{entry.slowest_consumer_share_seconds:.2f}"
    tail = "" if entry.lost_tail_records is None else f" (lost {entry.lost_tail_records})"
    return (
        f"{entry.number + 1:3d}/{of} {entry.mode:6s} {entry.kind:18s} {entry.expiry or '':12s} seed {entry.seed}: "
        f"lost {entry.lost} twice {entry.duplicated} of {entry.produced}, outage {entry.outage_seconds:.2f} s, "
        f"consumers {share} to {slowest} s, rewound {entry.rewound_records}{tail}, "
        f"took {took_s:.0f} s at load {entry.load_average:.0f} {'; '.join(entry.find_problems())}"
    )


def main() -> int:
    """Read the arguments and run what they ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=["campaign", "short", "everything-down"], default="campaign")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, help="records/s; 2000, but 5000 for everything-down")
    parser.add_argument("--minutes", type=float, help="begin no fault later than that; 0: store what is done")
    parser.add_argument("--modes", nargs="*", type=Mode, default=list(Mode), help="do those of the campaign now")
    parser.add_argument("--kinds", nargs="*", help="of a campaign only these, kept nowhere")
    parser.add_argument("--down", type=float, default=300.0, help="seconds without any database")
    parser.add_argument("--slack", type=float, default=SLACK_S, help="seconds of its drain beyond what is predicted")
    parser.add_argument("--store", type=Path, help="write the JSON there, and no page")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run of the campaign did")
    args = parser.parse_args()
    rate = args.rate or (5000.0 if args.scenario == "everything-down" else 2000.0)
    until_s = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    if args.scenario == "everything-down":
        return run_down(rate, args.down, args.store, args.slack)
    if args.scenario == "short":
        faults, progress = plan_short_campaign(args.seed), None
    else:
        faults = plan_campaign(args.seed, args.count)
        progress = choose_progress(f"faults-ha-{args.seed}-{args.count}", fresh=args.fresh)
    if args.kinds:
        faults, progress = tuple(each for each in faults if each.kind in args.kinds), None
    return run_campaign(
        Order(faults=faults, modes=args.modes, rate=rate, progress=progress, until_s=until_s), args.store
    )


if __name__ == "__main__":
    sys.exit(main())
