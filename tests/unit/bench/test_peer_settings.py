"""Debezium's settings for measurements, and how the cause of a stop is found in its trace."""

from __future__ import annotations

import json

import pytest
from forebay_cli.local.postgres_server import ConnectionParts

from bench.peers.debezium import (
    DebeziumSettings,
    InsertMode,
    build_connector_properties,
    build_worker_properties,
    describe_settings,
)
from bench.peers.sinks import find_cause

DATABASE = ConnectionParts(host="127.0.0.1", port=5432, dbname="bench", user="bench", password="secret")


@pytest.mark.parametrize(
    ("mode", "key_mode", "key_fields"),
    [
        pytest.param(InsertMode.INSERT, "none", None, id="insert-needs-no-key"),
        pytest.param(InsertMode.UPSERT, "record_value", "id", id="upsert-by-key-in-value"),
    ],
)
def test_connector_has_the_key_that_its_mode_needs(mode: InsertMode, key_mode: str, key_fields: str | None) -> None:
    made = build_connector_properties("sink", "topic", "table", DATABASE, DebeziumSettings(mode=mode))

    assert made["insert.mode"] == mode
    assert made["primary.key.mode"] == key_mode
    assert made.get("primary.key.fields") == key_fields


def test_connector_reconnects_unless_told_not_to() -> None:
    bold = DebeziumSettings(mode=InsertMode.UPSERT)
    cautious = DebeziumSettings(mode=InsertMode.UPSERT, reconnect=False)

    made = [build_connector_properties("sink", "topic", "table", DATABASE, each) for each in (bold, cautious)]

    assert [each["connection.restart.on.errors"] for each in made] == ["true", "false"]


def test_extra_properties_of_a_connector_win() -> None:
    settings = DebeziumSettings(mode=InsertMode.INSERT, extra={"batch.size": "7"})

    made = build_connector_properties("sink", "topic", "table", DATABASE, settings)

    assert made["batch.size"] == "7"


def test_worker_reads_plain_json_by_a_schema_of_its_own() -> None:
    made = build_worker_properties("127.0.0.1:9092", DebeziumSettings(mode=InsertMode.INSERT, offset_flush_ms=1234))

    fields = json.loads(made["value.converter.schema.content"])["fields"]
    assert [each["field"] for each in fields][:3] == ["id", "account", "amount_cents"]
    assert made["value.converter.schemas.enable"] == "true"
    assert made["offset.flush.interval.ms"] == "1234"


def test_described_settings_hold_how_and_not_where() -> None:
    described = describe_settings(DebeziumSettings(mode=InsertMode.UPSERT, flush_retries=9))

    assert described["flush.max.retries"] == "9"
    assert described["insert.mode"] == "upsert"
    assert not {"connection.password", "topics", "bootstrap.servers"} & described.keys()


def test_cause_of_a_stop_is_the_innermost() -> None:
    trace = "a.Outer: failed\n\tat a.b\nCaused by: a.Middle: again\n\tat a.c\nCaused by: a.Inner: the reason\n\tat a.d"

    assert find_cause(trace) == "a.Inner: the reason"
    assert find_cause("a.Only: this\n\tat a.b") == "a.Only: this"
