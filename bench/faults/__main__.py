"""Does anything get lost or written twice, whatever happens to consumers, servers and the network between them?

    PYTHONPATH=tests python -m bench.faults [--count 200 --seed 1]   the campaign, resumable
    PYTHONPATH=tests python -m bench.faults --short                  the twenty rounds of the tests
    PYTHONPATH=tests python -m bench.faults --seeds 1017 1018        these rounds again; a round is its seed

Real Kafka and PostgreSQL, shared by all rounds; topic, table, group and consumers are fresh in each. A line a round. A
campaign that was interrupted goes on where it was; --fresh begins anew. Exit code 1: a round broke a rule (what it
left is named, and the command that does it again), or could not be done.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from forebay_cli.local.kafka_jars import KAFKA_VERSION
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.server_errors import ServerError

from bench.faults.arena import open_arena
from bench.faults.entry import Entry
from bench.faults.plan import PlannedRound, plan_campaign, plan_round, plan_short_campaign
from bench.faults.report import build_entry, summarize, write_report
from bench.faults.trial import find_evidence, run_round
from bench.progress import add_progress, choose_progress, read_progress
from bench.results import describe_environment

TRIES = 2
"""A server that does not come up on a busy machine is no finding; the same round failing so twice is one."""
PACKAGES = ("asyncpg", "confluent-kafka", "msgspec", "uvloop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """progress: rounds done, one a line; None = not kept. until_s: begin no round after that, monotonic."""

    rounds: Sequence[PlannedRound]
    progress: Path | None
    until_s: float | None
    stops_at_first: bool


class Campaign:
    """Runs an order, and keeps one arena open for as long as its servers come back."""

    def __init__(self, order: Order) -> None:
        self._order = order
        wanted = {planned.seed for planned in order.rounds}
        done = [build_entry(body) for body in read_progress(order.progress)]
        self.entries = [entry for entry in done if entry.seed in wanted]
        self.failures: list[str] = []

    def run(self) -> None:
        """Do every round that is not done yet."""
        done = {entry.seed for entry in self.entries}
        waiting = [planned for planned in self._order.rounds if planned.seed not in done]
        tries = 0
        while waiting and not self._is_over():
            try:
                with open_arena() as arena:
                    while waiting and not self._is_over():
                        self._note(run_round(arena, waiting[0]))
                        waiting.pop(0)
                        tries = 0
            except ServerError as error:
                tries += 1
                print(f"FAILED seed {waiting[0].seed}, try {tries}: {error}", flush=True)
                if tries == TRIES:
                    self.failures.append(f"seed {waiting[0].seed}: {str(error).splitlines()[0]}")
                    waiting.pop(0)
                    tries = 0

    def _note(self, entry: Entry) -> None:
        self.entries.append(entry)
        add_progress(self._order.progress, asdict(entry))
        print(_describe(entry, len(self.entries), len(self._order.rounds)), flush=True)

    def _is_over(self) -> bool:
        if self._order.stops_at_first and any(entry.problems for entry in self.entries):
            return True
        return self._order.until_s is not None and time.monotonic() > self._order.until_s


def run_campaign(order: Order, *, store: Path | None, keeps: bool) -> int:
    """Run it; keeps: store it. Returns the exit code."""
    before = os.getloadavg()[0]
    campaign = Campaign(order)
    campaign.run()
    places = {planned.seed: number for number, planned in enumerate(order.rounds)}
    entries = sorted(campaign.entries, key=lambda each: places[each.seed])
    environment = describe_environment(
        PACKAGES,
        kafka=KAFKA_VERSION,
        postgresql=find_postgres().bin.parent.name,
        rounds_failed=campaign.failures,
        load_average_before=round(before, 1),
        load_average_after=round(os.getloadavg()[0], 1),
    )
    is_whole = len(entries) == len(order.rounds) and not campaign.failures
    if store is not None or (keeps and is_whole):
        print(write_report(environment, entries, len(order.rounds), store))
    for key, value in summarize(entries, len(order.rounds)).items():
        print(f"{key}: {value}")
    print("\n".join(campaign.failures), flush=True)
    return 0 if is_whole and not any(entry.problems for entry in entries) else 1


def _describe(entry: Entry, number: int, of: int) -> str:
    line = (
        f"{number:3d}/{of} seed {entry.seed} {entry.mode} {entry.protocol} {entry.consumers}x{entry.lanes} "
        f"{entry.kind}: "
        f"lost {entry.lost} twice {entry.duplicated} of {entry.produced}, {entry.dead_letters} dead letters, "
        f"unknown {entry.unknown} fenced {entry.fenced} retries {entry.retries}, first commit after "
        f"{entry.consumer_share_seconds:.2f} s, drained after {entry.drain_seconds:.2f} s, "
        f"took {entry.took_seconds:.1f} s"
    )
    if not entry.problems:
        return line
    again = f'again: make bench WHAT=faults ARGS="--seeds {entry.seed}"; evidence: {find_evidence(entry.seed)}'
    return "\n".join([f"BROKEN {line}", *entry.problems, again])


def main() -> int:
    """Read the arguments and run what they ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="the twenty rounds of the tests, kept nowhere")
    parser.add_argument("--seeds", nargs="*", type=int, help="only these rounds, kept nowhere")
    parser.add_argument("--minutes", type=float, help="begin no round later than that")
    parser.add_argument("--store", type=Path, help="write the JSON there, and no page")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run of the campaign did")
    parser.add_argument("--stop", action="store_true", help="stop at the first round that breaks a rule")
    args = parser.parse_args()
    progress = None
    if args.seeds:
        rounds = tuple(map(plan_round, args.seeds))
    elif args.short:
        rounds = plan_short_campaign()
    else:
        rounds = plan_campaign(args.seed, args.count)
        progress = choose_progress(f"faults-{args.seed}-{args.count}", fresh=args.fresh)
    until_s = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    order = Order(rounds=rounds, progress=progress, until_s=until_s, stops_at_first=args.stop)
    return run_campaign(order, store=args.store, keeps=progress is not None)


if __name__ == "__main__":
    sys.exit(main())
