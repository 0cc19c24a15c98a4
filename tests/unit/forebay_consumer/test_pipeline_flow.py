"""The pipeline when all is well: where it begins, what flows where, and how it ends."""

from __future__ import annotations

import asyncio

import pytest
from forebay_api.state import PartitionState, Phase, SinkHealth
from forebay_api.v1alpha1 import StartFrom
from forebay_consumer.decode import build_decoder
from forebay_consumer.ports import Decoder, Records, SourceTrouble
from support.chunks import raw_chunk
from support.consumer_rig import SimpleDecoder, StrictSource, World, build_spec, pass_time, running
from support.fake_sink import fake_plan
from support.virtual_time import VirtualLoop, in_virtual_time, until


@pytest.mark.parametrize(
    ("start_from", "expected"),
    [
        pytest.param(StartFrom.EARLIEST, {0: 2, 1: 0}, id="earliest"),
        pytest.param(StartFrom.LATEST, {0: 5, 1: 3}, id="latest"),
        pytest.param(StartFrom.COMMITTED, {0: 4, 1: 0}, id="committed"),
    ],
)
@in_virtual_time
async def test_first_start_stores_positions_of_all_partitions_before_reading(
    start_from: StartFrom, expected: dict[int, int]
) -> None:
    world = World(2)
    world.produce(0, 5)
    world.produce(1, 3)
    world.kafka.delete_before(0, 2)
    world.kafka.committed = {0: 4}
    world.starts = expected
    async with running(world, spec=build_spec(start_from=start_from)) as consumer:
        await until(lambda: bool(consumer.sink.claimed))
        assert (consumer.source.reading, consumer.sink.writes) == ({}, 0)
        assert {p: world.position(p) for p in (0, 1)} == expected
        await consumer.until_drained()
        await until(lambda: world.kafka.committed == {0: 5, 1: 3})


@in_virtual_time
async def test_first_start_stores_positions_also_of_partitions_that_others_have() -> None:
    world = World(4)
    world.kafka.members.append(StrictSource(world.kafka))
    async with running(world) as consumer:
        await until(lambda: bool(consumer.sink.claimed))
        assert sorted(world.database.positions) == [0, 1, 2, 3]
        assert consumer.sink.claimed == [(1, 3)]


@in_virtual_time
async def test_partition_added_later_begins_at_its_start_whatever_start_from_says() -> None:
    world = World(1)
    world.produce(0, 3)
    world.starts = {0: 3}
    async with running(world, spec=build_spec(start_from=StartFrom.LATEST)) as consumer:
        await until(lambda: consumer.sink.claimed == [(0,)])
        world.kafka.logs[1], world.kafka.starts[1], world.kafka.ends[1] = [], 0, 0
        world.produce(1, 4)
        world.kafka.rebalance()
        await consumer.until_drained()
        assert sorted(world.database.rows) == [(1, 0), (1, 1), (1, 2), (1, 3)]
        assert consumer.state.totals.claims == 2


@pytest.mark.parametrize(
    "decoder", [pytest.param(SimpleDecoder(), id="simple"), pytest.param(build_decoder(fake_plan()), id="real")]
)
@in_virtual_time
async def test_records_flow_to_rows_and_dead_letters_and_the_mirror_follows(decoder: Decoder) -> None:
    world = World(2)
    async with running(world, decoder=decoder) as consumer:
        world.produce(0, 1200, poison=1)
        world.produce(1, 7)
        await consumer.until_drained()
        assert (len(world.database.rows), len(world.database.dead)) == (1207, 1)
        assert world.kafka.committed == {0: 1201, 1: 7}
        state = consumer.state
    assert (state.phase, state.sink.health, state.buffered_bytes) == (Phase.RUNNING, SinkHealth.READY, 0)
    assert (state.totals.records, state.totals.rows, state.totals.dead_letters) == (1208, 1207, 1)
    assert [(p.state, p.next_offset, p.epoch) for p in state.partitions] == [
        (PartitionState.RUNNING, 1201, 1),
        (PartitionState.RUNNING, 7, 1),
    ]
    assert state.totals.transactions == len(consumer.receipts)


@in_virtual_time
async def test_second_start_goes_on_where_the_first_one_ended() -> None:
    world = World(1)
    world.produce(0, 5)
    async with running(world) as first:
        await first.until_drained()
        await first.source.close(1.0)
    world.produce(0, 5)
    async with running(world) as second:
        await second.until_drained()
        assert second.state.partitions[0].epoch == 2


@in_virtual_time
async def test_buffer_smaller_than_the_backlog_is_filled_again_and_again() -> None:
    world = World(2)
    for partition in (0, 1):
        world.produce(partition, 20_000)
    async with running(world, buffer_bytes=10_000) as consumer:
        consumer.sink.write_s = 0.05
        await consumer.until_drained()
        assert consumer.state.totals.transactions > 10


@in_virtual_time
async def test_chunk_of_an_older_claim_that_comes_late_is_dropped() -> None:
    world = World(1)
    world.produce(0, 3)
    async with running(world) as consumer:
        await consumer.until_drained()
        for late in (raw_chunk(0, 3, 2, claim_id=0), raw_chunk(7, 0, 2)):
            consumer.source.buffered_bytes += late.size_bytes
            consumer.source.put(Records(chunks=(late,)))
        await until(lambda: consumer.source.buffered_bytes == 0)
        world.produce(0, 2)
        await consumer.until_drained()


@in_virtual_time
async def test_drain_finishes_the_batch_under_way_and_begins_no_other() -> None:
    world = World(1)
    async with running(world) as consumer:
        consumer.sink.write_s = 2.0
        world.produce(0, 3)
        await until(lambda: consumer.sink.is_writing)
        world.produce(0, 4)
        await until(lambda: consumer.status.buffered_records == 4)
        consumer.pipeline.drain()
        await consumer.task
        assert (world.position(0), consumer.sink.writes) == (3, 1)
        assert consumer.state.phase is Phase.DRAINING
        assert consumer.is_balanced


@in_virtual_time
async def test_drain_during_a_claim_begins_no_batch() -> None:
    world = World(2)
    async with running(world) as consumer:
        await until(lambda: consumer.state.sink.health is SinkHealth.READY)
        consumer.source.take_away({1})
        await pass_time()
        consumer.sink.claim_s = 2.0
        consumer.source.give({1})
        await until(lambda: consumer.sink.is_claiming)
        world.produce(0, 3)
        await until(lambda: consumer.status.buffered_records == 3)
        consumer.pipeline.drain()
        await consumer.task
        assert consumer.sink.writes == 0


@pytest.mark.parametrize("connect_s", [pytest.param(0.0, id="connected"), pytest.param(5.0, id="connecting")])
@in_virtual_time
async def test_drain_of_an_idle_consumer_returns(connect_s: float) -> None:
    async with running(World(1)) as consumer:
        consumer.sink.connect_s = connect_s
        await pass_time(1.0)
        await consumer.stop()


@in_virtual_time
async def test_cap_paces_the_writes_and_waiting_for_it_is_being_busy() -> None:
    world = World(1)
    world.produce(0, 10_000)
    loop = asyncio.get_running_loop()
    async with running(world, spec=build_spec(max_rows_per_second=1_000)) as consumer:
        await until(lambda: loop.time() >= 5.0)
        assert 4_800 <= (world.position(0) or 0) <= 5_800
        assert consumer.state.busy_fraction == pytest.approx(1.0, abs=0.05)
        assert consumer.state.records_per_second == pytest.approx(1_000, rel=0.15)
        await consumer.until_drained()
        assert 9.0 <= loop.time() <= 11.0
        await pass_time(10.0)
        assert consumer.state.busy_fraction == 0.0


@in_virtual_time
async def test_little_load_is_small_writes_and_a_backlog_is_not() -> None:
    world = World(1)
    async with running(world, spec=build_spec(max_rows_per_second=1_000)) as consumer:
        for _ in range(100):
            world.produce(0, 1)
            await pass_time(0.05)
        assert consumer.state.busy_with_small_writes
        world.produce(0, 10_000)
        await pass_time(5.0)
        assert not consumer.state.busy_with_small_writes


@in_virtual_time
async def test_decoding_counts_as_busy_and_idling_does_not() -> None:
    world = World(1)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with running(world) as consumer:
        loop.thread_s = 2.5
        await pass_time(5.0)
        world.produce(0, 1)
        await pass_time(5.0)
        assert consumer.state.busy_fraction == pytest.approx(0.5, abs=0.02)


@in_virtual_time
async def test_trouble_of_the_source_is_told_until_it_is_over() -> None:
    world = World(1)
    async with running(world) as consumer:
        consumer.source.put(SourceTrouble(message="brokers away"))
        await until(lambda: consumer.state.source_message == "brokers away")
        consumer.source.put(SourceTrouble(message=None))
        await until(lambda: consumer.state.source_message is None)


@in_virtual_time
async def test_question_that_kafka_does_not_answer_is_asked_again_and_its_message_goes_away() -> None:
    world = World(1)
    world.produce(0, 3)
    world.kafka.trouble = "no answer in 10 s"  # no event: the source itself noticed nothing
    async with running(world) as consumer:
        await until(lambda: consumer.state.source_message == "no answer in 10 s")
        assert world.database.positions == {}
        world.kafka.trouble = None
        await consumer.until_drained()
        assert consumer.state.source_message is None


@in_virtual_time
async def test_unanswered_question_is_forgotten_with_its_partition() -> None:
    world = World(1)
    world.kafka.trouble = "no answer in 10 s"
    async with running(world) as consumer:
        await until(lambda: consumer.state.source_message == "no answer in 10 s")
        consumer.source.take_away({0})
        await until(lambda: consumer.state.source_message is None, 10.0)


@in_virtual_time
async def test_message_of_the_source_itself_outlasts_an_answered_question() -> None:
    world = World(1)
    world.kafka.trouble = "no answer"
    async with running(world) as consumer:
        await until(lambda: consumer.state.source_message == "no answer")
        consumer.source.put(SourceTrouble(message="one broker refuses"))
        await pass_time()
        world.kafka.trouble = None
        await until(lambda: consumer.state.sink.health is SinkHealth.READY)
        assert consumer.state.source_message == "one broker refuses"


@in_virtual_time
async def test_an_error_nobody_foresaw_ends_the_run() -> None:
    async with running(World(1)) as consumer:
        consumer.source.topic_partitions = None  # type: ignore[method-assign,assignment]  # a defect
        with pytest.raises(ExceptionGroup):
            await consumer.task
        consumer.task = asyncio.create_task(pass_time())
