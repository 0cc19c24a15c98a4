"""Several connections in one consumer: each writes its own partitions, and none waits for another."""

from __future__ import annotations

from forebay_api.state import Phase, SinkHealth
from forebay_consumer.errors import SinkBroken
from support.consumer_rig import Consumer, World, build_spec, pass_time, rival, running
from support.virtual_time import in_virtual_time, until


def writing_lanes(consumer: Consumer) -> set[int]:
    """Those with a transaction under way."""
    return {n for n, sink in enumerate(consumer.sinks) if sink.is_writing}


async def all_read(consumer: Consumer, partitions: int) -> None:
    """Until every partition is claimed and read."""
    await until(lambda: consumer.source.reading.keys() == set(range(partitions)))


@in_virtual_time
async def test_transactions_of_two_lanes_are_under_way_at_the_same_time() -> None:
    world = World(4)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 4)
        for partition in range(4):
            world.produce(partition, 5)
        await until(lambda: writing_lanes(consumer) == {0, 1})
        await consumer.until_drained()


@in_virtual_time
async def test_a_lane_that_waits_for_its_commit_keeps_no_other_waiting() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 2)
        slow = consumer.sinks[1]
        slow.write_s = 100.0
        world.produce(0, 5)
        world.produce(1, 5)
        await until(lambda: slow.is_writing)
        for _ in range(20):
            world.produce(0, 5)
            await until(lambda: world.position(0) == world.kafka.ends[0])
        assert slow.is_writing
        await consumer.until_drained()


@in_virtual_time
async def test_a_broken_connection_costs_only_its_own_partitions_their_claims() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 2)
        before = [len(sink.claimed) for sink in consumer.sinks]
        consumer.sinks[1].terminate()
        world.produce(0, 5)
        world.produce(1, 5)
        await consumer.until_drained()
        assert len(consumer.sinks[0].claimed) == before[0]
        assert consumer.sinks[1].claimed[before[1] :] == [(1,)]


@in_virtual_time
async def test_lanes_beyond_the_partitions_hold_no_connection() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=4)) as consumer:
        await all_read(consumer, 2)
        assert [sink.is_connected for sink in consumer.sinks] == [True, True, False, False]
        assert consumer.state.sink.health is SinkHealth.READY


@in_virtual_time
async def test_a_lane_that_loses_its_last_partition_gives_its_connection_back_and_comes_back_with_one() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 2)
        consumer.source.take_away({1})
        await until(lambda: not consumer.sinks[1].is_connected)
        assert consumer.state.sink.health is SinkHealth.READY
        world.produce(1, 5)
        consumer.source.give({1})
        await consumer.until_drained()
        assert [sink.is_connected for sink in consumer.sinks] == [True, True]


@in_virtual_time
async def test_without_any_partition_one_connection_stays_to_see_whether_all_is_well() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 2)
        consumer.source.take_away({0, 1})
        await until(lambda: not consumer.sinks[1].is_connected)
        await pass_time(60.0)
        assert consumer.sinks[0].is_connected
        consumer.sinks[0].terminate()
        world.database.trouble = SinkBroken("PermissionDenied", "GRANT")
        await until(lambda: consumer.state.sink.health is SinkHealth.BROKEN)
        world.database.trouble = None


@in_virtual_time
async def test_of_several_lanes_the_one_in_trouble_speaks() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 2)
        consumer.sinks[1].terminate()
        world.database.trouble = SinkBroken("PermissionDenied", "GRANT INSERT")
        world.produce(1, 1)
        await until(lambda: consumer.state.sink.reason == "PermissionDenied")
        state = consumer.state
        assert (state.sink.message, state.busy_fraction, state.records_per_second) == ("GRANT INSERT", None, None)
        assert [p.partition for p in state.partitions] == [0, 1]
        world.database.trouble = None
        await until(lambda: consumer.state.sink.health is SinkHealth.READY)
        await consumer.until_drained()


@in_virtual_time
async def test_a_fence_in_one_lane_leaves_the_claims_of_the_other() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 2)
        before = len(consumer.sinks[0].claimed)
        await rival(world, [1])
        world.produce(0, 5)
        world.produce(1, 5)
        await consumer.until_drained()
        assert len(consumer.sinks[0].claimed) == before


@in_virtual_time
async def test_a_partition_that_comes_back_goes_to_the_lane_whose_transaction_may_still_hold_its_position() -> None:
    world = World(4)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 4)
        lanes = [set(lane.positions.assigned) for lane in consumer.status.lanes]
        consumer.source.take_away({0, 1, 2, 3})
        await until(lambda: not consumer.status.assigned)
        consumer.source.give({3, 2, 1, 0})
        await all_read(consumer, 4)
        assert [set(lane.positions.assigned) for lane in consumer.status.lanes] == lanes


@in_virtual_time
async def test_drain_ends_the_transactions_of_all_lanes_and_begins_no_other() -> None:
    world = World(2)
    async with running(world, spec=build_spec(lanes=2)) as consumer:
        await all_read(consumer, 2)
        world.produce(0, 5)
        world.produce(1, 5)
        await until(lambda: writing_lanes(consumer) == {0, 1})
        writes = [sink.writes for sink in consumer.sinks]
        world.produce(0, 5)
        world.produce(1, 5)
        await consumer.stop()
        assert [sink.writes for sink in consumer.sinks] == writes
        assert (world.position(0), world.position(1)) == (5, 5)
        assert consumer.state.phase is Phase.DRAINING


@in_virtual_time
async def test_a_rate_cap_holds_for_all_lanes_together() -> None:
    world = World(4)
    async with running(world, spec=build_spec(lanes=4, max_rows_per_second=100)) as consumer:
        await all_read(consumer, 4)
        for partition in range(4):
            world.produce(partition, 250)
        await pass_time(5.0)
        written = sum(world.position(p) or 0 for p in range(4))
        assert 500 <= written <= 850, "five seconds, the burst, and a chunk, which is never split"
        await consumer.until_drained()
