"""Forebay beside Debezium's JDBC sink and a bare loop: same run, same servers, same records.

    python -m bench.peers.throughput [--records 4000000 --repeats 5] [--add]

Drains of a full topic (append, upsert of new keys, upsert with repeated keys), latency at an even load, one record that
cannot be written, and kill -9 in the middle. Needs Java and Maven (Connect and Debezium come from Maven Central, once).
Takes two hours on a free machine. Every trial is stored when it is done; --add goes on with what is missing, or adds a
part; a part without --add is printed and not stored.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from forebay_api.v1alpha1 import SinkMode
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.kafka_jars import KAFKA_VERSION
from forebay_cli.local.server_errors import ServerError
from forebay_consumer.schema_ddl import schema_sql

from bench.peers.connect_jars import CONNECT_VERSION, DEBEZIUM_VERSION, ConnectJava, find_connect
from bench.peers.debezium import describe_settings
from bench.peers.drain_trial import Bench, TrialFailed, measure_drain
from bench.peers.keys import draw_repeats, expect_new, expect_repeats
from bench.peers.mishap_trial import Findings, measure_kill, measure_poison
from bench.peers.offsets import Offsets
from bench.peers.poison import Poison
from bench.peers.runners import HEAP_MB, choose_settings
from bench.peers.steady_trial import Pace, measure_steady
from bench.peers.throughput_report import Report, read_stored, write_report
from bench.peers.trial_plan import (
    Job,
    Kind,
    Trial,
    Wishes,
    choose_warm_ups,
    leave_out_stored,
    list_variants,
    plan_jobs,
)
from bench.peers.variants import DEBEZIUM_BATCH, Engine, Task, Variant, find_unknown_mode
from bench.results import describe_environment
from bench.rig import Rig, draw_payment, encode_payment, fill_topic, preload, start_rig
from bench.write_path import PARTITIONS

NEW_KEYS, REPEATED_KEYS, KILLED = "payments", "payments-repeats", "payments-killed"
"""Topics that are filled once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the trials are; stored trials of another size are not added to."""

    records: int
    kill_records: int
    pace: Pace

    @property
    def facts(self) -> dict[str, object]:
        """For the environment."""
        return {
            "records": self.records,
            "kill_records": self.kill_records,
            "records_per_second": self.pace.rate,
            "steady_seconds": self.pace.counted_s,
        }


class Runs:
    """Runs trials on started servers; topics are filled when they are first needed."""

    def __init__(self, bench: Bench, size: Size) -> None:
        self._bench, self._size = bench, size
        self._filled: set[str] = set()
        bench.rig.postgres.run_sql(schema_sql())

    def drain(self, variant: Variant, turn: str) -> dict[str, float]:
        """Drain once. Raises TrialFailed, ServerError."""
        records, name = self._size.records, f"{variant.name}-{turn}"
        if variant.task is Task.REPEATS:
            self._fill(REPEATED_KEYS, records)
            expected = expect_repeats(records)
            return asyncio.run(measure_drain(self._bench, variant, name, REPEATED_KEYS, records, expected))
        self._fill(NEW_KEYS, records)
        return asyncio.run(measure_drain(self._bench, variant, name, NEW_KEYS, records, expect_new(records)))

    def run(self, job: Job, attempt: int) -> Trial:
        """Run one trial. Raises TrialFailed, ServerError."""
        figures: dict[str, float]
        said: tuple[str, ...] = ()
        name = f"{job.kind}-{job.variant.name}-{job.turn}{'-again' * attempt}"
        if job.kind is Kind.DRAIN:
            figures = self.drain(job.variant, f"{job.turn}{'-again' * attempt}")
        elif job.kind is Kind.STEADY:
            figures = asyncio.run(measure_steady(self._bench, job.variant, name, self._size.pace, seed=job.turn))
        else:
            found = self._run_mishap(job, name)
            figures, said = found.figures, found.said
        return Trial(kind=job.kind, variant=job.variant.name, turn=job.turn, case=job.case, figures=figures, said=said)

    def _run_mishap(self, job: Job, name: str) -> Findings:
        if job.kind is Kind.POISON:
            return measure_poison(self._bench, job.variant, Poison(job.case), f"{job.case}-{name}")
        self._fill(KILLED, self._size.kill_records)
        return measure_kill(self._bench, job.variant, KILLED, self._size.kill_records, name)

    def _fill(self, topic: str, records: int) -> None:
        if topic in self._filled:
            return
        bootstrap = self._bench.rig.kafka.bootstrap
        if topic == REPEATED_KEYS:
            fill_topic(bootstrap, topic, PARTITIONS, repeat_keys(records))
        else:
            preload(bootstrap, topic, records, PARTITIONS)
        self._filled.add(topic)


def repeat_keys(records: int) -> Iterator[tuple[str, bytes]]:
    """Yield payments half of which repeat a key; the amount is the record's number, as expect_repeats() wants it."""
    draw = Random(7)
    for number, identity in enumerate(draw_repeats(records)):
        fields = {**draw_payment(identity, draw), "amount_cents": number}
        yield str(identity), encode_payment(fields)


def run(wishes: Wishes, size: Size, *, add: bool) -> None:
    """Run every trial that is asked for and not stored yet. Raises ValueError for wishes that cannot be met."""
    jobs = plan_jobs(wishes)
    if refusal := find_unknown_mode((job.variant for job in jobs), [mode.value for mode in SinkMode]):
        raise ValueError(refusal)
    stored = read_stored() if add else None
    if stored is not None:
        require_same_size(stored[0], size)
        jobs = leave_out_stored(jobs, stored[1])
    connect = find_connect(choose_cache_folder(os.environ))
    load_average = os.getloadavg()[0]
    with start_rig() as rig:
        runs = Runs(Bench(rig=rig, connect=connect, offsets=Offsets(rig.kafka.bootstrap)), size)
        environment = {**describe_run(rig, connect, size), "load_average_before": round(load_average, 1)}
        trials: list[Trial] = []
        if stored is not None:
            environment, trials = join_environments(stored[0], environment), stored[1]
        for variant in choose_warm_ups(jobs, goes_on=stored is not None):
            print(f"warm-up {variant.name}: {describe_figures(runs.drain(variant, 'warm-up'))}", flush=True)
        for job in jobs:
            trials.append(run_valid(runs, job))
            print(f"{' '.join(map(str, job.key))}: {describe_trial(trials[-1])}", flush=True)
            if add or wishes.is_whole:
                write_report(build_report(environment, trials, wishes.batch_sizes))


def run_valid(runs: Runs, job: Job) -> Trial:
    """Run one trial; once more where it had no result, as on a machine that was drowned for a while."""
    try:
        return runs.run(job, 0)
    except (TrialFailed, ServerError) as error:
        print(f"{' '.join(map(str, job.key))} failed, once more: {error}", flush=True)
        return runs.run(job, 1)


def require_same_size(environment: Mapping[str, object], size: Size) -> None:
    """Raise ValueError where stored trials are of another size."""
    other = {key: environment.get(key) for key, value in size.facts.items() if environment.get(key) != value}
    if other:
        raise ValueError(f"the stored trials were made with {other}; ask for the same, or leave --add out")


def join_environments(stored: Mapping[str, object], now: Mapping[str, object]) -> dict[str, object]:
    """Return the stored one with what differs now added: trials of other code or another day are not one run."""
    joined = dict(stored)
    for key in ("commit", "date"):
        known = str(stored[key]).split(", ")
        joined[key] = ", ".join(dict.fromkeys([*known, str(now[key])]))
    return joined


def describe_run(rig: Rig, connect: ConnectJava, size: Size) -> dict[str, object]:
    """Versions of everything that takes part, and the sizes; the servers must run."""
    versions = describe_environment(
        postgresql=rig.postgres.run_sql("SHOW server_version;"),
        kafka=KAFKA_VERSION,
        connect=CONNECT_VERSION,
        debezium=DEBEZIUM_VERSION,
        pgjdbc=connect.driver_version,
        partitions=PARTITIONS,
    )
    return {**versions, **size.facts}


def build_report(environment: Mapping[str, object], trials: Sequence[Trial], batch_sizes: Sequence[int]) -> Report:
    """Return all that is stored."""
    variants = list_variants(batch_sizes, trials)
    settings = {
        name: {**describe_settings(choose_settings(variant)), "-Xmx": f"{HEAP_MB}m"}
        for name, variant in variants.items()
        if variant.engine is Engine.DEBEZIUM
    }
    return Report(environment=environment, variants=variants, settings=settings, trials=trials)


def describe_trial(trial: Trial) -> str:
    """Return one line."""
    return " ".join([describe_figures(trial.figures), *trial.said])


def describe_figures(figures: Mapping[str, float]) -> str:
    """Return them in one line."""
    return ", ".join(f"{name} {value:,.1f}".replace(".0", "") for name, value in figures.items())


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000, help="in each full topic")
    parser.add_argument("--repeats", type=int, default=5, help="of each drain and each even load")
    parser.add_argument("--kill-records", type=int, default=1_000_000)
    parser.add_argument("--kill-repeats", type=int, default=3)
    parser.add_argument("--rate", type=int, default=5000, help="of the even load, records/s")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the even load, counted")
    parser.add_argument("--warm-up", type=float, default=15.0, help="of the even load before that, from the first row")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[DEBEZIUM_BATCH], help="of Debezium, for drains")
    parser.add_argument("--kinds", nargs="+", type=Kind, default=list(Kind), help=" ".join(Kind))
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of variants' names, as in forebay-append")
    parser.add_argument("--add", action="store_true", help="keep what is stored, run what is missing of what is asked")
    parser.add_argument("--page", action="store_true", help="only make the page of the stored trials again")
    return parser.parse_args()


def main() -> None:
    """Run what the command line asks for; exit code 2 for what cannot be."""
    args = parse_arguments()
    repeats = {Kind.DRAIN: args.repeats, Kind.STEADY: args.repeats, Kind.POISON: 1, Kind.KILL: args.kill_repeats}
    wishes = Wishes(
        kinds=tuple(args.kinds), only=tuple(args.only), batch_sizes=tuple(args.batch_sizes), repeats=repeats
    )
    pace = Pace(rate=args.rate, warm_up_s=args.warm_up, counted_s=args.seconds)
    if args.page and (stored := read_stored()) is not None:
        print(write_report(build_report(*stored, wishes.batch_sizes)))
        return
    try:
        run(wishes, Size(records=args.records, kill_records=args.kill_records, pace=pace), add=args.add)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
