"""How far a topic goes, and how far a group says that it is. Never what counts as written: that is in the table."""

from __future__ import annotations

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient
from forebay_cli.errors import ForebayError
from forebay_cli.kafka_admin import KafkaAdmin

ASK_KAFKA_S = 10.0


def read_committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Return the group's offsets in Kafka; nothing while Kafka does not say."""
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})  # many of them in a row: no chatter
    future = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
    try:
        found = future.result(ASK_KAFKA_S).topic_partitions
    except KafkaException:
        return {}
    return {each.partition: each.offset for each in found if each.topic == topic}


def has_drained(bootstrap: str, group: str, topic: str) -> bool:
    """Tell whether the group's offsets in Kafka are at the end: what has no row then is lost, not late."""
    committed = read_committed(bootstrap, group, topic)
    return all(committed.get(partition, 0) >= end for partition, end in read_ends(bootstrap, topic).items())


def read_ends(bootstrap: str, topic: str) -> dict[int, int]:
    """Return the end of each partition. Raises ForebayError."""
    admin = KafkaAdmin(bootstrap)
    bounds = admin.read_bounds(topic, admin.read_partitions(topic))
    return {partition: each.log_end for partition, each in bounds.items()}


def count_records(bootstrap: str, topic: str) -> int:
    """Return the records of a topic that nothing was removed from; 0 where there is none."""
    try:
        return sum(read_ends(bootstrap, topic).values())
    except ForebayError:
        return 0
