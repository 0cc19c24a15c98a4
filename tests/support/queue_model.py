"""A deterministic world for the reconcile loop: a topic, consumers that write at a cap, and a clock that jumps.

It stands behind all ports at once. What it leaves out: skew, noise, slow databases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from forebay_api.state import ConsumerState, SinkHealth
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import Retryable
from forebay_operator.model import GroupState, GroupView, LagSample, Report, RunningConsumer, Workload
from forebay_operator.ports import Ports
from support.fake_lag import FakeLag, FakeLog
from support.pipeline_builders import START, build_state

STEP_S = 0.25
"""The model moves in steps of this length."""


@dataclass(slots=True)
class _Consumer:
    name: str
    started_s: float
    busy: float | None = None
    rate: float | None = None


@dataclass(slots=True, kw_only=True)
class QueueModel:
    """arrival: records/s at a second of the model. cap, limit: records/s of one consumer, by its cap and by nature.

    start_s: from start to membership. rebalance_s: nobody writes for so long after a change of members.
    commit_lag_s: the group's commits trail what is written by so much. rewound: what each consumer says it read again.
    are_silent: no consumer answers.
    """

    pipeline: Pipeline
    arrival: Callable[[float], float]
    partitions: int = 12
    cap: float = 6_000.0
    limit: float = 60_000.0
    start_s: float = 1.5
    rebalance_s: float = 1.0
    commit_lag_s: float = 1.0
    health: SinkHealth = SinkHealth.READY
    rewound: int = 0
    are_silent: bool = False
    second: float = 0.0
    replicas: int | None = None
    lag: FakeLag = field(default_factory=FakeLag)
    reports: list[tuple[float, Report]] = field(default_factory=list)
    problems: list[Retryable] = field(default_factory=list)
    scale_calls: list[tuple[float, int]] = field(default_factory=list)
    applied: int = 0
    _consumers: list[_Consumer] = field(default_factory=list)
    _members: int = 0
    _rebalancing_until: float = 0.0
    _arrived: list[float] = field(default_factory=list)
    _written: list[float] = field(default_factory=list)
    _commits: list[tuple[float, list[float]]] = field(default_factory=list)
    _serial: int = 0

    def __post_init__(self) -> None:
        source = self.pipeline.spec.source
        self._arrived = [0.0] * self.partitions
        self._written = [0.0] * self.partitions
        self.lag.topics[source.topic] = [FakeLog() for _ in range(self.partitions)]

    def ports(self) -> Ports:
        """This world as the loop sees it."""
        return Ports(cluster=self, lag=self, consumers=self, recorder=self)

    # --- the world moves --------------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / STEP_S)):
            self.second += STEP_S
            self._join()
            for p in range(self.partitions):
                self._arrived[p] += self.arrival(self.second) * STEP_S / self.partitions
            self._write()
            self._commits.append((self.second, list(self._written)))

    def _join(self) -> None:
        members = sum(1 for c in self._consumers if self.second - c.started_s >= self.start_s)
        if members != self._members:
            self._members, self._rebalancing_until = members, self.second + self.rebalance_s

    def _write(self) -> None:
        is_open = self.health is SinkHealth.READY and self.second >= self._rebalancing_until
        for i, consumer in enumerate(self._consumers):
            if not is_open or i >= self._members:
                consumer.busy = consumer.rate = None
                continue
            mine = range(i, self.partitions, self._members)
            waiting = sum(self._arrived[p] - self._written[p] for p in mine)
            share = min(1.0, self.cap * STEP_S / waiting) if waiting else 0.0
            for p in mine:
                self._written[p] += share * (self._arrived[p] - self._written[p])
            consumer.rate = share * waiting / STEP_S
            consumer.busy = 1.0 if share < 1.0 else consumer.rate / self.limit

    def lag_records(self) -> float:
        """Records that wait, truly."""
        return sum(self._arrived) - sum(self._written)

    # --- Clock ------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return START + timedelta(seconds=self.second)

    async def wait(self, wake: asyncio.Event, timeout_s: float) -> None:
        if not wake.is_set():
            self.advance(timeout_s)

    # --- Cluster ----------------------------------------------------------------------------------------------------

    async def read_workload(self, pipeline: Pipeline) -> Workload | None:
        if self.replicas is None:
            return None
        running = tuple(RunningConsumer(name=c.name, state_url=f"http://{c.name}/state") for c in self._consumers)
        return Workload(replicas=self.replicas, consumers=running, is_current=True, is_settled=True)

    async def apply_workload(self, pipeline: Pipeline) -> None:
        self.applied += 1
        self.replicas = self.replicas or 0

    async def scale(self, pipeline: Pipeline, replicas: int) -> None:
        self.scale_calls.append((self.second, replicas))
        self.replicas = replicas
        while len(self._consumers) < replicas:
            self._consumers.append(_Consumer(name=f"c{self._serial}", started_s=self.second))
            self._serial += 1
        del self._consumers[replicas:]

    async def delete(self, pipeline: Pipeline) -> None:
        self.replicas = None
        self._consumers.clear()

    # --- LagReader --------------------------------------------------------------------------------------------------

    async def read_lag(self, pipeline: Pipeline) -> LagSample:
        source = pipeline.spec.source
        latest = (written for at, written in reversed(self._commits) if at <= self.second - self.commit_lag_s)
        commits = next(latest, [0.0] * self.partitions)
        for p, partition in enumerate(self.lag.topics[source.topic]):
            partition.end = int(self._arrived[p])
            if self._members or partition.committed:
                partition.committed[source.group] = int(commits[p])
        self.lag.groups[source.group] = self._group()
        self.lag.now = self.now()
        return await self.lag.read_lag(pipeline)

    def _group(self) -> GroupView:
        if not self._members:
            return GroupView(state=GroupState.EMPTY, members=0)
        rebalancing = self.second < self._rebalancing_until
        state = GroupState.REBALANCING if rebalancing else GroupState.STABLE
        return GroupView(state=state, members=self._members)

    # --- ConsumerReader ---------------------------------------------------------------------------------------------

    async def read_state(self, consumer: RunningConsumer) -> ConsumerState | None:
        found = next(c for c in self._consumers if c.name == consumer.name)
        if self.are_silent or self.second - found.started_s < self.start_s:
            return None
        return build_state(found.name, busy=found.busy, rate=found.rate, health=self.health, rewound=self.rewound)

    # --- Recorder ---------------------------------------------------------------------------------------------------

    async def record(self, pipeline: Pipeline, report: Report) -> None:
        self.reports.append((self.second, report))

    async def record_problem(self, pipeline: Pipeline, problem: Retryable, retry_in_s: float) -> None:
        self.problems.append(problem)


def with_scaling(pipeline: Pipeline, **scaling: object) -> Pipeline:
    """The same pipeline with other scaling fields."""
    return replace(pipeline, spec=replace(pipeline.spec, scaling=replace(pipeline.spec.scaling, **scaling)))  # type: ignore[arg-type]
