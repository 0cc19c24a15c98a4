"""Kafka's errors -> what is wrong and what to do about it, in words that name the pipeline's fields."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from confluent_kafka import KafkaError
from forebay_api.v1alpha1 import SourceSpec

from forebay_consumer.kafka_source.codes import (
    BROKERS,
    CREDENTIALS,
    DAMAGED,
    GROUP,
    TOPIC_MISSING,
    TOPIC_REFUSED,
    UNSUPPORTED,
)


class TroubleKind(StrEnum):
    """What is in the way; decides what shows that it is gone."""

    BROKERS = "brokers"
    CREDENTIALS = "credentials"
    TOPIC = "topic"
    GROUP = "group"
    RECORDS = "records"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """message: for people, with the remedy."""

    kind: TroubleKind
    message: str


UNSUPPORTED_WORDS = ("not supported", "Inconsistent group protocol", "UNSUPPORTED_VERSION")
"""How librdkafka words a refused ConsumerGroupHeartbeat: the fatal error's own code hides the broker's."""


def describe_trouble(error: KafkaError, spec: SourceSpec) -> Trouble | None:
    """What the error means for the pipeline; None for one that the client gets over by itself."""
    code, detail = error.code(), error.str()
    if code in BROKERS:
        kind, text = (
            TroubleKind.BROKERS,
            (
                f"no broker of spec.source.bootstrapServers ({spec.bootstrap_servers}) can be used: {detail}; "
                "check the address, the network and TLS (security.protocol in spec.source.configSecretRef)"
            ),
        )
    elif code in CREDENTIALS:
        kind, text = (
            TroubleKind.CREDENTIALS,
            (
                f"the brokers refuse the credentials: {detail}; "
                "check sasl.* and security.protocol in spec.source.configSecretRef"
            ),
        )
    elif code in TOPIC_MISSING:
        kind, text = (
            TroubleKind.TOPIC,
            (f"topic {spec.topic} does not exist: {detail}; create it or correct spec.source.topic"),
        )
    elif code in TOPIC_REFUSED:
        kind, text = (
            TroubleKind.TOPIC,
            (
                f"topic {spec.topic} (spec.source.topic) may not be read: {detail}; "
                "grant Read and Describe on it to the user of spec.source.configSecretRef"
            ),
        )
    elif code in GROUP:
        kind, text = (
            TroubleKind.GROUP,
            (
                f"group {spec.group} (spec.source.group) cannot be joined: {detail}; "
                "grant Read on it, and let no other kind of consumer use it"
            ),
        )
    elif code in DAMAGED:
        kind, text = (
            TroubleKind.RECORDS,
            (
                f"records of topic {spec.topic} (spec.source.topic) cannot be read: {detail}; "
                "look at the brokers' logs, or move the position beyond them with `forebay positions reset`"
            ),
        )
    else:
        return None
    return Trouble(kind=kind, message=text)


def is_protocol_refused(error: KafkaError) -> bool:
    """The broker (or the group as it is) does not take the new group protocol."""
    return error.code() in UNSUPPORTED or any(words in error.str() for words in UNSUPPORTED_WORDS)
