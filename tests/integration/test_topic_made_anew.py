"""A topic that is deleted and made anew under the same name, on a real broker: its offsets count other records."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.flood import CLASSIC, NEW, Flood, eventually
from support.records import ids, make_anew, payments, position, send, stopped, written

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(420)]

SKIP = {"onPositionLost": "SkipToEarliest"}


def topic_ids(run: Flood) -> set[str]:
    """Stored beside the positions."""
    return set(run.run_sql("SELECT DISTINCT topic_id FROM forebay.positions").split())


@pytest.mark.parametrize("protocol", [CLASSIC, NEW], ids=["classic", "consumer"])
async def test_a_running_member_never_takes_the_new_topic_for_the_old_one(
    flood: Callable[..., Flood], protocol: dict[str, str]
) -> None:
    """Made anew and filled beyond the old position at once: Kafka's client reads on there as if nothing had been."""
    run = flood(partitions=1, kafka_config=protocol)
    send(run.kafka, run.topic, payments(0, 100))
    consumer = run.start_consumer()
    await written(run, 100)
    old = topic_ids(run)
    make_anew(run.kafka, run.topic, 1)
    send(run.kafka, run.topic, payments(1_000, 5_000))
    await stopped(run, consumer, "deleted and made anew", "forebay positions reset")
    assert (ids(run), position(run), topic_ids(run)) == (list(range(100)), 100, old)


@pytest.mark.parametrize("protocol", [CLASSIC, NEW], ids=["classic", "consumer"])
async def test_a_running_member_reads_the_new_topic_from_its_start_if_told_so(
    flood: Callable[..., Flood], protocol: dict[str, str]
) -> None:
    run = flood(partitions=1, kafka_config=protocol, source=SKIP)
    send(run.kafka, run.topic, payments(0, 100))
    consumer = run.start_consumer()
    await written(run, 100)
    old = topic_ids(run)
    make_anew(run.kafka, run.topic, 1)
    send(run.kafka, run.topic, payments(1_000, 5_000))
    await written(run, 5_100)
    assert ids(run) == [*range(100), *range(1_000, 6_000)]
    assert len(topic_ids(run)) == 1
    assert topic_ids(run).isdisjoint(old)
    state = consumer.state()
    assert state is not None
    assert (state.totals.made_anew, state.totals.lost_records) == (1, 0)


async def test_a_topic_that_is_made_anew_again_and_again_under_load_is_written_whole(
    flood: Callable[..., Flood],
) -> None:
    run = flood(partitions=3, source=SKIP)
    run.start_consumer()
    run.start_consumer()
    expected: list[int] = []
    for turn in range(4):
        first = 10_000 * turn
        for partition in range(3):
            send(run.kafka, run.topic, payments(first + 1_000 * partition, 1_000), partition=partition)
        expected += range(first, first + 3_000)
        await written(run, len(expected), 90.0)
        assert ids(run) == expected
        make_anew(run.kafka, run.topic, 3)


async def test_a_member_that_comes_later_stops_and_goes_on_after_a_reset(flood: Callable[..., Flood]) -> None:
    run = flood(partitions=1)
    send(run.kafka, run.topic, payments(0, 100))
    consumer = run.start_consumer()
    await written(run, 100)
    run.kill(consumer)
    make_anew(run.kafka, run.topic, 1)
    send(run.kafka, run.topic, payments(1_000, 40))
    consumer = run.start_consumer()
    await stopped(run, consumer, "deleted and made anew")
    run.kill(consumer)
    run.run_sql("UPDATE forebay.positions SET next_offset = 0, topic_id = NULL")  # what a reset does at least
    run.start_consumer()
    await written(run, 140)
    await eventually(lambda: position(run) == 40, 60.0, run.tails)
