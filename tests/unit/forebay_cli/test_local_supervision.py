"""Which processes start and end, as a table of situations."""

from __future__ import annotations

import dataclasses

import pytest
from forebay_cli.local.supervision import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    PROVEN_AFTER_S,
    Ask,
    Failures,
    Forget,
    Kill,
    Start,
    Step,
    Supervised,
    count_failure,
    is_settled,
    plan_steps,
)


def running(number: int, *, revision: str = "b") -> Supervised:
    return Supervised(number=number, revision=revision, started_at=0.0, is_ready=True)


def leaving(number: int, *, by: float = 100.0, exit_code: int | None = None) -> Supervised:
    return dataclasses.replace(running(number), leaves_by=by, exit_code=exit_code)


def ended(number: int) -> Supervised:
    return dataclasses.replace(running(number), exit_code=1)


@pytest.mark.parametrize(
    ("consumers", "wanted", "steps"),
    [
        pytest.param([], 2, (Start(count=2),), id="nothing-runs"),
        pytest.param([running(1), running(2)], 2, (), id="right-as-it-is"),
        pytest.param([running(1)], 3, (Start(count=2),), id="more-wanted"),
        pytest.param([running(2), running(3), running(1)], 1, (Ask(number=3), Ask(number=2)), id="newest-leave-first"),
        pytest.param([running(1), leaving(2)], 1, (), id="one-is-leaving"),
        pytest.param([running(1), leaving(2)], 2, (Start(count=1),), id="wanted-again-while-one-leaves"),
        pytest.param([running(1), leaving(2, by=9.0)], 1, (Kill(number=2),), id="grace-period-over"),
        pytest.param([running(1), leaving(2, exit_code=0)], 1, (Forget(number=2, is_failure=False),), id="drained"),
        pytest.param([running(1), ended(2)], 2, (Forget(number=2, is_failure=True),), id="crashed-waits-for-its-pause"),
        pytest.param([running(1)], 0, (Ask(number=1),), id="to-zero"),
        pytest.param(
            [running(1, revision="a"), running(2, revision="a")], 2, (Ask(number=1),), id="outdated-one-by-one"
        ),
        pytest.param([running(1, revision="a"), leaving(2)], 1, (), id="outdated-waits-for-the-one-leaving"),
        pytest.param([running(1, revision="a")], 2, (Start(count=1),), id="outdated-waits-for-the-missing"),
    ],
)
def test_steps(consumers: list[Supervised], wanted: int, steps: tuple[Step, ...]) -> None:
    assert plan_steps(consumers, wanted=wanted, revision="b", failures=Failures(), now=10.0) == steps


def test_a_failed_start_waits_for_its_pause() -> None:
    failures = Failures(count=3, not_before=12.0)
    assert plan_steps([], wanted=1, revision="b", failures=failures, now=11.9) == ()
    assert plan_steps([], wanted=1, revision="b", failures=failures, now=12.0) == (Start(count=1),)


def test_pauses_double_up_to_their_longest() -> None:
    failures, pauses = Failures(), []
    for _ in range(9):
        failures = count_failure(failures, ran_s=0.1, now=100.0)
        pauses.append(failures.not_before - 100.0)
    assert pauses == [FIRST_PAUSE_S, 2, 4, 8, 16, 32, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_consumer_that_ran_long_begins_the_pauses_anew() -> None:
    failures = count_failure(Failures(count=8, not_before=0), ran_s=PROVEN_AFTER_S, now=0.0)
    assert failures == Failures(count=1, not_before=FIRST_PAUSE_S)


@pytest.mark.parametrize(
    ("consumers", "settled"),
    [
        pytest.param([running(1), running(2)], True, id="all-ready"),
        pytest.param([running(1)], False, id="one-missing"),
        pytest.param([running(1), running(2), leaving(3)], False, id="one-leaving"),
        pytest.param([running(1), running(2, revision="a")], False, id="one-outdated"),
        pytest.param([running(1), dataclasses.replace(running(2), is_ready=False)], False, id="one-starting"),
    ],
)
def test_settled(consumers: list[Supervised], settled: bool) -> None:
    assert is_settled(consumers, wanted=2, revision="b") is settled
