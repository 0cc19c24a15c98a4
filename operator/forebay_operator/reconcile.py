"""One pass of the loop, and the loop: observe → decide → act → report.

The same for Kubernetes and for a single machine; what differs stands behind the ports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from forebay_api.v1alpha1 import Pipeline

from forebay_operator.act import act
from forebay_operator.decide import decide
from forebay_operator.errors import Retryable
from forebay_operator.model import Memory, Report
from forebay_operator.observe import observe
from forebay_operator.ports import Clock, Ports
from forebay_operator.report import build_report

log = logging.getLogger(__name__)

MAX_BACKOFF_S = 60.0
"""A runtime that is away is asked this often at least; a person who repairs it does not want to wait longer."""

MIN_PAUSE_S = 0.1
"""Between two passes at least, when a pass takes longer than the sample interval."""


async def reconcile_once(ports: Ports, pipeline: Pipeline, memory: Memory, now: datetime) -> tuple[Memory, Report]:
    """Bring one pipeline one step nearer to what it should be. Idempotent. Raises Retryable, Fatal."""
    seen = await observe(ports, pipeline)
    plan, after = decide(pipeline, memory, seen, now)
    outcomes = await act(ports.cluster, pipeline, plan)
    report = build_report(pipeline, memory, after, seen, plan, outcomes)
    await ports.recorder.record(pipeline, report)
    return replace(after, conditions=report.conditions), report


class PipelineLoop:
    """Reconciles one pipeline until it is stopped. Stopping scales nothing: the consumers run on.

    jitter: 0..1, takes up to half off each back-off, so that many pipelines do not come back together.
    """

    def __init__(
        self,
        ports: Ports,
        pipeline: Pipeline,
        clock: Clock,
        *,
        memory: Memory | None = None,
        jitter: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._ports = ports
        self._pipeline = pipeline
        self._clock = clock
        self._memory = memory or Memory()
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._stopping = False
        self._failures = 0

    def change(self, pipeline: Pipeline) -> None:
        """Use this version from the next pass on, which begins at once."""
        if pipeline.spec.source != self._pipeline.spec.source:
            self._memory = Memory(capacity=self._memory.capacity)  # offsets of another topic mean nothing
        self._pipeline = pipeline
        self._wake.set()

    def stop(self) -> None:
        """Let run() return after the pass under way."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Returns after stop(). Raises Fatal when a person must act."""
        while not self._stopping:
            self._wake.clear()
            pause_s = await self._run_pass()
            if not self._stopping:
                await self._clock.wait(self._wake, pause_s)

    async def _run_pass(self) -> float:
        """One pass; returns the seconds to wait before the next."""
        pipeline, memory, started = self._pipeline, self._memory, self._clock.now()
        sample_s = pipeline.spec.scaling.timing.sample_s
        try:
            memory, report = await reconcile_once(self._ports, pipeline, memory, started)
        except Retryable as e:
            return await self._back_off(pipeline, e)
        if pipeline.spec.source == self._pipeline.spec.source:
            self._memory = memory
        self._failures = 0
        self._log_changes(pipeline, report)
        elapsed_s = (self._clock.now() - started).total_seconds()
        return max(MIN_PAUSE_S, sample_s - elapsed_s)

    async def _back_off(self, pipeline: Pipeline, problem: Retryable) -> float:
        sample_s = pipeline.spec.scaling.timing.sample_s
        pause_s = min(MAX_BACKOFF_S, sample_s * 2.0 ** min(self._failures, 10)) * (1 - self._jitter() / 2)
        self._failures += 1
        log.warning("pass failed", extra={"pipeline": pipeline.key, "error": repr(problem), "retry_in_s": pause_s})
        await self._ports.recorder.record_problem(pipeline, problem, pause_s)
        return pause_s

    def _log_changes(self, pipeline: Pipeline, report: Report) -> None:
        for event in report.events:
            log.info("event", extra={"pipeline": pipeline.key, "reason": event.reason, "because": event.message})
