"""What every Source promises: on the one in memory and on a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest
from forebay_api.v1alpha1 import ColumnSource, StartFrom
from forebay_cli.local.kafka_server import KafkaServer
from forebay_consumer.decode import build_decoder, wanted_parts
from forebay_consumer.decode.reference import ReferenceDecoder
from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_source import worker
from forebay_consumer.native.library import LIBRARY
from forebay_consumer.ports import Source, Wanted
from forebay_consumer.records import Claim
from support.decoding import column, from_path, from_source, plan, sink
from support.source_reader import SourceReader, make_receipt
from support.source_worlds import FakeWorld, KafkaWorld, World, WorldFactory

QUIET_S = 0.5
"""Long enough for a source that wrongly reads on to show it."""


@pytest.fixture(
    params=[
        "fake",
        pytest.param("kafka", marks=pytest.mark.integration),
        pytest.param("kafka, messages in Python", marks=pytest.mark.integration),
    ]
)
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WorldFactory]:
    """world(partitions) makes a topic and its group; closed afterwards."""
    made: list[World] = []
    if request.param == "kafka, messages in Python":
        monkeypatch.setattr(worker, "make_native_intake", lambda *_: None)

    def make(partitions: int = 2, *, exists: bool = True) -> World:
        if request.param == "fake":
            made.append(FakeWorld(partitions, exists=exists))
        else:
            broker: KafkaServer = request.getfixturevalue("kafka")
            made.append(KafkaWorld(broker.bootstrap, partitions, exists=exists))
            made[-1].makes_rows = request.param == "kafka" and LIBRARY.exists()
        return made[-1]

    yield make
    for each in made:
        await each.close()


async def join(world: World, partitions: set[int], *, buffer_bytes: int = 2**20, releases: bool = True) -> SourceReader:
    """A started member that owns the partitions."""
    source = world.make_source(buffer_bytes=buffer_bytes)
    reader = SourceReader(source, releases=releases)
    await source.start()
    await reader.until_owned(partitions)
    return reader


async def test_assigned_partitions_are_silent_until_begin(world: WorldFactory) -> None:
    topic = world(2)
    await topic.produce(0, b"a")
    await topic.produce(1, b"b")
    reader = await join(topic, {0, 1})
    await reader.begin(1, p1=0)
    await reader.until(lambda: bool(reader.chunks[1]))
    await reader.until_quiet(QUIET_S)
    assert reader.chunks[0] == []


async def test_begin_reads_exactly_from_the_offset_under_the_claim(world: WorldFactory) -> None:
    topic = world(1)
    await topic.produce(0, b"a", b"b", b"c", b"d")
    reader = await join(topic, {0})
    await reader.begin(7, p0=2)
    await reader.until(lambda: len(reader.offsets(0, 7)) == 2)
    await topic.produce(0, b"e")
    await reader.until(lambda: len(reader.offsets(0, 7)) == 3)
    assert reader.offsets(0, 7) == [2, 3, 4]
    assert [v for chunk in reader.chunks[0] for v in chunk.values] == [b"c", b"d", b"e"]


async def test_beginning_again_reads_again_under_the_new_claim(world: WorldFactory) -> None:
    topic = world(1)
    await topic.produce(0, b"a", b"b", b"c")
    reader = await join(topic, {0})
    await reader.begin(1, p0=0)
    await reader.begin(2, p0=1)
    await reader.until(lambda: reader.offsets(0, 2) == [1, 2])
    await reader.begin(3, p0=0)
    await reader.until(lambda: reader.offsets(0, 3) == [0, 1, 2])
    claims = [chunk.claim_id for chunk in reader.chunks[0]]
    assert claims == sorted(claims)


async def test_after_hold_nothing_of_the_partition_comes(world: WorldFactory) -> None:
    topic = world(2)
    reader = await join(topic, {0, 1})
    await reader.begin(1, p0=0, p1=0)
    await topic.produce(0, b"a", b"b")
    await reader.source.hold([0])
    seen = len(reader.chunks[0])
    await topic.produce(0, b"c")
    await topic.produce(1, b"d")
    await reader.until(lambda: bool(reader.chunks[1]))
    await reader.until_quiet(QUIET_S)
    assert len(reader.chunks[0]) == seen
    await reader.begin(2, p0=0)
    await reader.until(lambda: reader.offsets(0, 2) == [0, 1, 2])


async def test_begin_ignores_partitions_of_others(world: WorldFactory) -> None:
    topic = world(1)
    await topic.produce(0, b"a")
    reader = await join(topic, {0})
    await reader.begin(1, p0=0, p9=0)
    await reader.until(lambda: reader.offsets(0, 1) == [0])
    assert set(reader.chunks) == {0}


async def test_a_second_member_takes_half_and_gives_it_back(world: WorldFactory) -> None:
    topic = world(2)
    first = await join(topic, {0, 1})
    await first.begin(1, p0=0, p1=0)
    second = SourceReader(topic.make_source())
    await second.source.start()
    await asyncio.gather(first.until(lambda: len(first.assigned) == 1), second.until(lambda: len(second.assigned) == 1))
    assert first.assigned | second.assigned == {0, 1}
    (moved,) = second.assigned
    await topic.produce(moved, b"a")
    await second.begin(1, **{f"p{moved}": 0})
    await second.until(lambda: second.offsets(moved, 1) == [0])
    await second.source.close(5.0)
    await first.until_owned({0, 1})
    assert first.chunks[moved] == []


async def test_a_member_that_leaves_gives_all_to_the_other_until_it_is_back(world: WorldFactory) -> None:
    topic = world(2)
    first = await join(topic, {0, 1})
    second = SourceReader(topic.make_source())
    await second.source.start()
    await asyncio.gather(first.until(lambda: len(first.assigned) == 1), second.until(lambda: len(second.assigned) == 1))
    await second.source.leave()
    await asyncio.gather(first.until_owned({0, 1}), second.until_owned(set()))
    await topic.produce(0, b"a")
    await first.begin(1, p0=0, p1=0)
    await first.until(lambda: first.offsets(0, 1) == [0])
    await second.source.rejoin()
    await asyncio.gather(first.until(lambda: len(first.assigned) == 1), second.until(lambda: len(second.assigned) == 1))
    (moved,) = second.assigned
    await topic.produce(moved, b"b")
    await second.begin(2, **{f"p{moved}": 0})
    await second.until(lambda: second.offsets(moved, 2)[:1] == [0])


@pytest.mark.parametrize("position", [pytest.param(1, id="removed"), pytest.param(99, id="beyond-the-end")])
async def test_a_position_without_a_record_is_reported_once(world: WorldFactory, position: int) -> None:
    topic = world(1)
    await topic.produce(0, b"a", b"b", b"c", b"d")
    await topic.delete_before(0, 3)
    reader = await join(topic, {0})
    await reader.begin(5, p0=position)
    await reader.until(lambda: bool(reader.lost))
    await topic.produce(0, b"e")
    await reader.until_quiet(QUIET_S)
    (lost,) = reader.lost
    assert (lost.partition, lost.claim_id, lost.position, lost.log_start, lost.log_end) == (0, 5, position, 3, 4)
    assert reader.chunks[0] == []
    await reader.begin(6, p0=3)
    await reader.until(lambda: reader.offsets(0, 6) == [3, 4])


async def test_a_full_budget_stops_reading_until_release(world: WorldFactory) -> None:
    topic = world(1)
    value = b"x" * 1000
    for _ in range(20):
        await topic.produce(0, *[value] * 100)
    reader = await join(topic, {0}, buffer_bytes=400_000, releases=False)
    await reader.begin(1, p0=0)
    await reader.until(lambda: bool(reader.chunks[0]))
    await reader.until_quiet(QUIET_S)
    held = reader.size_bytes()
    assert 0 < held < 1_000_000
    reader.source.release(held)
    await reader.until(lambda: reader.size_bytes() > held)


async def test_mirrored_positions_follow_forwards_and_backwards(world: WorldFactory) -> None:
    topic = world(2)
    await topic.produce(0, *[b"x"] * 50)
    reader = await join(topic, {0, 1})
    reader.source.commit(make_receipt(p0=40))
    await until_committed(topic, 0, 40)
    claim = Claim(partition=0, epoch=1, owner=uuid4(), next_offset=10)
    unread = Claim(partition=1, epoch=1, owner=uuid4(), next_offset=0)
    reader.source.mirror_claims([claim, unread])
    await until_committed(topic, 0, 10)
    await until_committed(topic, 1, 0)
    reader.source.commit(make_receipt(p0=20))
    await reader.source.close(5.0)
    assert await topic.committed(0) == 20


async def test_starts_and_bounds_are_read(world: WorldFactory) -> None:
    topic = world(2)
    await topic.produce(0, b"a", b"b", b"c")
    await topic.delete_before(0, 1)
    reader = await join(topic, {0, 1})
    source = reader.source
    reader.source.commit(make_receipt(p0=2))
    await until_committed(topic, 0, 2)
    assert await source.topic_partitions() == (0, 1)
    assert await source.log_bounds([0, 1]) == {0: (1, 3), 1: (0, 0)}
    assert await source.resolve_start(StartFrom.EARLIEST, [0, 1]) == {0: 1, 1: 0}
    assert await source.resolve_start(StartFrom.LATEST, [0, 1]) == {0: 3, 1: 0}
    assert await source.resolve_start(StartFrom.COMMITTED, [0, 1]) == {0: 2, 1: 0}


async def test_wanted_parts_of_records_come_along(world: WorldFactory) -> None:
    topic = world(1)
    reader = await join(topic, {0})
    await topic.produce(0, b"a", key=b"k")
    await reader.begin(1, p0=0)
    await reader.until(lambda: bool(reader.chunks[0]))
    reader.source.set_wanted(Wanted(keys=True, timestamps=True, headers=True))
    await reader.begin(2, p0=0)
    await reader.until(lambda: len(reader.chunks[0]) == 2)
    bare, full = reader.chunks[0]
    assert (bare.keys, bare.timestamps_ms, bare.headers) == (None, None, None)
    assert list(full.keys or ()) == [b"k"]
    assert full.headers is not None
    assert list(full.headers[0]) == [("h", b"1")]
    assert list(full.timestamps_ms or ()) == [full.first_timestamp_ms]
    assert full.first_timestamp_ms is not None


async def test_a_decoder_makes_the_same_of_records_whether_rows_were_made_on_the_way_in_or_not(
    world: WorldFactory,
) -> None:
    catalog = [column("id", "int8"), column("name", "text"), *(column(n, "int8") for n in ("part", "at"))]
    catalog.append(column("seen", "timestamptz"))
    places = [from_source("part", ColumnSource.PARTITION), from_source("at", ColumnSource.OFFSET)]
    spec = sink(from_path("id"), from_path("name"), *places, from_source("seen", ColumnSource.TIMESTAMP))
    table_plan, other_plan = plan(catalog, spec), plan(catalog[:1])
    values = [b'{"id":%d,"name":"n"}' % number for number in range(300)]
    values[7], values[8], values[9] = b"{", b'{"id":"x"}', b'{"id":1e1,"name":"\\u00e9"}'
    topic = world(2)
    reader = await join(topic, {0, 1})
    reader.source.set_wanted(wanted_parts(table_plan))
    await topic.produce(0, *values)
    await topic.produce(1, *values)
    await reader.begin(1, p0=0, p1=0)
    await reader.until(lambda: len(reader.offsets(0, 1)) == len(reader.offsets(1, 1)) == len(values))
    decoder, other = build_decoder(table_plan), build_decoder(other_plan)
    for chunk in (*reader.chunks[0], *reader.chunks[1]):
        plain = replace(chunk, rows=None)
        assert replace(other.decode(chunk), source=plain) == ReferenceDecoder(other_plan).decode(plain)
        assert (chunk.rows is not None) == topic.makes_rows
        assert replace(decoder.decode(chunk), source=plain) == ReferenceDecoder(table_plan).decode(plain)
    reader.source.set_wanted(wanted_parts(other_plan))
    before = len(reader.chunks[0])
    await reader.begin(2, p0=0)
    await reader.until(lambda: sum(len(chunk.values) for chunk in reader.chunks[0][before:]) == len(values))
    for chunk in reader.chunks[0][before:]:
        plain = replace(chunk, rows=None)
        assert replace(other.decode(chunk), source=plain) == ReferenceDecoder(other_plan).decode(plain)


async def test_cancelling_next_event_loses_nothing(world: WorldFactory) -> None:
    topic = world(1)
    reader = await join(topic, {0})
    await reader.begin(1, p0=0)
    waiting = asyncio.create_task(reader.source.next_event())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await topic.produce(0, b"a", b"b")
    await reader.until(lambda: reader.offsets(0, 1) == [0, 1])
    assert reader.offsets(0, 1) == [0, 1]


async def test_a_missing_topic_is_trouble_until_it_is_created(world: WorldFactory) -> None:
    topic = world(1, exists=False)
    source: Source = topic.make_source()
    reader = SourceReader(source)
    await source.start()
    await reader.until(lambda: reader.trouble is not None)
    assert "spec.source.topic" in reader.troubles[0]
    with pytest.raises(SourceUnavailable, match=r"spec\.source\.topic"):
        await source.topic_partitions()
    await topic.create()
    await reader.until(lambda: reader.trouble is None and reader.assigned == {0})
    assert await source.topic_partitions() == (0,)


async def test_a_topic_made_anew_has_another_id(world: WorldFactory) -> None:
    topic = world(2)
    source: Source = topic.make_source()
    await source.start()
    first = await source.topic_id()
    assert first is not None
    await topic.produce(0, b"a")
    assert await source.topic_id() == first
    await topic.make_anew()
    async with asyncio.timeout(15.0):
        while True:
            try:
                second = await source.topic_id()
            except SourceUnavailable:  # brokers hear of it one after the other
                continue
            if second != first:
                break
            await asyncio.sleep(0.05)
    assert second is not None


async def until_committed(world: World, partition: int, offset: int) -> None:
    """Wait until Kafka knows the position."""
    async with asyncio.timeout(15.0):
        while await world.committed(partition) != offset:  # noqa: ASYNC110  Kafka tells nobody of a commit
            await asyncio.sleep(0.05)
