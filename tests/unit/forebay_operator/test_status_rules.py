"""What is worth a write."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from forebay_operator.model import Event, EventType
from forebay_operator.status_rules import (
    CAPACITY_EVERY,
    NUMBERS_EVERY,
    SAME_EVENT_WITHIN,
    Told,
    Written,
    choose_event,
    choose_write,
    find_written,
)
from support.pipeline_builders import START

SECOND = timedelta(seconds=1)

STATUS: dict[str, Any] = {
    "observedGeneration": 3,
    "replicas": 2,
    "desiredReplicas": 2,
    "selector": "forebay.dev/pipeline=payments",
    "partitions": 12,
    "lagRecords": 1000,
    "ageSeconds": 2.0,
    "decision": {
        "time": "2026-01-01T12:00:00Z",
        "from": 2,
        "to": 2,
        "verdict": "Held",
        "binding": "ScaleInWindow",
        "because": "500 records/s arrive and 1,000 wait",
        "terms": {"arrivalPerSecond": 500.0, "capacitySource": "Learned"},
        "clamps": [{"name": "ScaleInWindow", "before": 1, "after": 2, "why": "the last 600 s needed 2"}],
        "nextEvaluationSeconds": 5.0,
        "wouldChangeIf": "the window passes without a peak",
    },
    "capacity": {"recordsPerSecond": 1000.0, "conservative": 900.0, "samples": 7, "learnedAt": "2026-01-01T11:00:00Z"},
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Running", "message": "2 of 2 consumers run"},
        {"type": "Scaling", "status": "True", "reason": "Held", "message": "500 records/s arrive and 1,000 wait"},
    ],
}
WRITTEN = Written(status=STATUS, at=START, capacity_at=START)


def changed(path: str, value: object) -> dict[str, Any]:
    """The status with one value replaced; None removes it."""
    status = deepcopy(STATUS)
    *outer, last = path.split(".")
    place: Any = status
    for key in outer:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return status


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("observedGeneration", 4, id="generation"),
        pytest.param("replicas", 3, id="replicas"),
        pytest.param("desiredReplicas", 3, id="desired"),
        pytest.param("selector", "other=1", id="selector"),
        pytest.param("decision.verdict", "Steady", id="verdict"),
        pytest.param("decision.binding", "Load", id="binding"),
        pytest.param("decision.clamps", [], id="clamps"),
        pytest.param("conditions.0.status", "False", id="condition-status"),
        pytest.param("conditions.0.reason", "Idle", id="condition-reason"),
        pytest.param("conditions", STATUS["conditions"][:1], id="condition-gone"),
    ],
)
def test_news_is_written_at_once(path: str, value: object) -> None:
    status = changed(path, value)

    due = choose_write(WRITTEN, status, START + SECOND)

    assert due == Written(status=status, at=START + SECOND, capacity_at=START)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("lagRecords", 1200, id="lag"),
        pytest.param("lagRecords", 0, id="nothing-waits"),
        pytest.param("lagRecords", None, id="lag-unknown"),
        pytest.param("ageSeconds", 3.0, id="age"),
        pytest.param("partitions", 24, id="partitions"),
        pytest.param("decision.terms.arrivalPerSecond", 800.0, id="rate"),
        pytest.param("decision.to", 1, id="would-be-number"),
        pytest.param("decision.because", "nothing arrives", id="sentence"),
        pytest.param("conditions.0.message", "2 of 3 consumers run", id="condition-message"),
    ],
)
def test_numbers_and_sentences_are_written_once_a_minute(path: str, value: object) -> None:
    status = changed(path, value)

    early = choose_write(WRITTEN, status, START + NUMBERS_EVERY - SECOND)
    due = choose_write(WRITTEN, status, START + NUMBERS_EVERY)

    assert early is None
    assert due is not None
    assert due.status == status


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("decision.time", "2027-01-01T12:00:00Z", id="time"),
        pytest.param("lagRecords", 1050, id="jitter-of-lag"),
        pytest.param("decision.terms.arrivalPerSecond", 520.0, id="jitter-of-rate"),
        pytest.param("decision.because", "503 records/s arrive and 1,020 wait", id="numbers-of-the-sentence"),
        pytest.param("conditions.1.message", "503 records/s arrive and 1,020 wait", id="sentence-as-condition"),
        pytest.param("capacity.samples", 8, id="samples"),
        pytest.param("capacity.recordsPerSecond", 1010.0, id="jitter-of-capacity"),
        pytest.param("capacity", None, id="capacity-forgotten"),
    ],
)
def test_jitter_and_time_are_never_written(path: str, value: object) -> None:
    assert choose_write(WRITTEN, changed(path, value), START + timedelta(days=1)) is None


def test_capacity_is_written_once_in_ten_minutes_even_beside_news() -> None:
    status = changed("capacity.recordsPerSecond", 2000.0) | {"replicas": 3}

    early = choose_write(WRITTEN, status, START + CAPACITY_EVERY - SECOND)
    due = choose_write(WRITTEN, status, START + CAPACITY_EVERY)

    assert early is not None
    assert (early.status["capacity"], early.capacity_at) == (STATUS["capacity"], START)
    assert due is not None
    assert due.status["capacity"]["recordsPerSecond"] == 2000.0


def test_clock_set_back_delays_no_status_and_no_event() -> None:
    earlier, scaled = START - timedelta(hours=1), Event(type=EventType.NORMAL, reason="Scaled", message="1 → 2")
    told, _ = choose_event(Told(), scaled, START)

    assert choose_write(WRITTEN, changed("lagRecords", 1), earlier) is not None
    assert choose_event(told, scaled, earlier)[1]


def test_first_status_is_written_and_a_found_one_is_not_written_again() -> None:
    first = choose_write(find_written({}, START), STATUS, START)
    again = choose_write(find_written(STATUS, START), STATUS, START + timedelta(days=1))

    assert first is not None
    assert again is None


# --- events ---------------------------------------------------------------------------------------------------------


def event(reason: str, message: str) -> Event:
    return Event(type=EventType.NORMAL, reason=reason, message=message)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        pytest.param(event("Held", "settled 3 s ago"), event("Held", "settled 4 s ago"), True, id="only-numbers"),
        pytest.param(event("Scaled", "1 → 4 consumers"), event("Scaled", "4 → 1 consumers"), False, id="other-size"),
        pytest.param(event("Scaled", "1 → 4 consumers"), event("Scaled", "1 → 4 consumers"), True, id="same-size"),
        pytest.param(event("Held", "a"), event("Blocked", "a"), False, id="other-reason"),
    ],
)
def test_same_event_is_told_once_in_ten_minutes(first: Event, second: Event, is_same: bool) -> None:
    told, is_new = choose_event(Told(), first, START)

    _, soon = choose_event(told, second, START + SAME_EVENT_WITHIN - SECOND)
    later, late = choose_event(told, second, START + SAME_EVENT_WITHIN)

    assert (is_new, soon, late) == (True, not is_same, True)
    assert len(later.at) == 1
