"""Dead letters in their topic, on a real broker and a real database: at least once, and never not at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from forebay_api.v1alpha1 import Pipeline
from forebay_consumer import upkeep as upkeeping
from forebay_consumer.kafka_source import KafkaLetterTopic
from forebay_consumer.postgres_sink import PostgresLetterStore, letter_store
from forebay_consumer.upkeep import Upkeep
from integration.conftest import FloodFactory
from support.flood import eventually
from support.letters import feeder, remaining
from support.sinks import SinkRig, make_pipeline
from support.testbed.servers import DatabaseFactory, KafkaFactory, TopicFactory, create_topic, unique_name

pytestmark = pytest.mark.integration

EVENTS = "CREATE TABLE events (id bigint, note text)"


@pytest.fixture
async def rig(database: DatabaseFactory, tmp_path: Path) -> AsyncIterator[SinkRig]:
    made = SinkRig(database(), tmp_path / "secret")
    await made.run(EVENTS)
    yield made
    for sink in made.opened:
        await sink.close()


def mirrored(bootstrap: str, topic: str, *, days: int | None = None) -> Pipeline:
    """The usual pipeline with a topic of dead letters on this broker."""
    pipeline = make_pipeline()
    letters = replace(pipeline.spec.sink.dead_letters, topic=topic, retention_days=days)
    source = replace(pipeline.spec.source, bootstrap_servers=bootstrap)
    spec = replace(pipeline.spec, source=source, sink=replace(pipeline.spec.sink, dead_letters=letters))
    return replace(pipeline, spec=spec)


@asynccontextmanager
async def keeping(rig: SinkRig, pipeline: Pipeline, partitions: Collection[int] = (0, 1)) -> AsyncIterator[Upkeep]:
    """A consumer's upkeep at work, as app.py builds it."""
    spec = pipeline.spec
    assert spec.sink.dead_letters.topic is not None
    topic = KafkaLetterTopic(
        spec=spec.source,
        topic=spec.sink.dead_letters.topic,
        pipeline=pipeline.key,
        consumer_id="consumer-1",
        config_dir=None,
    )
    store = PostgresLetterStore(pipeline, consumer="consumer-1", secret_dir=rig.folder)
    made = Upkeep(
        spec=spec.sink.dead_letters, store=store, topic=topic, partitions=lambda: partitions, jitter=lambda: 0.0
    )
    task = asyncio.create_task(made.run())
    try:
        yield made
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def read_topic(bootstrap: str, topic: str, count: int, deadline_s: float = 60.0) -> list[Message]:
    """The first so many records, or fewer at the deadline; and what comes within half a second more."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader"})
    partitions = client.list_topics(topic, timeout=60).topics[topic].partitions
    client.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    found: list[Message] = []
    until = time.monotonic() + deadline_s
    try:
        while time.monotonic() < until:
            message = client.poll(0.5)
            if message is None and len(found) >= count:
                break
            if message is not None and message.error() is None:
                found.append(message)
    finally:
        client.close()
    return found


def is_well(upkeep: Upkeep) -> bool:
    """Everything is in the topic, and nothing is wrong."""
    return upkeep.state().unmirrored == 0 and upkeep.state().message is None


def offsets(messages: list[Message]) -> list[int]:
    """The offsets in the source's topic that the records' headers name."""
    return [int(_headers(message)["__connect.errors.offset"]) for message in messages]


async def test_letters_come_to_the_topic_whole_and_once(rig: SinkRig, kafka: Any, topic: TopicFactory) -> None:
    pipeline = mirrored(kafka.bootstrap, topic(3))
    consumer = await feeder(rig, pipeline)
    headers = (("trace", b"\xff"), ("none", None))
    await consumer.write({"id": 1}, b"{", None, keys=[b"a", b"b", b"c"], headers=headers)
    async with keeping(rig, pipeline) as upkeep:
        await eventually(lambda: upkeep.state().mirrored == 2, 60, lambda: str(upkeep.state()))
    async with keeping(rig, pipeline) as again:
        await eventually(lambda: again.state().unmirrored == 0, 60, lambda: str(again.state()))
        assert again.state().mirrored == 0

    name = pipeline.spec.sink.dead_letters.topic
    assert name is not None
    found = await asyncio.to_thread(read_topic, kafka.bootstrap, name, 2)
    letters = {message.key(): message for message in found}
    assert (len(found), set(letters)) == (2, {b"b", b"c"})
    assert (letters[b"b"].value(), letters[b"c"].value()) == (b"{", None)
    assert list(letters[b"b"].headers() or ())[:2] == [("trace", b"\xff"), ("none", None)]
    told = _headers(letters[b"b"])
    assert told["__connect.errors.exception.class.name"] == b"InvalidJSON"
    assert told["__connect.errors.topic"] == b"payments"
    assert told["forebay.timestamp"] == b"1700000000123"
    assert letters[b"b"].timestamp()[1] > 1_700_000_000_123, "retention would take it at once"
    assert await rig.value("SELECT count(*) FROM forebay.dead_letters WHERE mirrored_at IS NOT NULL") == 2


async def test_after_a_crash_before_the_mark_letters_are_sent_again(
    rig: SinkRig, kafka: Any, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = mirrored(kafka.bootstrap, name := topic())
    consumer = await feeder(rig, pipeline)
    await consumer.write(*[b"{"] * 5)
    monkeypatch.setattr(letter_store, "MIRROR_LETTERS", 2)
    mark = letter_store.PostgresLetterSession.mark_mirrored
    marks = 0

    async def crash(self: letter_store.PostgresLetterSession, ids: Collection[int]) -> None:
        nonlocal marks
        marks += 1
        if marks == 2:
            self._session.terminate()
        await mark(self, ids)

    monkeypatch.setattr(letter_store.PostgresLetterSession, "mark_mirrored", crash)
    async with keeping(rig, pipeline) as upkeep:
        await eventually(lambda: upkeep.state().message is not None, 60, lambda: str(upkeep.state()))
        await eventually(lambda: is_well(upkeep), 60, lambda: str(upkeep.state()))
    assert sorted(offsets(await asyncio.to_thread(read_topic, kafka.bootstrap, name, 7))) == [0, 1, 2, 2, 3, 3, 4]


async def test_a_topic_that_is_missing_is_told_with_the_remedy_until_it_is_there(
    rig: SinkRig, kafka: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique_name("letters")
    pipeline = mirrored(kafka.bootstrap, name)
    consumer = await feeder(rig, pipeline)
    await consumer.write(b"{")
    monkeypatch.setattr(upkeeping, "TROUBLED", replace(upkeeping.TROUBLED, limit_s=1.0, patient_s=1.0))
    async with keeping(rig, pipeline) as upkeep:
        await eventually(lambda: upkeep.state().message is not None, 60, lambda: str(upkeep.state()))
        assert "spec.sink.deadLetters.topic: 1 dead letters are not in" in str(upkeep.state().message)
        assert "create it" in str(upkeep.state().message)
        await consumer.write({"id": 1})  # nothing waits for the topic
        assert (upkeep.state().unmirrored, await rig.value("SELECT count(*) FROM events")) == (1, 1)
        await asyncio.to_thread(create_topic, kafka.bootstrap, name, 1)
        await eventually(lambda: upkeep.state().message is None, 60, lambda: str(upkeep.state()))
    assert offsets(await asyncio.to_thread(read_topic, kafka.bootstrap, name, 1)) == [0]


async def test_brokers_that_are_away_keep_letters_back_and_lose_none(rig: SinkRig, own_kafka: KafkaFactory) -> None:
    server = own_kafka()
    name = unique_name("letters")
    create_topic(server.bootstrap, name, 1)
    pipeline = mirrored(server.bootstrap, name)
    consumer = await feeder(rig, pipeline)
    await consumer.write(b"{", b"[")
    server.kill()
    async with keeping(rig, pipeline) as upkeep:
        await eventually(lambda: upkeep.state().message is not None, 60, lambda: str(upkeep.state()))
        assert (upkeep.state().mirrored, upkeep.state().unmirrored) == (0, 2)
        await asyncio.to_thread(server.start)
        await eventually(lambda: upkeep.state().unmirrored == 0, 60, lambda: str(upkeep.state()))
    found = offsets(await asyncio.to_thread(read_topic, server.bootstrap, name, 2))
    assert set(found) == {0, 1}


async def test_a_letter_too_large_for_the_topic_keeps_no_other_back(
    rig: SinkRig, kafka: Any, topic: TopicFactory
) -> None:
    pipeline = mirrored(kafka.bootstrap, name := topic(max_message_bytes="2000"))
    consumer = await feeder(rig, pipeline)
    await consumer.write(b"{", b"{" * 5000, b"{")
    async with keeping(rig, pipeline) as upkeep:
        await eventually(lambda: "max.message.bytes" in str(upkeep.state().message), 60, lambda: str(upkeep.state()))
        assert (upkeep.state().mirrored, upkeep.state().unmirrored) == (2, 1)
    assert sorted(offsets(await asyncio.to_thread(read_topic, kafka.bootstrap, name, 2))) == [0, 2]


async def test_old_letters_are_deleted_once_they_are_in_the_topic(
    rig: SinkRig, kafka: Any, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = mirrored(kafka.bootstrap, topic(max_message_bytes="2000"), days=3)
    consumer = await feeder(rig, pipeline, partitions=(0, 1))
    await consumer.write(b"{", b"{" * 5000, b"{", b"{")
    await consumer.write(b"{", partition=1)
    await rig.run(
        "UPDATE forebay.dead_letters SET created_at = now() - interval '73 hours' "
        "WHERE partition = 1 OR record_offset < 3"
    )
    monkeypatch.setattr(letter_store, "PURGE_LETTERS", 1)
    async with keeping(rig, pipeline, partitions=(0,)) as upkeep:
        await eventually(lambda: upkeep.state().purged == 2, 60, lambda: str(upkeep.state()))
    assert await remaining(rig, "partition, record_offset") == [(0, 1), (0, 3), (1, 0)]


async def test_consumers_that_are_killed_over_and_over_leave_no_letter_out(
    flood: FloodFactory, kafka: Any, topic: TopicFactory
) -> None:
    """Whole programs: what is committed is in the topic in the end, wherever kill -9 struck."""
    name = topic(1)
    world = flood(
        partitions=2,
        table="CREATE TABLE payments (id bigint)",
        sink={"deadLetters": {"topic": name, "maxFraction": 1}},
    )
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(400):
        producer.produce(world.topic, json.dumps({"id": "x" if number % 2 else number}), partition=number % 4 // 2)
    producer.flush()

    def count(where: str) -> int:
        exists = world.run_sql("SELECT to_regclass('forebay.dead_letters') IS NOT NULL").strip() == "t"
        return int(world.run_sql(f"SELECT count(*) FROM forebay.dead_letters WHERE {where}")) if exists else 0

    for _ in range(3):  # die as soon as letters are committed: before they are sent, while, or after
        process = world.start_consumer()
        await eventually(lambda: count("true") > 0, 60, world.tails)
        world.kill(process)
        world.run_sql("UPDATE forebay.dead_letters SET mirrored_at = NULL WHERE id % 7 = 0")
    world.start_consumer()
    await eventually(lambda: count("mirrored_at IS NULL") == 0 and count("true") == 200, 60, world.tails)
    metrics = world.processes[0].read("/metrics")
    assert metrics is not None
    assert 'forebay_dead_letters_total{reason="WrongType"}' in metrics[1]
    assert "forebay_dead_letters_unmirrored" in metrics[1]

    found = await asyncio.to_thread(read_topic, kafka.bootstrap, name, 200)
    places = {(h["__connect.errors.partition"], h["__connect.errors.offset"]) for h in map(_headers, found)}
    assert len(places) == 200


def _headers(message: Message) -> dict[str, Any]:
    pairs: Any = message.headers() or ()  # Any: the stubs call a pair a sequence
    return dict(pairs)
