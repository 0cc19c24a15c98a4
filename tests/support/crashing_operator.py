"""The operator's pass in this process against a real API server, killed before or after a write of its choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from forebay_api.parse import parse_pipeline
from forebay_api.state import ConsumerState
from forebay_operator.kubernetes_cluster.api import KubernetesApi
from forebay_operator.kubernetes_cluster.cluster import KubernetesCluster
from forebay_operator.kubernetes_cluster.paths import PIPELINES
from forebay_operator.kubernetes_cluster.recorder import KubernetesRecorder
from forebay_operator.model import GroupState, GroupView, RunningConsumer
from forebay_operator.ports import Ports
from forebay_operator.reconcile import reconcile_once
from forebay_operator.resources import ConsumerImage
from forebay_operator.status import memory_from_status
from support.fake_lag import FakeLag, FakeLog
from support.pipeline_builders import START, build_state
from support.pretended_pods import settle_deployments
from support.testbed.control_plane import ControlPlane

TOPIC, PARTITIONS = "payments", 6

QUIET_PASSES, MOST_PASSES = 8, 80
"""So many passes without any write are the end; a pass takes a second of the operator's clock."""


class Crash(BaseException):
    """The process is gone: nothing may handle it."""


class Moment(StrEnum):
    """Of the crash: the write was never sent, or was carried out and its answer never read."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """At the n-th write, from 1."""

    n: int
    moment: Moment


class CrashingApi(KubernetesApi):
    """Counts writes, and crashes at one of them."""

    def __init__(self, plane: ControlPlane, crash: CrashPoint | None) -> None:
        super().__init__(kubeconfig=plane.kubeconfig)
        self._crash = crash
        self.writes: list[str] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str | None = None,
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        """As KubernetesApi's. Raises Crash."""
        if method != "GET":
            self.writes.append(f"{method} {path}")
            self._reach(Moment.BEFORE)
        answer = await super().request(
            method, path, query=query, body=body, content_type=content_type, timeout_s=timeout_s
        )
        if method != "GET":
            self._reach(Moment.AFTER)
        return answer

    def _reach(self, moment: Moment) -> None:
        if self._crash == CrashPoint(len(self.writes), moment):
            raise Crash


@dataclass(slots=True)
class OperatorLives:
    """One pipeline, and operators one after the other that know of each other only what is in the API server."""

    plane: ControlPlane
    namespace: str
    name: str
    lag: FakeLag = field(default_factory=FakeLag)
    second: int = 0

    def __post_init__(self) -> None:
        self.lag.topics[TOPIC] = [FakeLog() for _ in range(PARTITIONS)]

    def now(self) -> datetime:
        """Of all of them."""
        return START + timedelta(seconds=self.second)

    async def read_state(self, consumer: RunningConsumer) -> ConsumerState | None:
        """Every consumer is well and has nothing to do."""
        return build_state(consumer.name, busy=0.0, rate=0.0)

    async def live(self, crash: CrashPoint | None = None) -> list[str]:
        """From the start of one until all is quiet; returns its writes. Raises Crash."""
        api = CrashingApi(self.plane, crash)
        async with api:
            body = await api.get(PIPELINES, self.namespace, self.name)
            pipeline = replace(parse_pipeline(body), uid=body["metadata"]["uid"])
            recorder = KubernetesRecorder(api, now=self.now)
            cluster = KubernetesCluster(api, image=ConsumerImage(name="forebay-consumer:test"), now=self.now)
            ports = Ports(cluster=cluster, lag=self.lag, consumers=self, recorder=recorder)
            status = body.get("status") or {}
            recorder.begin(pipeline, status)
            memory, quiet = memory_from_status(status), 0
            self._let_consumers_follow(pipeline.spec.source.group)
            for _ in range(MOST_PASSES):
                self.lag.now, before = self.now(), len(api.writes)
                memory, _ = await reconcile_once(ports, pipeline, memory, self.now())
                self.second += 1
                quiet += 1
                if len(api.writes) > before:
                    quiet = 0
                    self._let_consumers_follow(pipeline.spec.source.group)
                    cluster.touch(self.namespace, self.name)
                if quiet == QUIET_PASSES:
                    return api.writes
        raise AssertionError(f"{self.name} did not come to rest; the last writes: {api.writes[-5:]}")

    def _let_consumers_follow(self, group: str) -> None:
        running = settle_deployments(self.plane, self.namespace)
        state = GroupState.STABLE if running else GroupState.EMPTY
        self.lag.groups[group] = GroupView(state=state, members=running)
