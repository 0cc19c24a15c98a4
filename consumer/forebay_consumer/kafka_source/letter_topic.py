"""ports.LetterTopic on Kafka: a producer that lives from one trouble to the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from forebay_api.v1alpha1 import SourceSpec

from forebay_consumer.kafka_config import build_producer_config
from forebay_consumer.kafka_source.worker import read_properties
from forebay_consumer.letter_headers import build_letter_headers
from forebay_consumer.letters import StoredLetter
from forebay_consumer.ports import Delivery

WAIT_S = 0.2
"""How long one wait for answers lasts: close() is noticed between two."""

WAITS = 75
"""So many of them: longer than message.timeout.ms, which ends each record's attempt."""

_OF_ONE_RECORD = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})
"""Refusals that say nothing of the next record."""

_REMEDIES = {
    KafkaError._UNKNOWN_TOPIC: "create it, or correct spec.sink.deadLetters.topic",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create it, or correct spec.sink.deadLetters.topic",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow the user of spec.source.configSecretRef to write to it",
    KafkaError.MSG_SIZE_TOO_LARGE: "raise the topic's max.message.bytes, or purge the letter",
    KafkaError.INVALID_RECORD: "a compacted topic takes no record without a key; name another topic",
}


class KafkaLetterTopic:
    """See ports.LetterTopic. pipeline: `namespace/name`. config_dir: as for KafkaSource.

    Records get the time at which they are sent: a topic's retention counts from it, and a broker would delete those of
    old records the moment they arrive. The record's own time is a header.
    """

    def __init__(
        self, *, spec: SourceSpec, topic: str, pipeline: str, consumer_id: str, config_dir: Path | None
    ) -> None:
        self._spec = spec
        self._topic = topic
        self._pipeline = pipeline
        self._consumer_id = consumer_id
        self._config_dir = config_dir
        self._producer: Producer | None = None
        self._is_closing = threading.Event()

    async def deliver(self, letters: Sequence[StoredLetter]) -> Delivery:
        """See ports.LetterTopic."""
        return await asyncio.to_thread(self._deliver, letters)

    def close(self) -> None:
        """See ports.LetterTopic."""
        self._is_closing.set()

    def _deliver(self, letters: Sequence[StoredLetter]) -> Delivery:
        answers: dict[int, KafkaError | None] = {}
        try:
            producer = self._producer or self._make_producer()
            self._send(producer, letters, answers)
        except (KafkaException, OSError, ValueError) as error:  # UnicodeDecodeError is a ValueError
            self._producer = None
            trouble = f"spec.source.configSecretRef cannot be used to write dead letters: {error}"
            return Delivery(delivered=frozenset(), trouble=trouble, is_blocked=True)
        delivery = self._judge(letters, answers)
        if delivery.is_blocked:  # the next attempt reads the properties again, which may have been rotated
            producer.purge()
            self._producer = None
        return delivery

    def _make_producer(self) -> Producer:
        properties = read_properties(self._config_dir)
        config = build_producer_config(self._spec, properties, consumer_id=self._consumer_id)
        self._producer = Producer(dict(config))
        return self._producer

    def _send(self, producer: Producer, letters: Sequence[StoredLetter], answers: dict[int, KafkaError | None]) -> None:
        for letter in letters:
            try:
                producer.produce(
                    self._topic,
                    key=letter.key,
                    value=letter.value,
                    headers=build_letter_headers(letter, self._pipeline),  # type: ignore[arg-type]  # a list of pairs
                    on_delivery=partial(_note, answers, letter.id),
                )
            except KafkaException as error:
                answers[letter.id] = error.args[0]
            except BufferError:
                break  # the queue is full: the others are sent another time
        for _ in range(WAITS):
            if self._is_closing.is_set() or producer.flush(WAIT_S) == 0:
                return

    def _judge(self, letters: Sequence[StoredLetter], answers: dict[int, KafkaError | None]) -> Delivery:
        delivered = frozenset(letter_id for letter_id, error in answers.items() if error is None)
        errors = [error for error in answers.values() if error is not None]
        blocking = next((error for error in errors if error.code() not in _OF_ONE_RECORD), None)
        is_blocked = blocking is not None or (len(answers) < len(letters) and not answers)
        if len(delivered) == len(letters):
            return Delivery(delivered=delivered)
        error = blocking or next(iter(errors), None)
        what = "the brokers did not answer" if error is None else error.str()
        remedy = None if error is None else _REMEDIES.get(error.code())
        missing = len(letters) - len(delivered)
        trouble = f"spec.sink.deadLetters.topic: {missing} dead letters are not in {self._topic}: "
        return Delivery(
            delivered=delivered, trouble=trouble + what + (f"; {remedy}" if remedy else ""), is_blocked=is_blocked
        )


def _note(answers: dict[int, KafkaError | None], letter_id: int, error: KafkaError | None, _message: Message) -> None:
    answers[letter_id] = error
