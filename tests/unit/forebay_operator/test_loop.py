"""The loop: one pass after the other, changes at any time, back-off, a clean stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import ClusterUnavailable, Fatal
from forebay_operator.model import Report, Workload
from forebay_operator.reconcile import PipelineLoop
from support.pipeline_builders import build_pipeline
from support.queue_model import QueueModel, with_scaling


def steady_model() -> QueueModel:
    return QueueModel(pipeline=build_pipeline(cap=6_000, max_replicas=6), arrival=lambda _: 1_000)


@dataclass(slots=True, kw_only=True)
class Watched(QueueModel):
    """A queue model that calls back after each pass and can lose its runtime. waits: what each pause was."""

    after_pass: object = None
    failures: int = 0
    fatal: bool = False

    def __post_init__(self) -> None:
        QueueModel.__post_init__(self)
        self.waits: list[float] = []

    waits: list[float] = None  # type: ignore[assignment]  # set in __post_init__

    async def record(self, pipeline: Pipeline, report: Report) -> None:
        await QueueModel.record(self, pipeline, report)
        if callable(self.after_pass):
            self.after_pass()

    async def wait(self, wake: asyncio.Event, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        await QueueModel.wait(self, wake, timeout_s)

    async def read_workload(self, pipeline: Pipeline) -> Workload | None:
        if self.fatal:
            raise Fatal("no consumer program")
        if self.failures:
            self.failures -= 1
            raise ClusterUnavailable("the process table cannot be read")
        return await QueueModel.read_workload(self, pipeline)


def build_loop(passes: int, **more: object) -> tuple[Watched, PipelineLoop]:
    """A loop that stops itself after so many passes."""
    base = steady_model()
    model = Watched(pipeline=base.pipeline, arrival=base.arrival, **more)  # type: ignore[arg-type]
    loop = PipelineLoop(model.ports(), model.pipeline, model)

    def count() -> None:
        if len(model.reports) >= passes:
            loop.stop()

    model.after_pass = count
    return model, loop


async def test_loop_runs_a_pass_a_sample_and_stops_without_scaling() -> None:
    model, loop = build_loop(5)

    await loop.run()

    assert len(model.reports) == 5
    assert model.waits == [1.0] * 4
    assert (model.scale_calls, model.replicas) == ([(0.0, 1)], 1)


async def test_clock_set_back_within_a_pass_does_not_make_the_loop_sleep_until_it_is_as_late_again() -> None:
    model, loop = build_loop(2)

    def set_back() -> None:
        model.second -= 3600
        if len(model.reports) >= 2:
            loop.stop()

    model.after_pass = set_back
    await loop.run()

    assert model.waits == [1.0]


async def test_changed_pipeline_is_used_in_the_next_pass() -> None:
    model, loop = build_loop(6)

    def change() -> None:
        if len(model.reports) == 3:
            loop.change(with_scaling(model.pipeline, min_replicas=2))
        if len(model.reports) == 5:
            loop.change(replace(model.pipeline, spec=replace(model.pipeline.spec, suspend=True)))
        if len(model.reports) >= 6:
            loop.stop()

    model.after_pass = change
    await loop.run()

    assert [n for _, n in model.scale_calls] == [1, 2, 0]


async def test_runtime_away_backs_off_says_so_and_recovers() -> None:
    model, loop = build_loop(1, failures=4)

    await loop.run()

    assert model.waits == [1, 2, 4, 8]
    assert [str(problem) for problem in model.problems] == ["the process table cannot be read"] * 4
    assert len(model.reports) == 1


async def test_fatal_problem_ends_the_loop() -> None:
    _, loop = build_loop(1, fatal=True)

    with pytest.raises(Fatal, match="no consumer program"):
        await loop.run()
