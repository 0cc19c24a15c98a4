"""How the pipeline comes back from an outage: soon, and gently."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
from forebay_api.state import PartitionState, SinkHealth
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.records import Batch, WriteReceipt
from support.consumer_rig import Consumer, World, pass_time, running
from support.virtual_time import in_virtual_time, until

AWAY = SinkUnavailable("Unreachable", "no answer")


def listen(consumer: Consumer) -> list[int]:
    """The sizes of the batches that are written from now on."""
    sizes: list[int] = []
    write = consumer.sink.write

    async def noted(batch: Batch) -> WriteReceipt:
        receipt = await write(batch)
        sizes.append(batch.records)
        return receipt

    consumer.sink.write = noted  # type: ignore[method-assign]  # the test listens
    return sizes


@pytest.mark.parametrize("outage_s", [0.5, 3.0, 20.0, 30.0])
@in_virtual_time
async def test_the_first_commit_follows_the_end_of_a_failover_within_half_a_second(outage_s: float) -> None:
    world, loop = World(2), asyncio.get_running_loop()
    async with running(world) as consumer:
        world.produce(0, 5)
        await consumer.until_drained()
        world.database.trouble = AWAY
        world.produce(0, 5)
        await pass_time(outage_s)
        world.database.trouble = None
        back_at = loop.time()
        await until(lambda: world.position(0) == 10)
        assert loop.time() - back_at < 0.5


@in_virtual_time
async def test_after_an_outage_batches_begin_small_and_grow() -> None:
    world = World(1)
    async with running(world, buffer_bytes=2**24) as consumer:
        await until(lambda: bool(consumer.source.reading))
        consumer.sink.write_s = 0.3  # what waits meanwhile becomes the next batch
        world.produce(0, 5)
        await consumer.until_drained()
        world.database.trouble = AWAY
        world.produce(0, 40_000)
        await until(lambda: consumer.state.sink.health is SinkHealth.AWAY)
        sizes = listen(consumer)
        world.database.trouble = None
        await consumer.until_drained()
    full = [size for size in sizes if size >= 1_000]
    assert full[0] <= 2_500, "a chunk more than the first step"
    for before, after in itertools.pairwise(full):
        assert after <= 2 * before + 1_000
    assert max(full) > 7_000


@in_virtual_time
async def test_consumer_without_a_database_keeps_its_partitions_and_says_what_it_waits_for() -> None:
    world = World(2)
    async with running(world) as consumer:
        world.produce(0, 5)
        await consumer.until_drained()
        world.database.trouble = AWAY
        await pass_time(100.0)
        state = consumer.state
        assert (state.sink.health, state.sink.reason, state.paused_because) == (
            SinkHealth.AWAY,
            "Unreachable",
            "no answer",
        )
        assert [p.state for p in state.partitions] == [PartitionState.CLAIMING] * 2
        assert consumer.source.assigned == {0, 1}
        assert consumer.source.reading == {}
        world.produce(1, 5)
        world.database.trouble = None
        await consumer.until_drained()


@in_virtual_time
async def test_rewound_records_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    world = World(1)
    with caplog.at_level(logging.WARNING):
        async with running(world) as consumer:
            world.produce(0, 7)
            await consumer.until_drained()
            standby = world.snapshot()
            world.produce(0, 4)
            await consumer.until_drained()
            world.fail_over(standby)
            consumer.sink.terminate()
            await until(lambda: consumer.state.totals.rewound_records == 4)
            await consumer.until_drained()
    warned = [r for r in caplog.records if "lost commits" in r.message]
    assert [r.__dict__["rewound_records"] for r in warned] == [4]
