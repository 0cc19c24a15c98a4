"""Positions that Kafka has no record for: retention was faster, or the log is shorter than it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.flood import Flood, eventually
from support.records import count, delete_before, ids, payments, position, send, stopped, written

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

SKIP = {"onPositionLost": "SkipToEarliest"}


async def overtaken(run: Flood) -> None:
    """100 records written, 50 removed unwritten, 50 left, and another partition that is well."""
    send(run.kafka, run.topic, payments(0, 100))
    send(run.kafka, run.topic, payments(5_000, 10), partition=1)
    consumer = run.start_consumer()
    await written(run, 110)
    run.kill(consumer)
    send(run.kafka, run.topic, payments(100, 100))
    delete_before(run.kafka, run.topic, 150)


async def test_retention_that_was_faster_stops_its_partition_and_no_other(flood: Callable[..., Flood]) -> None:
    run = flood(partitions=2)
    await overtaken(run)
    consumer = run.start_consumer()
    await stopped(run, consumer, "retention removed 50 unwritten records", "SkipToEarliest", "forebay positions reset")
    send(run.kafka, run.topic, payments(5_010, 10), partition=1)
    await written(run, 120)
    assert (position(run), position(run, 1)) == (100, 20)
    state = consumer.state()
    assert state is not None
    assert state.totals.lost_records == 0


async def test_retention_that_was_faster_is_skipped_and_counted_if_told_so(flood: Callable[..., Flood]) -> None:
    run = flood(partitions=2, source=SKIP)
    await overtaken(run)
    consumer = run.start_consumer()
    await written(run, 160)
    assert ids(run) == [*range(100), *range(150, 200), *range(5_000, 5_010)]
    state = consumer.state()
    assert state is not None
    assert (state.totals.lost_records, state.totals.made_anew) == (50, 0)


@pytest.mark.parametrize("source", [{}, SKIP], ids=["stop", "skip"])
async def test_a_position_ahead_of_the_log_always_stops_and_goes_on_when_it_is_put_right(
    flood: Callable[..., Flood], source: dict[str, str]
) -> None:
    """Nobody can say which records it stands for: a broker lost its tail, or somebody moved the position."""
    run = flood(partitions=1, source=source)
    send(run.kafka, run.topic, payments(0, 100))
    consumer = run.start_consumer()
    await written(run, 100)
    run.kill(consumer)
    run.run_sql("UPDATE forebay.positions SET next_offset = 500")
    consumer = run.start_consumer()
    await stopped(run, consumer, "position 500 lies beyond the log's end 100", "forebay positions reset")
    send(run.kafka, run.topic, payments(100, 50))
    assert (count(run), position(run)) == (100, 500)
    run.kill(consumer)
    run.run_sql("UPDATE forebay.positions SET next_offset = 100")
    run.start_consumer()
    await written(run, 150)
    assert ids(run) == list(range(150))
    await eventually(lambda: position(run) == 150, 60.0, run.tails)
