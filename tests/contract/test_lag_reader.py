"""What every LagReader keeps: the fake of the unit tests and the real one on a real broker."""

from __future__ import annotations

import time
from typing import Protocol

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import LagUnavailable
from forebay_operator.kafka_lag import KafkaLag
from forebay_operator.model import GroupState, LagSample, PartitionOffsets
from forebay_operator.ports import LagReader
from support.fake_lag import FakeLag, FakeLog
from support.pipeline_builders import build_pipeline

DEADLINE_S = 60.0


class World(Protocol):
    """A topic of two partitions whose offsets a test moves. `pipeline` reads it, with a group of its own."""

    pipeline: Pipeline
    reader: LagReader

    def append(self, partition: int, records: int) -> None: ...
    def commit(self, partition: int, offset: int) -> None: ...
    def truncate(self, partition: int, before: int) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self.pipeline = build_pipeline(topic="two")
        self.fake = FakeLag()
        self.reader: LagReader = self.fake
        self.fake.topics["two"] = [FakeLog(), FakeLog()]

    def append(self, partition: int, records: int) -> None:
        self.fake.topics["two"][partition].end += records

    def commit(self, partition: int, offset: int) -> None:
        self.fake.topics["two"][partition].committed[self.pipeline.spec.source.group] = offset

    def truncate(self, partition: int, before: int) -> None:
        self.fake.topics["two"][partition].start = before


class RealWorld:
    def __init__(self, bootstrap: str, topic: str) -> None:
        self.pipeline = build_pipeline(topic=topic, brokers=bootstrap)
        self.reader: LagReader = KafkaLag()
        self._bootstrap, self._topic = bootstrap, topic

    def append(self, partition: int, records: int) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap})
        for _ in range(records):
            producer.produce(self._topic, value=b"{}", partition=partition)
        assert producer.flush(DEADLINE_S) == 0

    def commit(self, partition: int, offset: int) -> None:
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": self.pipeline.spec.source.group})
        consumer.commit(offsets=[TopicPartition(self._topic, partition, offset)], asynchronous=False)
        consumer.close()

    def truncate(self, partition: int, before: int) -> None:
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        place = TopicPartition(self._topic, partition, before)
        admin.delete_records([place])[place].result(DEADLINE_S)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "fake":
        return FakeWorld()
    kafka, topic = request.getfixturevalue("kafka"), request.getfixturevalue("topic")
    return RealWorld(kafka.bootstrap, topic(2))


async def read_complete(world: World) -> LagSample:
    """Read until every partition and the group answer: a new broker loads its coordinator first."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            sample = await world.reader.read_lag(world.pipeline)
            if sample.is_complete:
                return sample
        except LagUnavailable:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "no complete sample"


async def test_new_topic_without_a_group_is_complete_and_empty(world: World) -> None:
    sample = await read_complete(world)

    empty = PartitionOffsets(log_start=0, log_end=0, committed=None)
    assert sample.partitions == {0: empty, 1: empty}
    assert sample.group is not None
    assert (sample.group.state, sample.group.members) == (GroupState.EMPTY, 0)
    assert sample.is_complete


async def test_end_and_commit_are_those_of_each_partition(world: World) -> None:
    world.append(0, 7)
    world.append(1, 5)
    world.commit(1, 3)

    sample = await read_complete(world)

    assert sample.partitions == {
        0: PartitionOffsets(log_start=0, log_end=7, committed=None),
        1: PartitionOffsets(log_start=0, log_end=5, committed=3),
    }


async def test_removed_records_move_the_log_start(world: World) -> None:
    world.append(0, 7)
    world.commit(0, 2)
    world.truncate(0, 4)

    sample = await read_complete(world)

    assert sample.partitions[0] == PartitionOffsets(log_start=4, log_end=7, committed=2)


async def test_missing_topic_is_unavailable_with_a_remedy(world: World) -> None:
    brokers = world.pipeline.spec.source.bootstrap_servers

    with pytest.raises(LagUnavailable) as caught:
        await world.reader.read_lag(build_pipeline(topic="nowhere", brokers=brokers))

    assert caught.value.reason == "TopicMissing"
    assert "create it" in caught.value.message
