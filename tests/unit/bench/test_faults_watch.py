"""When writing went on after the last fault, as the looks at the positions tell it."""

from __future__ import annotations

import pytest

from bench.faults.watch import Look, find_first_move

LOOKS = [
    Look(at_s=1.0, positions={0: 10}),
    Look(at_s=2.0, positions={0: 10, 1: 5}),
    Look(at_s=3.0, positions={0: 10, 1: 5}),
    Look(at_s=4.0, positions={0: 12, 1: 5}),
]


@pytest.mark.parametrize(
    ("since_s", "moved_at_s"),
    [
        pytest.param(0.0, 1.0, id="from-nothing"),
        pytest.param(1.5, 2.0, id="a-partition-is-new"),
        pytest.param(2.5, 4.0, id="after-a-pause"),
        pytest.param(4.5, None, id="no-more"),
    ],
)
def test_first_move_is_the_first_look_that_shows_more(since_s: float, moved_at_s: float | None) -> None:
    assert find_first_move(LOOKS, since_s) == moved_at_s
