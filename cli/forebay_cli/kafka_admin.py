"""The command line's door to Kafka: topics, offsets, members of a group. Everything blocks, with deadlines."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from forebay_cli.errors import Refused, UsageProblem
from forebay_cli.kafka_bounds import Bounds

_EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]

_COORDINATOR_STARTS = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
"""Answers of a broker that has just started; they pass."""

_NO_TOPIC_ID = "A" * 22
"""Sixteen zero bytes in base 64: brokers before 2.8 know of no ids."""

_PAUSE_S = 0.2

TIMEOUT_S = 15.0
"""For one request: a broker that is there answers within a second, one that just restarted within ten."""


def read_properties(folder: Path | None) -> dict[str, str]:
    """librdkafka properties of a Secret's folder, one file a key."""
    if folder is None:
        return {}
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: path.read_text(encoding="utf-8").strip() for path in files}


class KafkaAdmin:
    """One broker address. Raises Refused where Kafka does not answer or does not allow it."""

    def __init__(self, bootstrap: str, properties: Mapping[str, str] | None = None) -> None:
        self._bootstrap = bootstrap
        # The client stays in a variable as long as its futures live: on a temporary they hang for good.
        config: dict[str, Any] = {**(properties or {}), "bootstrap.servers": bootstrap, "log_level": 2}
        self._client = AdminClient(config)

    def create_topic(self, topic: str, partitions: int) -> bool:
        """False when it was there already."""
        future = self._client.create_topics(
            [NewTopic(topic, num_partitions=partitions, replication_factor=1)], request_timeout=TIMEOUT_S
        )[topic]
        try:
            future.result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return False
            raise self._refuse(error) from error
        return True

    def read_partitions(self, topic: str) -> tuple[int, ...]:
        """Ascending. Raises UsageProblem when the topic does not exist."""
        try:
            found = self._client.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        except KafkaException as error:
            raise self._refuse(error) from error
        if found.error is not None:
            raise UsageProblem(f"spec.source.topic: topic {topic!r} cannot be read: {found.error.str()}")
        return tuple(sorted(found.partitions))

    def read_topic_id(self, topic: str) -> str | None:
        """What tells the topic from others of the same name before and after it; None where brokers give no ids."""
        future = self._client.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)[topic]
        try:
            topic_id = str(future.result(TIMEOUT_S).topic_id)
        except KafkaException as error:
            raise self._refuse(error) from error
        return None if topic_id == _NO_TOPIC_ID else topic_id

    def read_bounds(self, topic: str, partitions: Iterable[int]) -> dict[int, Bounds]:
        """Log start and log end of each partition."""
        partitions = tuple(partitions)
        starts = self._list_offsets(topic, partitions, _EARLIEST)
        ends = self._list_offsets(topic, partitions, _LATEST)
        return {p: Bounds(log_start=starts[p], log_end=ends[p]) for p in partitions}

    def read_offsets_at(self, topic: str, partitions: Iterable[int], moment: datetime) -> dict[int, int]:
        """For each partition the first offset with this timestamp or a later one; its end where there is none."""
        partitions = tuple(partitions)
        found = self._list_offsets(topic, partitions, OffsetSpec.for_timestamp(int(moment.timestamp() * 1000)))
        ends = self._list_offsets(topic, partitions, _LATEST)
        return {p: found[p] if found[p] >= 0 else ends[p] for p in partitions}

    def read_members(self, group: str) -> tuple[str, ...]:
        """Client ids of the group's members; empty when nobody is there or the group was never used."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            future = self._client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
            try:
                return tuple(sorted(member.client_id for member in future.result(TIMEOUT_S).members))
            except KafkaException as error:
                code = error.args[0].code()
                if code == KafkaError.GROUP_ID_NOT_FOUND:
                    return ()
                if code not in _COORDINATOR_STARTS or time.monotonic() > deadline:
                    raise self._refuse(error) from error
            time.sleep(_PAUSE_S)

    def write_committed(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Move the group's offsets in Kafka, the mirror of the positions; only for a group without members."""
        wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        request = [ConsumerGroupTopicPartitions(group, wanted)]
        future = self._client.alter_consumer_group_offsets(request, request_timeout=TIMEOUT_S)[group]
        try:
            answers = future.result(TIMEOUT_S).topic_partitions
        except KafkaException as error:
            raise self._refuse(error) from error
        failed = [answer for answer in answers if answer.error is not None]
        if failed:
            raise Refused(f"Kafka did not take the offset of partition {failed[0].partition}: {failed[0].error}")

    def _list_offsets(self, topic: str, partitions: Iterable[int], which: OffsetSpec) -> dict[int, int]:
        request = {TopicPartition(topic, partition): which for partition in partitions}
        futures = self._client.list_offsets(request, request_timeout=TIMEOUT_S)
        try:
            return {place.partition: future.result(TIMEOUT_S).offset for place, future in futures.items()}
        except KafkaException as error:
            raise self._refuse(error) from error

    def _refuse(self, error: KafkaException) -> Refused:
        return Refused(f"Kafka at {self._bootstrap}: {error.args[0].str()}")
