"""One round: everything fresh but the servers, a load, faults in the middle of it, a drain, an audit."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forebay_api.v1alpha1 import SinkMode
from forebay_cli.demo.audit import Verdict
from forebay_cli.demo.ledger import read_entries, summarize_entries
from forebay_cli.errors import DeliveryFailed
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.log_tail import read_last_lines
from support.flood import TABLE, Flood
from support.testbed.servers import DatabaseFactory, FreshDatabase, TopicFactory

from bench.faults.arena import Arena, RoundFailed
from bench.faults.audit import audit_round
from bench.faults.crew import Crew
from bench.faults.entry import Entry, FaultFact
from bench.faults.load import Load
from bench.faults.plan import SESSION_S, PlannedFault, PlannedRound, Protocol, Side
from bench.faults.records import Record, build_records
from bench.faults.strikes import Struck, strike
from bench.faults.watch import PositionWatch

FIRST_COMMIT_S = 120.0
DRAIN_S = 180.0
"""Above every wait of the consumer and of Kafka's client: 30 s of a connection without a sign of life."""
LOOK_S = 0.05
SERVER_LINES = 500
"""Of each server's log, kept of a round that failed."""
UPSERT_TABLE = TABLE.replace("account text NOT NULL", "account text PRIMARY KEY")
CLASSIC = {
    "group.protocol": "classic",
    "session.timeout.ms": str(round(SESSION_S * 1000)),
    "heartbeat.interval.ms": str(round(SESSION_S * 200)),
}
KAFKA_CONFIG = {Protocol.CLASSIC: CLASSIC, Protocol.CONSUMER: {"group.protocol": "consumer"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A round whose consumers have ended. began_at_s: its first commit; times on time.monotonic()'s clock."""

    began_at_s: float
    struck: Sequence[Struck]
    first_move_at_s: float | None
    loaded_at_s: float
    drained_at_s: float


def run_round(arena: Arena, planned: PlannedRound) -> Entry:
    """Do it. What went wrong is in the entry's problems, and then the evidence is kept (see find_evidence)."""
    began_at_s = time.monotonic()
    with _open_stage(arena, planned) as flood:
        crew = Crew(flood, planned.consumers)
        records = build_records(planned)  # while they begin
        try:
            seen = _run_faults(arena, planned, flood, crew, records)
            crew.stop()
            verdict = audit_round(planned.mode, flood.database.admin.dsn, flood.ledger, records, group=flood.group)
            entry = _build_entry(planned, seen, verdict, crew, time.monotonic() - began_at_s)
        except (RoundFailed, DeliveryFailed) as error:
            entry = _build_failed_entry(planned, crew, str(error), time.monotonic() - began_at_s)
        if entry.problems:
            _keep_evidence(arena, planned, flood, entry)
        return entry


@contextmanager
def _open_stage(arena: Arena, planned: PlannedRound) -> Iterator[Flood]:
    topics, databases = TopicFactory(arena.kafka), DatabaseFactory(arena.postgres)
    topic, database = topics(planned.partitions), databases()
    folder = arena.folder / topic
    folder.mkdir()
    flood = _build_flood(arena, planned, topic, database, folder)
    arena.proxies[Side.DATABASE].settle(planned.latency_ms)
    try:
        flood.run_sql(UPSERT_TABLE if planned.mode is SinkMode.UPSERT else TABLE)
        yield flood
    finally:
        arena.heal()
        for process in flood.processes:
            process.child.kill_family()
        arena.proxies[Side.DATABASE].release()
        arena.proxies[Side.BROKER].release()
        databases.drop_all()
        topics.delete_all()
        shutil.rmtree(folder, ignore_errors=True)


def _build_flood(arena: Arena, planned: PlannedRound, topic: str, database: FreshDatabase, folder: Path) -> Flood:
    upsert = {"mode": str(SinkMode.UPSERT), "keyColumns": ["account"]}
    cap = planned.max_rows_per_second
    flood = Flood(
        kafka=arena.kafka,
        database=database,
        topic=topic,
        folder=folder,
        group=topic,
        source={"bootstrapServers": arena.proxied_bootstrap},
        sink=upsert if planned.mode is SinkMode.UPSERT else {},
        consumer={"lanes": planned.lanes, "maxRowsPerSecond": cap},
        kafka_config=KAFKA_CONFIG[planned.protocol],
    )
    flood.write_secret(port=str(arena.proxies[Side.DATABASE].port))
    return flood


def _run_faults(arena: Arena, planned: PlannedRound, flood: Flood, crew: Crew, records: Sequence[Record]) -> _Seen:
    load = Load(
        arena.kafka.bootstrap,
        flood.topic,
        records,
        flood.ledger,
        backlog=planned.backlog,
        load_s=planned.load_s,
    )
    with PositionWatch(flood.database.admin.dsn, group=flood.group, topic=flood.topic) as watch, load:
        if not wait_until(watch.has_begun, FIRST_COMMIT_S):
            raise RoundFailed(f"nothing was written within {FIRST_COMMIT_S:.0f} s\n{flood.tails()}")
        began_at_s = time.monotonic()
        load.start()
        struck = _strike_all(arena, planned.faults, crew, flood.database.user, began_at_s)
        arena.heal()
        crew.replace_ended()
        load.wait()
        ends = summarize_entries(read_entries(flood.ledger)).ends
        if not wait_until(lambda: watch.find_end(ends) is not None, DRAIN_S, LOOK_S):
            positions = dict(watch.positions)
            raise RoundFailed(f"the positions are {positions}, not {ends}, after {DRAIN_S:.0f} s\n{flood.tails()}")
        drained_at_s = watch.find_end(ends)
        assert load.ended_at_s is not None, "it was waited for"
        assert drained_at_s is not None, "it was waited for"
        return _Seen(
            began_at_s=began_at_s,
            struck=struck,
            first_move_at_s=watch.find_first_move(max(each.ended_at_s for each in struck)),
            loaded_at_s=load.ended_at_s,
            drained_at_s=drained_at_s,
        )


def _strike_all(arena: Arena, faults: Sequence[PlannedFault], crew: Crew, role: str, began_at_s: float) -> list[Struck]:
    """Do each at its moment, whatever the others are doing then."""

    def wait_and_strike(fault: PlannedFault) -> Struck:
        time.sleep(max(0.0, began_at_s + fault.after_s - time.monotonic()))  # the moment is the point
        return strike(arena, crew, role, fault)

    with ThreadPoolExecutor(max_workers=len(faults)) as threads:
        return list(threads.map(wait_and_strike, faults))


def _build_entry(planned: PlannedRound, seen: _Seen, verdict: Verdict, crew: Crew, took_s: float) -> Entry:
    told = crew.read_logs()
    struck_at_s = min(each.began_at_s for each in seen.struck)
    healed_at_s = max(each.ended_at_s for each in seen.struck)
    rewound = [f"{told.rewound} records rewound, though nothing took commits back"] if told.rewound else []
    return Entry(
        seed=planned.seed,
        kind=_name_faults(planned),
        mode=str(planned.mode),
        protocol=str(planned.protocol),
        consumers=planned.consumers,
        lanes=planned.lanes,
        faults=tuple(_describe(each, seen.began_at_s) for each in seen.struck),
        produced=verdict.produced,
        dead_letters=verdict.dead_letters,
        lost=verdict.lost,
        duplicated=verdict.duplicated,
        rewound=told.rewound,
        retries=crew.retries,
        unknown=told.unknown,
        fenced=told.fenced,
        outage_seconds=round(healed_at_s - struck_at_s, 3),
        consumer_share_seconds=0.0 if seen.first_move_at_s is None else round(seen.first_move_at_s - healed_at_s, 3),
        drain_seconds=round(max(0.0, seen.drained_at_s - max(healed_at_s, seen.loaded_at_s)), 3),
        took_seconds=round(took_s, 3),
        problems=(*verdict.problems, *crew.ended, *rewound),
    )


def _build_failed_entry(planned: PlannedRound, crew: Crew, why: str, took_s: float) -> Entry:
    """A round that did not come to its audit: nobody knows what is lost, and it is a failure."""
    told = crew.read_logs()
    return Entry(
        seed=planned.seed,
        kind=_name_faults(planned),
        mode=str(planned.mode),
        protocol=str(planned.protocol),
        consumers=planned.consumers,
        lanes=planned.lanes,
        faults=(),
        produced=planned.records,
        dead_letters=0,
        lost=0,
        duplicated=0,
        rewound=told.rewound,
        retries=crew.retries,
        unknown=told.unknown,
        fenced=told.fenced,
        outage_seconds=0.0,
        consumer_share_seconds=0.0,
        drain_seconds=0.0,
        took_seconds=round(took_s, 3),
        problems=(why, *crew.ended),
    )


def _name_faults(planned: PlannedRound) -> str:
    return "+".join(fault.name for fault in planned.faults)


def _describe(struck: Struck, began_at_s: float) -> FaultFact:
    return FaultFact(
        name=struck.name,
        at_seconds=round(struck.began_at_s - began_at_s, 3),
        took_seconds=round(struck.ended_at_s - struck.began_at_s, 3),
        hits=struck.hits,
    )


def find_evidence(seed: int) -> Path:
    """Return the folder where a failed round of this seed leaves its logs, its plan, its ledger and the audit."""
    return choose_cache_folder(os.environ) / "campaigns" / "evidence" / str(seed)


def _keep_evidence(arena: Arena, planned: PlannedRound, flood: Flood, entry: Entry) -> None:
    target = find_evidence(planned.seed)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(flood.folder, target, ignore=shutil.ignore_patterns("sink"))  # there is the password
    facts: dict[str, Any] = {"planned": asdict(planned), "entry": asdict(entry)}
    (target / "round.json").write_text(json.dumps(facts, indent=1) + "\n")
    for log_file in (arena.kafka.log_file, arena.postgres.log_file):
        lines, _ = read_last_lines(log_file, SERVER_LINES)
        (target / f"{log_file.name}.tail").write_text("\n".join(lines) + "\n")
