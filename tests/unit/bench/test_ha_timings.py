"""Outages and the consumers' share of them, and what of an entry is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from forebay_cli.local.ha.primary_watch import Outage

from bench.ha.audit import Commit
from bench.ha.entry import Entry
from bench.ha.report import build_metrics, find_percentile
from bench.ha.timings import choose_outage, find_shares

OWNERS = {0: 0, 1: 0, 2: 1}


def outage(lost_at_s: float, writable_at_s: float | None, *, failed: bool = True) -> Outage:
    return Outage(lost_at_s=lost_at_s, writable_at_s=writable_at_s, failed=failed)


def commits(*places: tuple[int, float]) -> list[Commit]:
    return [Commit(partition=partition, at_s=at_s) for partition, at_s in places]


def entry(**changes: Any) -> Entry:
    good = Entry(
        number=0,
        kind="lose-tail",
        mode="async",
        seed=1,
        expiry=None,
        produced=100,
        lost=0,
        duplicated=0,
        foreign=0,
        disordered=0,
        dead_letters=0,
        outage_seconds=1.0,
        consumer_share_seconds=0.2,
        slowest_consumer_share_seconds=0.3,
        commit_pause_seconds=1.5,
        rewound_records=40,
        lost_tail_records=40,
        primary_tail_records=30,
        written_again_records=40,
        consumers_restarted=0,
        load_average=1.0,
    )
    return replace(good, **changes)


def test_outage_is_the_longest_that_ended_after_the_fault() -> None:
    seen = [outage(1, 5), outage(9.5, 10.5), outage(11, 11.2), outage(12, None), outage(10, 20, failed=False)]

    found = choose_outage(seen, 10.0, with_slow=False)

    assert found is not None
    assert (found.lost_at_s, found.writable_at_s) == (9.5, 10.5)


def test_slow_commit_is_an_outage_only_of_a_fault_that_interrupts_nothing() -> None:
    seen = [outage(10, 12, failed=False)]

    assert choose_outage(seen, 9.0, with_slow=False) is None
    assert choose_outage(seen, 9.0, with_slow=True) is not None


def test_share_lasts_to_the_first_commit_and_to_that_of_the_last_consumer() -> None:
    seen = commits((0, 1.0), (2, 1.1), (1, 5.25), (2, 5.75), (0, 6.0))

    shares = find_shares(seen, OWNERS, struck_at_s=1.2, writable_at_s=5.0)

    assert (shares.first_s, shares.slowest_s) == (0.25, 0.75)
    assert shares.pause_s == pytest.approx(4.15)


def test_consumer_that_never_commits_again_has_no_share() -> None:
    shares = find_shares(commits((0, 1.0), (2, 1.1), (1, 5.5)), OWNERS, struck_at_s=1.2, writable_at_s=5.0)

    assert (shares.first_s, shares.slowest_s) == (0.5, None)


def test_without_an_outage_the_longest_pause_is_the_consumers() -> None:
    seen = commits((0, 1.0), (2, 1.5), (0, 2.5), (2, 4.0))

    shares = find_shares(seen, OWNERS, struck_at_s=1.2, writable_at_s=None)

    assert (shares.first_s, shares.slowest_s) == (1.5, 2.5)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"lost": 1}, id="lost"),
        pytest.param({"duplicated": 1}, id="twice"),
        pytest.param({"foreign": 1}, id="foreign"),
        pytest.param({"disordered": 1}, id="order"),
        pytest.param({"dead_letters": 1}, id="dead-letter"),
        pytest.param({"consumers_restarted": 1}, id="consumer-ended"),
        pytest.param({"rewound_records": 39}, id="rewound-too-few"),
        pytest.param({"rewound_records": 41}, id="rewound-too-many"),
        pytest.param({"lost_tail_records": None, "rewound_records": 29}, id="fewer-than-the-old-primary-had"),
    ],
)
def test_broken_rule_is_a_problem(changes: dict[str, Any]) -> None:
    assert not entry().find_problems()
    assert len(entry(**changes).find_problems()) >= 1


def test_percentile_is_a_value_that_occurred() -> None:
    assert find_percentile([float(n) for n in range(1, 101)], 95) == 95.0
    assert find_percentile([3.0, 1.0], 95) == 3.0


def test_metrics_hold_each_fault_and_the_sums() -> None:
    metrics = build_metrics([entry(), entry(number=1, lost=2, lost_tail_records=None)])

    assert (metrics["records_lost"], metrics["tails_lost"], metrics["tail_records_lost"]) == (2, 1, 40)
    faults = metrics["faults"]
    assert isinstance(faults, list)
    assert {"kind", "mode", "seed", "lost", "duplicated", "outage_seconds", "consumer_share_seconds"} <= set(faults[0])
