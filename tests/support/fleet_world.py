"""A fleet with loops that do nothing but note what happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from forebay_api.parse import InvalidPipeline
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import ClusterUnavailable, PipelineGone
from forebay_operator.fleet import Fleet, Loop
from forebay_operator.sightings import Listing, Resource


def build_body(
    *,
    uid: str = "u1",
    name: str = "payments",
    version: int = 1,
    generation: int = 1,
    max_replicas: int = 4,
    status: Mapping[str, Any] | None = None,
    deleted: bool = False,
) -> dict[str, Any]:
    """An IngestPipeline as the API server has it."""
    metadata: dict[str, Any] = {
        "namespace": "bank",
        "name": name,
        "uid": uid,
        "resourceVersion": str(version),
        "generation": generation,
    }
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "apiVersion": "forebay.dev/v1alpha1",
        "kind": "IngestPipeline",
        "metadata": metadata,
        "spec": {
            "source": {"bootstrapServers": "127.0.0.1:9", "topic": "payments"},
            "sink": {"connectionSecretRef": {"name": "db"}, "table": "public.payments"},
            "scaling": {"maxReplicas": max_replicas},
        },
        "status": dict(status or {}),
    }


class NotingLoop:
    """pass_s: how long it needs to end after stop()."""

    def __init__(self, world: FleetWorld, pipeline: Pipeline, status: Mapping[str, Any]) -> None:
        self._world = world
        self.pipeline = pipeline
        self.status = status
        self.changes: list[Pipeline] = []
        self.pokes = 0
        self.began_at = self.ended_at = 0.0
        self.ended_by: str | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_running = False

    def change(self, pipeline: Pipeline) -> None:
        self.changes.append(pipeline)

    def poke(self) -> None:
        self.pokes += 1

    def stop(self) -> None:
        if not self._end.done():
            self._end.set_result(None)

    def crash(self) -> None:
        self._end.set_exception(RuntimeError("a defect"))

    def vanish(self) -> None:
        self._end.set_exception(PipelineGone("404"))

    async def run(self) -> None:
        self.is_running, self.began_at = True, asyncio.get_running_loop().time()
        self._world.note_running(self)
        try:
            await self._end
            await asyncio.sleep(self._world.pass_s)
            self.ended_by = "stop"
        except asyncio.CancelledError:
            self.ended_by = "cancel"
            raise
        finally:
            self.is_running, self.ended_at = False, asyncio.get_running_loop().time()


class FleetWorld:
    """Surroundings whose lists are what the test says. Created inside the event loop."""

    def __init__(
        self,
        *,
        pass_s: float = 0.1,
        listed: Sequence[Mapping[str, Any]] = (),
        list_s: float = 0.0,
        failing_lists: int = 0,
        refused_explanations: int = 0,
    ) -> None:
        self.pass_s = pass_s
        self.listed = listed
        self.hidden: frozenset[str] = frozenset()
        self.loops: list[NotingLoop] = []
        self.begun: asyncio.Queue[NotingLoop] = asyncio.Queue()
        self.touched: list[tuple[str, str]] = []
        self.forgotten: list[tuple[str, str]] = []
        self.explained: list[tuple[str, int]] = []
        self.defects: list[str] = []
        self.most_at_once = 0
        self._list_s = list_s
        self._failing_lists = failing_lists
        self._refused = refused_explanations
        self.fleet = Fleet(self, now_s=asyncio.get_running_loop().time, jitter=lambda: 0.0)

    def note_running(self, loop: NotingLoop) -> None:
        self.begun.put_nowait(loop)
        self.most_at_once = max(self.most_at_once, sum(loop.is_running for loop in self.loops))

    def build_loop(self, pipeline: Pipeline, status: Mapping[str, Any]) -> Loop:
        self.loops.append(NotingLoop(self, pipeline, status))
        return self.loops[-1]

    async def list_bodies(self) -> Listing:
        listing = Listing(bodies=self.listed, hidden=self.hidden)
        await asyncio.sleep(self._list_s)
        if self._failing_lists:
            self._failing_lists -= 1
            raise ClusterUnavailable("refused")
        return listing

    def touch(self, namespace: str, name: str) -> None:
        self.touched.append((namespace, name))

    async def record_invalid(self, namespace: str, name: str, resource: Resource, problem: InvalidPipeline) -> None:
        if self._refused:
            self._refused -= 1
            raise ClusterUnavailable("refused")
        self.explained.append((str(problem), resource.generation))

    async def record_defect(self, pipeline: Pipeline, defect: Exception) -> None:
        self.defects.append(f"{pipeline.uid}: {defect}")
        raise ClusterUnavailable("refused")

    def forget(self, namespace: str, name: str) -> None:
        self.forgotten.append((namespace, name))
