"""How often consumers ask for a database that is away, all of them together."""

from __future__ import annotations

import random

import pytest
from forebay_consumer.retry import AWAY, AnswerLimit, Backoff, Pauses

CONSUMERS = 50


def attempts(outage_s: float, pauses: Pauses = AWAY, seed: int = 1) -> list[list[float]]:
    """For each consumer the moments (seconds) at which it asks; they lose the database at the same moment.

    The last of each lies after the end of the outage.
    """
    dice = random.Random(seed)
    everybody = []
    for _ in range(CONSUMERS):
        backoff, now, asked = Backoff(pauses), 0.0, []
        while now < outage_s:
            now += backoff.next_s(dice.random())
            asked.append(now)
        everybody.append(asked)
    return everybody


def most_in(window_s: float, moments: list[float]) -> int:
    """The largest number of moments in any window of this length."""
    ordered = sorted(moments)
    return max(sum(1 for m in ordered[i:] if m < first + window_s) for i, first in enumerate(ordered))


def test_the_rate_of_all_consumers_together_is_bounded_and_falls_in_a_long_outage() -> None:
    moments = [moment for asked in attempts(300.0) for moment in asked]
    first_minute = [m for m in moments if 2.0 < m < 30.0]
    last_minute = [m for m in moments if 240.0 < m < 300.0]
    assert len(first_minute) / 28.0 < 5.0 * CONSUMERS
    assert len(last_minute) / 60.0 < 1.5 * CONSUMERS
    assert most_in(0.1, first_minute[:2_000]) < CONSUMERS, "they ask in step"


@pytest.mark.parametrize("outage_s", [1.0, 5.0, 20.0, 30.0])
def test_nobody_sleeps_long_past_the_end_of_a_failover(outage_s: float) -> None:
    late = [asked[-1] - outage_s for asked in attempts(outage_s)]
    assert max(late) <= AWAY.limit_s
    assert AWAY.limit_s <= 0.3


@pytest.mark.parametrize("outage_s", [5.0, 60.0, 300.0])
def test_consumers_do_not_come_back_at_the_same_moment(outage_s: float) -> None:
    back = sorted(asked[-1] - outage_s for asked in attempts(outage_s))
    longest_s = max(AWAY.limit_s, min(AWAY.patient_s, 0.01 * outage_s))
    assert most_in(longest_s / 10, back) < CONSUMERS / 2
    assert back[-1] - back[0] > longest_s / 2


def test_a_pause_is_at_most_a_hundredth_of_a_long_outage() -> None:
    backoff, waited_s = Backoff(AWAY), 0.0
    while waited_s < 1_000.0:
        pause_s = backoff.next_s(0.999)
        assert pause_s <= max(AWAY.limit_s, min(AWAY.patient_s, 0.01 * waited_s))
        waited_s += pause_s
    assert pause_s > 0.9 * AWAY.patient_s


def test_an_answer_is_waited_for_longer_each_time_until_one_comes() -> None:
    limit = AnswerLimit(first_s=0.5, most_s=3.0)
    seen = []
    for _ in range(5):
        seen.append(limit.seconds)
        limit.was_too_short()
    assert seen == [0.5, 1.0, 2.0, 3.0, 3.0]
    limit.was_refused()
    assert limit.seconds == 0.5


def test_a_server_that_was_slow_is_given_more_time_from_the_beginning() -> None:
    limit = AnswerLimit(first_s=0.5, most_s=3.0)
    limit.was_enough(0.01)
    assert limit.seconds == 0.5
    limit.was_enough(0.4)
    limit.was_too_short()
    limit.was_refused()
    assert limit.seconds == 1.6
    limit.was_enough(2.0)
    assert limit.seconds == 3.0
