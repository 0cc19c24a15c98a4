"""What consumers' answers tell of their capacity."""

from __future__ import annotations

from dataclasses import replace

import pytest
from forebay_api.state import ConsumerState, Phase, SinkHealth
from forebay_operator.model import ConsumerView, RunningConsumer
from forebay_operator.scaling.capacity import read_busy_samples
from support.pipeline_builders import build_state

BUSY = build_state(busy=0.5, rate=500.0)


def capacities(*states: ConsumerState | None) -> list[float]:
    consumer = RunningConsumer(name="c0", state_url="http://c0/state")
    views = [ConsumerView(consumer=consumer, state=state) for state in states]
    return [sample.records_per_second for sample in read_busy_samples(views)]


def test_capacity_is_the_rate_of_a_consumer_that_would_be_fully_busy() -> None:
    assert capacities(BUSY, build_state(busy=0.99, rate=900.0)) == [1_000, 900]


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(None, id="silent"),
        pytest.param(replace(BUSY, phase=Phase.DRAINING), id="draining"),
        pytest.param(build_state(health=SinkHealth.AWAY), id="sink-away"),
        pytest.param(build_state(busy=None), id="busy-unknown"),
        pytest.param(build_state(rate=None), id="rate-unknown"),
        pytest.param(build_state(busy=0.01, rate=10.0), id="hardly-busy"),
        pytest.param(replace(BUSY, busy_with_small_writes=True), id="busy-with-round-trips"),
    ],
)
def test_answer_that_tells_no_capacity_is_left_out(state: ConsumerState | None) -> None:
    assert capacities(state, BUSY) == [1_000]
