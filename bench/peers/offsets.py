"""How far a topic goes, and how far a group says that it is. Never what counts as written: that is in the table."""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaException, TopicPartition

ASK_KAFKA_S = 10.0
NOBODY = "bench-offsets"


class Offsets:
    """Of one broker.

    Asked by consumers that never join: clients without a group, producers and those of the administration, crash in
    librdkafka when a broker does not answer for a while (librdkafka#5315), as on a machine that is far too busy.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._clients: dict[str, Consumer] = {}

    def read_committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the group's offsets in Kafka; nothing while Kafka does not say."""
        places = [TopicPartition(topic, partition) for partition in self.read_ends(topic)]
        try:
            found = self._choose_client(group).committed(places, ASK_KAFKA_S)
        except KafkaException:
            return {}
        return {place.partition: place.offset for place in found if place.error is None and place.offset >= 0}

    def has_drained(self, group: str, topic: str) -> bool:
        """Tell whether the group's offsets in Kafka are at the end: what has no row then is lost, not late."""
        committed, ends = self.read_committed(group, topic), self.read_ends(topic)
        return bool(ends) and all(committed.get(partition, 0) >= end for partition, end in ends.items())

    def read_ends(self, topic: str) -> dict[int, int]:
        """Return the end of each partition; nothing where there is no such topic, or while Kafka does not say."""
        client = self._choose_client(NOBODY)
        try:
            partitions = client.list_topics(topic, ASK_KAFKA_S).topics[topic].partitions
            return {
                partition: client.get_watermark_offsets(TopicPartition(topic, partition), ASK_KAFKA_S)[1]
                for partition in partitions
            }
        except KafkaException:
            return {}

    def count_records(self, topic: str) -> int:
        """Return the records of a topic that nothing was removed from; 0 where there is none."""
        return sum(self.read_ends(topic).values())

    def _choose_client(self, group: str) -> Consumer:
        if group not in self._clients:
            config = {"bootstrap.servers": self._bootstrap, "group.id": group, "enable.auto.commit": False}
            self._clients[group] = Consumer({**config, "log_level": 2})
        return self._clients[group]
