"""How little is written: nothing while idle, nothing by a restart, seldom while numbers move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from forebay_api.v1alpha1 import Objective, ScalingMode, Timing
from support.pipeline_builders import build_pipeline
from support.queue_model import QueueModel
from support.recorded_world import RecordedWorld

DEFAULTS: dict[str, Any] = {"timing": Timing(), "objective": Objective()}


def world(rate: Callable[[float], float], **scaling: Any) -> RecordedWorld:
    """Twelve partitions, the API's default timing, consumers that write 6,000 records/s."""
    pipeline = build_pipeline(cap=6_000, **(DEFAULTS | {"max_replicas": 6} | scaling))
    return RecordedWorld(QueueModel(pipeline=pipeline, arrival=rate, limit=6_000))


def steady(per_second: float) -> Callable[[float], float]:
    return lambda _: per_second


def noisy(per_second: float) -> Callable[[float], float]:
    return lambda second: per_second * (1 + 0.3 * ((int(second * 7919) % 200) / 100 - 1))


async def restart_often(case: RecordedWorld) -> list[str]:
    """Each process lives for a while, the last one until all windows are full again. What they wrote."""
    written = []
    for seconds in (5, 40, 800):
        case.restart()
        await case.play(seconds)
        written += case.writes()
    return written


@pytest.mark.parametrize(
    ("per_second", "scaling"),
    [
        pytest.param(0, {}, id="idle"),
        pytest.param(0, {"min_replicas": 0}, id="asleep"),
        pytest.param(14_000, {}, id="busy"),
        pytest.param(5_000, {"mode": ScalingMode.OBSERVE}, id="observed"),
        pytest.param(5_000, {"mode": ScalingMode.PAUSED}, id="paused"),
        pytest.param(14_000, {"mode": ScalingMode.MANUAL, "replicas": 3}, id="manual"),
        pytest.param(1_000, {"pause_scale_in": True, "min_replicas": 4}, id="at-a-bound"),
    ],
)
async def test_restart_with_nothing_changed_writes_nothing(per_second: float, scaling: dict[str, Any]) -> None:
    case = world(steady(per_second), **scaling)
    await case.play(1_800)

    assert await restart_often(case) == []


@pytest.mark.parametrize(
    ("rate", "scaling", "binding"),
    [
        pytest.param(lambda s: 30_000 if s < 900 else 7_000, {}, "ScaleInWindow", id="held-for-the-window"),
        pytest.param(steady(50_000), {"max_replicas": 3}, "MaxReplicas", id="lag-grows"),
        pytest.param(steady(14_000), {"mode": ScalingMode.OBSERVE}, "MaxReplicas", id="would-grow"),
    ],
)
async def test_restart_while_numbers_move_writes_no_other_verdict_and_no_event(
    rate: Callable[[float], float], scaling: dict[str, Any], binding: str
) -> None:
    case = world(rate, **scaling)
    await case.play(1_200)
    verdict = case.status["decision"]["verdict"]

    case.restart()
    await case.play(250)

    assert case.status["decision"]["binding"] == binding
    assert {line.split(":")[0] for line in case.writes()} <= {f"status {verdict}/{binding}"}
    assert len(case.writes()) <= 250 / 60


async def test_restart_does_not_hide_what_changed_meanwhile() -> None:
    case = world(lambda second: 14_000 if second < 1_800 else 30_000)
    await case.play(1_795)
    case.model.advance(10)

    case.restart()
    await case.play(300)

    assert case.model.replicas == 6
    assert case.status["desiredReplicas"] == 6


async def test_restart_does_not_hide_another_spec() -> None:
    case = world(steady(14_000))
    await case.play(1_800)
    pipeline = case.model.pipeline
    case.model.pipeline = replace(pipeline, generation=2)

    case.restart()
    await case.play(10)

    assert case.status["observedGeneration"] == 2
    assert case.status["decision"]["binding"] == "Settling"


@pytest.mark.parametrize("per_second", [0, 5_000])
async def test_two_quiet_minutes_write_nothing(per_second: float) -> None:
    case = world(steady(per_second))
    await case.play(1_800)
    before = len(case.client.writes())

    await case.play(120)

    assert case.writes()[before:] == []


async def test_numbers_that_move_are_written_at_most_once_a_minute() -> None:
    case = world(noisy(14_000))
    await case.play(1_800)
    before = len(case.client.writes())

    await case.play(3_600)

    assert len(case.writes()[before:]) <= 60
    assert not [line for line in case.writes()[before:] if line.startswith("event")]


async def test_observing_an_idle_pipeline_that_would_sleep_writes_nothing() -> None:
    case = world(steady(0), mode=ScalingMode.OBSERVE, min_replicas=0)
    await case.play(3_600)
    before = len(case.client.writes())

    await case.play(3_600)

    assert case.status["decision"]["to"] == 0
    assert case.writes()[before:] == []
