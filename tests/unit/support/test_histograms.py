"""Quantiles of a histogram."""

from __future__ import annotations

from math import inf

import pytest
from support.histograms import read_buckets, take_quantile


def test_buckets_are_read_in_the_order_of_their_bounds() -> None:
    samples = {
        'took_seconds_bucket{le="+Inf"}': 7.0,
        'took_seconds_bucket{le="0.5"}': 3.0,
        "took_seconds_count": 7.0,
        'other_took_seconds_bucket{le="0.1"}': 1.0,
    }

    assert list(read_buckets(samples, "took_seconds").items()) == [(0.5, 3.0), (inf, 7.0)]


@pytest.mark.parametrize(
    ("after", "share", "expected"),
    [
        pytest.param({1.0: 100.0, 2.0: 200.0, inf: 200.0}, 0.75, 1.5, id="even-within-a-bucket"),
        pytest.param({1.0: 100.0, 2.0: 200.0, inf: 200.0}, 0.25, 0.5, id="first-bucket-begins-at-0"),
        pytest.param({1.0: 10.0, 2.0: 10.0, inf: 100.0}, 0.99, 2.0, id="beyond-the-last-bound"),
        pytest.param({1.0: 0.0, inf: 0.0}, 0.5, None, id="nothing-observed"),
    ],
)
def test_quantile_is_prometheus_own(after: dict[float, float], share: float, expected: float | None) -> None:
    assert take_quantile({}, after, share) == expected


def test_quantile_is_of_what_came_between_the_readings() -> None:
    before = {1.0: 100.0, 2.0: 100.0, inf: 100.0}

    assert take_quantile(before, {1.0: 100.0, 2.0: 110.0, inf: 110.0}, 0.5) == 1.5
