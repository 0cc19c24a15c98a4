"""When mode Upsert copies straight into the table: after calm, and ever more rarely after conflicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from forebay_consumer.staging import FIRST_HOLD, LAST_HOLD, Staging
from hypothesis import given
from hypothesis import strategies as st


def calm_down(staging: Staging, statements: int) -> Staging:
    for _ in range(statements):
        staging = staging.after_staged(met_known_keys=False)
    return staging


def test_rows_are_staged_until_as_many_statements_as_the_hold_met_no_known_key() -> None:
    assert not calm_down(Staging(), FIRST_HOLD - 1).is_direct
    assert calm_down(Staging(), FIRST_HOLD).is_direct


def test_a_known_key_begins_the_count_anew() -> None:
    staging = calm_down(Staging(), FIRST_HOLD - 1).after_staged(met_known_keys=True)
    assert not calm_down(staging, FIRST_HOLD - 1).is_direct
    assert calm_down(staging, FIRST_HOLD).is_direct


def test_each_conflict_doubles_the_hold_up_to_the_last() -> None:
    staging, holds = calm_down(Staging(), FIRST_HOLD), []
    for _ in range(8):
        staging = staging.after_conflict()
        assert not staging.is_direct
        holds.append(staging.hold)
        staging = calm_down(staging, staging.hold)
        assert staging.is_direct
    assert holds == [16, 32, 64, 128, 256, LAST_HOLD, LAST_HOLD, LAST_HOLD]


def test_straight_copies_that_go_well_lower_the_hold_slowly() -> None:
    staging = Staging(hold=32, is_direct=True)
    for _ in range(32):
        assert staging.hold == 32
        staging = staging.after_direct()
    assert (staging.hold, staging.is_direct) == (16, True)
    for _ in range(100):
        staging = staging.after_direct()
    assert (staging.hold, staging.is_direct) == (FIRST_HOLD, True)


def test_a_new_connection_stages_first_and_remembers_the_hold() -> None:
    assert Staging(hold=64, calm=9, is_direct=True).after_connect() == Staging(hold=64)


@dataclass
class Stream:
    """Counts what is written and what a failed COPY leaves behind, in statements."""

    staging: Staging = field(default_factory=Staging)
    written: int = 0
    failed: int = 0

    def take(self, *, has_known_keys: bool) -> None:
        if self.staging.is_direct and has_known_keys:
            self.failed += 1
            self.staging = self.staging.after_conflict()
        if self.staging.is_direct:
            self.staging = self.staging.after_direct()
        else:
            self.staging = self.staging.after_staged(met_known_keys=has_known_keys)
        self.written += 1


@given(known=st.lists(st.booleans(), max_size=400))
def test_failed_copies_are_at_most_one_for_each_first_hold_of_statements(known: list[bool]) -> None:
    stream = Stream()
    for has_known_keys in known:
        stream.take(has_known_keys=has_known_keys)
        assert stream.failed * FIRST_HOLD <= stream.written


def test_where_conflicts_come_whenever_rows_are_copied_straight_failed_copies_get_rare() -> None:
    """The worst that a stream can do."""
    stream = Stream()
    for _ in range(20_000):
        stream.take(has_known_keys=stream.staging.is_direct)
    late = stream.failed
    for _ in range(10 * LAST_HOLD):
        stream.take(has_known_keys=stream.staging.is_direct)
    assert stream.failed - late <= 10
