"""Dead letters after they were written: copied at least once, deleted when old, never in the way; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from forebay_api.v1alpha1 import DeadLetterSpec
from forebay_consumer.errors import SinkUnavailable
from forebay_consumer.upkeep import MIRROR_EVERY_S, PURGE_EVERY_S, PURGE_STATEMENTS, Upkeep
from support.chunks import receipt
from support.fake_letters import FakeLetters, FakeTopic
from support.virtual_time import in_virtual_time, until

MIRRORED = DeadLetterSpec(topic="payments.dead")


@dataclass(slots=True)
class World:
    """A consumer's upkeep, and what it works on."""

    letters: FakeLetters = field(default_factory=FakeLetters)
    topic: FakeTopic | None = field(default_factory=FakeTopic)
    spec: DeadLetterSpec = MIRRORED
    partitions: set[int] = field(default_factory=lambda: {0, 1})
    jitter: float = 0.5

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upkeep]:
        """The task at work."""
        upkeep = Upkeep(
            spec=self.spec,
            store=self.letters,
            topic=self.topic,
            partitions=lambda: self.partitions,
            jitter=lambda: self.jitter,
        )
        task = asyncio.create_task(upkeep.run())
        try:
            yield upkeep
            assert not task.done(), "the task ended by itself"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def mirror(world: World) -> FakeTopic:
    assert world.topic is not None
    return world.topic


@in_virtual_time
async def test_letters_of_own_partitions_are_copied_once_and_marked() -> None:
    world = World()
    own = [world.letters.add(partition=number % 2) for number in range(5)]
    world.letters.add(partition=7)
    async with world.running() as upkeep:
        await until(lambda: upkeep.state().mirrored == 5)
        await asyncio.sleep(5 * MIRROR_EVERY_S)
        assert mirror(world).got == own
        assert upkeep.state().unmirrored == 0
        assert upkeep.state().oldest_unmirrored_s is None
        assert world.letters.open_now == 0, "a connection is held while there is nothing to do"


@in_virtual_time
async def test_a_new_letter_is_copied_at_once_and_not_at_the_next_look() -> None:
    world = World()
    async with world.running() as upkeep:
        await asyncio.sleep(3.0)
        world.letters.add()
        upkeep.on_receipt(replace(receipt({0: 1}), dead_letters=1))
        await asyncio.sleep(0.1)
        assert mirror(world).got == [1]


@in_virtual_time
async def test_batches_without_letters_wake_nobody() -> None:
    world = World()
    async with world.running() as upkeep:
        await asyncio.sleep(3.0)
        before = world.letters.opened
        for _ in range(100):
            upkeep.on_receipt(receipt({0: 1}))
            await asyncio.sleep(0.05)
        assert world.letters.opened == before


@in_virtual_time
async def test_a_stream_of_letters_costs_a_connection_a_second_at_most() -> None:
    world = World()
    async with world.running() as upkeep:
        for _ in range(200):
            world.letters.add()
            upkeep.on_receipt(replace(receipt({0: 1}), dead_letters=1))
            await asyncio.sleep(0.05)
        assert 5 <= world.letters.opened <= 12


@in_virtual_time
async def test_letters_whose_mark_was_lost_are_copied_again_and_none_is_left_out() -> None:
    world = World()
    for _ in range(6):
        world.letters.add()
    world.letters.fails_to_mark = 2
    async with world.running() as upkeep:
        await until(lambda: not world.letters.unmirrored)
        assert set(mirror(world).got) == {1, 2, 3, 4, 5, 6}
        assert mirror(world).got.count(1) == 3
        await until(lambda: upkeep.state().message is None)


@in_virtual_time
async def test_brokers_that_are_away_are_told_and_asked_ever_less_often() -> None:
    world = World()
    mirror(world).trouble = "no broker; start one"
    world.letters.add()
    async with world.running() as upkeep:
        await asyncio.sleep(600)
        upkeep.on_receipt(replace(receipt({0: 1}), dead_letters=1))  # must not break the pause
        await asyncio.sleep(0.1)
        state = upkeep.state()
        assert state.message == "no broker; start one"
        assert state.unmirrored == 1
        assert state.oldest_unmirrored_s == pytest.approx(600, abs=2)
        assert 5 < mirror(world).attempts < 25
        mirror(world).trouble = None
        await asyncio.sleep(90)
        assert upkeep.state().message is None
        assert mirror(world).got == [1]


@in_virtual_time
async def test_a_letter_that_the_topic_never_takes_keeps_no_other_back() -> None:
    world = World()
    mirror(world).refused = frozenset({1, 2, 3})
    for _ in range(6):
        world.letters.add()
    async with world.running() as upkeep:
        await until(lambda: upkeep.state().mirrored == 3)
        await until(lambda: upkeep.state().message == "too large")
        assert world.letters.unmirrored == {1, 2, 3}
        assert upkeep.state().unmirrored == 3


@pytest.mark.parametrize("days", [None, 30])
@in_virtual_time
async def test_an_idle_pipeline_costs_a_connection_twice_a_minute(days: int | None) -> None:
    world = World(spec=DeadLetterSpec(topic="payments.dead", retention_days=days))
    async with world.running():
        await asyncio.sleep(3600)
        assert 100 < world.letters.opened < 130


@pytest.mark.parametrize("error", [SinkUnavailable("Unreachable", "no answer"), KeyError("a mistake of ours")])
@in_virtual_time
async def test_a_database_that_fails_is_told_and_ends_nothing(error: Exception) -> None:
    world = World()
    world.letters.broken = error
    world.letters.add()
    async with world.running() as upkeep:
        await until(lambda: upkeep.state().message is not None)
        world.letters.broken = None
        await until(lambda: not world.letters.unmirrored)


@in_virtual_time
async def test_old_letters_are_deleted_but_not_those_that_were_not_copied() -> None:
    world = World(spec=DeadLetterSpec(topic="payments.dead", retention_days=3))
    mirror(world).refused = frozenset({2})
    world.letters.add(age_days=4, mirrored=True)
    world.letters.add(age_days=4)
    world.letters.add(age_days=2, mirrored=True)
    world.letters.add(age_days=4, mirrored=True, partition=7)
    async with world.running() as upkeep:
        await asyncio.sleep(3 * PURGE_EVERY_S)
        assert upkeep.state().purged == 1
        assert sorted(world.letters.letters) == [2, 3, 4]


@in_virtual_time
async def test_without_a_topic_age_alone_counts_and_nothing_else_is_asked() -> None:
    world = World(spec=DeadLetterSpec(retention_days=3), topic=None, jitter=0.0)
    world.letters.add(age_days=4)
    world.letters.add(age_days=2)
    async with world.running() as upkeep:
        await until(lambda: upkeep.state().purged == 1, 5)
        assert sorted(world.letters.letters) == [2]
        opened = world.letters.opened
        await asyncio.sleep(0.4 * PURGE_EVERY_S)
        assert world.letters.opened == opened
        assert upkeep.state().unmirrored is None


@in_virtual_time
async def test_one_look_deletes_a_bounded_number() -> None:
    world = World(spec=DeadLetterSpec(retention_days=1), topic=None, jitter=0.0)
    for _ in range(3 * PURGE_STATEMENTS):
        world.letters.add(age_days=2)
    async with world.running():
        await asyncio.sleep(5)
        assert world.letters.purges == PURGE_STATEMENTS
        await asyncio.sleep(3 * PURGE_EVERY_S)
        assert not world.letters.letters


@in_virtual_time
async def test_partitions_that_went_to_another_consumer_are_no_longer_told_of() -> None:
    world = World()
    mirror(world).trouble = "no broker"
    world.letters.add()
    async with world.running() as upkeep:
        await until(lambda: upkeep.state().unmirrored == 1)
        world.partitions.clear()
        await asyncio.sleep(120)
        assert upkeep.state().oldest_unmirrored_s is None
        assert upkeep.state().unmirrored is None


@in_virtual_time
async def test_letters_of_a_partition_that_has_just_come_are_copied_soon() -> None:
    world = World(partitions=set())
    world.letters.add()
    async with world.running():
        await asyncio.sleep(20)
        assert world.letters.opened == 0
        world.partitions.add(0)
        await asyncio.sleep(1.5)
        assert mirror(world).got == [1]


@in_virtual_time
async def test_a_pipeline_that_wants_neither_has_no_task() -> None:
    world = World(spec=DeadLetterSpec(), topic=None)
    upkeep = Upkeep(spec=world.spec, store=world.letters, topic=None, partitions=lambda: {0}, jitter=lambda: 0.5)
    await upkeep.run()
    assert world.letters.opened == 0


@in_virtual_time
async def test_the_end_closes_the_topic() -> None:
    world = World()
    async with world.running():
        await asyncio.sleep(1)
    assert mirror(world).is_closed
