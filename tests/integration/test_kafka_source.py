"""KafkaSource on a real broker: what a Kafka in memory cannot show."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import find_free_port
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_source import KafkaSource, worker
from forebay_consumer.kafka_source.lookups import SILENCE_S
from forebay_consumer.native import PackedBytes
from forebay_consumer.native.library import LIBRARY
from forebay_consumer.ports import Revoked
from support.forgetful_kafka import ForgetfulKafka, forgetful_kafka
from support.source_reader import SourceReader, make_receipt
from support.source_worlds import KafkaWorld
from support.testbed.servers import KafkaFactory

pytestmark = pytest.mark.integration

MakeWorld = Callable[..., KafkaWorld]
MakeFolder = Callable[..., Path]


@pytest.fixture
async def make_world() -> AsyncIterator[MakeWorld]:
    """make_world(broker, partitions): a topic and a group whose sources are closed afterwards."""
    made: list[KafkaWorld] = []

    def make(broker: KafkaServer, partitions: int = 1, *, exists: bool = True) -> KafkaWorld:
        made.append(KafkaWorld(broker.bootstrap, partitions, exists=exists))
        return made[-1]

    yield make
    for world in made:
        await world.close()


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """make_folder(group_protocol="classic"): a mounted Secret of client properties."""

    def make(**properties: str) -> Path:
        folder = tmp_path / f"secret{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, value in properties.items():
            (folder / name.replace("_", ".")).write_text(value + "\n")
        return folder

    return make


async def test_each_begin_under_load_starts_exactly_where_it_says(kafka: KafkaServer, make_world: MakeWorld) -> None:
    world = make_world(kafka, 3)
    for partition in range(3):
        await world.produce(partition, *[b"x" * 50] * 20_000)
    reader = SourceReader(world.make_source())
    await reader.source.start()
    await reader.until_owned({0, 1, 2})
    dice = random.Random(7)
    starts: dict[int, dict[int, int]] = {}
    for claim_id in range(30):
        starts[claim_id] = {p: dice.randrange(19_000) for p in range(3)}
        await reader.begin(claim_id, **{f"p{p}": offset for p, offset in starts[claim_id].items()})
        await reader.until_read(dice.randrange(3), claim_id, 1)
    for claim_id, offsets in starts.items():
        for partition, start in offsets.items():
            read = reader.offsets(partition, claim_id)
            assert read == list(range(start, start + len(read)))
    assert [c.claim_id for c in reader.chunks[0]] == sorted(c.claim_id for c in reader.chunks[0])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("classic", "classic", id="classic"),
        pytest.param("consumer", "consumer", id="consumer"),
        pytest.param("classic", None, id="classic-then-automatic"),
        pytest.param("consumer", "classic", id="consumer-then-classic"),
    ],
)
async def test_members_share_partitions_in_every_mix_of_protocols(
    kafka: KafkaServer, make_world: MakeWorld, make_folder: MakeFolder, first: str, second: str | None
) -> None:
    world = make_world(kafka, 4)
    one = SourceReader(world.make_source(config_dir=make_folder(group_protocol=first)))
    await one.source.start()
    await one.until_owned({0, 1, 2, 3})
    two = SourceReader(world.make_source(config_dir=make_folder(group_protocol=second) if second else None))
    await two.source.start()
    await asyncio.gather(one.until(lambda: len(one.assigned) == 2), two.until(lambda: len(two.assigned) == 2))
    assert one.assigned | two.assigned == {0, 1, 2, 3}
    await one.source.close(5.0)
    await two.until_owned({0, 1, 2, 3})


async def test_a_broker_without_the_new_protocol_is_joined_in_the_classic_one(
    own_kafka: KafkaFactory, make_world: MakeWorld
) -> None:
    broker = own_kafka(KafkaOptions(properties={"group.coordinator.rebalance.protocols": "classic"}))
    world = make_world(broker, 1)
    await world.produce(0, b"a")
    reader = SourceReader(world.make_source())
    await reader.source.start()
    await reader.until_owned({0})
    await reader.begin(1, p0=0)
    await reader.until(lambda: reader.offsets(0, 1) == [0])
    assert reader.troubles == []


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_full_buffer_keeps_the_membership_and_loses_nothing(
    kafka: KafkaServer, make_world: MakeWorld, make_folder: MakeFolder, protocol: str
) -> None:
    world = make_world(kafka, 2)
    for partition in (0, 1):
        await world.produce(partition, *[b"x" * 1000] * 3000)
    timers = {"session_timeout_ms": "6000", "heartbeat_interval_ms": "300"} if protocol == "classic" else {}
    folder = make_folder(group_protocol=protocol, max_poll_interval_ms="6000", **timers)
    reader = SourceReader(world.make_source(buffer_bytes=500_000, config_dir=folder), releases=False)
    await reader.source.start()
    await reader.until_owned({0, 1})
    await reader.begin(1, p0=0, p1=0)
    await reader.until_quiet(7.0)
    held = reader.size_bytes()
    assert held < 700_000
    released = 0
    while len(reader.offsets(0, 1)) + len(reader.offsets(1, 1)) < 6000:
        reader.source.release(held - released)
        released = held
        await reader.until_event()
        held = reader.size_bytes()
    assert reader.offsets(0, 1) == list(range(3000))
    assert reader.offsets(1, 1) == list(range(3000))
    assert not any(isinstance(event, Revoked) for event in reader.events)


@pytest.mark.parametrize("way", ["native", "python"])
async def test_records_without_a_byte_fill_the_buffer_too(
    kafka: KafkaServer, make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """They once counted nothing: read without bound while nothing was written, and a record a poll at last."""
    if way == "python":
        monkeypatch.setattr(worker, "make_native_intake", lambda *_: None)
    world = make_world(kafka, 1)
    await world.produce(0, *[b""] * 20_000)
    reader = SourceReader(world.make_source(buffer_bytes=400_000), releases=False)
    await reader.source.start()
    await reader.until_owned({0})
    await reader.begin(1, p0=0)
    await reader.until_read(0, 1, 1)
    await reader.until_quiet(1.0)
    assert len(reader.offsets(0, 1)) < 10_000
    released = 0
    while len(reader.offsets(0, 1)) < 20_000:
        held = reader.size_bytes()
        reader.source.release(held - released)
        released = held
        await reader.until_event()
    assert reader.offsets(0, 1) == list(range(20_000))
    assert len(reader.events) < 2_000


async def test_an_unreachable_broker_is_trouble_until_it_is_back(
    own_kafka: KafkaFactory, make_world: MakeWorld
) -> None:
    broker = own_kafka()
    world = make_world(broker, 1)
    await world.produce(0, b"a")
    broker.stop()
    reader = SourceReader(world.make_source())
    await reader.source.start()
    await reader.until(lambda: reader.trouble is not None)
    assert "spec.source.bootstrapServers" in reader.troubles[0]
    await asyncio.to_thread(broker.start)
    await reader.until(lambda: reader.trouble is None and reader.assigned == {0}, 60.0)
    await reader.begin(1, p0=0)
    await reader.until(lambda: reader.offsets(0, 1) == [0])


FORGETTINGS = 20
"""About every fourth client that is told of no brokers forgets for good; the others find back by themselves."""


@pytest.fixture
async def forgetful(own_kafka: KafkaFactory, make_world: MakeWorld) -> AsyncIterator[tuple[KafkaWorld, ForgetfulKafka]]:
    """A world with one partition, and the way to its broker that the fixture's proxy is."""
    behind, before = find_free_port(), find_free_port()
    broker = own_kafka(KafkaOptions(second_listener=(behind, before)))
    async with forgetful_kafka(before, behind) as proxy:
        yield make_world(broker, 1), proxy


async def test_a_client_for_questions_that_forgot_all_brokers_is_replaced(
    forgetful: tuple[KafkaWorld, ForgetfulKafka],
) -> None:
    """Else no question would be answered any more (librdkafka #5301), and without the topic's id nothing is written."""
    world, proxy = forgetful
    source = world.make_source(bootstrap=proxy.bootstrap)
    await source.start()
    topic_id = await source.topic_id()
    for _ in range(FORGETTINGS):
        proxy.is_forgetful = True
        with suppress(SourceUnavailable):
            await source.topic_id()
        proxy.is_forgetful = False
        started = time.monotonic()
        assert await _ask_until_answered(source) == topic_id
        if time.monotonic() - started > SILENCE_S:
            break


async def _ask_until_answered(source: KafkaSource) -> str | None:
    async with asyncio.timeout(60.0):
        while True:
            try:
                return await source.topic_id()
            except SourceUnavailable:
                await asyncio.sleep(0.5)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_member_that_forgot_all_brokers_is_replaced(
    forgetful: tuple[KafkaWorld, ForgetfulKafka], make_folder: MakeFolder, protocol: str
) -> None:
    world, proxy = forgetful
    quick = {"topic_metadata_refresh_interval_ms": "500"}
    if protocol == "classic":
        quick["session_timeout_ms"] = "6000"  # so long the dead one is the partition's owner
    folder = make_folder(group_protocol=protocol, **quick)
    reader = SourceReader(world.make_source(bootstrap=proxy.bootstrap, config_dir=folder))
    await reader.source.start()
    await reader.until_owned({0})
    await reader.begin(0, p0=0)
    for count in range(FORGETTINGS):
        given = reader.assignments
        await _forget_some(proxy)
        await world.produce(0, b"x")
        await reader.until(partial(_is_read_or_given, reader, count, given))
        if reader.assignments > given:
            await reader.begin(1, p0=count)
            await reader.until_read(0, 1, 1)
            break


async def _forget_some(proxy: ForgetfulKafka) -> None:
    before = proxy.forgotten
    proxy.is_forgetful = True
    assert await asyncio.to_thread(wait_until, lambda: proxy.forgotten >= before + 3, 30.0, 0.1)
    proxy.is_forgetful = False


def _is_read_or_given(reader: SourceReader, offset: int, given: int) -> bool:
    return offset in reader.offsets(0, 0) or reader.assignments > given


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_deleted_topic_is_trouble_until_it_is_made_anew(
    kafka: KafkaServer, make_world: MakeWorld, make_folder: MakeFolder, protocol: str
) -> None:
    world = make_world(kafka, 2)
    reader = SourceReader(world.make_source(config_dir=make_folder(group_protocol=protocol)))
    await reader.source.start()
    await reader.until_owned({0, 1})
    await reader.begin(1, p0=0, p1=0)
    await world.produce(0, b"a")
    await reader.until_read(0, 1, 1)
    await world.delete()
    await reader.until(lambda: not reader.assigned and "does not exist" in (reader.trouble or ""))
    await world.create()
    await reader.until(lambda: reader.trouble is None and reader.assigned == {0, 1})
    await world.produce(1, b"b", b"c")
    await reader.begin(2, p0=0, p1=0)
    await reader.until_read(1, 2, 2)
    assert (reader.offsets(0, 2), reader.offsets(1, 2)) == ([], [0, 1])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
async def test_a_killed_broker_is_read_on_after_its_restart(
    own_kafka: KafkaFactory, make_world: MakeWorld, make_folder: MakeFolder, protocol: str
) -> None:
    broker = own_kafka()
    world = make_world(broker, 1)
    await world.produce(0, b"a", b"b")
    reader = SourceReader(world.make_source(config_dir=make_folder(group_protocol=protocol)))
    await reader.source.start()
    await reader.until_owned({0})
    await reader.begin(1, p0=0)
    await reader.until(lambda: reader.offsets(0, 1) == [0, 1])
    broker.kill()
    await reader.until(lambda: reader.trouble is not None)
    await asyncio.to_thread(broker.start)
    await reader.until(lambda: reader.trouble is None and reader.assigned == {0}, 60.0)
    await world.produce(0, b"c")
    await reader.begin(2, p0=2)
    await reader.until(lambda: reader.offsets(0, 2) == [2])


async def test_close_does_not_outlast_its_deadline_when_the_broker_is_frozen(
    own_kafka: KafkaFactory, make_world: MakeWorld
) -> None:
    broker = own_kafka()
    world = make_world(broker, 1)
    reader = SourceReader(world.make_source())
    await reader.source.start()
    await reader.until_owned({0})
    reader.source.commit(make_receipt(p0=0))
    broker.freeze()
    started = time.monotonic()
    await reader.source.close(2.0)
    took_s = time.monotonic() - started
    broker.thaw()
    assert took_s < 5.0


async def test_records_reach_the_loop_within_milliseconds(kafka: KafkaServer, make_world: MakeWorld) -> None:
    world = make_world(kafka, 1)
    reader = SourceReader(world.make_source())
    await reader.source.start()
    await reader.until_owned({0})
    await reader.begin(1, p0=0)
    delays_s = []
    for count in range(1, 41):
        await world.produce(0, b"x")
        started = time.monotonic()
        await reader.until_read(0, 1, count)
        delays_s.append(time.monotonic() - started)
    assert sorted(delays_s)[len(delays_s) // 2] < 0.05


@pytest.mark.skipif(
    not LIBRARY.exists(), reason="rustc, which compiles the native library, was missing at installation"
)
async def test_values_stay_packed_until_somebody_asks_for_one(kafka: KafkaServer, make_world: MakeWorld) -> None:
    world = make_world(kafka, 2)
    await world.produce(0, b"a", b"", b"c")
    await world.produce(1, b"d")
    reader = SourceReader(world.make_source())
    await reader.source.start()
    await reader.until_owned({0, 1})

    await reader.begin(1, p0=0, p1=0)
    await reader.until(lambda: reader.offsets(0, 1) == [0, 1, 2] and reader.offsets(1, 1) == [0])

    assert all(isinstance(chunk.values, PackedBytes) for chunks in reader.chunks.values() for chunk in chunks)
    assert [value for chunk in reader.chunks[0] for value in chunk.values] == [b"a", b"", b"c"]
    assert sum(chunk.size_bytes for chunk in reader.chunks[0]) == 3
    assert all(chunk.first_timestamp_ms is not None for chunk in reader.chunks[0])


async def test_partitions_that_go_and_come_back_at_once_are_read(kafka: KafkaServer, make_world: MakeWorld) -> None:
    """librdkafka forgets where a partition's records go each time it stops fetching it, later than it is asked to."""
    world = make_world(kafka, 4)
    everything = {0, 1, 2, 3}
    first = SourceReader(world.make_source())
    await first.source.start()
    await first.until_owned(everything)
    sent = 0
    for turn in range(1, 6):
        await first.begin(2 * turn, p0=sent, p1=sent, p2=sent, p3=sent)
        second = SourceReader(world.make_source())
        await second.source.start()
        await asyncio.gather(
            first.until(lambda: len(first.assigned) == 2),
            second.until(lambda: len(second.assigned) == 2),  # noqa: B023  awaited in this turn
        )
        await second.source.close(5.0)
        await first.until_owned(everything)
        for partition in everything:
            await world.produce(partition, b"x", b"y")
        claim_id = 2 * turn + 1
        await first.begin(claim_id, p0=sent, p1=sent, p2=sent, p3=sent)
        for partition in everything:
            await first.until_read(partition, claim_id, 2)
            assert first.offsets(partition, claim_id) == [sent, sent + 1]
        sent += 2
