"""A queue model whose passes are recorded by the recorder of Kubernetes, into an API server in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from forebay_operator.kubernetes_cluster.recorder import KubernetesRecorder
from forebay_operator.model import Memory
from forebay_operator.reconcile import reconcile_once
from forebay_operator.status import memory_from_status
from support.fake_transport import FakeClient, FakeTransport
from support.queue_model import QueueModel

UID = "5b0f"
PATH = "/apis/forebay.dev/v1alpha1/namespaces/bank/ingestpipelines/payments"


@dataclass(slots=True)
class RecordedWorld:
    """One operator process at a time over one model; restart() begins another that knows only the resource."""

    model: QueueModel
    server: FakeTransport = field(default_factory=FakeTransport)
    client: FakeClient = field(init=False)
    recorder: KubernetesRecorder = field(init=False)
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        self.model.pipeline = replace(self.model.pipeline, uid=UID)
        self.server.put(PATH, {"metadata": {"name": "payments", "namespace": "bank", "uid": UID}})
        self.restart()

    def restart(self) -> None:
        """A new process: what the old one knew is gone."""
        self.client = self.server.client()
        self.recorder = KubernetesRecorder(self.client, now=self.model.now)
        self.memory = memory_from_status(self.status)
        self.recorder.begin(self.model.pipeline, self.status)

    @property
    def status(self) -> dict[str, Any]:
        """As the resource has it."""
        found = self.server.objects[PATH].get("status", {})
        assert isinstance(found, dict)
        return found

    async def play(self, seconds: float) -> None:
        """Passes once a sample interval."""
        sample_s = self.model.pipeline.spec.scaling.timing.sample_s
        end = self.model.second + seconds
        ports = replace(self.model.ports(), recorder=self.recorder)
        while self.model.second < end:
            self.memory, _ = await reconcile_once(ports, self.model.pipeline, self.memory, self.model.now())
            self.model.advance(sample_s)

    def writes(self) -> list[str]:
        """This process' writes: what and why, for people who read a failed test."""
        return [
            f"event {sent.body['reason']}: {sent.body['message']}"
            if sent.method == "POST"
            else "status {verdict}/{binding}: {because}".format(**sent.body["status"]["decision"])
            for sent in self.client.writes()
        ]
