"""The consumer: one process that moves one Kafka topic's partitions into one PostgreSQL table, exactly once."""
