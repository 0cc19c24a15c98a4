"""/metrics: parsed as Prometheus does, compared with the state that it is made of; and the log's lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from forebay_api.state import (
    ConsumerState,
    DeadLetterState,
    PartitionReport,
    PartitionState,
    Phase,
    SinkHealth,
    SinkState,
    Totals,
)
from forebay_api.wire import Metric
from forebay_consumer.logs import configure_logs
from forebay_consumer.records import Reason
from forebay_consumer.telemetry import Telemetry
from prometheus_client.parser import text_string_to_metric_families
from support.chunks import receipt

STATE = ConsumerState(
    consumer="c-1",
    pipeline="bank/payments",
    phase=Phase.RUNNING,
    sink=SinkState(health=SinkHealth.READY),
    partitions=(PartitionReport(partition=3, state=PartitionState.RUNNING, epoch=2, next_offset=7),),
    totals=Totals(**{each.name: number for number, each in enumerate(fields(Totals), start=1)}),
    busy_fraction=0.25,
    records_per_second=3.5,
    oldest_unwritten_s=1.5,
    buffered_bytes=400,
    paused_because=None,
    source_message=None,
    uptime_s=12.0,
    dead_letters=DeadLetterState(mirrored=21, purged=22, unmirrored=3, oldest_unmirrored_s=7.5, message="no topic"),
)


def samples_of(telemetry: Telemetry) -> dict[str, float]:
    """Samples without labels by name."""
    families = text_string_to_metric_families(telemetry.render().decode())
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def test_metrics_agree_with_the_state() -> None:
    found = samples_of(Telemetry(lambda: STATE))
    totals = STATE.totals
    expected = {
        Metric.RECORDS: totals.records,
        Metric.ROWS: totals.rows,
        Metric.BYTES: totals.record_bytes,
        Metric.LETTERS_MIRRORED: 21,
        Metric.LETTERS_PURGED: 22,
        Metric.LETTERS_UNMIRRORED: 3,
        Metric.OLDEST_UNMIRRORED_SECONDS: 7.5,
        Metric.LETTERS_TROUBLED: 1,
        Metric.TRANSACTIONS: totals.transactions,
        Metric.RETRIES: totals.retries,
        Metric.FENCED: totals.fenced,
        Metric.CLAIMS: totals.claims,
        Metric.REWOUND: totals.rewound_records,
        Metric.OFFSET_GAPS: totals.gap_records,
        Metric.LOST: totals.lost_records,
        Metric.MADE_ANEW: totals.made_anew,
        Metric.BUSY_FRACTION: 0.25,
        Metric.PARTITIONS: 1,
        Metric.BUFFERED_BYTES: 400,
        Metric.SINK_READY: 1,
        Metric.OLDEST_UNWRITTEN_SECONDS: 1.5,
    }
    assert {name: found[name] for name in expected} == expected
    assert set(Metric) - set(expected) == {Metric.DEAD_LETTERS, Metric.COMMIT_SECONDS, Metric.TRANSACTION_SECONDS}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param({"busy_fraction": None}, Metric.BUSY_FRACTION, id="busy"),
        pytest.param({"oldest_unwritten_s": None}, Metric.OLDEST_UNWRITTEN_SECONDS, id="age"),
    ],
)
def test_what_is_unknown_has_no_sample(change: dict[str, None], name: Metric) -> None:
    state = replace(STATE, **change)  # type: ignore[arg-type]  # fields that may be None
    assert name not in samples_of(Telemetry(lambda: state))


@pytest.mark.parametrize("health", [health for health in SinkHealth if health is not SinkHealth.READY])
def test_sink_that_is_not_ready_is_zero(health: SinkHealth) -> None:
    state = replace(STATE, sink=SinkState(health=health))
    assert samples_of(Telemetry(lambda: state))[Metric.SINK_READY] == 0


def test_receipts_feed_the_histograms() -> None:
    telemetry = Telemetry(lambda: STATE)
    telemetry.on_receipt(receipt({0: 3}, took_s=0.3))
    telemetry.on_receipt(receipt({0: 6}, took_s=0.2))
    found = samples_of(telemetry)
    assert found[f"{Metric.TRANSACTION_SECONDS}_count"] == found[f"{Metric.COMMIT_SECONDS}_count"] == 2
    assert found[f"{Metric.TRANSACTION_SECONDS}_sum"] == pytest.approx(0.5)


def test_dead_letters_are_counted_by_reason_and_every_reason_is_there_from_the_start() -> None:
    telemetry = Telemetry(lambda: STATE)
    telemetry.on_receipt(replace(receipt({0: 3}), reasons={Reason.TOMBSTONE: 2, Reason.WRONG_TYPE: 1}))
    telemetry.on_receipt(replace(receipt({0: 4}), reasons={Reason.TOMBSTONE: 1}))
    families = text_string_to_metric_families(telemetry.render().decode())
    found = {s.labels["reason"]: s.value for f in families for s in f.samples if s.name == Metric.DEAD_LETTERS}
    assert found == dict.fromkeys(Reason, 0) | {Reason.TOMBSTONE: 3, Reason.WRONG_TYPE: 1}


def test_two_live_side_by_side() -> None:
    other = replace(STATE, totals=Totals(records=99))
    first, second = Telemetry(lambda: STATE), Telemetry(lambda: other)
    assert (samples_of(first)[Metric.RECORDS], samples_of(second)[Metric.RECORDS]) == (1, 99)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; afterwards logging is as it was."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.handlers = []  # keep pytest's from being closed
    text = io.StringIO()
    configure_logs("INFO", stream=text, pipeline="bank/payments")
    yield text
    root.handlers = handlers
    root.setLevel(level)


def test_log_line_is_json_with_the_facts_as_fields(stream: io.StringIO) -> None:
    log = logging.getLogger("forebay_consumer.test")
    log.info("batch written", extra={"rows": 3, "health": SinkHealth.READY, "at": (0, 1)})
    log.debug("not told")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert str(told.pop("time")).endswith("Z")
    assert told == {
        "level": "INFO",
        "logger": "forebay_consumer.test",
        "message": "batch written",
        "pipeline": "bank/payments",
        "rows": 3,
        "health": "Ready",
        "at": [0, 1],
    }


def test_traceback_stays_on_its_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("bad\nnews")
    except ValueError:
        logging.getLogger("forebay_consumer.test").exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: bad\nnews" in json.loads(line)["traceback"]
