"""/state as JSON: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from forebay_api.state import (
    ConsumerState,
    PartitionReport,
    PartitionState,
    Phase,
    SinkHealth,
    SinkState,
    Totals,
    from_json_object,
    to_json_object,
)
from hypothesis import given, settings
from hypothesis import strategies as st

STATE = ConsumerState(
    consumer="c-1",
    pipeline="bank/payments",
    phase=Phase.RUNNING,
    sink=SinkState(
        health=SinkHealth.AWAY, reason="Unreachable", message="no answer", since="2025-01-31T12:00:00+00:00"
    ),
    partitions=(
        PartitionReport(partition=0, state=PartitionState.RUNNING, epoch=3, next_offset=42),
        PartitionReport(partition=7, state=PartitionState.CLAIMING),
    ),
    totals=Totals(records=10, rows=9, dead_letters=1),
    busy_fraction=None,
    records_per_second=None,
    oldest_unwritten_s=1.5,
    buffered_bytes=0,
    paused_because="sink away",
    source_message=None,
    uptime_s=12.0,
)
COUNTS = st.integers(min_value=0, max_value=2**53)
NUMBERS = st.floats(min_value=0, max_value=1e12)
STATES = st.builds(
    ConsumerState,
    totals=st.builds(Totals, **{each.name: COUNTS for each in dataclasses.fields(Totals)}),
    partitions=st.lists(
        st.builds(PartitionReport, partition=COUNTS, epoch=st.none() | COUNTS, next_offset=st.none() | COUNTS),
        max_size=3,
    ).map(tuple),
    busy_fraction=st.none() | NUMBERS,
    records_per_second=st.none() | NUMBERS,
    oldest_unwritten_s=st.none() | NUMBERS,
    buffered_bytes=COUNTS,
    uptime_s=NUMBERS,
)


def _body(**changes: Any) -> dict[str, Any]:
    return {**to_json_object(STATE), **changes}


def test_unknown_is_null_and_keys_are_camel_case() -> None:
    body = to_json_object(STATE)

    assert body["busyFraction"] is None
    assert body["oldestUnwrittenSeconds"] == 1.5
    assert body["totals"]["deadLetters"] == 1
    assert body["partitions"][1] == {
        "partition": 7,
        "state": "Claiming",
        "epoch": None,
        "nextOffset": None,
        "why": None,
    }


@settings(max_examples=50)
@given(state=STATES)
def test_state_survives_the_way_through_json(state: ConsumerState) -> None:
    assert from_json_object(json.loads(json.dumps(to_json_object(state)))) == state


def test_keys_of_a_newer_consumer_are_passed_over() -> None:
    body = _body(colour="blue", totals={"rows": 5, "shards": 2})

    assert from_json_object(body).totals == Totals(rows=5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({}, "consumer: is required", id="empty"),
        pytest.param(
            {k: v for k, v in _body().items() if k != "uptimeSeconds"}, "uptimeSeconds: is required", id="missing"
        ),
        pytest.param(
            {k: v for k, v in _body().items() if k != "busyFraction"},
            "busyFraction: is required",
            id="missing-not-null",
        ),
        pytest.param(_body(uptimeSeconds="5"), "uptimeSeconds: must be a number, is '5'", id="text-for-number"),
        pytest.param(_body(bufferedBytes=True), "bufferedBytes: must be a whole number, is true", id="bool-for-number"),
        pytest.param(
            _body(phase="Gone"), "phase: must be one of Starting, Running, Draining, is 'Gone'", id="unknown-phase"
        ),
        pytest.param(_body(partitions=[{"partition": 0}]), "partitions[0].state: is required", id="inside-a-list"),
        pytest.param(_body(sink=None), "sink: is required", id="null-for-object"),
    ],
)
def test_wrong_state_names_the_first_bad_key(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        from_json_object(body)
