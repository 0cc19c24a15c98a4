"""The consumer's side of Kafka: a member of the group, run by one thread. The only importer of confluent_kafka.

source.py is what the pipeline calls (event loop), worker.py the thread, session.py one client's life in the group;
letter_topic.py writes dead letters to their topic, with a client of its own.
"""

from forebay_consumer.kafka_source.letter_topic import KafkaLetterTopic
from forebay_consumer.kafka_source.source import KafkaSource

__all__ = ["KafkaLetterTopic", "KafkaSource"]
