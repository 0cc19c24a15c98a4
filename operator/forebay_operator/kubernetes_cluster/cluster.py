"""The operator's Cluster over Deployments: reads, server-side applies, the scale subresource.

What must not live here: what the objects look like (resources.py) and mean (workload.py, drift.py).
Watch events say when to look, never what is there: `touch` marks a pipeline, and the next read asks the API server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from forebay_api.v1alpha1 import Pipeline

from forebay_operator.drift import find_drift
from forebay_operator.errors import ClusterUnavailable, Forbidden, NotFound, PipelineGone, WriteConflict
from forebay_operator.kubernetes_cluster.api import KubernetesApi
from forebay_operator.kubernetes_cluster.ownership import belongs_to, find_obstacle
from forebay_operator.kubernetes_cluster.paths import AUTOSCALERS, DEPLOYMENTS, PIPELINES, PODS, find_type
from forebay_operator.model import Workload
from forebay_operator.resources import ConsumerImage, Json, render, selector_text, workload_name
from forebay_operator.sightings import Listing
from forebay_operator.workload import build_workload, find_writer

log = logging.getLogger(__name__)

T = TypeVar("T")

RESYNC_S = 60.0
"""A Deployment is read this often without any event: what a cut watch missed is seen then."""

OTHERS_RESYNC_S = 300.0
"""The objects beside the Deployment are not watched, and nobody but a person changes them."""

SCALE_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Kubernetes' own controllers write to a Deployment as well, many times a second right after its creation."""


@dataclass(slots=True)
class _Look:
    """What is known of one pipeline's objects. Times are the clock's, in seconds.

    found: the Deployment, Pods and autoscalers as last read; None = the Deployment is missing or not ours.
    moved: who set how many replicas, as the last decision saw it; None after an order of our own, until the next read.
    tolerated: kind → drift that the API server itself made of what was applied (a webhook changes it each time):
    applying it again and again would not help.
    """

    uid: str
    is_dirty: bool = True
    due_s: float = 0.0
    others_due_s: float = 0.0
    found: tuple[Json, list[Json], list[Json]] | None = None
    moved: tuple[object, ...] | None = None
    others_drift: str | None = None
    tolerated: dict[str, str] = field(default_factory=dict)
    judged: tuple[Pipeline, Workload | None] | None = None


class KubernetesCluster:
    """Runs the consumers of pipelines as Deployments.

    namespaces: those that list_pipelines() asks for; empty = all. jitter: 0..1, spreads the reads of many pipelines.
    now: aware UTC. clock: seconds that only grow, the event loop's unless told.
    """

    def __init__(
        self,
        api: KubernetesApi,
        *,
        image: ConsumerImage,
        now: Callable[[], datetime],
        namespaces: Sequence[str] = (),
        jitter: Callable[[], float] = lambda: 0.5,
        clock: Callable[[], float] = lambda: asyncio.get_running_loop().time(),
    ) -> None:
        self._api = api
        self._image = image
        self._now = now
        self._namespaces = tuple(namespaces)
        self._jitter = jitter
        self._clock = clock
        self._hidden: frozenset[str] = frozenset()
        self._looks: dict[tuple[str, str], _Look] = {}

    # --- from outside the loop --------------------------------------------------------------------------------------

    def touch(self, namespace: str, name: str) -> None:
        """Something of this pipeline changed: its next read_workload() asks the API server."""
        look = self._looks.get((namespace, name))
        if look is not None:
            look.is_dirty = True

    def forget(self, namespace: str, name: str) -> None:
        """The pipeline is gone."""
        self._looks.pop((namespace, name), None)

    async def list_pipelines(self) -> Listing:
        """All IngestPipelines of the watched namespaces. Raises ClusterUnavailable.

        The role in a namespace goes with the namespace: the others are served all the same.
        """
        if not self._namespaces:
            return Listing(bodies=await self._api.list_all(PIPELINES, None))
        bodies: list[Json] = []
        refusals: dict[str, Forbidden] = {}
        for namespace in self._namespaces:
            try:
                bodies += await self._api.list_all(PIPELINES, namespace)
            except Forbidden as e:
                refusals[namespace] = e
                if namespace not in self._hidden:
                    log.warning("namespace is not served", extra={"namespace": namespace, "error": str(e)})
        self._hidden = frozenset(refusals)
        if len(refusals) == len(self._namespaces):
            raise next(iter(refusals.values()))
        return Listing(bodies=bodies, hidden=self._hidden)

    # --- the Cluster port -------------------------------------------------------------------------------------------

    async def read_workload(self, pipeline: Pipeline) -> Workload | None:
        """From the API server when something changed or the last read is old, else as it was last read."""
        look, now_s = self._look_of(pipeline), self._clock()
        if look.is_dirty or now_s >= look.due_s:
            await self._read(pipeline, look, now_s)
        if look.judged is None or look.judged[0] != pipeline:
            look.judged = (pipeline, self._judge(pipeline, look))
        return look.judged[1]

    async def apply_workload(self, pipeline: Pipeline) -> None:
        """Raises PipelineGone when the pipeline is not there any more: nothing may be made for a ghost."""
        await self._require_alive(pipeline)
        rendered, look = render(pipeline, self._image), self._look_of(pipeline)
        await _do_all(*(self._require_free(pipeline, wanted) for wanted in rendered))
        look.is_dirty, look.others_drift = True, None
        for wanted in rendered:
            answer = await self._api.apply(find_type(wanted), wanted)
            self._note_answer(look, wanted, answer)

    async def scale(self, pipeline: Pipeline, replicas: int) -> None:
        """Raises WriteConflict when somebody else has moved the replicas since they were read."""
        look, name = self._look_of(pipeline), workload_name(pipeline.name)
        look.is_dirty = True
        for pause_s in (*SCALE_PAUSES_S, None):
            live = await self._api.get(DEPLOYMENTS, pipeline.namespace, name)
            _require_unmoved(pipeline, look.moved, live)
            try:
                await self._api.patch_scale(
                    DEPLOYMENTS,
                    pipeline.namespace,
                    name,
                    replicas=replicas,
                    resource_version=live["metadata"]["resourceVersion"],
                )
            except WriteConflict:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)
            else:
                look.moved = None
                return

    async def delete(self, pipeline: Pipeline) -> None:
        """Needs rights that the operator's role does not grant: deleting the IngestPipeline is the usual way."""
        for wanted in reversed(render(pipeline, self._image)):
            with suppress(NotFound):
                live = await self._api.get(find_type(wanted), pipeline.namespace, wanted["metadata"]["name"])
                if belongs_to(live, pipeline):
                    await self._api.delete(find_type(wanted), pipeline.namespace, wanted["metadata"]["name"])
        self.touch(pipeline.namespace, pipeline.name)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _look_of(self, pipeline: Pipeline) -> _Look:
        key = (pipeline.namespace, pipeline.name)
        look = self._looks.get(key)
        if look is None or look.uid != pipeline.uid:
            look = self._looks[key] = _Look(uid=pipeline.uid)
        return look

    async def _read(self, pipeline: Pipeline, look: _Look, now_s: float) -> None:
        look.is_dirty = False  # before the requests: what changes while they are under way asks for another read
        try:
            look.found = await self._find(pipeline)
            look.moved = None if look.found is None else _replicas_and_writer(look.found[0])
            if look.found is not None and now_s >= look.others_due_s:
                look.others_drift = await self._find_others_drift(pipeline, look)
                look.others_due_s = now_s + self._spread(OTHERS_RESYNC_S)
        except BaseException:
            look.is_dirty = True
            raise
        look.due_s, look.judged = now_s + self._spread(RESYNC_S), None

    def _spread(self, seconds: float) -> float:
        return seconds * (0.75 + self._jitter() / 2)

    async def _find(self, pipeline: Pipeline) -> tuple[Json, list[Json], list[Json]] | None:
        namespace = pipeline.namespace
        try:
            deployment = await self._api.get(DEPLOYMENTS, namespace, workload_name(pipeline.name))
        except NotFound:
            return None
        if not belongs_to(deployment, pipeline):
            return None
        pods, autoscalers = await _do_all(
            self._api.list_all(PODS, namespace, selector_text(pipeline.name)),
            self._api.list_all(AUTOSCALERS, namespace),
        )
        return deployment, pods, autoscalers

    async def _find_others_drift(self, pipeline: Pipeline, look: _Look) -> str | None:
        for wanted in render(pipeline, self._image)[:-1]:
            name = wanted["metadata"]["name"]
            try:
                live = await self._api.get(find_type(wanted), pipeline.namespace, name)
            except NotFound:
                return f"{wanted['kind']} {name} is missing"
            drift = _find_new_drift(look, wanted, live)
            if drift is not None:
                return drift
        return None

    def _judge(self, pipeline: Pipeline, look: _Look) -> Workload | None:
        if look.found is None:
            return None
        deployment, pods, autoscalers = look.found
        drift = _find_new_drift(look, render(pipeline, self._image)[-1], deployment) or look.others_drift
        if drift is not None:
            log.info("workload differs from the pipeline", extra={"pipeline": pipeline.key, "difference": drift})
        return build_workload(deployment, pods, autoscalers, is_current=drift is None, now=self._now())

    # --- before and after a write -----------------------------------------------------------------------------------

    async def _require_alive(self, pipeline: Pipeline) -> None:
        try:
            live = await self._api.get(PIPELINES, pipeline.namespace, pipeline.name)
        except NotFound as e:
            raise PipelineGone(f"{pipeline.key} does not exist any more") from e
        if live["metadata"]["uid"] != pipeline.uid:
            raise PipelineGone(f"{pipeline.key} was deleted and created anew")
        if "deletionTimestamp" in live["metadata"]:
            raise PipelineGone(f"{pipeline.key} is being deleted")

    async def _require_free(self, pipeline: Pipeline, wanted: Json) -> None:
        try:
            live = await self._api.get(find_type(wanted), pipeline.namespace, wanted["metadata"]["name"])
        except NotFound:
            return
        obstacle = find_obstacle({**live, "kind": wanted["kind"]}, pipeline)
        if obstacle is not None:
            raise ClusterUnavailable(obstacle)

    def _note_answer(self, look: _Look, wanted: Json, answer: Json) -> None:
        drift = find_drift(wanted, answer)
        if drift is None:
            look.tolerated.pop(wanted["kind"], None)
        elif look.tolerated.get(wanted["kind"]) != drift:
            look.tolerated[wanted["kind"]] = drift
            log.warning("the API server changed what was applied", extra={"kind": wanted["kind"], "difference": drift})


def _find_new_drift(look: _Look, wanted: Json, live: Json) -> str | None:
    drift = find_drift(wanted, live)
    if drift is None or look.tolerated.get(wanted["kind"]) == drift:
        return None
    return f"{wanted['kind']}: {drift}"


def _require_unmoved(pipeline: Pipeline, moved: tuple[object, ...] | None, live: Json) -> None:
    """The number was chosen from what was read: a write of another's since then must be seen first."""
    if not belongs_to(live, pipeline):
        raise WriteConflict(f"Deployment {live['metadata']['name']} is not this pipeline's any more")
    if moved is not None and moved != _replicas_and_writer(live):
        raise WriteConflict(f"the replicas of {live['metadata']['name']} were changed by somebody else meanwhile")


def _replicas_and_writer(deployment: Json) -> tuple[object, ...]:
    return deployment["spec"].get("replicas"), *find_writer(deployment)


async def _do_all(*requests: Awaitable[T]) -> list[T]:
    """The answers, once all are there; the first error in the order given, so that it is the same one each time."""
    answers = await asyncio.gather(*requests, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]
