"""The whole loop over a model of the demo's wave: quiet, flood, quiet."""

from __future__ import annotations

import pytest
from forebay_api.state import SinkHealth
from forebay_api.v1alpha1 import Objective, Timing
from forebay_operator.model import Memory, Report
from forebay_operator.reconcile import reconcile_once
from forebay_operator.status import memory_from_status, to_status
from support.pipeline_builders import build_pipeline
from support.queue_model import QueueModel, with_scaling

FLOOD_FROM_S, FLOOD_TO_S = 20, 45


def wave(second: float) -> float:
    return 20_000 if FLOOD_FROM_S <= second < FLOOD_TO_S else 1_000


async def play(model: QueueModel, until_s: float, memory: Memory | None = None) -> Memory:
    """Run the loop as often as its samples are taken."""
    memory = memory or Memory()
    while model.second < until_s:
        memory, _ = await reconcile_once(model.ports(), model.pipeline, memory, model.now())
        model.advance(model.pipeline.spec.scaling.timing.sample_s)
    return memory


def replicas_between(model: QueueModel, from_s: float, to_s: float) -> list[int]:
    return [r.plan.decision.to_replicas for at, r in model.reports if from_s <= at < to_s]


def demo_model(cap: int | None = 6_000) -> QueueModel:
    return QueueModel(pipeline=build_pipeline(cap=cap, max_replicas=6), arrival=wave)


async def test_wave_raises_the_replicas_within_seconds_and_lowers_them_soon_after() -> None:
    model = demo_model()

    await play(model, 90)

    assert set(replicas_between(model, 10, FLOOD_FROM_S)) == {1}
    assert max(replicas_between(model, FLOOD_FROM_S, FLOOD_FROM_S + 5)) >= 3
    assert max(replicas_between(model, FLOOD_FROM_S, FLOOD_TO_S)) == 6
    assert set(replicas_between(model, FLOOD_TO_S + 30, 90)) == {1}


async def test_wave_is_followed_with_few_changes_and_little_age() -> None:
    model = demo_model()

    await play(model, 90)

    ages = [r.plan.decision.terms.age_s or 0.0 for _, r in model.reports]
    assert len(model.scale_calls) <= 6
    assert max(ages) < 10
    assert model.lag_records() < 1_000


async def test_wave_is_followed_without_a_cap_from_what_is_learned() -> None:
    model = demo_model(cap=None)  # consumers still manage only 6,000/s, but nobody says so

    memory = await play(model, 90)

    assert max(replicas_between(model, FLOOD_FROM_S, FLOOD_TO_S)) >= 4
    assert set(replicas_between(model, 85, 90)) <= {1, 2}
    assert memory.capacity is not None


async def test_capacity_survives_a_restart_through_the_status() -> None:
    model = demo_model(cap=None)
    before = await play(model, 40)

    after = memory_from_status(to_status(last_report(model)))

    assert before.capacity is not None
    assert after.capacity is not None
    assert abs(after.capacity.records_per_second - before.capacity.records_per_second) < 0.1
    assert after.capacity.samples == before.capacity.samples


def last_report(model: QueueModel) -> Report:
    return model.reports[-1][1]


async def test_database_away_in_the_flood_changes_nothing_until_it_is_back() -> None:
    model = demo_model()
    memory = await play(model, 21)
    model.health = SinkHealth.AWAY

    memory = await play(model, 40, memory)
    calls_while_away = [n for at, n in model.scale_calls if at > 21]
    model.health = SinkHealth.READY
    await play(model, 60, memory)

    assert calls_while_away == []
    assert max(replicas_between(model, 40, 60)) >= 4


async def test_constant_load_settles_and_stays() -> None:
    model = QueueModel(pipeline=build_pipeline(cap=6_000, max_replicas=6), arrival=lambda _: 14_000)

    await play(model, 600)

    assert [n for at, n in model.scale_calls if at > 60] == []


@pytest.mark.parametrize("load", [1_500, 2_400, 3_300, 5_000, 8_000])
@pytest.mark.parametrize("since_sample_s", [0.25, 2.5, 4.75])
async def test_step_of_the_load_takes_one_change(load: int, since_sample_s: float) -> None:
    begins_s = 120 + since_sample_s
    pipeline = with_scaling(build_pipeline(cap=1_000), timing=Timing(), objective=Objective())
    model = QueueModel(pipeline=pipeline, cap=1_000, arrival=lambda s: load if s >= begins_s else 200)

    await play(model, begins_s + 240)

    changes = [(at - begins_s, n) for at, n in model.scale_calls if at > begins_s]
    assert [n for _, n in changes] == [changes[0][1]]
    assert changes[0][1] * 1_000 > load
    assert changes[0][0] < 20


async def test_pipeline_with_minimum_zero_sleeps_wakes_and_sleeps_again() -> None:
    model = QueueModel(
        pipeline=build_pipeline(cap=6_000, min_replicas=0, max_replicas=6),
        arrival=lambda s: 2_000 if 60 <= s < 70 or s < 5 else 0,
    )

    await play(model, 130)

    assert model.scale_calls[0] == (0, 1)
    assert set(replicas_between(model, 45, 60)) == {0}
    assert min(replicas_between(model, 62, 70)) >= 1
    assert replicas_between(model, 125, 130) == [0] * 5
