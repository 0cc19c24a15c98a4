"""What three faults do to Forebay and to Debezium's JDBC sink in the same rig.

    python -m bench.peers.failover [--repeats 3 --rate 2000]

Kafka, three Patroni members behind HAProxy in asynchronous mode, payments at an even rate with a ledger. For each sink
in turn: the primary dies with acknowledged commits that no replica has; a switchover; kill -9 of the sink. Needs Java
and Maven (Connect and Debezium come from Maven Central, once). Takes half an hour on a free machine; a whole run stores
its results.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import assert_never

from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.kafka_jars import KAFKA_VERSION
from forebay_cli.local.server_errors import ServerError

from bench.peers.connect_jars import CONNECT_VERSION, DEBEZIUM_VERSION, ConnectJava, find_connect
from bench.peers.debezium import DebeziumSettings, InsertMode, describe_settings
from bench.peers.failover_notes import NOTES
from bench.peers.failover_report import Report, Trial, read_stored, write_report
from bench.peers.failover_rig import PARTITIONS, Field, open_field
from bench.peers.failover_trial import FaultName, Load, run_trial
from bench.peers.sinks import DebeziumSink, ForebaySink, Place, Sink
from bench.results import describe_environment

PACKAGES = ("asyncpg", "confluent-kafka", "msgspec", "uvloop")


class Peer(StrEnum):
    """Who is put under fire, with which settings."""

    FOREBAY = "forebay"
    DEBEZIUM_INSERT = "debezium-insert"
    DEBEZIUM_UPSERT = "debezium-upsert"
    DEBEZIUM_UPSERT_STOPS = "debezium-upsert-stops"


SETTINGS = {
    Peer.DEBEZIUM_INSERT: DebeziumSettings(mode=InsertMode.INSERT),
    Peer.DEBEZIUM_UPSERT: DebeziumSettings(mode=InsertMode.UPSERT),
    Peer.DEBEZIUM_UPSERT_STOPS: DebeziumSettings(mode=InsertMode.UPSERT, reconnect=False),
}
KEYED = (Peer.DEBEZIUM_UPSERT, Peer.DEBEZIUM_UPSERT_STOPS)
"""Who needs a primary key."""
LABELS = {
    Peer.FOREBAY: "Forebay, append, no key",
    Peer.DEBEZIUM_INSERT: "Debezium, insert, no key",
    Peer.DEBEZIUM_UPSERT: "Debezium, upsert by primary key",
    Peer.DEBEZIUM_UPSERT_STOPS: "Debezium, upsert, stops when the connection is lost (its default)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    peers: tuple[Peer, ...]
    faults: tuple[FaultName, ...]
    repeats: int
    load: Load
    add: bool
    """Keep what is stored, of the same code and machine, and add to it."""

    @property
    def is_whole(self) -> bool:
        """Tell whether it may replace what is stored."""
        return set(self.peers) == set(Peer) and set(self.faults) == set(FaultName)


def run(plan: Plan) -> None:
    """Run every trial, sinks interleaved; whole turns of a whole plan, and trials that are added, are stored."""
    connect = find_connect(choose_cache_folder(os.environ))
    load_average = os.getloadavg()[0]
    with open_field() as field:
        environment = describe_run(field, connect, plan.load, load_average)
        trials: list[Trial] = []
        if plan.add:
            environment, trials = read_stored()
        for _, fault, peer in product(range(plan.repeats), plan.faults, plan.peers):
            turn = sum(trial.peer == peer and trial.fault is fault for trial in trials)
            trials.append(run_valid(field, connect, peer, fault, plan.load, turn))
            print(trials[-1], flush=True)
            if plan.add or (plan.is_whole and len(trials) % (len(plan.faults) * len(plan.peers)) == 0):
                write_report(build_report(environment, trials))


def run_valid(field: Field, connect: ConnectJava, peer: Peer, fault: FaultName, load: Load, turn: int) -> Trial:
    """Run one trial; once more where the rig, not the sink, was at fault: no rows at all, or no tail to lose."""
    try:
        return run_one(field, connect, peer, fault, load, turn, f"{peer}-{fault}-{turn}")
    except (ServerError, TimeoutError) as error:
        print(f"{peer} {fault}: {error}", flush=True)
        return run_one(field, connect, peer, fault, load, turn, f"{peer}-{fault}-{turn}-again")


def run_one(
    field: Field, connect: ConnectJava, peer: Peer, fault: FaultName, load: Load, turn: int, name: str
) -> Trial:
    """Run one trial in a place of its own, and begin to heal the cluster: the next trial waits for that."""
    place = field.make_place(name.replace("-", "_"), with_key=peer in KEYED)
    sink = build_sink(peer, place, connect)
    try:
        outcome = run_trial(field, sink, place.table, fault, load, seed=turn)
        return Trial(peer=peer, fault=fault, turn=turn, outcome=outcome)
    except (ServerError, TimeoutError):
        print_logs(place)
        raise
    finally:
        sink.kill()
        field.faults.heal()


def describe_run(field: Field, connect: ConnectJava, load: Load, load_average: float) -> dict[str, object]:
    """Versions of everything that takes part, and the load; the servers must still run."""
    return describe_environment(
        PACKAGES,
        postgresql=field.cluster.run_sql("SHOW server_version;"),
        kafka=KAFKA_VERSION,
        connect=CONNECT_VERSION,
        debezium=DEBEZIUM_VERSION,
        pgjdbc=connect.driver_version,
        partitions=PARTITIONS,
        records_per_second=load.rate,
        load_average_before=round(load_average, 1),
    )


def build_report(environment: dict[str, object], trials: Sequence[Trial]) -> Report:
    """Return all that is stored."""
    return Report(
        environment=environment,
        labels={str(peer): label for peer, label in LABELS.items()},
        settings={str(peer): describe_settings(SETTINGS[peer]) if peer in SETTINGS else {} for peer in Peer},
        notes=NOTES,
        trials=trials,
    )


def build_sink(peer: Peer, place: Place, connect: ConnectJava) -> Sink:
    """Return the sink, not started."""
    match peer:
        case Peer.FOREBAY:
            return ForebaySink(place)
        case Peer.DEBEZIUM_INSERT | Peer.DEBEZIUM_UPSERT | Peer.DEBEZIUM_UPSERT_STOPS:
            return DebeziumSink(place, connect, SETTINGS[peer])
        case _:
            assert_never(peer)


def print_logs(place: Place) -> None:
    """Print the ends of the logs of a trial that went wrong: its folder goes."""
    for log in sorted(place.folder.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()[-4000:]}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rate", type=int, default=2000, help="records/s")
    parser.add_argument("--warm-up", type=float, default=8.0, help="seconds of load before the fault")
    parser.add_argument("--after", type=float, default=6.0, help="seconds of load after the sink writes again")
    parser.add_argument("--tail", type=int, default=1000, help="acknowledged rows that the old primary dies with")
    parser.add_argument("--peers", nargs="*", type=Peer, default=list(Peer), help="some, printed and not stored")
    parser.add_argument("--faults", nargs="*", type=FaultName, default=list(FaultName), help="likewise")
    parser.add_argument("--add", action="store_true", help="add the trials, all or some, to the stored run's")
    parser.add_argument("--page", action="store_true", help="only make the page of the stored run again")
    args = parser.parse_args()
    if args.page:
        print(write_report(build_report(*read_stored())))
        sys.exit(0)
    run(
        Plan(
            peers=tuple(args.peers),
            faults=tuple(args.faults),
            repeats=args.repeats,
            add=args.add,
            load=Load(rate=args.rate, warm_up_s=args.warm_up, after_s=args.after, tail_rows=args.tail),
        )
    )
