"""One trial with a mishap: a record that cannot be written, or kill -9 of the sink; the table tells what came of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from forebay_cli.local.deadlines import wait_until

from bench.peers.attendant import Attendant, Care
from bench.peers.drain_trial import CREATE, Bench, TrialFailed
from bench.peers.poison import Poison, encode_poison
from bench.peers.runners import UPSERT, choose_settings, read_logs
from bench.peers.sinks import NOTHING, DebeziumSink, ForebaySink, Place, Sink
from bench.peers.variants import Engine, Variant
from bench.rig import draw_payment, encode_payment, fill_topic
from bench.write_path import PARTITIONS

POISON_RECORDS = 10_000
MOST_RESTARTS = 2
"""By hand, one after the other, before a sink is said to stay stopped: the record is still the next one."""
SETTLE_S = 180.0
LOOK_EVERY_S = 0.1
SHARE_BEFORE_KILL = 0.25
"""Of the records, when the kill is decided; it strikes a moment later."""
_LEFT = """
SELECT count(*) FILTER (WHERE id <> {bad}), count(DISTINCT id) FILTER (WHERE id <> {bad}),
       coalesce(string_agg(to_json(t)::text, ' ') FILTER (WHERE id = {bad}), '')
FROM {table} AS t;
"""
_LETTERS = "SELECT count(*) FROM forebay.dead_letters WHERE topic = '{topic}';"
NOBODY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What came of a mishap. written: the bad record's row as JSON, empty = none. settled: all records were dealt with.

    dead_letters: kept for a person. rows: in the table when the sink was killed; None = it was not.
    """

    lost: int
    twice: int
    written: str
    dead_letters: int
    settled: bool
    care: Care
    rows_before_kill: int | None = None

    @property
    def figures(self) -> dict[str, float]:
        """As they are stored."""
        killed = {} if self.rows_before_kill is None else {"rows_before_kill": float(self.rows_before_kill)}
        return {
            "rows_lost": self.lost,
            "rows_twice": self.twice,
            "bad_rows_written": int(bool(self.written)),
            "dead_letters": self.dead_letters,
            "stopped": int(bool(self.care.stops)),
            "stays_stopped": int(not self.settled),
            "restarts_by_hand": self.care.hand_restarts,
            "process_restarts": self.care.process_restarts,
            **killed,
        }

    @property
    def said(self) -> tuple[str, ...]:
        """What people want to read: the reasons of stops, each once, and a bad record's row."""
        return (*dict.fromkeys(self.care.stops), *((f"written: {self.written}",) if self.written else ()))


def poison_records(poison: Poison, records: int, seed: int = 5) -> Iterator[tuple[str, bytes]]:
    """Yield payments, the one in the middle spoilt."""
    draw = random.Random(seed)
    for number in range(records):
        fields = draw_payment(number, draw)
        yield str(number), encode_poison(fields, poison) if number == records // 2 else encode_payment(fields)


def measure_poison(bench: Bench, variant: Variant, poison: Poison, name: str) -> Findings:
    """Give it ten thousand records, one of them bad. Raises ServerError."""
    place = _make_place(bench, variant, name)
    fill_topic(place.bootstrap, place.topic, PARTITIONS, poison_records(poison, POISON_RECORDS))
    optional = frozenset({"merchant"}) if poison is Poison.NULL_BY_SCHEMA else frozenset[str]()
    sink = build_sink(place, variant, bench, optional)
    try:
        sink.start()
        with Attendant(sink) as attendant:
            settled = _settle(bench, sink, place, attendant)
        return _judge(bench, variant, place, POISON_RECORDS, POISON_RECORDS // 2, settled, attendant.report())
    finally:
        sink.kill()


def measure_kill(bench: Bench, variant: Variant, topic: str, records: int, name: str) -> Findings:
    """Kill it in the middle of the topic; a supervisor starts it again. Raises TrialFailed, ServerError."""
    place = replace(_make_place(bench, variant, name), topic=topic)
    sink = build_sink(place, variant, bench, frozenset(), group=name)
    try:
        sink.launch()
        wanted = int(records * SHARE_BEFORE_KILL)
        if not wait_until(lambda: _count_rows(bench, place) >= wanted, SETTLE_S, LOOK_EVERY_S):
            raise TrialFailed(f"{name}: {_count_rows(bench, place)} rows\n{read_logs(place.folder)}")
        with Attendant(sink) as attendant:
            sink.kill()
            rows = _count_rows(bench, place)
            settled = _settle(bench, sink, place, attendant)
        if rows >= records:
            raise TrialFailed(f"{name}: everything was written before the kill; take more records")
        found = _judge(bench, variant, place, records, NOBODY, settled, attendant.report())
        return replace(found, rows_before_kill=rows)
    finally:
        sink.kill()


def build_sink(
    place: Place, variant: Variant, bench: Bench, optional: frozenset[str], group: str | None = None
) -> Sink:
    """Return the sink, not started. group: None = one named after the topic."""
    if variant.engine is Engine.FOREBAY:
        return ForebaySink(place, UPSERT if variant.task.has_key else NOTHING, group=group)
    settings = choose_settings(variant, optional=optional)
    if variant.dead_letters:
        letters = {"errors.deadletterqueue.topic.name": _letters_of(place)}
        settings = replace(settings, extra={**settings.extra, **letters})
    return DebeziumSink(place, bench.connect, settings, name=group)


def _make_place(bench: Bench, variant: Variant, name: str) -> Place:
    table = name.replace("-", "_")
    key = " PRIMARY KEY" if variant.task.has_key else ""
    bench.rig.postgres.run_sql(CREATE.format(table=table, key=key, check=" NOT NULL"))
    return replace(bench.make_place(name, name), table=table)


def _letters_of(place: Place) -> str:
    return f"{place.topic}-letters"


def _settle(bench: Bench, sink: Sink, place: Place, attendant: Attendant) -> bool:
    """Wait until every record was dealt with (True), or until restarts do not help (False)."""

    def has_ended() -> bool:
        stays = len(attendant.report().stops) > MOST_RESTARTS
        return stays or bench.offsets.has_drained(sink.group, place.topic)

    wait_until(has_ended, SETTLE_S, LOOK_EVERY_S * 5)
    return bench.offsets.has_drained(sink.group, place.topic)


def _count_rows(bench: Bench, place: Place) -> int:
    return int(bench.rig.postgres.run_sql(f"SELECT count(*) FROM {place.table};"))


def _judge(bench: Bench, variant: Variant, place: Place, records: int, bad: int, settled: bool, care: Care) -> Findings:
    """Count what is left. bad: the id of the bad record, which is in no count; NOBODY = there is none."""
    answer = bench.rig.postgres.run_sql(_LEFT.format(table=place.table, bad=bad))
    rows, ids, written = answer.split("\t")
    good = records - (bad != NOBODY)
    if variant.engine is Engine.FOREBAY:
        letters = int(bench.rig.postgres.run_sql(_LETTERS.format(topic=place.topic)))
    else:
        letters = bench.offsets.count_records(_letters_of(place)) if variant.dead_letters else 0
    return Findings(
        lost=good - int(ids),
        twice=int(rows) - int(ids),
        written=written,
        dead_letters=letters,
        settled=settled,
        care=care,
    )
