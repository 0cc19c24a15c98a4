"""The operator's Recorder on Kubernetes: the resource's status by server-side apply, and Events.

A write that fails never fails the pass: scaling goes on, and what is due is tried again with the passes that follow.
What must not live here: what is worth a write (status_rules.py), metrics, logs of passes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from forebay_api import wire
from forebay_api.v1alpha1 import Pipeline

from forebay_operator.errors import NotFound, PipelineGone, Retryable, WriteConflict
from forebay_operator.kubernetes_cluster.api import APPLY_TYPE, FIELD_MANAGER
from forebay_operator.kubernetes_cluster.paths import EVENTS, PIPELINES
from forebay_operator.kubernetes_cluster.transport import Transport
from forebay_operator.model import Condition, ConditionStatus, ConditionType, Event, EventType, Report
from forebay_operator.resources import selector_text
from forebay_operator.status import MAX_TEXT, condition_to_plain, memory_from_status, to_status
from forebay_operator.status_rules import Status, Told, Written, choose_event, choose_write, find_written

log = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 5.0
"""A pass waits for a write no longer: a status that hangs must not slow down scaling."""

FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 60.0
"""After a write that failed, doubled each time; else every pass of an outage would wait for its time-out."""

MAX_WAITING = 20
"""Events of one pipeline that wait for the API server; in a long outage the oldest are lost."""

REPORTER = "forebay-operator"
"""Source of the Events, as `kubectl describe` shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The resource that a status or an Event belongs to."""

    namespace: str
    name: str
    uid: str


@dataclass(slots=True, kw_only=True)
class _Pause:
    """After failures in a row; until: no further try before."""

    failures: int = 0
    until: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Also when it lies further ahead than any pause: then the clock was set back."""
        return self.until is None or not timedelta(0) < self.until - now <= timedelta(seconds=LAST_PAUSE_S)

    def lengthen(self, now: datetime) -> float:
        """The new pause in seconds."""
        pause_s = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self.failures, 10))
        self.failures += 1
        self.until = now + timedelta(seconds=pause_s)
        return pause_s


@dataclass(slots=True, kw_only=True)
class _Page:
    """What is known of one resource. waiting: events that are due, with the time at which they happened.

    version: the resource's after the last write, None when it is not known. in_trouble: the last pass could not be
    made. Status and Events have a pause each: a role that lacks the right to
    one must not delay the other.
    """

    owner: Owner
    written: Written | None = None
    version: str | None = None
    told: Told = field(default_factory=Told)
    waiting: deque[tuple[datetime, Event]] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    in_trouble: bool = False
    status_pause: _Pause = field(default_factory=_Pause)
    event_pause: _Pause = field(default_factory=_Pause)


class KubernetesRecorder:
    """ports.Recorder. begin() before a pipeline's first pass, forget() after its last."""

    def __init__(self, api: Transport, *, now: Callable[[], datetime]) -> None:
        self._api = api
        self._now = now
        self._pages: dict[tuple[str, str], _Page] = {}

    def begin(self, pipeline: Pipeline, status: Status) -> None:
        """status: the resource's, which counts as the last one written: what it says already is not written again."""
        page = self._page(_owner(pipeline))
        if page.written is None:
            page.written = find_written(status, self._now())

    def forget(self, namespace: str, name: str) -> None:
        """The resource is gone, or served by nobody here."""
        self._pages.pop((namespace, name), None)

    async def record(self, pipeline: Pipeline, report: Report) -> None:
        """Raises PipelineGone. Anything else that fails is tried again later."""
        page = self._page(_owner(pipeline))
        page.in_trouble = False
        status = to_status(report, selector=selector_text(pipeline.name))
        await self._write(page, status, report.events)

    async def record_problem(self, pipeline: Pipeline, problem: Retryable, retry_in_s: float) -> None:
        """One Event for passes that fail in a row; whether records flow is not known to have changed. Raises nothing
        but PipelineGone."""
        page = self._page(_owner(pipeline))
        if isinstance(problem, PipelineGone) or page.in_trouble:
            return
        page.in_trouble = True
        message = f"{problem}; tried again, for the first time in {retry_in_s:.0f} s"
        await self._write(page, None, (Event(type=EventType.WARNING, reason="ReconcileFailed", message=message),))

    async def record_invalid(
        self, namespace: str, name: str, *, uid: str, generation: int, status: Status, problem: str
    ) -> None:
        """Say in Ready why the resource cannot be followed, beside whatever its status says. Raises PipelineGone."""
        page = self._page(Owner(namespace=namespace, name=name, uid=uid))
        now = self._now()
        page.written = page.written or find_written(status, now)
        told = dict(page.written.status) if page.written is not None else {}
        event = Event(type=EventType.WARNING, reason="InvalidSpec", message=problem)
        await self._write(page, _with_invalid(told, generation, problem, now), (event,))

    # --- writing ----------------------------------------------------------------------------------------------------

    def _page(self, owner: Owner) -> _Page:
        """A resource made again under the same name begins a new page."""
        key = (owner.namespace, owner.name)
        page = self._pages.get(key)
        if page is None or page.owner.uid != owner.uid:
            page = self._pages[key] = _Page(owner=owner)
        return page

    async def _write(self, page: _Page, status: Status | None, events: tuple[Event, ...]) -> None:
        """What is due of both, unless the API server has just failed to take it."""
        now = self._now()
        for event in events:
            page.told, is_new = choose_event(page.told, event, now)
            if is_new:
                page.waiting.append((now, event))
        if status is not None:
            await self._try(page, page.status_pause, now, lambda: self._write_status(page, status, now))
        await self._try(page, page.event_pause, now, lambda: self._post_events(page))

    async def _try(self, page: _Page, pause: _Pause, now: datetime, write: Callable[[], Awaitable[None]]) -> None:
        if not pause.is_over(now):
            return
        try:
            await write()
        except PipelineGone:
            raise
        except Retryable as e:
            pause_s = pause.lengthen(self._now())
            facts = {"pipeline": f"{page.owner.namespace}/{page.owner.name}", "error": str(e), "retry_in_s": pause_s}
            log.warning("status or event not written", extra=facts)
        else:
            pause.failures, pause.until = 0, None

    async def _write_status(self, page: _Page, status: Status, now: datetime) -> None:
        """Over the version that was seen last, whose uid is known: the API server compares no uid when a status is
        applied, and would give this one to a successor of the same name."""
        due = choose_write(page.written, status, now)
        if due is None:
            return
        version = page.version or await self._read_version(page.owner)
        page.version = None
        try:
            page.version = await self._apply(page.owner, due.status, version)
        except WriteConflict:
            version = await self._read_version(page.owner)
            page.version = await self._apply(page.owner, due.status, version)
        page.written = due

    async def _read_version(self, owner: Owner) -> str:
        """Raises PipelineGone when there is no such resource any more."""
        path = PIPELINES.path(owner.namespace, owner.name)
        try:
            metadata = (await self._api.request("GET", path, timeout_s=WRITE_TIMEOUT_S))["metadata"]
        except NotFound as e:
            raise PipelineGone(str(e)) from e
        if metadata["uid"] != owner.uid:
            raise PipelineGone(f"{owner.namespace}/{owner.name} was deleted and made again")
        return str(metadata["resourceVersion"])

    async def _apply(self, owner: Owner, status: Status, version: str) -> str:
        """Returns the new version. Raises PipelineGone, WriteConflict when `version` is not the present one."""
        body = {
            "apiVersion": wire.API_VERSION,
            "kind": wire.KIND,
            "metadata": {"name": owner.name, "namespace": owner.namespace, "resourceVersion": version},
            "status": status,
        }
        try:
            answer = await self._api.request(
                "PATCH",
                PIPELINES.path(owner.namespace, owner.name, "status"),
                query={"fieldManager": FIELD_MANAGER, "force": "true"},
                body=body,
                content_type=APPLY_TYPE,
                timeout_s=WRITE_TIMEOUT_S,
            )
        except NotFound as e:
            raise PipelineGone(str(e)) from e
        return str(answer["metadata"]["resourceVersion"])

    async def _post_events(self, page: _Page) -> None:
        """In their order. Raises Retryable; the one that failed and those after it stay."""
        while page.waiting:
            at, event = page.waiting[0]
            body = build_event(page.owner, event, at)
            await self._api.request("POST", EVENTS.path(page.owner.namespace), body=body, timeout_s=WRITE_TIMEOUT_S)
            page.waiting.popleft()


def _owner(pipeline: Pipeline) -> Owner:
    return Owner(namespace=pipeline.namespace, name=pipeline.name, uid=pipeline.uid)


def build_event(owner: Owner, event: Event, at: datetime) -> dict[str, Any]:
    """A core/v1 Event about the resource. The API server completes its name."""
    time = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    involved = {"apiVersion": wire.API_VERSION, "kind": wire.KIND, "name": owner.name, "namespace": owner.namespace}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{owner.name}.", "namespace": owner.namespace},
        "involvedObject": involved | ({"uid": owner.uid} if owner.uid else {}),
        "type": event.type.value,
        "reason": event.reason,
        "message": event.message if len(event.message) <= MAX_TEXT else event.message[: MAX_TEXT - 1] + "…",
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
        "source": {"component": REPORTER},
        "reportingComponent": REPORTER,
        "reportingInstance": "",
    }


def _with_invalid(told: Mapping[str, Any], generation: int, problem: str, now: datetime) -> Status:
    """The status with Ready told anew; the rest stays as it was last seen."""
    old = {condition.type: condition for condition in memory_from_status(told).conditions}.get(ConditionType.READY)
    ready = Condition(
        type=ConditionType.READY, status=ConditionStatus.FALSE, reason="InvalidSpec", message=problem, since=now
    )
    if old is not None and old.status is ready.status:
        ready = replace(ready, since=old.since)
    others = [each for each in told.get("conditions", ()) if each["type"] != ConditionType.READY]
    plain = [condition_to_plain(ready, generation), *others]
    return {**told, "observedGeneration": generation, "conditions": plain}
