"""Trouble that no write runs into: an idle connection, lost first positions, a partition nobody answers for."""

from __future__ import annotations

from dataclasses import replace

from forebay_api.state import SinkHealth
from forebay_api.v1alpha1 import DeadLetterSpec, StartFrom
from forebay_consumer.errors import SinkUnavailable
from support.consumer_rig import World, build_spec, pass_time, running
from support.virtual_time import in_virtual_time, until


@in_virtual_time
async def test_an_idle_consumer_reads_again_what_a_failover_took_back() -> None:
    world = World(1)
    world.produce(0, 10)
    async with running(world) as consumer:
        await consumer.until_drained()
        standby = world.snapshot()
        world.produce(0, 10)
        await consumer.until_drained()
        world.fail_over(standby)
        consumer.sink.terminate()
        await consumer.until_drained()
        assert world.position(0) == 20


@in_virtual_time
async def test_an_idle_consumer_says_that_the_database_is_away() -> None:
    world = World(1)
    world.produce(0, 1)
    async with running(world) as consumer:
        await consumer.until_drained()
        world.database.trouble = SinkUnavailable("Unreachable", "connection refused")
        await until(lambda: consumer.state.sink.health is SinkHealth.AWAY)
        world.database.trouble = None
        await until(lambda: consumer.state.sink.health is SinkHealth.READY)


@in_virtual_time
async def test_a_partition_that_kafka_does_not_answer_for_keeps_no_other_from_being_written() -> None:
    world = World(2)
    async with running(world) as consumer:
        await until(lambda: consumer.source.reading.keys() == {0, 1})
        world.kafka.leaderless = {1}
        del world.database.positions[1]
        consumer.sink.terminate()
        world.produce(0, 10)
        await until(lambda: world.position(0) == 10)
        world.kafka.leaderless = set()
        world.produce(1, 10)
        await consumer.until_drained()


@in_virtual_time
async def test_positions_that_a_failover_lost_altogether_are_those_of_the_first_start() -> None:
    world = World(1)
    world.produce(0, 10)
    world.starts = {0: 10}
    before = world.snapshot()
    async with running(world, spec=build_spec(start_from=StartFrom.LATEST)) as consumer:
        await until(lambda: bool(consumer.source.reading))
        world.produce(0, 10)
        await consumer.until_drained()
        world.fail_over(before)
        consumer.sink.terminate()
        await consumer.until_drained()
        assert sorted(world.database.rows) == [(0, offset) for offset in range(10, 20)]


@in_virtual_time
async def test_a_refused_write_is_forgotten_with_its_partitions() -> None:
    world = World(2)
    world.produce(1, 0, poison=200)
    spec = build_spec(dead_letters=replace(DeadLetterSpec(), minimum=1))
    async with running(world, spec=spec) as consumer:
        await until(lambda: consumer.state.sink.health is SinkHealth.BROKEN)
        consumer.source.take_away({1})
        await until(lambda: consumer.state.sink.health is SinkHealth.READY)


@in_virtual_time
async def test_writes_that_fail_again_and_again_are_tried_less_often() -> None:
    world = World(1)
    async with running(world) as consumer:
        await until(lambda: bool(consumer.source.reading))
        world.produce(0, 10)
        consumer.sink.unknown = [False] * 1000
        await pass_time(10.0)
        assert consumer.sink.writes < 25
        consumer.sink.unknown = []
        await consumer.until_drained()


@in_virtual_time
async def test_a_batch_that_the_database_cannot_take_in_time_is_tried_in_smaller_ones() -> None:
    world = World(1)

    def give_up(records: int, *_more: object) -> None:
        if records > 3_000:
            raise SinkUnavailable("TimedOut", "canceling statement due to statement timeout")

    async with running(world) as consumer:
        consumer.sink._admit = give_up
        world.produce(0, 20_000)
        await consumer.until_drained()
