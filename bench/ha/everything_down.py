"""Every database server gone for minutes under load: what the consumers do meanwhile, and how they drain.

The rule: with a backlog of B records at the end, a load of L records/s that goes on, and R records/s that
the same consumers drained from a backlog before, the lag is gone B / (R - L) seconds after the first commit of all,
give or take a quarter and ten seconds (ramp, checkpoint, two replicas that catch up).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient
from forebay_cli.demo.ledger import LedgerWriter
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.primary_watch import PrimaryWatch
from forebay_cli.local.server_errors import SqlFailed

from bench.ha.acknowledged import StateWatch
from bench.ha.audit import audit_table, read_ledger
from bench.ha.field import CONSUMERS, Field, wait_for_claims
from bench.ha.timings import find_shares
from bench.ha.trial import drain
from bench.steady_load import SteadyLoad

LOOK_EVERY_S = 2.0
ASK_KAFKA_S = 5.0
RECOVER_S = 120.0
DRAIN_S = 900.0
SLACK, SLACK_S = 0.25, 10.0
CAUGHT_UP_S = 1.0
"""The lag is gone when it is no more than what the load brings in so long."""
SEED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DownEntry:
    """Field names are those of the stored results.

    delivered_per_second: what of the ordered rate a busy machine brought into Kafka during the outage.
    predicted_seconds: None = the consumers drained no faster than that.
    backlog_records: when the first database could be written to again. drain_rate_before: records/s of the consumers
    with a backlog, the load going on. drained_seconds: from that moment. members_lost: looks at the group in which it
    had not the members that it had before. looks: at group and consumers during the outage. said_away: looks in which
    every consumer said that its sink is away.
    """

    down_seconds: float
    records_per_second: float
    delivered_per_second: float
    produced: int
    lost: int
    duplicated: int
    foreign: int
    disordered: int
    backlog_records: int
    drain_rate_before: float | None
    predicted_seconds: float | None
    drained_seconds: float
    outage_seconds: float
    consumer_share_seconds: float | None
    slowest_consumer_share_seconds: float | None
    processes_restarted: int
    looks: int
    members_lost: int
    said_away: int

    def find_problems(self, slack_s: float = SLACK_S) -> list[str]:
        """Return every way in which a rule was broken. slack_s: for the drain, beside its share."""
        wrong = {
            "records lost": self.lost,
            "rows too many": self.duplicated,
            "rows of no record": self.foreign,
            "records out of order": self.disordered,
            "processes ended": self.processes_restarted,
            "looks at a group without its members": self.members_lost,
        }
        problems = [f"{count} {what}" for what, count in wrong.items() if count]
        is_late = (
            self.predicted_seconds is None or self.drained_seconds > self.predicted_seconds * (1 + SLACK) + slack_s
        )
        if is_late and self.drain_rate_before is not None:
            problems.append(f"drained in {self.drained_seconds} s, predicted {self.predicted_seconds} s")
        if self.said_away < self.looks // 2:
            problems.append(f"the consumers said in only {self.said_away} of {self.looks} looks that the sink is away")
        return problems


LEAST_MEASURED_RECORDS = 20_000
"""Fewer are a matter of moments, most of which is waiting."""


class GroupWatch:
    """Describes the consumer group again and again, from `with` to its end. Raises CampaignFailed when made."""

    def __init__(self, field: Field, states: StateWatch) -> None:
        self._client = AdminClient({"bootstrap.servers": field.kafka.bootstrap})
        self._group = field.flood.group
        self._states = states
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._members: frozenset[str] | None = None
        if not wait_until(self._has_members, RECOVER_S):
            raise field.fail("Kafka does not tell the group's members")
        self.looks = self.members_lost = self.said_away = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _has_members(self) -> bool:
        self._members = self._read_members()
        return self._members is not None and len(self._members) == CONSUMERS

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            members = self._read_members()
            if members is None:
                continue  # Kafka did not answer: nothing is known
            self.looks += 1
            self.members_lost += members != self._members
            self.said_away += self._states.are_away()

    def _read_members(self) -> frozenset[str] | None:
        future = self._client.describe_consumer_groups([self._group])[self._group]
        try:
            described = future.result(ASK_KAFKA_S)
        except (KafkaException, TimeoutError):
            return None
        if described.state is not ConsumerGroupState.STABLE:
            return frozenset()
        return frozenset(member.member_id for member in described.members)


def run_everything_down(field: Field, rate: float, down_s: float, backlog_s: float) -> DownEntry:
    """Stop everything for down_s under load; the field has no consumers yet, and gets them once a backlog is there.

    backlog_s: how much load goes before them; with it the drain rate is measured. Raises CampaignFailed, ServerError.
    """
    ledger = field.flood.folder / "ledger-down"
    with (
        LedgerWriter(ledger) as writer,
        SteadyLoad(field.kafka.bootstrap, field.flood.topic, rate=rate, seed=SEED, ledger=writer) as load,
    ):
        if not wait_until(lambda: load.delivered >= rate * backlog_s, 10 * backlog_s + 30):
            raise field.fail(f"the load does not reach {rate:.0f} records/s")
        drain_rate = _measure_drain(field, load, rate)
        facts = _take_everything_down(field, load, rate, down_s)
    drain(field, read_ledger(ledger).ends, DRAIN_S)  # complete only when the writer has closed it
    audit = audit_table(field.flood.database.admin.dsn, ledger)
    owners = {p.partition: number for number, state in enumerate(field.read_states()) for p in state.partitions}
    writable_at_s = facts.writable_at_s + time.time() - time.monotonic()
    shares = find_shares(audit.commits, owners, writable_at_s, writable_at_s)
    return DownEntry(
        down_seconds=down_s,
        records_per_second=rate,
        delivered_per_second=round(facts.load_rate),
        produced=audit.produced,
        lost=audit.lost,
        duplicated=audit.duplicated,
        foreign=audit.foreign,
        disordered=audit.disordered,
        backlog_records=facts.backlog,
        drain_rate_before=None if drain_rate is None else round(drain_rate),
        predicted_seconds=predict_drain_s(facts.backlog, drain_rate, facts.load_rate),
        drained_seconds=round(facts.drained_s, 1),
        outage_seconds=round(facts.outage_s, 1),
        consumer_share_seconds=None if shares.first_s is None else round(shares.first_s, 2),
        slowest_consumer_share_seconds=None if shares.slowest_s is None else round(shares.slowest_s, 2),
        processes_restarted=sum(not each.child.is_running() for each in field.consumers),
        looks=facts.looks,
        members_lost=facts.members_lost,
        said_away=facts.said_away,
    )


def predict_drain_s(backlog: int, drain_rate: float | None, load_rate: float) -> float | None:
    """Return how long a backlog lasts while the load goes on; rates in records/s. None = for ever, or nobody knows."""
    return None if drain_rate is None or drain_rate <= load_rate else round(backlog / (drain_rate - load_rate), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    backlog: int
    load_rate: float
    drained_s: float
    outage_s: float
    writable_at_s: float
    looks: int
    members_lost: int
    said_away: int


def _measure_drain(field: Field, load: SteadyLoad, rate: float) -> float | None:
    """Let the consumers in, and return the records/s from their first commits until they have caught up.

    None: a small backlog was gone before there was anything to measure.
    """
    for _ in range(CONSUMERS):
        field.flood.start_consumer()
    wait_for_claims(field)
    begun_at_s, first = time.monotonic(), _count_written(field)
    _wait_caught_up(field, load, rate)
    measured = _count_written(field) - first
    return measured / (time.monotonic() - begun_at_s) if measured >= LEAST_MEASURED_RECORDS else None


def _take_everything_down(field: Field, load: SteadyLoad, rate: float, down_s: float) -> _Facts:
    with PrimaryWatch(field.cluster.admin()) as watch, StateWatch(field.consumers) as states:
        watch.wait_writable(0, RECOVER_S)
        with GroupWatch(field, states) as group:
            delivered, written = load.delivered, _count_written(field)
            fault = field.faults.stop_all()
            time.sleep(down_s)
            load_rate = (load.delivered - delivered) / (time.monotonic() - fault.at_s)
            field.faults.start_all()
            writable_at_s = watch.wait_writable(fault.done_at_s, RECOVER_S)
        backlog = load.delivered - written
        if writable_at_s is None:
            raise field.fail(f"no primary {RECOVER_S:.0f} s after the start of all servers")
        if not wait_until(lambda: states.have_committed_since(fault.done_at_s), RECOVER_S):
            raise field.fail("the consumers do not write again")
        _wait_caught_up(field, load, rate)
        return _Facts(
            backlog=backlog,
            load_rate=load_rate,
            drained_s=time.monotonic() - writable_at_s,
            outage_s=writable_at_s - fault.at_s,
            writable_at_s=writable_at_s,
            looks=group.looks,
            members_lost=group.members_lost,
            said_away=group.said_away,
        )


def _wait_caught_up(field: Field, load: SteadyLoad, rate: float) -> None:
    def has_caught_up() -> bool:
        return load.delivered - _count_written(field) <= rate * CAUGHT_UP_S

    if not wait_until(has_caught_up, DRAIN_S, 0.5):
        raise field.fail(f"the consumers do not catch up within {DRAIN_S:.0f} s")


def _count_written(field: Field) -> int:
    """Records before the positions of all partitions; the topic began at 0."""
    for _ in range(10):
        try:
            return sum(field.read_positions().values())
        except SqlFailed:
            time.sleep(0.5)
    raise field.fail("the positions cannot be read")
