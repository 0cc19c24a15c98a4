"""Reads lag and group state from Kafka; the only importer of confluent_kafka here.

KafkaException → LagUnavailable, or None for the partition that it is about.

librdkafka's admin requests to a group's coordinator have two defects, seen with 2.16; what is here avoids both.
One that times out while the coordinator loads crashes or hangs the process (librdkafka #4605, #5397): so commits are
read by a consumer that never subscribes, and the group is described only after the coordinator has just answered that.
And once a broker was away, they are never answered again by the same client: so that client is then replaced.
A third befalls every client: a broker that its controller takes for dead lists no brokers, and a client that is told so
forgets all addresses for good (#5301). So whichever is not answered for a while is replaced.
What must not live here: what lag means.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Timer
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
"""Of each request; a sample makes four rounds of them, so a Kafka that answers late takes at most so much longer."""

ROUNDS = 5
"""More than those of a sample."""

SILENCE_S = 15.0
"""Clients that were not answered for so long are replaced. Doubled each time up to eightfold, until one is answered:
each leaves some memory behind, and an outage may last for days."""

DESCRIBE_TIMEOUT_S = 60.0
"""The client's own timeout for describing a group, far from running out (see above); it is awaited less long."""

_QUIET = {
    "log_level": "2",  # librdkafka's own lines about refused connections; the condition says it once, in words
    "topic.metadata.refresh.interval.ms": "-1",  # every sample asks for what it needs
}

_SILENT = frozenset({"_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN"})

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
"""librdkafka properties (SASL, TLS) for a pipeline's brokers; with bootstrap.servers, they are for those alone."""


_Key = tuple[tuple[str, str], ...]


class KafkaLag:
    """LagReader over Kafka: two admin clients for each set of brokers and credentials, a consumer for each pipeline.

    The admin clients live as long as they are answered: destroying one with a request under way may hang.
    """

    def __init__(
        self,
        config_for: ClientConfig = lambda _: {},
        timeout_s: float = REQUEST_TIMEOUT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._config_for = config_for
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self._silent_since: dict[_Key, float] = {}
        self._patience_s: dict[_Key, float] = {}
        self._clients: dict[_Key, AdminClient] = {}
        self._groups: dict[str, tuple[_Key, str, Consumer]] = {}
        self._describers: dict[_Key, AdminClient] = {}
        self._abandoned: list[AdminClient] = []

    async def read_lag(self, pipeline: Pipeline) -> LagSample:
        """Partitions first, then commits and the group, then log starts and ends. Raises LagUnavailable."""
        source = pipeline.spec.source
        config = self._config(pipeline)
        try:
            client = self._client(config)
            partitions = await self._read_partitions(client, source.topic)
            self._on_answer(config)
            consumer = self._consumer(pipeline.key, config, source.group)
            commits = await self._read_commits(consumer, source.topic, partitions)
            group = await self._read_group(config, source.group, source.topic)
            starts, ends = await asyncio.gather(
                self._read_offsets(client, source.topic, partitions, _EARLIEST),
                self._read_offsets(client, source.topic, partitions, _LATEST),
            )
        except KafkaException as e:
            if _name(e) in _SILENT:
                self._doubt(config, pipeline.key)
            is_stranger = source.config_secret_ref is not None and not self._config_for(pipeline)
            raise _unavailable(e, source.bootstrap_servers, source.topic, is_stranger=is_stranger) from e
        offsets = {p: _join(starts[p], ends[p], commits, p) for p in partitions}
        return LagSample(taken_at=datetime.now(UTC), partitions=offsets, group=group)

    def _config(self, pipeline: Pipeline) -> _Key:
        brokers = pipeline.spec.source.bootstrap_servers
        return tuple(sorted({**_QUIET, "bootstrap.servers": brokers, **self._config_for(pipeline)}.items()))

    def _client(self, config: _Key) -> AdminClient:
        if config not in self._clients:
            self._clients[config] = AdminClient(dict(config))
        return self._clients[config]

    def _on_answer(self, config: _Key) -> None:
        self._silent_since.pop(config, None)
        self._patience_s.pop(config, None)

    def _doubt(self, config: _Key, pipeline: str) -> None:
        """Somebody did not answer: the brokers, or clients that have forgotten where they are."""
        self.forget(pipeline)
        now = time.monotonic()
        patience_s = self._patience_s.get(config, self._silence_s)
        if now - self._silent_since.setdefault(config, now) >= patience_s:
            del self._silent_since[config]
            self._patience_s[config] = min(2 * patience_s, 8 * self._silence_s)
            self._release(self._clients.pop(config, None))

    def _consumer(self, pipeline: str, config: _Key, group: str) -> Consumer:
        """Asks the group's coordinator for commits; it never joins the group."""
        if pipeline not in self._groups or self._groups[pipeline][:2] != (config, group):
            self.forget(pipeline)
            own = {"group.id": group, "enable.auto.commit": False, "allow.auto.create.topics": False}
            self._groups[pipeline] = (config, group, Consumer({**dict(config), **own}))
        return self._groups[pipeline][2]

    def forget(self, pipeline: str) -> None:
        """Let go of what only this pipeline (its key) needed. Returns at once."""
        self._release(self._groups.pop(pipeline, None))

    def _release(self, clients: object) -> None:
        """Whoever drops the last reference destroys a client, which waits for its threads: a thread of its own.

        Later, when whoever asks by it now, or looks at why that failed, has let go of it.
        """
        held = [clients]
        if clients is not None:
            timer = Timer(ROUNDS * self._timeout_s, held.clear)
            timer.daemon = True
            timer.start()

    async def _read_partitions(self, client: AdminClient, topic: str) -> tuple[int, ...]:
        futures = client.describe_topics(TopicCollection([topic]), request_timeout=self._timeout_s)
        description = await asyncio.wrap_future(futures[topic])
        return tuple(sorted(p.id for p in description.partitions))

    async def _read_commits(
        self, consumer: Consumer, topic: str, partitions: tuple[int, ...]
    ) -> Mapping[int, int | None]:
        """Partition → commit, None if there is none; a partition whose answer is missing has no key."""
        asked = [TopicPartition(topic, p) for p in partitions]
        answer = await asyncio.to_thread(consumer.committed, asked, self._timeout_s)
        return {tp.partition: tp.offset if tp.offset >= 0 else None for tp in answer if tp.error is None}

    async def _read_group(self, config: _Key, group: str, topic: str) -> GroupView | None:
        """None when the group could not be described in time; another client is then used from the next time on."""
        if config not in self._describers:
            self._describers[config] = AdminClient(dict(config))
        client = self._describers[config]
        answers = client.describe_consumer_groups([group], request_timeout=DESCRIBE_TIMEOUT_S)
        answer = asyncio.wrap_future(answers[group])
        done, _ = await asyncio.wait([answer], timeout=self._timeout_s)
        if not done:
            answer.add_done_callback(_ignore)
            self._abandon(config, client)
            return None
        try:
            return _view(await answer, topic)
        except KafkaException as e:
            return GroupView(state=GroupState.EMPTY, members=0) if _name(e) == _MISSING_GROUP else None

    def _abandon(self, config: _Key, client: AdminClient) -> None:
        """About once for each restart of a coordinator; kept, because destroying it now may hang."""
        if self._describers.get(config) is client:
            self._abandoned.append(self._describers.pop(config))

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


def _ignore(answer: asyncio.Future[Any]) -> None:
    """Take what came too late, so that asyncio does not warn of an error that nobody asked for."""
    if not answer.cancelled():
        answer.exception()


def _view(description: Any, topic: str) -> GroupView:
    assignment = {
        f"{member.client_id} {member.member_id}": tuple(
            sorted(tp.partition for tp in member.assignment.topic_partitions if tp.topic == topic)
        )
        for member in description.members
    }
    state = _STATES.get(description.state, GroupState.UNKNOWN)
    return GroupView(state=state, members=len(description.members), assignment=assignment)


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
    "_AUTHENTICATION": (
        "NotAuthenticated",
        "{brokers} refuses the operator's own Kafka credentials: correct the Secret that the chart's kafkaClients name",
    ),
    "_SSL": ("TlsFailed", "TLS with {brokers} failed: check the CA and the listener's protocol"),
}


_STRANGER = (
    "NoCredentials",
    "Kafka at {brokers} did not answer: the pipeline's consumers sign in by spec.source.configSecretRef, the operator "
    "has no credentials for these brokers: name a Secret in the chart's kafkaClients",
)
"""A listener that wants a password does not say so to a client that has none: the connection just ends."""


def _unavailable(problem: KafkaException, brokers: str, topic: str, *, is_stranger: bool) -> LagUnavailable:
    """is_stranger: the pipeline's consumers have credentials, and the operator has none."""
    name = _name(problem)
    silent = ("KafkaUnreachable", "Kafka at {brokers} did not answer (" + name.lstrip("_") + ")")
    reason, message = _REMEDIES.get(name, _STRANGER if is_stranger else silent)
    return LagUnavailable(reason=reason, message=message.format(brokers=brokers, topic=topic))
