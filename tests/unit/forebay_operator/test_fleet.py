"""The fleet: one loop a pipeline, whatever the watch and the lists show, in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from support.fleet_world import FleetWorld, build_body
from support.virtual_time import in_virtual_time, until

KEY = ("bank", "payments")


@asynccontextmanager
async def leading(world: FleetWorld, grace_s: float = 10.0) -> AsyncIterator[asyncio.Task[None]]:
    """The fleet leads within the block."""
    task = asyncio.create_task(world.fleet.lead(grace_s))
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        world.fleet.stop()
        await task


def running(world: FleetWorld) -> Sequence[str]:
    return sorted(loop.pipeline.uid for loop in world.loops if loop.is_running)


@in_virtual_time
async def test_single_pipeline_begins_at_once_and_ends_with_its_resource() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(uid="a"))
        await until(lambda: running(world) == ["a"], 0.1)
        world.fleet.gone(*KEY, "a")
        await until(lambda: world.forgotten == [KEY], 5)
    assert running(world) == []
    assert world.loops[0].ended_by == "stop"


@in_virtual_time
async def test_nothing_runs_before_leading_and_all_known_after() -> None:
    world = FleetWorld()
    world.fleet.seen(build_body(uid="a"))
    await asyncio.sleep(100)
    assert world.loops == []
    async with leading(world):
        await until(lambda: running(world) == ["a"], 1)
    assert running(world) == []


@in_virtual_time
async def test_many_pipelines_begin_one_after_the_other() -> None:
    world = FleetWorld()
    for n in range(500):
        world.fleet.seen(build_body(uid=f"u{n}", name=f"p{n}"))
    async with leading(world):
        await asyncio.sleep(1)
        assert 45 <= len(world.loops) <= 55
        await asyncio.sleep(10)
        assert len(running(world)) == 500


@in_virtual_time
async def test_recreated_resource_gets_its_loop_when_the_old_one_has_ended() -> None:
    world = FleetWorld(pass_s=3.0)
    async with leading(world):
        world.fleet.seen(build_body(uid="old", version=1))
        await until(lambda: running(world) == ["old"])
        world.fleet.gone(*KEY, "old")
        world.fleet.seen(build_body(uid="new", version=2))
        await asyncio.sleep(1)
        assert running(world) == ["old"]
        await until(lambda: running(world) == ["new"], 10)
    assert world.most_at_once == 1
    assert world.forgotten == []


@in_virtual_time
async def test_recreated_resource_replaces_the_old_one_even_when_its_end_is_never_shown() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(uid="old", version=1))
        await until(lambda: running(world) == ["old"])
        world.fleet.seen(build_body(uid="new", version=2))
        await until(lambda: running(world) == ["new"], 5)
        world.fleet.seen(build_body(uid="old", version=1))
        world.fleet.gone(*KEY, "old")
        await asyncio.sleep(5)
        assert running(world) == ["new"]
    assert world.most_at_once == 1


@in_virtual_time
async def test_changed_spec_reaches_the_loop_and_a_changed_status_does_not() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(version=1, generation=1))
        await until(lambda: len(world.loops) == 1)
        world.fleet.seen(build_body(version=2, generation=1, status={"replicas": 3}))
        world.fleet.seen(build_body(version=3, generation=2, max_replicas=7))
        world.fleet.seen(build_body(version=2, generation=1))
        await asyncio.sleep(2)
    assert [p.spec.scaling.max_replicas for p in world.loops[0].changes] == [7]


@in_virtual_time
async def test_resource_in_foreground_deletion_is_served_no_more() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(uid="a", version=1))
        await until(lambda: running(world) == ["a"])
        world.fleet.seen(build_body(uid="a", version=2, deleted=True))
        await until(lambda: running(world) == [], 5)
        await asyncio.sleep(100)
    assert len(world.loops) == 1


@in_virtual_time
async def test_pipeline_that_a_pass_finds_gone_is_dropped() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(uid="a"))
        await until(lambda: running(world) == ["a"])
        world.loops[0].vanish()
        await until(lambda: world.forgotten == [KEY], 5)
        await asyncio.sleep(100)
    assert len(world.loops) == 1
    assert world.defects == []


@in_virtual_time
async def test_pipeline_that_was_found_gone_by_mistake_comes_back_with_the_next_list() -> None:
    world = FleetWorld(listed=[build_body(uid="a", version=1)])
    async with leading(world):
        world.fleet.seen(build_body(uid="a", version=1))
        (await world.begun.get()).vanish()
        await until(lambda: world.forgotten == [KEY], 5)
        await world.fleet.resync()
        await until(lambda: running(world) == ["a"], 1)


@in_virtual_time
async def test_failed_loop_begins_again_after_growing_pauses_and_is_told() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(uid="a", status={"replicas": 2}))
        for _ in range(8):
            (await world.begun.get()).crash()
        await world.begun.get()
    pauses = [b.began_at - a.ended_at for a, b in zip(world.loops, world.loops[1:], strict=False)]
    assert [round(p) for p in pauses] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert world.defects == ["a: a defect"] * 8
    assert world.loops[-1].status == {"replicas": 2}


@in_virtual_time
async def test_changed_resource_ends_the_pause_of_a_failed_loop() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(uid="old", version=1))
        for _ in range(6):
            (await world.begun.get()).crash()
        await asyncio.sleep(1)
        world.fleet.seen(build_body(uid="new", version=2))
        await until(lambda: running(world) == ["new"], 1)


@in_virtual_time
async def test_invalid_resource_is_explained_again_and_again_and_served_when_corrected() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(version=1, generation=1, max_replicas=-1))
        await asyncio.sleep(100)
        assert len(world.explained) == 7
        assert "maxReplicas" in world.explained[0][0]
        world.fleet.seen(build_body(version=2, generation=2))
        await until(lambda: len(running(world)) == 1, 1)
        assert {generation for _, generation in world.explained} == {1}
    assert world.loops[0].pipeline.generation == 2


@in_virtual_time
async def test_resource_that_becomes_invalid_ends_its_loop() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(version=1, generation=1))
        await until(lambda: len(running(world)) == 1)
        world.fleet.seen(build_body(version=2, generation=2, max_replicas=-1))
        await until(lambda: [generation for _, generation in world.explained] == [2], 5)
        assert running(world) == []


@in_virtual_time
async def test_explaining_is_tried_again_until_it_is_written() -> None:
    world = FleetWorld(refused_explanations=3)
    async with leading(world):
        world.fleet.seen(build_body(max_replicas=-1))
        await until(lambda: len(world.explained) == 1, 20)
    assert world.defects == []


@in_virtual_time
async def test_touched_pipeline_looks_at_once_and_then_once_a_second() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body())
        await until(lambda: len(running(world)) == 1)
        for _ in range(25):
            world.fleet.touched(*KEY)
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        assert world.loops[0].pokes in (3, 4)
        assert len(world.touched) == 25
        world.fleet.touched("bank", "unknown")
        assert len(world.loops) == 1


@in_virtual_time
async def test_stop_lets_a_pass_end_and_the_deadline_ends_it() -> None:
    world = FleetWorld(pass_s=3.0)
    async with leading(world):
        world.fleet.seen(build_body(uid="a"))
        await until(lambda: running(world) == ["a"])
    assert world.loops[0].ended_by == "stop"

    slow = FleetWorld(pass_s=300.0)
    async with leading(slow, grace_s=2.0):
        slow.fleet.seen(build_body(uid="a"))
        await until(lambda: running(slow) == ["a"])
    assert slow.loops[0].ended_by == "cancel"


@in_virtual_time
async def test_cancelled_leadership_ends_loops_in_the_middle_of_a_pass_and_may_begin_again() -> None:
    world = FleetWorld(pass_s=300.0)
    world.fleet.seen(build_body(uid="a"))
    task = asyncio.create_task(world.fleet.lead(10))
    await until(lambda: running(world) == ["a"])
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()
    assert world.loops[0].ended_by == "cancel"
    world.pass_s = 0.1
    async with leading(world):
        await until(lambda: running(world) == ["a"], 1)


@in_virtual_time
async def test_resync_starts_what_was_missed_and_stops_what_has_vanished() -> None:
    world = FleetWorld(listed=[build_body(uid="b", name="orders", version=5)])
    async with leading(world):
        world.fleet.seen(build_body(uid="a", version=1))
        await until(lambda: running(world) == ["a"])
        await world.fleet.resync()
        await until(lambda: running(world) == ["b"], 5)


@in_virtual_time
async def test_nothing_is_kept_of_a_pipeline_that_is_shown_while_it_is_deleted() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body(uid="a", version=1))
        await world.begun.get()
        world.fleet.seen(build_body(uid="a", version=2, deleted=True))
        await until(lambda: world.forgotten == [KEY])
        world.fleet.seen(build_body(uid="a", version=3, deleted=True))
        world.fleet.gone(*KEY, "a")

        assert not world.fleet._places


@in_virtual_time
async def test_pipelines_of_a_namespace_that_is_not_listed_go_on() -> None:
    world = FleetWorld(listed=[])
    async with leading(world):
        world.fleet.seen(build_body(uid="a"))
        loop = await world.begun.get()
        world.hidden = frozenset({"bank"})
        await world.fleet.resync()
        await asyncio.sleep(1)
        assert loop.is_running
        world.hidden = frozenset()
        await world.fleet.resync()
        await asyncio.sleep(1)
        assert not loop.is_running


@in_virtual_time
async def test_resource_deleted_while_it_is_listed_does_not_come_back() -> None:
    world = FleetWorld(listed=[build_body(uid="a", version=1)], list_s=2.0)
    async with leading(world):
        world.fleet.seen(build_body(uid="a", version=1))
        await until(lambda: running(world) == ["a"])
        resync = asyncio.create_task(world.fleet.resync())
        await asyncio.sleep(1)
        world.fleet.gone(*KEY, "a")
        await resync
        await asyncio.sleep(5)
        assert (running(world), len(world.loops)) == ([], 1)


@in_virtual_time
async def test_resource_created_while_it_is_not_yet_listed_stays() -> None:
    world = FleetWorld(listed=[], list_s=2.0)
    async with leading(world):
        resync = asyncio.create_task(world.fleet.resync())
        await asyncio.sleep(1)
        world.fleet.seen(build_body(uid="a", version=9))
        await resync
        await asyncio.sleep(5)
        assert running(world) == ["a"]


async def list_at(world: FleetWorld, pause_s: float, *versions: int) -> None:
    """A list that shows each of these versions, with pauses before."""
    for version in versions:
        await asyncio.sleep(pause_s)
        world.listed = [build_body(uid="a", version=version)]
        await world.fleet.resync()


@in_virtual_time
async def test_watch_that_does_not_show_what_two_lists_have_is_dead() -> None:
    world = FleetWorld()
    world.fleet.seen(build_body(uid="a", version=1))
    await list_at(world, 60, 1, 1, 2)
    assert world.fleet.reasons_dead() == ()
    await list_at(world, 60, 3)
    assert "bank/payments" in world.fleet.reasons_dead()[0]
    world.fleet.seen(build_body(uid="a", version=3))
    await list_at(world, 60, 3)
    assert world.fleet.reasons_dead() == ()


@in_virtual_time
async def test_watch_that_is_a_little_late_is_alive() -> None:
    world = FleetWorld()
    for version in range(1, 6):
        await list_at(world, 60, version)
        world.fleet.seen(build_body(uid="a", version=version))
    assert world.fleet.reasons_dead() == ()


@in_virtual_time
async def test_lists_in_haste_do_not_make_a_watch_dead() -> None:
    world = FleetWorld()
    await list_at(world, 1, 1, 1, 2, 3)
    assert world.fleet.reasons_dead() == ()
    await list_at(world, 60, 4)
    assert "bank/payments" in world.fleet.reasons_dead()[0]


@in_virtual_time
async def test_lists_that_fail_are_tried_again_and_make_it_unready() -> None:
    world = FleetWorld(listed=[build_body(uid="a")], failing_lists=4)
    task = asyncio.create_task(world.fleet.watch_over())
    await until(lambda: world.fleet.reasons_not_ready() != (), 30)
    await until(lambda: world.fleet.size == 1, 30)
    assert world.fleet.reasons_not_ready() == ()
    task.cancel()


@in_virtual_time
async def test_loop_without_a_pass_is_stuck_and_one_with_passes_is_not() -> None:
    world = FleetWorld()
    async with leading(world):
        world.fleet.seen(build_body())
        await until(lambda: len(running(world)) == 1)
        for _ in range(20):
            await asyncio.sleep(60)
            world.fleet.passed(world.loops[0].pipeline)
            assert world.fleet.reasons_dead() == ()
        await asyncio.sleep(400)
        assert "no pass for" in world.fleet.reasons_dead()[0]
