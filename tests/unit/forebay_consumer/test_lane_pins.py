"""Which lane a partition is dealt to."""

from __future__ import annotations

from collections import Counter

from forebay_consumer.lane_pins import LanePins
from hypothesis import given
from hypothesis import strategies as st

STEPS = st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 11), max_size=6)), max_size=25)


def lanes(pins: LanePins, partitions: range) -> list[int | None]:
    """Where each of them is."""
    return [pins.lane_of(p) for p in partitions]


def test_partitions_are_dealt_in_turn() -> None:
    pins = LanePins(3)
    pins.assign(range(5))
    assert lanes(pins, range(6)) == [0, 1, 2, 0, 1, None]


def test_what_comes_back_goes_to_its_lane_of_before() -> None:
    pins = LanePins(2)
    pins.assign(range(4))
    before = lanes(pins, range(4))
    pins.revoke(range(4))
    pins.assign([3])
    pins.assign([2, 0])
    pins.assign([1])
    assert lanes(pins, range(4)) == before


def test_a_lane_of_before_that_has_its_share_gets_no_more() -> None:
    pins = LanePins(2)
    pins.assign(range(4))  # 0 and 2 in lane 0
    pins.revoke(range(4))
    pins.assign([0, 2])
    assert sorted(lane for lane in (pins.lane_of(0), pins.lane_of(2)) if lane is not None) == [0, 1]


@given(st.integers(1, 4), STEPS)
def test_each_assigned_partition_has_a_lane_and_a_full_assignment_is_even(
    count: int, steps: list[tuple[bool, set[int]]]
) -> None:
    pins = LanePins(count)
    assigned: set[int] = set()
    for is_given, partitions in steps:
        if is_given:
            pins.assign(partitions)
            assigned |= partitions
        else:
            pins.revoke(partitions)
            assigned -= partitions
        assert {p for p in range(12) if pins.lane_of(p) is not None} == assigned
    pins.assign(range(12))
    sizes = Counter(pins.lane_of(p) for p in range(12))
    assert max(sizes.values()) - min(sizes[n] for n in range(count)) <= 1
