"""How far a topic goes, and how far a group says that it is. Never what counts as written: that is in the table."""

from __future__ import annotations

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient
from forebay_cli.errors import ForebayError
from forebay_cli.kafka_admin import KafkaAdmin

ASK_KAFKA_S = 10.0


class Offsets:
    """Of one broker. Keep it: clients that come and go several times a second have crashed the process."""

    def __init__(self, bootstrap: str) -> None:
        self._client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
        self._topics = KafkaAdmin(bootstrap)

    def read_committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the group's offsets in Kafka; nothing while Kafka does not say."""
        future = self._client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
        try:
            found = future.result(ASK_KAFKA_S).topic_partitions
        except KafkaException:
            return {}
        return {each.partition: each.offset for each in found if each.topic == topic}

    def has_drained(self, group: str, topic: str) -> bool:
        """Tell whether the group's offsets in Kafka are at the end: what has no row then is lost, not late."""
        committed = self.read_committed(group, topic)
        return all(committed.get(partition, 0) >= end for partition, end in self.read_ends(topic).items())

    def read_ends(self, topic: str) -> dict[int, int]:
        """Return the end of each partition. Raises ForebayError."""
        bounds = self._topics.read_bounds(topic, self._topics.read_partitions(topic))
        return {partition: each.log_end for partition, each in bounds.items()}

    def count_records(self, topic: str) -> int:
        """Return the records of a topic that nothing was removed from; 0 where there is none."""
        try:
            return sum(self.read_ends(topic).values())
        except ForebayError:
            return 0
