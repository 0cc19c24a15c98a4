"""What `positions reset --to` and `--partition` take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from forebay_cli.errors import UsageProblem
from forebay_cli.kafka_bounds import Bounds
from forebay_cli.position_targets import (
    Target,
    ToEarliest,
    ToLatest,
    ToOffset,
    ToTime,
    check_offset,
    choose_partitions,
    parse_target,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        pytest.param("earliest", ToEarliest(), id="earliest"),
        pytest.param("Latest", ToLatest(), id="any-case"),
        pytest.param("0", ToOffset(offset=0), id="offset"),
        pytest.param("20260131", ToOffset(offset=20_260_131), id="digits-are-an-offset"),
        pytest.param("2026-01-31T12:00:00Z", ToTime(moment=NOON), id="time"),
        pytest.param("2026-01-31 12:00", ToTime(moment=NOON), id="time-without-zone-is-utc"),
        pytest.param(
            "2026-01-31T14:00:00+02:00",
            ToTime(moment=NOON.astimezone(timezone(timedelta(hours=2)))),
            id="time-with-zone",
        ),
    ],
)
def test_target_is_parsed(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "-1", "yesterday", "1.5", "٣"])
def test_other_words_are_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(UsageProblem, match="expected earliest, latest, an offset"):
        parse_target(text)


def test_an_offset_must_be_held_by_every_partition() -> None:
    bounds = {0: Bounds(log_start=0, log_end=10), 1: Bounds(log_start=5, log_end=8)}
    check_offset(8, bounds)
    with pytest.raises(UsageProblem) as caught:
        check_offset(9, bounds)
    assert caught.value.problems == ("--to 9: partition 1 holds offsets 5 to 8",)


def test_all_partitions_are_meant_when_none_is_named() -> None:
    assert choose_partitions((), (0, 1, 2)) == (0, 1, 2)
    assert choose_partitions((2, 0, 2), (0, 1, 2)) == (0, 2)


def test_a_partition_that_the_topic_does_not_have_is_named() -> None:
    with pytest.raises(UsageProblem, match="no partition 3, 7"):
        choose_partitions((7, 1, 3), (0, 1, 2))
