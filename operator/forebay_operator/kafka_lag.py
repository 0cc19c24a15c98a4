"""Reads lag and group state from Kafka; the only importer of confluent_kafka here.

KafkaException → LagUnavailable, or None for the partition that it is about.
What must not live here: what lag means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # confluent_kafka.admin has it, but does not declare it
from forebay_api.v1alpha1 import Pipeline

from forebay_operator.errors import LagUnavailable
from forebay_operator.model import GroupState, GroupView, LagSample, PartitionOffsets

REQUEST_TIMEOUT_S = 5.0
"""Of each request; the three rounds of a sample overlap little, so a sample takes at most three times as long."""

_QUIET = {
    "log_level": "2",  # librdkafka's own lines about refused connections; the condition says it once, in words
    "topic.metadata.refresh.interval.ms": "-1",  # every sample asks for what it needs
}

_MISSING_GROUP = "GROUP_ID_NOT_FOUND"

_STATES = {
    ConsumerGroupState.STABLE: GroupState.STABLE,
    ConsumerGroupState.EMPTY: GroupState.EMPTY,
    ConsumerGroupState.DEAD: GroupState.EMPTY,
    ConsumerGroupState.PREPARING_REBALANCING: GroupState.REBALANCING,
    ConsumerGroupState.COMPLETING_REBALANCING: GroupState.REBALANCING,
}

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the client's own gap in types
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # likewise

ClientConfig = Callable[[Pipeline], Mapping[str, str]]
"""librdkafka properties (SASL, TLS) for a pipeline's brokers, without bootstrap.servers."""

ConfigKey = tuple[tuple[str, str], ...]


class KafkaLag:
    """LagReader over Kafka's admin protocol. One client for each set of brokers and credentials."""

    def __init__(self, config_for: ClientConfig = lambda _: {}, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._config_for = config_for
        self._timeout_s = timeout_s
        self._clients: dict[ConfigKey, AdminClient] = {}
        self._commit_readers: dict[ConfigKey, Consumer] = {}

    async def read_lag(self, pipeline: Pipeline) -> LagSample:
        """Partitions first, then commits and the group, then log starts and ends. Raises LagUnavailable."""
        source = pipeline.spec.source
        try:
            client = self._client(pipeline)
            partitions = await self._read_partitions(client, source.topic)
            commits, group = await asyncio.gather(
                self._read_commits(pipeline, source.topic, partitions),
                self._read_group(client, source.group, source.topic),
            )
            starts, ends = await asyncio.gather(
                self._read_offsets(client, source.topic, partitions, _EARLIEST),
                self._read_offsets(client, source.topic, partitions, _LATEST),
            )
        except KafkaException as e:
            raise _unavailable(e, source.bootstrap_servers, source.topic) from e
        offsets = {p: _join(starts[p], ends[p], commits, p) for p in partitions}
        return LagSample(taken_at=datetime.now(UTC), partitions=offsets, group=group)

    def _client(self, pipeline: Pipeline) -> AdminClient:
        config = self._config(pipeline)
        key = _key(config)
        if key not in self._clients:
            self._clients[key] = AdminClient(config)
        return self._clients[key]

    def _config(self, pipeline: Pipeline) -> dict[str, str | int | float | bool]:
        return {
            **_QUIET,
            **self._config_for(pipeline),
            "bootstrap.servers": pipeline.spec.source.bootstrap_servers,
        }

    async def _read_partitions(self, client: AdminClient, topic: str) -> tuple[int, ...]:
        futures = client.describe_topics(TopicCollection([topic]), request_timeout=self._timeout_s)
        description = await asyncio.wrap_future(futures[topic])
        return tuple(sorted(p.id for p in description.partitions))

    async def _read_commits(
        self, pipeline: Pipeline, topic: str, partitions: tuple[int, ...]
    ) -> Mapping[int, int | None]:
        """Partition → commit, None if there is none; a partition whose answer is missing has no key.

        Asked through a consumer that never joins the group: AdminClient.list_consumer_group_offsets kills the process
        with SIGSEGV when the coordinator has moved or is just starting (librdkafka#5040: it asks a group handle that an
        admin client does not have to find the coordinator again).
        """
        reader = self._commit_reader(pipeline)
        asked = [TopicPartition(topic, p) for p in partitions]
        answer = await asyncio.to_thread(reader.committed, asked, self._timeout_s)
        found = (tp for tp in answer if tp.error is None)
        return {tp.partition: tp.offset if tp.offset >= 0 else None for tp in found}

    def _commit_reader(self, pipeline: Pipeline) -> Consumer:
        config = {**self._config(pipeline), "group.id": pipeline.spec.source.group, "enable.auto.commit": "false"}
        key = _key(config)
        if key not in self._commit_readers:
            self._commit_readers[key] = Consumer(config)
        return self._commit_readers[key]

    async def _read_group(self, client: AdminClient, group: str, topic: str) -> GroupView | None:
        futures = client.describe_consumer_groups([group], request_timeout=self._timeout_s)
        try:
            description = await asyncio.wrap_future(futures[group])
        except KafkaException as e:
            if _name(e) == _MISSING_GROUP:
                return GroupView(state=GroupState.EMPTY, members=0)
            return None
        assignment = {
            f"{member.client_id} {member.member_id}": tuple(
                sorted(tp.partition for tp in member.assignment.topic_partitions if tp.topic == topic)
            )
            for member in description.members
        }
        state = _STATES.get(description.state, GroupState.UNKNOWN)
        return GroupView(state=state, members=len(description.members), assignment=assignment)

    async def _read_offsets(
        self, client: AdminClient, topic: str, partitions: tuple[int, ...], spec: OffsetSpec
    ) -> Mapping[int, int | None]:
        """Partition → offset, None where the answer is missing. Ends are the last stable ones."""
        futures = client.list_offsets(
            {TopicPartition(topic, p): spec for p in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=self._timeout_s,
        )
        pairs = [(tp.partition, asyncio.wrap_future(future)) for tp, future in futures.items()]
        answers = await asyncio.gather(*(future for _, future in pairs), return_exceptions=True)
        return {p: _offset(answer) for (p, _), answer in zip(pairs, answers, strict=True)}


def _key(config: Mapping[str, object]) -> ConfigKey:
    return tuple(sorted((name, str(value)) for name, value in config.items()))


def _offset(answer: Any) -> int | None:
    """An offset, None for an error about this partition; anything else is a defect and is raised."""
    if isinstance(answer, KafkaException):
        return None
    if isinstance(answer, BaseException):
        raise answer
    offset: int = answer.offset
    return offset if offset >= 0 else None


def _join(
    start: int | None, end: int | None, commits: Mapping[int, int | None], partition: int
) -> PartitionOffsets | None:
    if start is None or end is None or partition not in commits:
        return None
    return PartitionOffsets(log_start=start, log_end=end, committed=commits[partition])


def _name(problem: KafkaException) -> str:
    error = problem.args[0]
    return str(error.name()) if isinstance(error, KafkaError) else type(problem).__name__


_REMEDIES = {
    "UNKNOWN_TOPIC_OR_PART": ("TopicMissing", "topic {topic} does not exist at {brokers}: create it"),
    "TOPIC_AUTHORIZATION_FAILED": ("NotAuthorized", "reading topic {topic} is refused: grant Describe on it"),
    "GROUP_AUTHORIZATION_FAILED": ("NotAuthorized", "reading the group's offsets is refused: grant Describe on it"),
    "_AUTHENTICATION": ("NotAuthenticated", "{brokers} refuses the operator's Kafka credentials"),
    "_SSL": ("TlsFailed", "TLS with {brokers} failed: check the CA and the listener's protocol"),
}


def _unavailable(problem: KafkaException, brokers: str, topic: str) -> LagUnavailable:
    name = _name(problem)
    default = ("KafkaUnreachable", "Kafka at {brokers} did not answer (" + name.lstrip("_") + ")")
    reason, message = _REMEDIES.get(name, default)
    return LagUnavailable(reason=reason, message=message.format(brokers=brokers, topic=topic))
