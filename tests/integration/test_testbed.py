"""The testbed's servers: they start, keep their data over every kind of end, and leave nothing behind."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient
from forebay_cli.local.kafka_server import KafkaServer
from support.testbed.servers import (
    TopicFactory,
)

pytestmark = pytest.mark.integration


def test_topic_factory_creates_the_partitions_asked_for(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(3)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert len(admin.list_topics(name, timeout=10).topics[name].partitions) == 3
