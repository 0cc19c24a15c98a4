"""Debezium's JDBC sink as it is set up here: the settings, each with its reason. Nothing here measures."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from forebay_cli.local.postgres_server import ConnectionParts

from bench.peers.connect_jars import ConnectJava
from bench.peers.connect_worker import ConnectWorker

PAYMENT_FIELDS: tuple[dict[str, object], ...] = (
    {"field": "id", "type": "int64"},
    {"field": "account", "type": "string"},
    {"field": "amount_cents", "type": "int64"},
    {"field": "currency", "type": "string"},
    {"field": "merchant", "type": "string"},
    {"field": "status", "type": "string"},
    {"field": "created_at", "type": "string"},
)
"""Of the payments' values. created_at stays text: with unnest the sink casts no parameter to a timestamp."""


OF_THE_PLACE = frozenset(
    {
        "bootstrap.servers",
        "collection.name.format",
        "connection.password",
        "connection.username",
        "name",
        "topics",
        "value.converter.schema.content",
    }
)
"""Properties that say where, not how."""


class InsertMode(StrEnum):
    """insert.mode."""

    INSERT = "insert"
    UPSERT = "upsert"


@dataclass(frozen=True, slots=True, kw_only=True)
class DebeziumSettings:
    """What varies between measurements; as a whole it is stored beside the figures."""

    mode: InsertMode
    key_fields: str = "id"
    """primary.key.fields; used by upsert only."""
    tasks: int = 1
    batch_size: int = 3000
    """batch.size, and the most that one poll brings (max.poll.records)."""
    unnest: bool = True
    """One INSERT ... SELECT unnest a batch, 5 to 10 times faster by its documentation."""
    reconnect: bool = True
    """connection.restart.on.errors. Its documentation leaves it off, and warns of loss with asynchronous replicas:
    a lost connection then stops the task, and a person has to start it again."""
    flush_retries: int = 60
    """flush.max.retries; by default 5, which is over before many a failover is."""
    flush_retry_delay_ms: int = 1000
    """flush.retry.delay.ms, the default."""
    offset_flush_ms: int = 5000
    """offset.flush.interval.ms of the worker. By default 60000: a crash then repeats a minute of records."""
    heap_mb: int = 1024
    """-Xmx of the worker."""
    optional: frozenset[str] = frozenset()
    """Fields of the values that the schema lets be null."""
    extra: dict[str, str] = field(default_factory=dict)
    """Further properties of the connector; they win."""


def build_schema(optional: frozenset[str]) -> dict[str, object]:
    """Return the schema of the values as JsonConverter reads it; required is its default."""
    fields = [{**each, "optional": True} if each["field"] in optional else each for each in PAYMENT_FIELDS]
    return {"type": "struct", "fields": fields}


def build_worker_properties(bootstrap: str, settings: DebeziumSettings) -> dict[str, str]:
    """Return the worker's: plain JSON by a schema of its own, offsets committed every offset_flush_ms."""
    return {
        "bootstrap.servers": bootstrap,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(build_schema(settings.optional), separators=(",", ":")),
        "offset.flush.interval.ms": str(settings.offset_flush_ms),
    }


def build_connector_properties(
    name: str, topic: str, table: str, database: ConnectionParts, settings: DebeziumSettings
) -> dict[str, str]:
    """Return the connector's. table: in the schema public."""
    key = {
        InsertMode.INSERT: {"primary.key.mode": "none"},
        InsertMode.UPSERT: {"primary.key.mode": "record_value", "primary.key.fields": settings.key_fields},
    }[settings.mode]
    return {
        "name": name,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": str(settings.tasks),
        "topics": topic,
        "connection.url": f"jdbc:postgresql://{database.host}:{database.port}/{database.dbname}"
        "?reWriteBatchedInserts=true&tcpKeepAlive=true",
        "connection.username": database.user,
        "connection.password": database.password,
        "insert.mode": settings.mode.value,
        **key,
        "collection.name.format": table,
        "schema.evolution": "none",
        "batch.size": str(settings.batch_size),
        "dialect.postgres.unnest.insert.enabled": str(settings.unnest).lower(),
        "connection.restart.on.errors": str(settings.reconnect).lower(),
        "flush.max.retries": str(settings.flush_retries),
        "flush.retry.delay.ms": str(settings.flush_retry_delay_ms),
        "consumer.override.auto.offset.reset": "earliest",
        "consumer.override.max.poll.records": str(settings.batch_size),
        "consumer.override.fetch.max.bytes": str(50 << 20),
        "consumer.override.max.partition.fetch.bytes": str(4 << 20),
        **settings.extra,
    }


def describe_settings(settings: DebeziumSettings) -> dict[str, str]:
    """Return the properties of worker and connector that are the same in every place."""
    nowhere = ConnectionParts(host="HOST", port=5432, dbname="DATABASE", user="", password="")
    connector = build_connector_properties("NAME", "TOPIC", "TABLE", nowhere, settings)
    made = {**build_worker_properties("BROKER", settings), **connector}
    return {name: value for name, value in made.items() if name not in OF_THE_PLACE}


def build_group(connector: str) -> str:
    """Return the consumer group that Connect gives a sink connector."""
    return f"connect-{connector}"


def build_worker(
    connect: ConnectJava,
    folder: Path,
    bootstrap: str,
    connector: dict[str, str],
    settings: DebeziumSettings,
    flags: tuple[str, ...] = (),
) -> ConnectWorker:
    """Return a worker with that connector, not started. folder: must exist. flags: further ones of the JVM."""
    worker = build_worker_properties(bootstrap, settings)
    return ConnectWorker(connect, folder, worker, connector, heap_mb=settings.heap_mb, flags=flags)
