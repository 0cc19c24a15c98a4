"""How records leave Kafka's client: as Python messages, or packed by the native library. Used by the thread only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from confluent_kafka import Consumer, Message

from forebay_consumer.kafka_source.chunks import Failure, split_messages
from forebay_consumer.ports import Wanted
from forebay_consumer.records import RawChunk


class Polled(Protocol):
    """What one poll brought."""

    def __bool__(self) -> bool:
        """Whether it brought anything."""

    def split(self, claim_ids: Mapping[int, int]) -> tuple[list[RawChunk], list[Failure]]:
        """Chunks of the partitions in claim_ids (partition -> claim id), one each; records of others are dropped."""


class Intake(Protocol):
    """The way in of one client."""

    def attach(self, partition: int) -> None:
        """The partition's fetching has begun: its records come this way. Called before it is resumed."""

    def poll(self, records: int, wait_s: float, linger_s: float, wanted: Wanted) -> Polled:
        """What has arrived, at most so many; waits wait_s for the first record and linger_s for more.

        Runs the client's callbacks. Raises KafkaException (fatal).
        """

    def close(self) -> None:
        """Before the client is closed."""


class PythonPolled:
    """Messages of the Python client."""

    def __init__(self, messages: list[Message], wanted: Wanted) -> None:
        self._messages = messages
        self._wanted = wanted

    def __bool__(self) -> bool:
        return bool(self._messages)

    def split(self, claim_ids: Mapping[int, int]) -> tuple[list[RawChunk], list[Failure]]:
        """See Polled."""
        return split_messages(self._messages, claim_ids, self._wanted)


class PythonIntake:
    """By the Python client, an object a record: wherever the native way cannot be used."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def attach(self, partition: int) -> None:
        """Nothing to do: the client's own queue has everything."""

    def poll(self, records: int, wait_s: float, linger_s: float, wanted: Wanted) -> PythonPolled:
        """See Intake."""
        messages = self._consumer.consume(1, wait_s)
        if messages and records > 1:
            messages += self._consumer.consume(records - 1, linger_s)
        return PythonPolled(messages, wanted)

    def close(self) -> None:
        """Nothing to do."""
