"""The demo: a wave of records through a real Kafka into a real PostgreSQL, and an audit of every single one."""
