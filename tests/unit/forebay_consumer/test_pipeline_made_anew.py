"""The pipeline when the topic was deleted and made anew: its name is the same, its offsets count other records.

Where the new topic is written, the old one's rows are taken away first: the audit judges the new one's alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from forebay_api.state import PartitionState
from forebay_api.v1alpha1 import OnPositionLost, PipelineSpec
from support.consumer_rig import Consumer, World, build_spec, pass_time, rival
from support.consumer_rig import running as at_work
from support.virtual_time import in_virtual_time, until


@asynccontextmanager
async def running(world: World, *, spec: PipelineSpec | None = None) -> AsyncIterator[Consumer]:
    """A consumer that leaves the group in the end, for the next one."""
    async with at_work(world, spec=spec) as consumer:
        yield consumer
    await consumer.source.close(1.0)


SKIP = build_spec(on_position_lost=OnPositionLost.SKIP_TO_EARLIEST)


def is_stopped(consumer: Consumer) -> bool:
    """Whether a partition is not read any more."""
    return any(partition.state is PartitionState.STOPPED for partition in consumer.state.partitions)


def make_anew(world: World, *produced: int) -> None:
    """Another topic of the same name, with so many records a partition; the old one's rows are somebody else's now."""
    world.database.rows.clear()
    world.kafka.make_anew()
    for partition, count in enumerate(produced):
        world.produce(partition, count)


def stored_ids(world: World) -> set[str | None]:
    """Ids of the topics that the positions belong to."""
    return {position.topic_id for position in world.database.positions.values()}


@in_virtual_time
async def test_the_id_is_stored_with_the_first_positions() -> None:
    world = World(2)
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 2)
        assert stored_ids(world) == {"topic-1"}


@in_virtual_time
async def test_a_position_without_an_id_gets_the_present_one_and_is_written_on() -> None:
    world = World(1)
    world.kafka.topic_id = None
    world.produce(0, 5)
    async with running(world) as consumer:
        await consumer.until_drained()
        assert stored_ids(world) == {None}
    world.kafka.topic_id = "topic-7"
    async with running(world) as consumer:
        world.produce(0, 5)
        await consumer.until_drained()
        assert (stored_ids(world), world.position(0)) == ({"topic-7"}, 10)


@in_virtual_time
async def test_a_member_that_finds_another_topic_at_its_claim_stops_and_writes_nothing() -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world) as consumer:
        await consumer.until_drained()
    kept = list(world.database.rows)
    world.kafka.make_anew()
    world.produce(0, 8)  # longer than the old one: offsets alone say nothing
    async with running(world) as consumer:
        await until(lambda: is_stopped(consumer))
        why = consumer.state.partitions[0].why or ""
        assert "deleted and made anew (its id was topic-1 and is topic-2)" in why
        assert "forebay positions reset" in why
        await pass_time(30.0)
        assert (world.position(0), stored_ids(world), world.database.rows) == (5, {"topic-1"}, kept)


@in_virtual_time
async def test_a_member_that_finds_another_topic_at_its_claim_reads_it_from_its_start_if_told_so() -> None:
    world = World(2)
    world.produce(0, 5)
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
    make_anew(world, 8, 3)
    world.kafka.delete_before(0, 2)
    world.lost = {(0, 0), (0, 1)}
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
        assert stored_ids(world) == {"topic-2"}
        assert (consumer.state.totals.made_anew, consumer.state.totals.lost_records) == (2, 2)
    assert sorted(world.database.rows) == [(0, o) for o in range(2, 8)] + [(1, o) for o in range(3)]


@pytest.mark.parametrize("skips", [True, False], ids=["skip", "stop"])
@in_virtual_time
async def test_a_member_that_reads_on_writes_no_record_of_the_new_topic_under_the_old_id(skips: bool) -> None:
    """The client has noticed nothing: no revocation, no error, and a record at the very next offset."""
    world = World(1)
    world.produce(0, 5)
    async with running(world, spec=SKIP if skips else build_spec()) as consumer:
        await consumer.until_drained()
        kept = list(world.database.rows)
        make_anew(world, 9)
        if skips:
            await consumer.until_drained()
            assert (world.position(0), stored_ids(world)) == (9, {"topic-2"})
            assert consumer.state.totals.made_anew == 1
        else:
            await until(lambda: is_stopped(consumer))
            assert (world.position(0), stored_ids(world), world.database.rows) == (5, {"topic-1"}, [])
            world.database.rows += kept


@in_virtual_time
async def test_records_of_the_old_topic_that_wait_when_it_goes_are_not_written_under_the_new_id() -> None:
    world = World(1)
    async with running(world, spec=SKIP) as consumer:
        consumer.sink.write_s = 1.0
        await until(lambda: len(consumer.source.reading) == 1)
        world.produce(0, 5)
        await until(lambda: consumer.sink.is_writing)
        world.produce(0, 3)
        await until(lambda: consumer.status.buffered_records == 3)
        await until(lambda: not consumer.sink.is_writing)
        make_anew(world, 2)
        await consumer.until_drained()
        assert world.database.rows == [(0, 0), (0, 1)]


@in_virtual_time
async def test_a_shorter_new_topic_is_told_from_a_truncated_one() -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
        make_anew(world, 2)
        await consumer.until_drained()
        assert (world.position(0), stored_ids(world)) == (2, {"topic-2"})


@in_virtual_time
async def test_a_new_topic_that_is_just_as_long_is_seen_although_it_brings_neither_record_nor_error() -> None:
    world = World(2)
    world.produce(0, 5)
    world.produce(1, 5)
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
        make_anew(world, 5, 5)
        await until(lambda: stored_ids(world) == {"topic-2"}, 30.0)
        await until(lambda: len(world.database.rows) == 10)
        await consumer.until_drained()


@in_virtual_time
async def test_a_partition_without_records_learns_of_the_new_topic_from_a_busy_one() -> None:
    world = World(2)
    world.produce(0, 5)
    world.produce(1, 5)
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
        make_anew(world, 9, 5)
        await until(lambda: len(world.database.rows) == 14, 4.0)
        await consumer.until_drained()


@in_virtual_time
async def test_nothing_is_written_while_kafka_does_not_say_whose_records_they_are() -> None:
    world = World(1)
    async with running(world) as consumer:
        consumer.sink.write_s = 1.0
        await until(lambda: len(consumer.source.reading) == 1)
        world.produce(0, 5)
        await until(lambda: consumer.sink.is_writing)
        world.produce(0, 5)
        await until(lambda: consumer.status.buffered_records == 5)
        world.kafka.set_trouble("no broker can be used")
        await pass_time(60.0)
        assert world.position(0) == 5
        assert (consumer.state.source_message, consumer.state.sink.message) == ("no broker can be used", None)
        assert consumer.status.buffered_records + consumer.source.buffered_bytes > 0, "what was read is kept"
        world.kafka.set_trouble(None)
        await consumer.until_drained()
        assert (world.position(0), consumer.state.source_message) == (10, None)
        assert consumer.state.totals.claims == 1, "nothing was read a second time"


@in_virtual_time
async def test_a_partition_taken_away_while_kafka_is_silent_leaves_no_gap_in_the_others() -> None:
    world = World(2)
    async with running(world) as consumer:
        consumer.sink.write_s = 1.0
        await until(lambda: len(consumer.source.reading) == 2)
        world.produce(0, 5)
        await until(lambda: consumer.sink.is_writing)
        world.produce(0, 5)
        world.produce(1, 5)
        await until(lambda: consumer.status.buffered_records == 10)
        world.kafka.set_trouble("no broker can be used")
        await pass_time(20.0)
        consumer.source.take_away({1})
        await pass_time(20.0)
        assert (world.position(0), world.position(1)) == (5, 0)
        world.kafka.set_trouble(None)
        await until(lambda: world.position(0) == 10)
        assert world.position(1) == 0
        consumer.source.give({1})
        await consumer.until_drained()
    assert sorted(world.database.rows) == [(0, o) for o in range(10)] + [(1, o) for o in range(5)]


@in_virtual_time
async def test_a_question_proves_everything_read_before_it() -> None:
    world = World(1)
    asked = 0
    async with running(world, spec=build_spec(max_rows_per_second=1_000)) as consumer:
        await until(lambda: len(consumer.source.reading) == 1)
        topic_id = consumer.source.topic_id

        async def counted() -> str | None:
            nonlocal asked
            asked += 1
            return await topic_id()

        consumer.source.topic_id = counted  # type: ignore[method-assign]  # the test listens
        world.produce(0, 5_000)
        await consumer.until_drained()
        assert 0 < asked < consumer.state.totals.transactions / 2


@in_virtual_time
async def test_brokers_without_ids_are_not_asked_before_each_write() -> None:
    world = World(1)
    world.kafka.topic_id = None
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 1)
        world.kafka.topic_id = "topic-9"  # seen at the next claim only
        world.produce(0, 5)
        await consumer.until_drained()
        assert stored_ids(world) == {None}


@in_virtual_time
async def test_a_fence_in_the_skip_lets_go_and_the_next_claim_skips() -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
    make_anew(world, 8)
    async with running(world, spec=SKIP) as consumer:
        skip_to = consumer.sink.skip_to

        async def fenced(*args: object) -> object:
            consumer.sink.skip_to = skip_to  # type: ignore[method-assign]  # once
            await rival(world, [0])
            return await skip_to(*args)  # type: ignore[arg-type]

        consumer.sink.skip_to = fenced  # type: ignore[method-assign,assignment]
        await consumer.until_drained()
        assert (consumer.state.totals.fenced, consumer.state.totals.made_anew) == (1, 1)


@in_virtual_time
async def test_a_broker_that_was_behind_takes_nothing_from_the_claim() -> None:
    """It named another id at the claim than it does when it is asked again."""
    world = World(1)
    world.produce(0, 5)
    async with running(world) as consumer:
        await consumer.until_drained()
    world.kafka.topic_id = "topic-0"
    async with running(world) as consumer:
        claim = consumer.sink.claim

        async def and_then_the_other(*args: object) -> object:
            claims = await claim(*args)  # type: ignore[arg-type]
            world.kafka.topic_id = "topic-1"
            return claims

        consumer.sink.claim = and_then_the_other  # type: ignore[method-assign,assignment]
        world.produce(0, 4)
        await consumer.until_drained()
        assert (world.position(0), is_stopped(consumer)) == (9, False)
