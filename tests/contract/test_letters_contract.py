"""What the upkeep relies on of the table of dead letters and of their topic, on the fakes and on the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from forebay_consumer.kafka_source import KafkaLetterTopic
from forebay_consumer.letters import StoredLetter
from forebay_consumer.ports import LetterStore, LetterTopic
from forebay_consumer.postgres_sink import PostgresLetterStore
from support.fake_letters import BEGIN, FakeLetters, FakeTopic
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import unique_name

BOTH = (0, 1)


@dataclass(frozen=True, slots=True)
class World:
    """A table of dead letters. add: (partition, age in days, is mirrored) -> id. ids: of those that are there."""

    store: LetterStore
    add: Callable[[int, float, bool], Awaitable[int]]
    ids: Callable[[], Awaitable[set[int]]]


def fake_world() -> World:
    letters = FakeLetters()

    async def add(partition: int, age_days: float, is_mirrored: bool) -> int:
        return letters.add(partition=partition, age_days=age_days, mirrored=is_mirrored)

    async def ids() -> set[int]:
        return set(letters.letters)

    return World(letters, add, ids)


async def real_world(rig: SinkRig) -> World:
    pipeline = make_pipeline()
    await rig.run("CREATE TABLE events (id bigint)")
    await rig.sink(pipeline).connect()

    async def add(partition: int, age_days: float, is_mirrored: bool) -> int:
        written = f"now() - interval '{age_days * 24} hours'"
        return int(
            await rig.value(
                'INSERT INTO forebay.dead_letters ("group", topic, partition, record_offset, reason, message, '
                "record_value, target, created_at, mirrored_at) SELECT 'bank.payments', 'payments', $1, "
                f"count(*), 'InvalidJSON', 'broken', '{{', 'public.events', {written}, CASE WHEN $2 THEN now() END "
                "FROM forebay.dead_letters RETURNING id",
                partition,
                is_mirrored,
            )
        )

    async def ids() -> set[int]:
        return {number for (number,) in await rig.query("SELECT id FROM forebay.dead_letters")}

    return World(PostgresLetterStore(pipeline, consumer="c", secret_dir=rig.folder), add, ids)


@pytest.fixture(params=["fake", pytest.param("postgres", marks=pytest.mark.integration)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "fake":
        yield fake_world()
        return
    rig = SinkRig(request.getfixturevalue("database")(), tmp_path / "secret")
    yield await real_world(rig)
    for sink in rig.opened:
        await sink.close()


async def test_unmirrored_letters_are_read_by_id_and_of_these_partitions_alone(world: World) -> None:
    added = [await world.add(partition, 0.0, False) for partition in (0, 1, 0)]
    await world.add(2, 0.0, False)
    await world.add(0, 0.0, True)
    found: list[int] = []
    async with world.store.open() as session:
        while letters := await session.read_unmirrored(BOTH, found[-1] if found else 0):
            found += [letter.id for letter in letters]
        assert found == added
        assert await session.read_unmirrored((), 0) in ((), [])


async def test_marked_letters_are_neither_read_nor_counted_again(world: World) -> None:
    first = await world.add(0, 0.5, False)
    second = await world.add(0, 0.25, False)
    async with world.store.open() as session:
        count, age_s = await session.count_unmirrored(BOTH)
        assert count == 2
        assert age_s == pytest.approx(43_200, abs=60)
        await session.mark_mirrored({first})
        assert [letter.id for letter in await session.read_unmirrored(BOTH, 0)] == [second]
        count, age_s = await session.count_unmirrored(BOTH)
        assert count == 1
        assert age_s == pytest.approx(21_600, abs=60)
        await session.mark_mirrored({second})
        await session.mark_mirrored(frozenset())
        assert await session.count_unmirrored(BOTH) == (0, None)


@pytest.mark.parametrize("only_mirrored", [True, False])
async def test_old_letters_are_purged_of_these_partitions_alone(world: World, only_mirrored: bool) -> None:
    old = await world.add(0, 4.0, True)
    unmirrored = await world.add(1, 4.0, False)
    young = await world.add(0, 2.0, True)
    foreign = await world.add(2, 4.0, True)
    purged = 0
    async with world.store.open() as session:
        while more := await session.purge_old(BOTH, days=3, only_mirrored=only_mirrored):
            purged += more
    expected = {old} if only_mirrored else {old, unmirrored}
    assert purged == len(expected)
    assert await world.ids() == {old, unmirrored, young, foreign} - expected


LETTER = StoredLetter(
    id=1,
    topic="payments",
    partition=0,
    offset=5,
    reason="InvalidJSON",
    column=None,
    message="broken",
    key=None,
    value=b"{",
    headers=(),
    timestamp=None,
    target="public.events",
    created_at=BEGIN,
)


@pytest.fixture(params=["fake", pytest.param("kafka", marks=pytest.mark.integration)])
def topics(request: pytest.FixtureRequest) -> tuple[LetterTopic, LetterTopic]:
    """One that is there, and one that is not."""
    if request.param == "fake":
        return FakeTopic(), FakeTopic(trouble="there is no such topic; create it")
    kafka, make_topic = request.getfixturevalue("kafka"), request.getfixturevalue("topic")
    source = replace(make_pipeline().spec.source, bootstrap_servers=kafka.bootstrap)

    def build(name: str) -> LetterTopic:
        return KafkaLetterTopic(spec=source, topic=name, pipeline="bank/payments", consumer_id="c", config_dir=None)

    return build(make_topic()), build(unique_name("missing"))


async def test_delivered_letters_are_named(topics: tuple[LetterTopic, LetterTopic]) -> None:
    delivery = await topics[0].deliver([LETTER, replace(LETTER, id=7)])
    assert (delivery.delivered, delivery.trouble, delivery.is_blocked) == (frozenset({1, 7}), None, False)


async def test_a_missing_topic_is_trouble_with_a_remedy_and_delivers_nothing(
    topics: tuple[LetterTopic, LetterTopic],
) -> None:
    for _ in range(2):
        delivery = await topics[1].deliver([LETTER])
        assert (delivery.delivered, delivery.is_blocked) == (frozenset(), True)
        assert "create it" in str(delivery.trouble)
