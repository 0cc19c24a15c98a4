"""The consumer's side of Kafka: a member of the group, run by one thread. The only importer of confluent_kafka.

source.py is what the pipeline calls (event loop), worker.py the thread, session.py one client's life in the group.
"""

from forebay_consumer.kafka_source.source import KafkaSource

__all__ = ["KafkaSource"]
