"""What the reconcile loop needs from the world, for Kubernetes and for a single machine alike.

Errors: methods raise Retryable when the world does not answer, PipelineGone when the resource is no longer there, Fatal
when a person must act; nothing else. Each method keeps its own deadline: none may take longer than a few seconds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from forebay_api.state import ConsumerState
from forebay_api.v1alpha1 import Pipeline

from forebay_operator.errors import Retryable
from forebay_operator.model import LagSample, Report, RunningConsumer, Workload


class Cluster(Protocol):
    """Runs the consumers of a pipeline: Pods of a Deployment, or processes."""

    async def read_workload(self, pipeline: Pipeline) -> Workload | None:
        """None: nothing exists for this pipeline yet. Raises ClusterUnavailable when that cannot be told."""

    async def apply_workload(self, pipeline: Pipeline) -> None:
        """Create or update everything but the number of consumers. Idempotent. A changed spec replaces running
        consumers, gracefully, without waiting for it here. A new workload starts without consumers where it can."""

    async def scale(self, pipeline: Pipeline, replicas: int) -> None:
        """Ask for this many consumers and return at once; those that leave are drained. Idempotent."""

    async def delete(self, pipeline: Pipeline) -> None:
        """Drain and remove everything of this pipeline, nothing in the database. Idempotent. Not called by the loop."""


class LagReader(Protocol):
    """Reads a pipeline's topic and group."""

    async def read_lag(self, pipeline: Pipeline) -> LagSample:
        """Committed offsets are read before log ends. Partial answers are None a partition. Raises LagUnavailable
        when nothing is known (unreachable broker, missing topic, refused credentials)."""


class ConsumerReader(Protocol):
    """Reads /state of a consumer."""

    async def read_state(self, consumer: RunningConsumer) -> ConsumerState | None:
        """None when it did not answer in time or made no sense. Raises nothing."""


class Recorder(Protocol):
    """Where a pass is made visible: status, events, metrics, a screen."""

    async def record(self, pipeline: Pipeline, report: Report) -> None:
        """Called once a pass. Writing only what changed is the recorder's business."""

    async def record_problem(self, pipeline: Pipeline, problem: Retryable, retry_in_s: float) -> None:
        """Called instead of record() when a pass could not be made; nothing was scaled."""


class Clock(Protocol):
    """Time for the loop."""

    def now(self) -> datetime:
        """Aware UTC."""

    async def wait(self, wake: asyncio.Event, timeout_s: float) -> None:
        """Return when `wake` is set or after timeout_s, whichever is first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Everything reconcile_once() talks to."""

    cluster: Cluster
    lag: LagReader
    consumers: ConsumerReader
    recorder: Recorder
