"""Whole passes of the loop against an API server: cluster and recorder are Kubernetes', Kafka is pretended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from forebay_api.parse import parse_pipeline
from forebay_api.state import ConsumerState
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.kubernetes_cluster.paths import EVENTS, PIPELINES
from forebay_operator.kubernetes_cluster.recorder import KubernetesRecorder
from forebay_operator.model import Memory, Report, RunningConsumer
from forebay_operator.ports import Ports
from forebay_operator.reconcile import reconcile_once
from forebay_operator.status import memory_from_status
from support.cluster_world import NAME, ClusterWorld
from support.fake_lag import FakeLag, FakeLog
from support.pipeline_builders import START


class _SilentConsumers:
    """There are no pods here."""

    async def read_state(self, consumer: RunningConsumer) -> ConsumerState | None:
        """As ConsumerReader.read_state()."""
        del consumer
        return None


@dataclass(slots=True)
class WholePasses:
    """One operator at a time; restart() forgets what it knew. A pass is a second, and sees whatever is there."""

    world: ClusterWorld
    now: datetime = START
    memory: Memory | None = None
    last_report: Report | None = None
    lag: FakeLag = field(default_factory=FakeLag)
    recorder: KubernetesRecorder = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process."""
        self.memory = None
        self.recorder = KubernetesRecorder(self.world.api, now=lambda: self.now)

    async def resource(self) -> dict[str, Any]:
        """The IngestPipeline as it is."""
        return await self.world.api.get(PIPELINES, self.world.namespace, NAME)

    async def status(self) -> dict[str, Any]:
        """Its status."""
        found = (await self.resource())["status"]
        assert isinstance(found, dict)
        return found

    async def run(self, passes: int = 3) -> None:
        """So many."""
        for _ in range(passes):
            self.now += timedelta(seconds=1)
            body = await self.resource()
            pipeline = parse_pipeline(body)
            if self.memory is None:
                self.memory = memory_from_status(body.get("status") or {})
                self.recorder.begin(pipeline, body.get("status") or {})
            self._pretend_kafka(pipeline)
            ports = Ports(
                cluster=self.world.start_operator(), lag=self.lag, consumers=_SilentConsumers(), recorder=self.recorder
            )
            self.memory, self.last_report = await reconcile_once(ports, pipeline, self.memory, self.now)

    def _pretend_kafka(self, pipeline: Pipeline) -> None:
        self.lag.now = self.now
        self.lag.topics.setdefault(pipeline.spec.source.topic, [FakeLog() for _ in range(4)])

    async def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason."""
        found = next(c for c in (await self.status())["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]

    async def replicas(self) -> int:
        """That the Deployment asks for."""
        found = (await self.world.get())["spec"]["replicas"]
        assert isinstance(found, int)
        return found

    async def events(self) -> list[str]:
        """Reasons of the events about the pipeline, oldest first."""
        found = await self.world.api.list_all(EVENTS, self.world.namespace)
        ordered = sorted(found, key=lambda body: int(body["metadata"]["resourceVersion"]))
        return [body["reason"] for body in ordered if body["involvedObject"]["name"] == NAME]
