from __future__ import annotations

import pytest
from forebay_consumer.pace import WINDOW_S, Cap, Rate, SmallWrites, Utilisation
from forebay_consumer.retry import AWAY, BROKEN, Backoff, Pauses


def test_cap_holds_the_rate_over_time() -> None:
    cap, now, rows = Cap(1_000, 0.0), 0.0, 0
    while now < 20.0:
        now += cap.wait_s(now)
        cap.spend(130)
        rows += 130
    assert rows == pytest.approx(20_000, rel=0.05)


def test_cap_lets_no_saved_up_flood_through_after_a_pause() -> None:
    cap = Cap(1_000, 0.0)
    cap.spend(cap.burst_rows)
    assert cap.wait_s(3_600.0) == 0.0
    cap.spend(cap.burst_rows)
    cap.spend(100)
    assert cap.wait_s(3_600.0) == pytest.approx(0.1)


def test_utilisation_is_the_share_of_the_window_at_work() -> None:
    stage = Utilisation(0.0)
    for second in range(10):
        stage.begin(float(second))
        stage.end(second + 0.25)
    assert stage.fraction(10.0) == pytest.approx(0.25)


def test_utilisation_counts_work_under_way_and_is_unknown_at_first() -> None:
    stage = Utilisation(0.0)
    stage.begin(0.0)
    assert stage.fraction(0.5) is None
    assert stage.fraction(3.0) == pytest.approx(1.0)
    stage.reset(3.0)
    assert stage.fraction(3.5) is None
    assert stage.fraction(8.5) == 0.0


def test_small_writes_prevail_by_their_time_and_leave_the_window() -> None:
    writes = SmallWrites()
    assert not writes.prevail(0.0)
    for tenth in range(10):
        writes.add(0.05, is_small=True, now=tenth / 10)
    writes.add(0.4, is_small=False, now=1.0)
    assert writes.prevail(1.0)
    assert not writes.prevail(0.9 + WINDOW_S)
    assert not writes.prevail(60.0)


def test_rate_forgets_what_left_the_window() -> None:
    rate = Rate(0.0)
    rate.add(5_000, 1.0)
    assert rate.per_second(0.5 + WINDOW_S) == pytest.approx(1_000)
    assert rate.per_second(2.0 + WINDOW_S) == 0.0


@pytest.mark.parametrize("pauses_of", [pytest.param(AWAY, id="away"), pytest.param(BROKEN, id="broken")])
def test_backoff_grows_to_its_limit_and_starts_over(pauses_of: Pauses) -> None:
    backoff = Backoff(pauses_of)
    pauses = [backoff.next_s(0.999) for _ in range(8)]
    assert pauses == sorted(pauses)
    assert pauses_of.limit_s * 0.9 < pauses[-1] <= pauses_of.limit_s
    backoff.reset()
    assert backoff.next_s(0.999) == pauses[0]


def test_backoff_spreads_over_the_upper_half() -> None:
    assert Backoff(AWAY).next_s(0.0) == AWAY.first_s / 2
