"""The two worlds in which the contract of ports.Source is tested: a Kafka in memory, and a real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from forebay_api.v1alpha1 import SourceSpec
from forebay_consumer.kafka_source import KafkaSource
from forebay_consumer.ports import Source
from support.fake_source import FakeKafka, FakeSource
from support.testbed.servers import create_topic, unique_name

ANSWER_S = 60.0


class World(Protocol):
    """One topic and one group, and members of it. makes_rows: members do it on the way in (RawChunk.rows)."""

    makes_rows: bool

    def make_source(self, *, buffer_bytes: int = 2**20) -> Source:
        """A member that has not started."""

    async def produce(self, partition: int, *values: bytes, key: bytes | None = None) -> None:
        """Append records; returns when the broker has them. They carry the header h=1."""

    async def delete_before(self, partition: int, offset: int) -> None:
        """Retention."""

    async def create(self) -> None:
        """Make the topic of a world that began without."""

    async def make_anew(self) -> None:
        """Delete the topic, and make another of its name."""

    async def committed(self, partition: int) -> int | None:
        """The group's offset in Kafka."""

    async def close(self) -> None:
        """Close every source made."""


WorldFactory = Callable[..., World]


class FakeWorld:
    """In memory."""

    def __init__(self, partitions: int, *, exists: bool = True) -> None:
        self.kafka = FakeKafka(partitions, exists=exists)
        self.makes_rows = False

    def make_source(self, *, buffer_bytes: int = 2**20) -> Source:
        """As World.make_source."""
        return FakeSource(self.kafka, buffer_bytes=buffer_bytes)

    async def produce(self, partition: int, *values: bytes, key: bytes | None = None) -> None:
        """As World.produce."""
        self.kafka.produce(partition, *values, key=key, timestamp_ms=1, headers=(("h", b"1"),))

    async def delete_before(self, partition: int, offset: int) -> None:
        """As World.delete_before."""
        self.kafka.delete_before(partition, offset)

    async def create(self) -> None:
        """As World.create."""
        self.kafka.create()

    async def make_anew(self) -> None:
        """As World.make_anew."""
        self.kafka.make_anew()

    async def committed(self, partition: int) -> int | None:
        """As World.committed."""
        return self.kafka.committed.get(partition)

    async def close(self) -> None:
        """As World.close."""


class KafkaWorld:
    """A topic and a group of a real broker."""

    def __init__(self, bootstrap: str, partitions: int, *, exists: bool = True) -> None:
        self.makes_rows = False
        self.spec = SourceSpec(bootstrap_servers=bootstrap, topic=unique_name("source"), group=unique_name("group"))
        self._partitions = partitions
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self._producer: Producer | None = None
        self._sources: list[KafkaSource] = []
        if exists:
            create_topic(bootstrap, self.spec.topic, partitions)

    def make_source(
        self, *, buffer_bytes: int = 2**20, config_dir: Path | None = None, bootstrap: str | None = None
    ) -> KafkaSource:
        """As World.make_source. config_dir: folder of client properties, as a Secret would be mounted.

        bootstrap: another way to the broker.
        """
        spec = replace(self.spec, bootstrap_servers=bootstrap or self.spec.bootstrap_servers)
        source = KafkaSource(
            spec=spec, consumer_id=f"member-{len(self._sources)}", buffer_bytes=buffer_bytes, config_dir=config_dir
        )
        self._sources.append(source)
        return source

    async def produce(self, partition: int, *values: bytes, key: bytes | None = None) -> None:
        """As World.produce."""
        if self._producer is None:
            self._producer = Producer({"bootstrap.servers": self.spec.bootstrap_servers, "linger.ms": 0})
        for value in values:
            self._producer.produce(self.spec.topic, value, key, partition, headers=[("h", b"1")])
        left = await asyncio.to_thread(self._producer.flush, ANSWER_S)
        assert left == 0

    async def delete_before(self, partition: int, offset: int) -> None:
        """As World.delete_before."""
        top = TopicPartition(self.spec.topic, partition, offset)
        await asyncio.to_thread(self.admin.delete_records([top])[top].result, ANSWER_S)

    async def create(self) -> None:
        """As World.create."""
        await asyncio.to_thread(create_topic, self.spec.bootstrap_servers, self.spec.topic, self._partitions)

    async def make_anew(self) -> None:
        """As World.make_anew."""
        await self.delete()
        await self.create()

    async def delete(self) -> None:
        """Delete the topic."""
        await asyncio.to_thread(self.admin.delete_topics([self.spec.topic])[self.spec.topic].result, ANSWER_S)
        self._producer = None  # it would go on with what it knew of the topic

    async def committed(self, partition: int) -> int | None:
        """As World.committed."""
        group, top = self.spec.group, TopicPartition(self.spec.topic, partition)
        asked = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [top])])[group]
        answer = await asyncio.to_thread(asked.result, ANSWER_S)
        offset: int = answer.topic_partitions[0].offset
        return offset if offset >= 0 else None

    async def close(self) -> None:
        """As World.close."""
        for source in self._sources:
            await source.close(5.0)
