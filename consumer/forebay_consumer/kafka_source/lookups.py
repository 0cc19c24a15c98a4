"""Questions to the brokers: partitions, offsets, is the topic there. Asked by a client that no poll keeps waiting.

The AdminClient stays referenced until its answers are in: on one that is collected they never come. One that is not
answered for a while is replaced: it may have lost all addresses for good (see pulse.py).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from forebay_api.v1alpha1 import SourceSpec, StartFrom

from forebay_consumer.errors import SourceUnavailable
from forebay_consumer.kafka_config import ClientConfig
from forebay_consumer.kafka_source.codes import BROKERS
from forebay_consumer.kafka_source.trouble import describe_trouble

EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library lacks the annotation
LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # likewise

ANSWER_S = 10.0
"""Time for one question."""

NO_TOPIC_ID = "A" * 22
"""The id of sixteen zero bytes, in base 64: brokers before 2.8 know of no others."""

PROBE_S = 3.0
"""Time for the question whether the topic is there."""

SILENCE_S = ANSWER_S + 2.0
"""A client that was asked for the topic and not answered for so long is replaced. Longer than any question, so that one
to the client before the last is answered or given up when that is destroyed. Doubled each time up to LONGEST_SILENCE_S,
until one is answered: each client leaves some memory behind, and an outage may last for days."""

LONGEST_SILENCE_S = 120.0


log = logging.getLogger(__name__)


class Lookups:
    """Answers are awaited in the event loop, or polled by the thread (the methods that return futures)."""

    def __init__(self, spec: SourceSpec) -> None:
        self._spec = spec
        self._config: ClientConfig = {}
        self._admin: AdminClient | None = None
        self._former: AdminClient | None = None
        self._silent_since: float | None = None
        self._patience_s = SILENCE_S
        self._lock = threading.Lock()

    def connect(self, config: ClientConfig) -> None:
        """Use this configuration from now on. Raises KafkaException for a bad one."""
        with self._lock:
            self._replace(config)

    def ask_topic(self) -> Future[Any]:
        """Describe the topic. Raises SourceUnavailable when there is no client."""
        topic = self._spec.topic
        answer: Future[Any]
        answer = self._client().describe_topics(TopicCollection([topic]), request_timeout=PROBE_S)[topic]
        answer.add_done_callback(self._on_answer)
        return answer

    def ask_bounds(self, partitions: Iterable[int]) -> Mapping[int, tuple[Future[Any], Future[Any]]]:
        """Log start and end (last stable offset) of each partition."""
        wanted = list(partitions)
        starts = self._ask_offsets(wanted, EARLIEST)
        ends = self._ask_offsets(wanted, LATEST)
        return {p: (starts[p], ends[p]) for p in wanted}

    async def topic_partitions(self) -> tuple[int, ...]:
        """As Source.topic_partitions."""
        described = await self._answer(self.ask_topic())
        return tuple(sorted(partition.id for partition in described.partitions))

    async def topic_id(self) -> str | None:
        """As Source.topic_id. In base 64, as Kafka's own tools print it."""
        topic_id = str((await self._answer(self.ask_topic())).topic_id)
        return None if topic_id == NO_TOPIC_ID else topic_id

    async def resolve_start(self, start_from: StartFrom, partitions: Iterable[int]) -> Mapping[int, int]:
        """As Source.resolve_start."""
        bounds = await self.log_bounds(partitions)
        match start_from:
            case StartFrom.EARLIEST:
                return {p: start for p, (start, _) in bounds.items()}
            case StartFrom.LATEST:
                return {p: end for p, (_, end) in bounds.items()}
            case StartFrom.COMMITTED:
                committed = await self._committed(bounds)
                return {p: committed.get(p, start) for p, (start, _) in bounds.items()}

    async def log_bounds(self, partitions: Iterable[int]) -> Mapping[int, tuple[int, int]]:
        """As Source.log_bounds."""
        asked = self.ask_bounds(partitions)
        return {
            p: ((await self._answer(start)).offset, (await self._answer(end)).offset)
            for p, (start, end) in asked.items()
        }

    async def _committed(self, partitions: Iterable[int]) -> Mapping[int, int]:
        group = self._spec.group
        wanted = [TopicPartition(self._spec.topic, p) for p in partitions]
        if not wanted:
            return {}
        asked = self._client().list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=ANSWER_S
        )
        answer = await self._answer(asked[group])
        return {t.partition: t.offset for t in answer.topic_partitions if t.offset >= 0}

    def _ask_offsets(self, partitions: list[int], spec: OffsetSpec) -> Mapping[int, Future[Any]]:
        if not partitions:
            return {}
        answers = self._client().list_offsets(
            {TopicPartition(self._spec.topic, p): spec for p in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=ANSWER_S,
        )
        return {t.partition: future for t, future in answers.items()}

    async def _answer(self, future: Future[Any]) -> Any:
        """The answer. Never cancels the future: the client's own thread would fail at setting it."""
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_mark_retrieved)
        done, _ = await asyncio.wait({answer}, timeout=ANSWER_S + 1.0)
        if not done:
            raise SourceUnavailable(f"spec.source.bootstrapServers ({self._spec.bootstrap_servers}): no answer in time")
        try:
            return answer.result()
        except KafkaException as e:
            trouble = describe_trouble(e.args[0], self._spec)
            raise SourceUnavailable(trouble.message if trouble else f"Kafka refused: {e.args[0].str()}") from e

    def _client(self) -> AdminClient:
        with self._lock:
            if self._admin is None:
                raise SourceUnavailable(
                    "the configuration in spec.source.configSecretRef is not usable, or not yet read"
                )
            if self._silent_since is not None and time.monotonic() - self._silent_since >= self._patience_s:
                log.info("kafka client for questions was not answered, making a new one")
                self._patience_s = min(2 * self._patience_s, LONGEST_SILENCE_S)
                with suppress(KafkaException):  # as while a file that the configuration names is being changed
                    self._replace(self._config)
            return self._admin

    def _replace(self, config: ClientConfig) -> None:
        """The lock is held."""
        admin = AdminClient(dict(config))
        released, self._former, self._admin = [self._former], self._admin, admin
        # Whoever drops the last reference destroys it, which waits for its threads: neither the loop nor the poll may.
        threading.Thread(target=released.clear, name="kafka release", daemon=True).start()
        self._config, self._silent_since = config, None

    def _on_answer(self, answer: Future[Any]) -> None:
        """In the client's own thread. Of two clients' answers the newer one's may be forgotten: it is asked again."""
        error = answer.exception()
        if isinstance(error, KafkaException) and error.args[0].code() in BROKERS:
            self._silent_since = self._silent_since or time.monotonic()
        else:
            self._silent_since, self._patience_s = None, SILENCE_S


def _mark_retrieved(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()
