"""One loop a pipeline, from what the watch shows and what a list shows; only while this process leads.

Watch events say when to look, never what is there: they may come late, twice, out of order or not at all. So each is
weighed by its resource version, and a list once a minute starts what was missed and stops what has vanished.
At most one loop of a name runs at any time: one task owns the name, and a successor waits until its predecessor is out.
What must not live here: kopf, Kubernetes' requests, anything that a pass does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Protocol

from forebay_api.parse import InvalidPipeline
from forebay_api.v1alpha1 import Pipeline

from forebay_operator.errors import Fatal, PipelineGone, Retryable
from forebay_operator.sightings import Body, Key, Listing, Resource, identify, read_resource

log = logging.getLogger(__name__)

RESYNC_S = 60.0
"""Between two lists of all pipelines: what a cut watch has missed is seen this late at worst."""

LATE_S = 40.0
"""A watch may be so late; below the shortest time between two lists, so that each but the hasty ones compares."""

RESYNC_RETRY_S = 5.0
"""After a list that failed."""

STARTS_PER_SECOND = 50.0
"""Loops that begin at most: a single one begins at once, 500 after a restart within ten seconds, and they stay so."""

POKE_S = 1.0
"""Between two passes that are made early: a rollout changes a Deployment and its pods dozens of times in a second."""

FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 60.0
"""Before a loop that failed begins again; doubled each time."""

CALM_S = 300.0
"""A loop that ran so long before it failed is restarted as if it had never failed."""

STUCK_S = 300.0
"""Every call in a pass has a deadline of seconds: a loop without any pass for so long hangs."""

EXPLAIN_S = 15.0
"""Between two attempts to explain an invalid resource: the first may have met an API server that is away."""

FAILED_RESYNCS_NOT_READY = 3
"""One list may fail; after these, the API server is away for this operator."""


class Loop(Protocol):
    """What a fleet is made of; reconcile.PipelineLoop."""

    def change(self, pipeline: Pipeline) -> None:
        """Use this version from the next pass on."""

    def poke(self) -> None:
        """Make the next pass now."""

    def stop(self) -> None:
        """Let run() return after the pass under way."""

    async def run(self) -> None:
        """Until stopped. Raises PipelineGone, Fatal."""


class Surroundings(Protocol):
    """What a fleet needs from the program around it."""

    def build_loop(self, pipeline: Pipeline, status: Body) -> Loop:
        """A loop that has not begun. status: the resource's, from which it remembers."""

    async def list_bodies(self) -> Listing:
        """All pipelines that are served. Raises Retryable."""

    def touch(self, namespace: str, name: str) -> None:
        """Something of this pipeline may have changed: what was read of it before is stale."""

    async def record_invalid(self, namespace: str, name: str, resource: Resource, problem: InvalidPipeline) -> None:
        """Tell its owner that it cannot be followed; called again and again while it is so. Raises Retryable,
        PipelineGone."""

    async def record_defect(self, pipeline: Pipeline, defect: Exception) -> None:
        """A loop failed and will begin again: count it, and tell the pipeline's owner, whose status stays as it was.
        Raises Retryable, PipelineGone."""

    def forget(self, namespace: str, name: str) -> None:
        """The pipeline is gone, and its loop has ended."""


@dataclass(slots=True, kw_only=True)
class _Place:
    """Everything about one name. wanted None: gone. task: the only one that may run a loop of this name.

    shown: uid and version that the watch last showed. listed: uid and version of the last list.
    """

    wanted: Resource | None = None
    loop: Loop | None = None
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    shown: tuple[str, int] = ("", 0)
    listed: tuple[str, int] = ("", 0)
    poked_at: float = float("-inf")
    poke: asyncio.TimerHandle | None = None
    passed_at: float = 0.0

    def halt(self) -> None:
        """Let the loop end after its pass, and its task look again at what is wanted."""
        self.changed.set()
        if self.loop is not None:
            self.loop.stop()


class Fleet:
    """The pipelines of one operator. Call it from one event loop only. jitter: 0..1."""

    def __init__(self, around: Surroundings, *, now_s: Callable[[], float], jitter: Callable[[], float]) -> None:
        self._around = around
        self._now_s = now_s
        self._jitter = jitter
        self._places: dict[Key, _Place] = {}
        self._left: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._context: Context = copy_context()
        self._stopping = asyncio.Event()
        self._next_start_s = 0.0
        self._resync_now = asyncio.Event()
        self._failed_resyncs = 0
        self._compared_s = float("-inf")
        self._watch_problem: str | None = None

    # --- what is seen -----------------------------------------------------------------------------------------------

    def seen(self, body: Body) -> None:
        """The watch showed this resource: new, changed or as it was."""
        key, uid, version = identify(body)
        place = self._places.get(key)
        if place is None or place.shown[0] != uid or place.shown[1] < version:
            self._accept(body)
            if (place := self._places.get(key)) is not None:  # not that of one which is being deleted
                place.shown = (uid, version)

    def gone(self, namespace: str, name: str, uid: str) -> None:
        """This resource does not exist any more. Of another uid: that of a predecessor, and no news."""
        self._left.add(uid)
        place = self._places.get((namespace, name))
        if place is not None and place.wanted is not None and place.wanted.uid == uid:
            place.wanted = None
            place.halt()
            self._tidy((namespace, name), place)

    def touched(self, namespace: str, name: str) -> None:
        """An object of this pipeline changed: look soon."""
        self._around.touch(namespace, name)
        place = self._places.get((namespace, name))
        if place is None or place.loop is None or place.poke is not None:
            return
        wait_s = place.poked_at + POKE_S - self._now_s()
        if wait_s <= 0:
            self._poke(place)
        else:
            place.poke = asyncio.get_running_loop().call_later(wait_s, self._poke, place)

    def passed(self, pipeline: Pipeline) -> None:
        """A loop has made a pass."""
        place = self._places.get((pipeline.namespace, pipeline.name))
        if place is not None:
            place.passed_at = self._now_s()

    def _poke(self, place: _Place) -> None:
        place.poke = None
        place.poked_at = self._now_s()
        if place.loop is not None:
            place.loop.poke()

    def _accept(self, body: Body) -> None:
        """Want what this body says, unless it is older than what is known."""
        key, uid, version = identify(body)
        if uid in self._left:
            return
        if body["metadata"].get("deletionTimestamp"):
            # Deleted in the foreground: it stays until its objects are gone, and must not get new ones.
            self.gone(*key, uid)
            return
        place = self._places.setdefault(key, _Place())
        before = place.wanted
        if before is not None and version < before.version:
            return
        place.wanted = read_resource(body, before)
        self._follow(place, before)
        self._start(key, place)

    def _follow(self, place: _Place, before: Resource | None) -> None:
        """Tell a running loop what has changed for it, if anything has."""
        wanted = place.wanted
        if before is None or wanted is None or (before.uid, before.pipeline) == (wanted.uid, wanted.pipeline):
            return
        if before.uid == wanted.uid and place.loop is not None and isinstance(wanted.pipeline, Pipeline):
            place.loop.change(wanted.pipeline)
            return
        place.halt()

    def _tidy(self, key: Key, place: _Place) -> None:
        """Forget a name for which nothing is wanted and nothing runs."""
        if place.wanted is None and place.task is None and self._places.get(key) is place:
            del self._places[key]
            if place.poke is not None:
                place.poke.cancel()
            self._around.forget(*key)

    # --- loops ------------------------------------------------------------------------------------------------------

    async def lead(self, grace_s: float) -> None:
        """Run the loops until stop(), then let each finish its pass, for grace_s at most. Cancelled: ends at once."""
        self._stopping.clear()
        try:
            async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as self._tasks:
                for key, place in list(self._places.items()):
                    self._start(key, place)
                self._resync_now.set()
                await self._stopping.wait()
                self._tasks, deadline_s = None, asyncio.get_running_loop().time() + grace_s
                deadline.reschedule(deadline_s)
                for place in self._places.values():
                    place.halt()
        except TimeoutError:
            log.warning("loops did not end in time", extra={"grace_s": grace_s})
        finally:
            self._tasks = None

    def stop(self) -> None:
        """Let lead() return."""
        self._stopping.set()

    def _start(self, key: Key, place: _Place) -> None:
        """Begin to serve a name, if it is wanted, led here and not served yet."""
        if self._tasks is None or place.task is not None or place.wanted is None:
            return
        place.changed.clear()
        name, context = f"loop of {key[0]}/{key[1]}", self._context.copy()  # not that of whoever saw the resource
        place.task = self._tasks.create_task(self._serve(key, place), name=name, context=context)

    async def _serve(self, key: Key, place: _Place) -> None:
        """Loop after loop of one name, never two at a time, while there is one to run."""
        try:
            failures = 0
            await self._pause(place, self._take_turn())
            while place.wanted is not None and not self._stopping.is_set():
                place.changed.clear()
                place.passed_at = began_s = self._now_s()
                if await self._serve_once(key, place, place.wanted):
                    failures = 0
                    continue
                failures = 1 if self._now_s() - began_s > CALM_S else failures + 1
                pause_s = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
                await self._pause(place, pause_s * (1 - self._jitter() / 2))
        finally:
            place.task = None
            self._tidy(key, place)

    def _take_turn(self) -> float:
        """Seconds until this loop may begin."""
        now_s = self._now_s()
        turn_s = max(now_s, self._next_start_s)
        self._next_start_s = turn_s + 1 / STARTS_PER_SECOND
        return turn_s - now_s

    async def _pause(self, place: _Place, pause_s: float) -> None:
        """Wait, unless something else is wanted meanwhile."""
        try:
            async with asyncio.timeout(pause_s):
                await place.changed.wait()
        except TimeoutError:
            return

    async def _serve_once(self, key: Key, place: _Place, wanted: Resource) -> bool:
        """Run one loop to its end. False: it failed, and something has to be done about it later."""
        try:
            if isinstance(wanted.pipeline, InvalidPipeline):
                await self._explain(key, place, wanted.pipeline)
            else:
                place.loop = self._around.build_loop(wanted.pipeline, wanted.status)
                await place.loop.run()
        except PipelineGone as e:
            log.info("pipeline is gone", extra={"pipeline": "/".join(key), "because": str(e)})
            self.gone(*key, wanted.uid)
        except (Retryable, Fatal) as e:
            log.warning("pipeline cannot be served", extra={"pipeline": "/".join(key), "error": repr(e)})
            return False
        except Exception as e:
            log.exception("loop failed, will begin again", extra={"pipeline": "/".join(key)})
            if isinstance(wanted.pipeline, Pipeline):
                with suppress(Retryable):  # the log has it
                    await self._around.record_defect(wanted.pipeline, e)
            return False
        finally:
            place.loop = None
        return True

    async def _explain(self, key: Key, place: _Place, problem: InvalidPipeline) -> None:
        """Say what is wrong with the resource until it is another. Its consumers run on."""
        log.warning("pipeline is invalid", extra={"pipeline": "/".join(key), "problems": str(problem)})
        while place.wanted is not None and place.wanted.pipeline is problem and not self._stopping.is_set():
            await self._around.record_invalid(*key, place.wanted, problem)
            await self._pause(place, EXPLAIN_S)

    # --- resync -----------------------------------------------------------------------------------------------------

    async def watch_over(self) -> None:
        """Compare with a list now and again, until cancelled."""
        while True:
            self._resync_now.clear()
            pause_s = RESYNC_S * (1 - self._jitter() / 4)
            try:
                await self.resync()
            except Retryable as e:
                self._failed_resyncs += 1
                pause_s = RESYNC_RETRY_S
                log.warning("pipelines cannot be listed", extra={"error": str(e), "failures": self._failed_resyncs})
            else:
                self._failed_resyncs = 0
            try:
                async with asyncio.timeout(pause_s):
                    await self._resync_now.wait()
            except TimeoutError:
                continue

    async def resync(self) -> None:
        """Start what the watch has missed, stop what has vanished. Raises Retryable."""
        before = {key: place.wanted.uid for key, place in self._places.items() if place.wanted is not None}
        self._left.clear()
        listing = await self._around.list_bodies()
        listed = {}
        for body in listing.bodies:
            key, uid, version = identify(body)
            listed[key] = (uid, version)
            self._accept(body)
        for key, uid in before.items():
            if key[0] not in listing.hidden and listed.get(key, ("", 0))[0] != uid:
                self.gone(*key, uid)
        self._check_watch(listed)

    def _check_watch(self, listed: Mapping[Key, tuple[str, int]]) -> None:
        """The watch is dead when it has not shown by now what a list had a good while ago."""
        if self._now_s() - self._compared_s < LATE_S:
            return
        self._compared_s = self._now_s()
        late = []
        for key, place in self._places.items():
            uid, version = place.listed
            if uid and uid == listed.get(key, ("", 0))[0] and (place.shown[0] != uid or place.shown[1] < version):
                late.append("/".join(key))
            place.listed = listed.get(key, ("", 0))
        self._watch_problem = f"the watch has not shown for {LATE_S:g} s what is listed: {late[0]}" if late else None
        if late:
            log.error("watch is dead", extra={"missed": late[:10]})

    # --- health -----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Pipelines that are wanted."""
        return sum(place.wanted is not None for place in self._places.values())

    def reasons_dead(self) -> tuple[str, ...]:
        """Why this process should be started anew; empty when all is well."""
        reasons = [] if self._watch_problem is None else [self._watch_problem]
        for key, place in self._places.items():
            idle_s = self._now_s() - place.passed_at
            if place.loop is not None and place.wanted is not None and idle_s > _patience_s(place.wanted):
                reasons.append(f"{'/'.join(key)} has had no pass for {idle_s:.0f} s")
        return tuple(reasons)

    def reasons_not_ready(self) -> tuple[str, ...]:
        """Why this process could not serve now; empty when it could."""
        away = self._failed_resyncs >= FAILED_RESYNCS_NOT_READY
        return ("the API server does not answer, or not to this operator: see the log",) if away else ()


def _patience_s(resource: Resource) -> float:
    sample_s = resource.pipeline.spec.scaling.timing.sample_s if isinstance(resource.pipeline, Pipeline) else 0.0
    return sample_s + STUCK_S
