"""The pipeline's source and the user's properties -> configuration of Kafka's client (librdkafka). Pure.

What must not live here: reading the folder, creating a client. Every setting of ours stands here with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from forebay_api.v1alpha1 import SourceSpec

from forebay_consumer.errors import BadConfig

ClientConfig = dict[str, str | int | bool]

MAX_PREFETCH_KIB = 32 * 1024
"""Bytes that librdkafka fetches ahead of us, in KiB: half a second at full speed, and small beside 300 MB a process."""

MIN_PREFETCH_KIB = 1024

PREFETCH_RECORDS = 100_000
"""Records fetched ahead: each costs librdkafka some 400 bytes beyond its value, which the limit in bytes ignores."""

OWNED: Mapping[str, str] = MappingProxyType(
    {
        "auto.offset.reset": "positions are kept in the database; spec.source.startFrom says where to begin",
        "bootstrap.servers": "set spec.source.bootstrapServers",
        "metadata.broker.list": "set spec.source.bootstrapServers",
        "client.id": "it is the consumer's own name",
        "enable.auto.commit": "positions are committed with the rows",
        "enable.auto.offset.store": "positions are committed with the rows",
        "enable.partition.eof": "it has no use here",
        "group.id": "set spec.source.group",
        "group.instance.id": "consumers come and go; a fixed identity would delay each change",
        "isolation.level": "records of aborted transactions must never reach the table",
        "partition.assignment.strategy": "partitions must move one by one",
        "queued.max.messages.kbytes": "memory is Forebay's to bound",
        "queued.min.messages": "memory is Forebay's to bound",
    }
)
"""Properties that Forebay sets itself, and why or what to set instead."""

LARGEST_RECORD_BYTES = 2**28

CLASSIC_ONLY = frozenset({"heartbeat.interval.ms", "session.timeout.ms", "group.protocol.type"})
"""The broker decides these for members that use the new group protocol; librdkafka refuses them there."""

ADMIN_PREFIXES = (
    "api.version",
    "broker.address",
    "broker.version",
    "client.dns",
    "enable.sasl",
    "enable.ssl",
    "https.",
    "sasl.",
    "security.",
    "socket.",
    "ssl.",
)
"""What questions to the brokers need besides their addresses; librdkafka complains about consumer settings there."""


class GroupProtocol(StrEnum):
    """How members of a group agree on partitions: by themselves (classic), or told by the broker (Kafka 4)."""

    CLASSIC = "classic"
    CONSUMER = "consumer"


def choose_protocol(properties: Mapping[str, str]) -> GroupProtocol | None:
    """The protocol that the user insists on; None: take the new one where the broker has it. Raises BadConfig."""
    asked = properties.get("group.protocol")
    if asked is None:
        return None
    try:
        return GroupProtocol(asked.lower())
    except ValueError:
        raise BadConfig(
            (f"spec.source.configSecretRef: group.protocol is {asked!r}; use classic or consumer",)
        ) from None


def check_properties(properties: Mapping[str, str]) -> None:
    """Refuse what Forebay owns and what contradicts itself. Raises BadConfig naming every such property."""
    problems = [
        f"spec.source.configSecretRef: remove {name}: {reason}" for name, reason in OWNED.items() if name in properties
    ]
    if choose_protocol(properties) is GroupProtocol.CONSUMER:
        problems.extend(
            f"spec.source.configSecretRef: {name} cannot be set with group.protocol=consumer: the broker decides it"
            for name in sorted(CLASSIC_ONLY & properties.keys())
        )
    if problems:
        raise BadConfig(tuple(problems))


def build_consumer_config(
    spec: SourceSpec,
    properties: Mapping[str, str],
    *,
    consumer_id: str,
    buffer_bytes: int,
    protocol: GroupProtocol,
) -> ClientConfig:
    """Configuration of the group's member. buffer_bytes: what the consumer holds; fetching ahead stays below it.

    Raises BadConfig.
    """
    check_properties(properties)
    prefetch_kib = max(MIN_PREFETCH_KIB, min(MAX_PREFETCH_KIB, buffer_bytes // 1024))
    config: ClientConfig = {
        # Ours, and changeable by the user.
        "fetch.wait.max.ms": 100,  # a partition that begins waits for the fetch under way
        "fetch.min.bytes": 1,  # a single record travels at once
        "fetch.queue.backoff.ms": 5,  # default 1000: a full queue would stop fetching for a second
        "fetch.error.backoff.ms": 200,
        "fetch.max.bytes": max(MIN_PREFETCH_KIB, prefetch_kib // 2) * 1024,  # one answer overshoots the queue's limit
        "topic.metadata.refresh.interval.ms": 10_000,  # notices new topics and partitions
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 2_000,  # default 10 s: a broker that is back should be used soon
        "allow.auto.create.topics": False,
        "log.connection.close": False,  # idle connections are closed all the time
        **_for_protocol(properties, protocol),
        # Ours alone.
        "bootstrap.servers": spec.bootstrap_servers,
        "client.id": consumer_id,
        "group.id": spec.group,
        "group.protocol": protocol.value,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # never jump silently over lost records
        "isolation.level": "read_committed",
        "queued.max.messages.kbytes": prefetch_kib,
        "queued.min.messages": PREFETCH_RECORDS,
    }
    if protocol is GroupProtocol.CLASSIC:
        config["partition.assignment.strategy"] = "cooperative-sticky"
    return config


def build_admin_config(spec: SourceSpec, properties: Mapping[str, str], *, consumer_id: str) -> ClientConfig:
    """Configuration of the client that asks for topics and offsets."""
    return {
        **{name: value for name, value in properties.items() if name.startswith(ADMIN_PREFIXES)},
        "bootstrap.servers": spec.bootstrap_servers,
        "client.id": consumer_id,
        "reconnect.backoff.max.ms": 2_000,
        "log_level": 0,  # the member of the group reports the same troubles
    }


def build_producer_config(spec: SourceSpec, properties: Mapping[str, str], *, consumer_id: str) -> ClientConfig:
    """Configuration of the client that copies dead letters to their topic."""
    return {
        **{name: value for name, value in properties.items() if name.startswith(ADMIN_PREFIXES)},
        "bootstrap.servers": spec.bootstrap_servers,
        "client.id": consumer_id,
        "acks": "all",
        "batch.num.messages": 1,  # brokers refuse a batch as a whole: one record must not take others with it
        "message.max.bytes": LARGEST_RECORD_BYTES,  # the topic decides what is too large, not the client
        "message.timeout.ms": 10_000,  # of one attempt; the letters stay where they are and are tried again
        "topic.metadata.propagation.max.ms": 5_000,  # a topic that is not there is told soon
        "reconnect.backoff.max.ms": 2_000,
        "log_level": 0,  # troubles are in /state
    }


def _for_protocol(properties: Mapping[str, str], protocol: GroupProtocol) -> ClientConfig:
    dropped = CLASSIC_ONLY if protocol is GroupProtocol.CONSUMER else frozenset()
    return {name: value for name, value in properties.items() if name not in dropped}
