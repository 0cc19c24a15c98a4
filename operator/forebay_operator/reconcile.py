"""One pass of the loop, and the loop: observe → decide → act → report.

The same for Kubernetes and for a single machine; what differs stands behind the ports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from forebay_api.v1alpha1 import Pipeline

from forebay_operator.act import act
from forebay_operator.decide import decide, keep_order
from forebay_operator.errors import PipelineGone, Retryable
from forebay_operator.logs import bind_pass
from forebay_operator.model import Memory, Report
from forebay_operator.observe import observe
from forebay_operator.ports import Clock, Ports
from forebay_operator.report import build_report

log = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0
"""A runtime that is away is asked this often at least; a person who repairs it does not want to wait longer."""

MIN_PAUSE_S = 0.1
"""Between two passes at least, when a pass takes longer than the sample interval."""


class PassResult(StrEnum):
    """What became of one pass. ERROR: it could not be made, and is tried again. GONE: there is no such pipeline.
    FAILED: anything else was raised, and ends the loop."""

    SUCCESS = "success"
    ERROR = "error"
    GONE = "gone"
    FAILED = "failed"


OnPass = Callable[[Pipeline, PassResult, float], None]
"""Called after each pass with its duration in seconds."""


def _ignore_pass(_pipeline: Pipeline, _result: PassResult, _took_s: float) -> None:
    """For callers that measure nothing."""


async def reconcile_once(ports: Ports, pipeline: Pipeline, memory: Memory, now: datetime) -> tuple[Memory, Report]:
    """Bring one pipeline one step nearer to what it should be. Idempotent. Raises Retryable, PipelineGone, Fatal."""
    seen = await observe(ports, pipeline)
    plan, after = decide(pipeline, memory, seen, now)
    outcomes = await act(ports.cluster, pipeline, plan)
    after = keep_order(memory, after, plan, outcomes)
    report = build_report(pipeline, memory, after, seen, plan, outcomes, now)
    await ports.recorder.record(pipeline, report)
    return replace(after, conditions=report.conditions), report


class PipelineLoop:
    """Reconciles one pipeline until it is stopped. Stopping scales nothing: the consumers run on.

    jitter: 0..1, takes up to half off each back-off, so that many pipelines do not come back together.
    new_id: a name for each pass, which its log lines carry.
    """

    def __init__(
        self,
        ports: Ports,
        pipeline: Pipeline,
        clock: Clock,
        *,
        memory: Memory | None = None,
        jitter: Callable[[], float] = lambda: 0.0,
        new_id: Callable[[], str] = lambda: "",
        on_pass: OnPass = _ignore_pass,
    ) -> None:
        self._ports = ports
        self._pipeline = pipeline
        self._clock = clock
        self._memory = memory or Memory()
        self._jitter = jitter
        self._new_id = new_id
        self._on_pass = on_pass
        self._wake = asyncio.Event()
        self._stopping = False
        self._failures = 0

    def change(self, pipeline: Pipeline) -> None:
        """Use this version from the next pass on, which begins at once."""
        if pipeline.spec.source != self._pipeline.spec.source:
            known = self._memory  # offsets of another topic mean nothing; database and replicas are the same
            self._memory = Memory(
                capacity=known.capacity, ordered=known.ordered, had_rival=known.had_rival, sink=known.sink
            )
        self._pipeline = pipeline
        self._wake.set()

    def poke(self) -> None:
        """Something may have changed outside: make the next pass now."""
        self._wake.set()

    def stop(self) -> None:
        """Let run() return after the pass under way."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Returns after stop(). Raises PipelineGone, and Fatal when a person must act."""
        while not self._stopping:
            self._wake.clear()
            pause_s = await self._run_pass()
            if not self._stopping:
                await self._clock.wait(self._wake, pause_s)

    async def _run_pass(self) -> float:
        """One pass; returns the seconds to wait before the next."""
        pipeline, started = self._pipeline, self._clock.now()
        result = PassResult.FAILED
        with bind_pass(pipeline.key, self._new_id()):
            try:
                report = await self._reconcile(pipeline, started)
                result = PassResult.SUCCESS
            except PipelineGone:
                result = PassResult.GONE
                raise
            except Retryable as e:
                result = PassResult.ERROR
                return await self._back_off(pipeline, e)
            finally:
                elapsed_s = (self._clock.now() - started).total_seconds()
                self._on_pass(pipeline, result, elapsed_s)
            self._log_changes(pipeline, report)
        sample_s = pipeline.spec.scaling.timing.sample_s
        return min(sample_s, max(MIN_PAUSE_S, sample_s - elapsed_s))  # the clock may have been set back meanwhile

    async def _reconcile(self, pipeline: Pipeline, started: datetime) -> Report:
        memory, report = await reconcile_once(self._ports, pipeline, self._memory, started)
        if pipeline.spec.source == self._pipeline.spec.source:
            self._memory = memory
        self._failures = 0
        return report

    async def _back_off(self, pipeline: Pipeline, problem: Retryable) -> float:
        sample_s = pipeline.spec.scaling.timing.sample_s
        pause_s = min(MAX_BACKOFF_S, sample_s * 2.0 ** min(self._failures, 10)) * (1 - self._jitter() / 2)
        self._failures += 1
        log.warning("pass failed", extra={"pipeline": pipeline.key, "error": repr(problem), "retry_in_s": pause_s})
        with suppress(Retryable):  # it has just been logged, and is tried again anyway
            await self._ports.recorder.record_problem(pipeline, problem, pause_s)
        return pause_s

    def _log_changes(self, pipeline: Pipeline, report: Report) -> None:
        for event in report.events:
            log.info("event", extra={"pipeline": pipeline.key, "reason": event.reason, "because": event.message})
