"""Which rounds a campaign consists of: a seed makes the same round every time. Pure; does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from forebay_api.v1alpha1 import SinkMode


class Protocol(StrEnum):
    """How the consumers agree on partitions; librdkafka's group.protocol."""

    CLASSIC = "classic"
    CONSUMER = "consumer"


class Side(StrEnum):
    """Whose connections a fault of the network meets: those of consumers with ..."""

    DATABASE = "database"
    BROKER = "broker"


class Kind(StrEnum):
    """What is done, as results name it."""

    KILL_CONSUMER = "kill-consumer"
    FREEZE_CONSUMER = "freeze-consumer"
    """SIGSTOP, past its session in the group, then SIGCONT."""
    RESTART_CONSUMER = "restart-consumer"
    """SIGTERM; a new one as soon as it has ended."""
    KILL_DATABASE = "kill-database"
    SHUT_DATABASE = "shut-database"
    """Immediate shutdown."""
    TERMINATE_BACKENDS = "terminate-backends"
    KILL_BROKER = "kill-broker"

    CLOSE = "close"
    RESET = "reset"
    ABANDON = "abandon"
    """Connections are reset towards the client alone: the server knows of nothing, and keeps its locks."""
    HOLE = "hole"
    HOLE_UP = "hole-up"
    HOLE_DOWN = "hole-down"
    """Nothing arrives and nothing is closed: in both directions, to the server alone, to the client alone."""
    DELAY = "delay"
    THROTTLE = "throttle"
    REFUSE = "refuse"
    CUT_UP = "cut-up"
    CUT_DOWN = "cut-down"
    """One connection, after so many more bytes to the server, to the client: any point of any statement."""
    LOSE_ANSWER = "lose-answer"
    """The database answers a COMMIT, and the client sees its connection reset instead."""


PROCESSES = frozenset({Kind.KILL_CONSUMER, Kind.FREEZE_CONSUMER, Kind.RESTART_CONSUMER})
SERVERS = frozenset({Kind.KILL_DATABASE, Kind.SHUT_DATABASE, Kind.TERMINATE_BACKENDS, Kind.KILL_BROKER})
NETWORK = frozenset(Kind) - PROCESSES - SERVERS

WEIGHTS: dict[tuple[Kind, Side | None], float] = {
    (Kind.KILL_CONSUMER, None): 4,
    (Kind.FREEZE_CONSUMER, None): 6,
    (Kind.RESTART_CONSUMER, None): 2,
    (Kind.KILL_DATABASE, None): 3,
    (Kind.SHUT_DATABASE, None): 3,
    (Kind.TERMINATE_BACKENDS, None): 3,
    (Kind.KILL_BROKER, None): 0.8,
    (Kind.LOSE_ANSWER, Side.DATABASE): 4,
    **{(kind, Side.DATABASE): 2 for kind in NETWORK - {Kind.LOSE_ANSWER, Kind.CUT_UP, Kind.CUT_DOWN}},
    (Kind.CUT_UP, Side.DATABASE): 5,
    (Kind.CUT_DOWN, Side.DATABASE): 5,
    **{(kind, Side.BROKER): 0.8 for kind in NETWORK - {Kind.LOSE_ANSWER}},
}
"""How often each is drawn. Most meet the transaction; a broker needs 5 s to come back, all of which is waiting."""

KINDS = tuple(sorted(WEIGHTS, key=str))
MODES = (SinkMode.APPEND, SinkMode.UPSERT)

SESSION_S = 2.0
"""After which the broker holds a silent member for dead, in both protocols."""
FREEZE_S = (SESSION_S + 1.0, SESSION_S + 3.0)
"""Others need a second to share out what a dead member had; only then may it wake to find itself fenced."""
HOLD_S = {
    Kind.FREEZE_CONSUMER: FREEZE_S,
    Kind.HOLE: (0.3, 3.5),
    Kind.HOLE_UP: (0.3, 3.5),
    Kind.HOLE_DOWN: (0.3, 3.5),
    Kind.DELAY: (0.5, 2.0),
    Kind.THROTTLE: (0.5, 2.0),
    Kind.REFUSE: (0.2, 1.5),
    Kind.CUT_UP: (2.5, 2.5),
    Kind.CUT_DOWN: (2.5, 2.5),
    Kind.LOSE_ANSWER: (2.5, 2.5),
}
"""Seconds for which a fault stays; cuts wait at most so long for their byte."""
CUT_BYTES = {Kind.CUT_UP: (1, 600_000), Kind.CUT_DOWN: (1, 4_000)}
"""Drawn evenly over their magnitudes: a batch is many bytes up, and a transaction some 500 down, 17 of which answer its
COMMIT."""

LATENCIES_MS = (0, 0, 2, 8, 20)
"""Of the way to the database, all the time: a transaction is eight times there and back, and the longer it takes, the
more of what happens meets one."""
RECORDS = (20_000, 40_000)
LOAD_S = (1.2, 3.0)
KEYS = (300, 5_000)
TOMBSTONES = (0.02, 0.3)
POISON = (0.0005, 0.003)
"""Below the breaker's one in a hundred."""
LANES = (1, 1, 2, 3)
CAPS = (None, None, 40_000, 15_000)
"""spec.consumer.maxRowsPerSecond: batches are a quarter of it at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One fault. after_s: since the round's first commit. hold_s: see HOLD_S; 0 = it is over at once.

    victim: 0..1, whom it meets where there are several. side: of faults of the network. cut_bytes, delay_ms,
    bytes_per_s: of the kinds that need them.
    """

    kind: Kind
    side: Side | None
    after_s: float
    hold_s: float
    victim: float
    cut_bytes: int | None = None
    delay_ms: int | None = None
    bytes_per_s: int | None = None

    @property
    def name(self) -> str:
        """Kind and side, as results name it."""
        return str(self.kind) if self.side is None else f"{self.side}-{self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRound:
    """One round, all of which follows from its seed.

    load_s: how long it takes, from the first commit on, to send what is not there beforehand. backlog: share of the
    records that is. keys: distinct ones of mode Upsert. tombstones: share of the records of that mode. latency_ms: of
    the way to the database, one way. faults: in the order of their begin. lanes: connections that a consumer writes on.
    """

    seed: int
    mode: SinkMode
    protocol: Protocol
    consumers: int
    partitions: int
    max_rows_per_second: int | None
    records: int
    load_s: float
    backlog: float
    poison: float
    keys: int
    tombstones: float
    latency_ms: int
    faults: tuple[PlannedFault, ...]
    lanes: int


def plan_round(seed: int) -> PlannedRound:
    """Return the round of this seed."""
    dice = Random(seed)
    load_s = dice.uniform(*LOAD_S)
    faults = [_plan_fault(dice, load_s) for _ in range(dice.randint(1, 4))]
    return PlannedRound(
        seed=seed,
        mode=dice.choice(MODES),
        protocol=dice.choice(list(Protocol)),
        consumers=dice.randint(2 if any(fault.kind is Kind.FREEZE_CONSUMER for fault in faults) else 1, 3),
        partitions=dice.randint(3, 6),
        max_rows_per_second=dice.choice(CAPS),
        records=dice.randint(*RECORDS),
        load_s=round(load_s, 3),
        backlog=round(dice.choice((0.0, dice.uniform(0.1, 0.7))), 3),
        poison=round(dice.uniform(*POISON), 5),
        keys=dice.randint(*KEYS),
        tombstones=round(dice.uniform(*TOMBSTONES), 3),
        latency_ms=dice.choice(LATENCIES_MS),
        faults=tuple(sorted(faults, key=lambda fault: fault.after_s)),
        lanes=dice.choice(LANES),
    )


def plan_campaign(seed: int, count: int) -> tuple[PlannedRound, ...]:
    """Return so many rounds; those of a smaller count are the first of a larger one."""
    return tuple(plan_round(seed * 1_000 + number) for number in range(count))


SHORT_SEEDS = (
    *(21, 349, 376, 707, 849, 1020, 1221, 1368, 1383, 1651),
    *(2105, 3041, 3085, 3435, 3489, 3561, 3639, 4426, 4543, 5492),
)
"""Twenty rounds with every kind of fault on every side in both modes' company, few of which wait for a broker."""


def plan_short_campaign() -> tuple[PlannedRound, ...]:
    """Return the twenty that every change is tested with."""
    return tuple(map(plan_round, SHORT_SEEDS))


def _plan_fault(dice: Random, load_s: float) -> PlannedFault:
    kind, side = dice.choices(KINDS, weights=[WEIGHTS[each] for each in KINDS])[0]
    return PlannedFault(
        kind=kind,
        side=side,
        after_s=round(dice.uniform(0.0, load_s), 3),
        hold_s=round(dice.uniform(*HOLD_S.get(kind, (0.0, 0.0))), 3),
        victim=round(dice.random(), 3),
        cut_bytes=_draw_evenly_by_magnitude(dice, *CUT_BYTES[kind]) if kind in CUT_BYTES else None,
        delay_ms=dice.randint(5, 120) if kind is Kind.DELAY else None,
        bytes_per_s=_draw_evenly_by_magnitude(dice, 50_000, 2_000_000) if kind is Kind.THROTTLE else None,
    )


def _draw_evenly_by_magnitude(dice: Random, least: int, most: int) -> int:
    return int(least * (most / least) ** dice.random())
