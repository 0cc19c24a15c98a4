"""The pipeline when the database or the group interferes. The audit at each end is part of every test."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from forebay_api.state import PartitionState, SinkHealth
from forebay_api.v1alpha1 import DeadLetterSpec
from forebay_consumer.errors import Fenced, SinkBroken, SinkUnavailable
from support.consumer_rig import World, build_spec, pass_time, rival, running
from support.virtual_time import VirtualLoop, in_virtual_time, until

AWAY = SinkUnavailable("Unreachable", "no answer")
BROKEN = SinkBroken("PermissionDenied", "GRANT INSERT ON events")


# ---- the database goes away


@in_virtual_time
async def test_failed_write_drops_everything_claims_again_and_reads_from_the_position() -> None:
    world = World(2)
    async with running(world) as consumer:
        world.produce(0, 5)
        await consumer.until_drained()
        consumer.sink.write_s = 1.0
        world.produce(0, 3)
        world.produce(1, 3)
        await until(lambda: consumer.sink.is_writing)
        world.produce(1, 2)
        await until(lambda: consumer.status.buffered_records == 2)
        world.database.trouble = AWAY
        await until(lambda: consumer.state.sink.health is SinkHealth.AWAY)
        state = consumer.state
        assert (consumer.source.reading, consumer.source.buffered_bytes) == ({}, 0)
        assert {p.state for p in state.partitions} == {PartitionState.CLAIMING}
        assert (state.busy_fraction, state.paused_because) == (None, "no answer")
        world.database.trouble = None
        await consumer.until_drained()
        assert consumer.sink.claimed == [(0, 1), (0, 1)]
        assert consumer.state.totals.rewound_records == 0


@in_virtual_time
async def test_long_outage_is_asked_about_about_once_a_second_and_survived() -> None:
    world = World(1)
    world.database.trouble = AWAY
    asked: list[float] = []
    loop = asyncio.get_running_loop()
    async with running(world) as consumer:
        connect = consumer.sink.connect

        async def noted() -> object:
            asked.append(loop.time())
            return await connect()

        consumer.sink.connect = noted  # type: ignore[method-assign]  # the test listens
        await pass_time(600.0)
        world.produce(0, 3)
        world.database.trouble = None
        await consumer.until_drained()
        assert consumer.state.busy_fraction is None  # what was before the outage says nothing
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert gaps[0] < 0.1
    assert 0.7 < max(gaps) < 1.1


@pytest.mark.parametrize("is_committed", [True, False], ids=["committed", "not-committed"])
@pytest.mark.parametrize("times", [1, 3])
@in_virtual_time
async def test_unknown_outcome_of_a_commit_ends_exactly_once(is_committed: bool, times: int) -> None:
    world = World(2)
    async with running(world) as consumer:
        consumer.sink.unknown = [is_committed] * times
        for _ in range(4):
            world.produce(0, 3, poison=1)
            world.produce(1, 2)
            await consumer.until_drained()
        assert len(consumer.sink.claimed) == 1 + times
        assert consumer.state.totals.rewound_records == 0
        assert consumer.state.sink.health is SinkHealth.READY


@in_virtual_time
async def test_position_that_went_backwards_rewinds_the_source_and_the_mirror_and_is_counted() -> None:
    world = World(2)
    async with running(world) as consumer:
        world.produce(0, 5)
        await consumer.until_drained()
        standby = world.snapshot()
        world.produce(0, 4)
        world.produce(1, 3)
        await consumer.until_drained()
        world.fail_over(standby)
        consumer.sink.terminate()
        consumer.sink.claim_s = 1.0
        world.produce(1, 1)
        await until(lambda: consumer.state.totals.rewound_records == 7)
        assert world.kafka.committed == {0: 5, 1: 0}
        await consumer.until_drained()
        assert world.kafka.committed == {0: 9, 1: 4}


# ---- a person must act


@in_virtual_time
async def test_refused_write_stops_everything_loudly_and_goes_on_by_itself() -> None:
    world = World(2)
    async with running(world) as consumer:
        world.produce(0, 2)
        await consumer.until_drained()
        world.database.trouble = BROKEN
        world.produce(0, 2)
        await until(lambda: consumer.state.sink.health is SinkHealth.BROKEN)
        state = consumer.state
        assert (state.sink.reason, state.paused_because) == ("PermissionDenied", "GRANT INSERT ON events")
        assert consumer.source.reading == {}
        consumer.source.take_away({1})  # polling goes on: the group's news arrive
        await until(lambda: [p.partition for p in consumer.state.partitions] == [0])
        consumer.source.give({1})
        await pass_time(300.0)
        assert consumer.state.sink.health is SinkHealth.BROKEN
        world.database.trouble = None
        await consumer.until_drained()
        assert consumer.state.paused_because is None


@in_virtual_time
async def test_open_breaker_stays_broken_over_claims_until_a_write_succeeds() -> None:
    world = World(1)
    spec = build_spec(dead_letters=DeadLetterSpec(minimum=3, max_fraction=0.1))
    async with running(world, spec=spec) as consumer:
        world.produce(0, 1, poison=5)
        await until(lambda: consumer.state.sink.reason == "Breaker")
        for claims in (3, 6):
            await until(lambda claims=claims: len(consumer.sink.claimed) >= claims)  # type: ignore[misc]  # bound now
            assert (consumer.state.sink.health, consumer.state.sink.reason) == (SinkHealth.BROKEN, "Breaker")
        assert (world.database.rows, world.database.dead) == ([], [])
        world.produce(0, 90)  # one batch with the bad ones now, and few enough of them
        await consumer.until_drained()
        assert consumer.state.sink.health is SinkHealth.READY


@in_virtual_time
async def test_breaker_remembers_what_earlier_batches_held() -> None:
    world = World(1)
    spec = build_spec(dead_letters=DeadLetterSpec(minimum=3, max_fraction=0.1))
    async with running(world, spec=spec) as consumer:
        world.produce(0, 2, poison=2)
        await consumer.until_drained()
        world.produce(0, 0, poison=1)
        await until(lambda: consumer.state.sink.reason == "Breaker")
        assert len(world.database.dead) == 2


@in_virtual_time
async def test_outage_while_the_breaker_is_open_ends_in_broken_again_not_away() -> None:
    world = World(1)
    spec = build_spec(dead_letters=DeadLetterSpec(minimum=3, max_fraction=0.1))
    async with running(world, spec=spec) as consumer:
        world.produce(0, 0, poison=5)
        await until(lambda: consumer.state.sink.reason == "Breaker")
        world.database.trouble = AWAY
        await until(lambda: consumer.state.sink.health is SinkHealth.AWAY)
        world.database.trouble = None
        consumer.sink.write_s = 5.0
        await until(lambda: consumer.sink.is_writing)  # claimed, and a write has not told yet
        assert (consumer.state.sink.health, consumer.state.sink.reason) == (SinkHealth.BROKEN, "Breaker")


# ---- the group takes away, another consumer takes over


@in_virtual_time
async def test_fenced_partition_waits_and_the_others_of_the_batch_are_claimed_at_once() -> None:
    world = World(2)
    loop = asyncio.get_running_loop()
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 2)
        await rival(world, [1])
        fenced_at = loop.time()
        world.produce(0, 3)
        world.produce(1, 3)
        await until(lambda: world.position(0) == 3)
        assert loop.time() - fenced_at < 0.2
        assert (world.position(1), consumer.state.totals.fenced) == (0, 1)
        await consumer.until_drained()
        assert 1.0 <= loop.time() - fenced_at <= 1.2
        assert consumer.sink.claimed == [(0, 1), (0,), (1,)]


@in_virtual_time
async def test_fenced_partition_that_was_revoked_meanwhile_is_left_to_its_new_owner() -> None:
    world = World(2)
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 2)
        owner = await rival(world, [1])
        epoch = world.database.positions[1].epoch
        world.produce(1, 3)
        await until(lambda: consumer.state.totals.fenced == 1)
        consumer.source.take_away({1})
        await pass_time(60.0)
        assert owner.is_connected
        assert world.database.positions[1].epoch == epoch


@in_virtual_time
async def test_two_consumers_that_both_think_they_own_a_partition_fence_each_other_ever_less_often() -> None:
    world = World(1)
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 1)
        gaps = []
        for _ in range(4):
            await rival(world, [0])
            before = asyncio.get_running_loop().time()
            claims = len(consumer.sink.claimed)
            world.produce(0, 1)
            await until(lambda claims=claims: len(consumer.sink.claimed) > claims)  # type: ignore[misc]  # bound now
            gaps.append(round(asyncio.get_running_loop().time() - before))
        assert gaps == sorted(gaps)
        await consumer.until_drained()


@in_virtual_time
async def test_fence_that_names_nobody_lets_go_of_the_whole_batch() -> None:
    world = World(2)
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 2)
        world.database.failures.append(Fenced(()))
        world.produce(0, 1)
        await until(lambda: consumer.state.totals.fenced == 1)
        await consumer.until_drained()


@in_virtual_time
async def test_revoke_in_the_middle_of_decoding_drops_the_chunk() -> None:
    world = World(2)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 2)
        loop.thread_s = 1.0
        world.produce(0, 3)
        await pass_time(0.5)
        consumer.source.take_away({0})
        consumer.source.give({0})
        await consumer.until_drained()
        assert consumer.sink.claimed == [(0, 1), (0,)]
        assert consumer.sink.writes == 1 or consumer.state.totals.fenced == 0


@in_virtual_time
async def test_interruption_in_the_middle_of_decoding_drops_the_chunk() -> None:
    world = World(2)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with running(world) as consumer:
        consumer.sink.write_s = 1.0
        world.produce(0, 3)
        await until(lambda: consumer.sink.is_writing)
        loop.thread_s = 5.0
        world.produce(1, 3)
        await pass_time(0.1)
        world.database.failures.append(AWAY)
        await until(lambda: len(consumer.sink.claimed) == 2)
        assert consumer.status.buffered_records == 0
        await consumer.until_drained()


@pytest.mark.parametrize("is_taken_over", [True, False], ids=["claimed-by-another", "not-yet-claimed"])
@in_virtual_time
async def test_revoke_in_the_middle_of_a_write_leaves_the_outcome_to_the_database(is_taken_over: bool) -> None:
    world = World(2)
    async with running(world) as consumer:
        await until(lambda: len(consumer.source.reading) == 2)
        consumer.sink.write_s = 1.0
        world.produce(0, 3)
        world.produce(1, 3)
        await until(lambda: consumer.sink.is_writing)
        world.produce(0, 2)
        await until(lambda: consumer.status.buffered_records == 2)
        consumer.source.take_away({0})
        if is_taken_over:
            await rival(world, [0])
        await until(lambda: consumer.source.buffered_bytes == 0 and world.position(1) == 3)
        assert world.position(0) == (0 if is_taken_over else 3)
        assert world.kafka.committed.get(0, 0) == 0
        consumer.source.give({0})
        await consumer.until_drained()


@in_virtual_time
async def test_revoke_in_the_middle_of_a_claim_reads_nothing() -> None:
    world = World(2)
    async with running(world) as consumer:
        consumer.sink.claim_s = 1.0
        world.produce(0, 3)
        await until(lambda: consumer.sink.is_claiming)
        consumer.source.take_away({0})
        await until(lambda: not consumer.sink.is_claiming)
        await pass_time(5.0)
        assert set(consumer.source.reading) == {1}
        consumer.source.give({0})
        await consumer.until_drained()


# ---- another pipeline on the same group


@in_virtual_time
async def test_a_pipeline_on_anothers_group_leaves_it_and_comes_back_when_the_group_is_free() -> None:
    """As a member it would be given partitions that it may not write, and the rightful one would wait for them."""
    world = World(2)
    async with running(world) as rightful:
        world.produce(0, 3)
        world.produce(1, 3)
        await rightful.until_drained()
        async with running(world, name="c-2", pipeline="bank/copy") as other:
            await until(lambda: other.state.sink.reason == "Conflict" and rightful.source.assigned == {0, 1})
            await pass_time(120.0)
            world.produce(0, 3)
            world.produce(1, 3)
            await rightful.until_drained()
            assert other.source.assigned == set()
            assert other.state.sink.health is SinkHealth.BROKEN
            assert other.state.paused_because

            await rightful.stop()
            await rightful.source.close(1.0)
            for partition, stored in world.database.positions.items():
                world.database.positions[partition] = replace(stored, pipeline="bank/copy")
            world.produce(0, 3)
            await other.until_drained()
            assert other.source.assigned == {0, 1}
