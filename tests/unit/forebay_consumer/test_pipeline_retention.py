"""The pipeline when Kafka has no record at a position. The audit at each end is part of every test."""

from __future__ import annotations

import pytest
from forebay_api.state import PartitionState
from forebay_api.v1alpha1 import OnPositionLost
from forebay_consumer.ports import PositionLost
from support.consumer_rig import Consumer, World, build_spec, rival, running
from support.virtual_time import in_virtual_time, until

SKIP = build_spec(on_position_lost=OnPositionLost.SKIP_TO_EARLIEST)


def stopped(consumer: Consumer) -> list[int]:
    """Partitions that are not read any more."""
    return [p.partition for p in consumer.state.partitions if p.state is PartitionState.STOPPED]


@in_virtual_time
async def test_position_that_retention_overtook_stops_its_partition_and_no_other() -> None:
    world = World(2)
    world.produce(0, 5)
    world.starts = {0: 0}
    async with running(world) as consumer:
        await consumer.until_drained()
        consumer.source.take_away({0})
        world.produce(0, 6)
        world.kafka.delete_before(0, 9)
        consumer.source.give({0})
        await until(lambda: stopped(consumer) == [0])
        (report, _) = consumer.state.partitions
        assert "removed 4 unwritten records: position 5, the log starts at 9" in (report.why or "")
        world.produce(1, 3)
        await until(lambda: world.position(1) == 3)
        assert (world.position(0), consumer.state.totals.lost_records) == (5, 0)


@in_virtual_time
async def test_position_that_retention_overtook_is_skipped_if_told_so() -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
        consumer.source.take_away({0})
        world.produce(0, 6)
        world.kafka.delete_before(0, 9)
        world.lost = {(0, offset) for offset in range(5, 9)}
        consumer.source.give({0})
        await consumer.until_drained()
        assert consumer.state.totals.lost_records == 4
        assert world.kafka.committed == {0: 11}


@pytest.mark.parametrize("spec", [pytest.param(build_spec(), id="stop"), pytest.param(SKIP, id="skip")])
@in_virtual_time
async def test_position_beyond_the_end_always_stops_the_partition(spec: object) -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world, spec=SKIP if spec is SKIP else build_spec()) as consumer:
        await consumer.until_drained()
        consumer.source.take_away({0})
        kept = world.kafka.logs[0], world.kafka.ends[0]
        world.kafka.logs[0], world.kafka.ends[0] = [], 2  # made anew
        consumer.source.give({0})
        await until(lambda: stopped(consumer) == [0])
        assert "position 5 lies beyond the log's end 2" in (consumer.state.partitions[0].why or "")
        assert world.position(0) == 5
        world.kafka.logs[0], world.kafka.ends[0] = kept


@pytest.mark.parametrize("skips", [True, False], ids=["skip", "stop"])
@in_virtual_time
async def test_retention_overtakes_the_reading_while_records_before_it_are_not_written_yet(skips: bool) -> None:
    world = World(1)
    async with running(world, spec=SKIP if skips else build_spec()) as consumer:
        consumer.sink.write_s = 1.0
        await until(lambda: len(consumer.source.reading) == 1)
        world.produce(0, 5)
        await until(lambda: consumer.sink.is_writing)
        world.produce(0, 3)
        await until(lambda: consumer.status.buffered_records == 3)
        world.kafka.ends[0] = 12
        world.kafka.delete_before(0, 12)
        world.lost = {(0, offset) for offset in range(8, 12)}
        world.produce(0, 2)
        await until(lambda: world.position(0) == 14 or stopped(consumer) == [0], 60.0)
        assert (world.position(0), stopped(consumer)) == ((14, []) if skips else (8, [0]))


@in_virtual_time
async def test_fence_of_a_skip_lets_go_of_the_partition_and_tries_again() -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world, spec=SKIP) as consumer:
        await consumer.until_drained()
        consumer.source.take_away({0})
        world.produce(0, 6)
        world.kafka.delete_before(0, 9)
        world.lost = {(0, offset) for offset in range(5, 9)}
        skip_to = consumer.sink.skip_to

        async def fenced(*args: object) -> object:
            consumer.sink.skip_to = skip_to  # type: ignore[method-assign]  # once
            await rival(world, [0])
            return await skip_to(*args)  # type: ignore[arg-type]

        consumer.sink.skip_to = fenced  # type: ignore[method-assign,assignment]
        consumer.source.give({0})
        await consumer.until_drained()
        assert (consumer.state.totals.fenced, consumer.state.totals.lost_records) == (1, 4)


@in_virtual_time
async def test_news_of_a_lost_position_under_an_older_claim_is_forgotten() -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world) as consumer:
        await consumer.until_drained()
        old = consumer.source.last_claim_id
        consumer.source.take_away({0})
        consumer.source.give({0})
        await until(lambda: consumer.source.last_claim_id > old)
        consumer.source.put(PositionLost(partition=0, claim_id=old, position=5, log_start=9, log_end=9))
        world.produce(0, 2)
        await consumer.until_drained()
        assert stopped(consumer) == []
