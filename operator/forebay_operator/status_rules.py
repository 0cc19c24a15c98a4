"""What is worth a write: of a status, against the one that is in the resource; of an event, against those told. Pure.

Every write costs etcd, the API server and whoever watches; a status that follows each sample would be most of a
cluster's writes. Exact, live numbers are metrics.
What must not live here: making the status (status.py), writing it (kubernetes_cluster/recorder.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from forebay_operator.model import Event

Status = Mapping[str, Any]

NUMBERS_EVERY = timedelta(seconds=60)
"""Numbers and sentences that changed are written this often at most."""

CAPACITY_EVERY = timedelta(minutes=10)
"""The learned capacity moves with each sample; only its drift over hours matters to a restart."""

CHANGE = 0.1
"""A number changed when it differs by this share of the larger one, or left or reached zero: less is jitter."""

SAME_EVENT_WITHIN = timedelta(minutes=10)
"""The same event is told once in this time; Kubernetes keeps events for an hour."""

SAME_OUTAGE_WITHIN = timedelta(minutes=1)
"""For outages of the database, which are over within seconds: the next one is news, a database that flaps is not."""

_OUTAGE = ("SinkNotReady", "SinkNotReadyOver")
_NUMBERS_MATTER = ("Scaled", "Rewound")
"""From how many to how many, and how many, is what these are about."""

Number = int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The status in the resource. at: when it was written, or found there at a start. capacity_at: its capacity's."""

    status: Status
    at: datetime
    capacity_at: datetime


def find_written(status: Status, now: datetime) -> Written | None:
    """What a start finds in the resource counts as written now; None: nothing was ever written."""
    return Written(status=status, at=now, capacity_at=now) if status.get("conditions") else None


def choose_write(written: Written | None, status: Status, now: datetime) -> Written | None:
    """What the resource holds after the write that is due; None: no write is due.

    A new generation, condition, verdict or number of consumers is written at once, all else now and then.
    """
    if written is None:
        return Written(status=status, at=now, capacity_at=now)
    old = written.status
    is_due = now - written.at >= NUMBERS_EVERY or now < written.at  # the clock was set back
    takes_capacity = _capacity_due(written, status, now)
    merged = status if takes_capacity else _with_capacity(status, old.get("capacity"))
    is_urgent = _headlines(old) != _headlines(merged)
    if not is_urgent and not (is_due and (takes_capacity or _has_changed(old, merged))):
        return None
    return Written(status=merged, at=now, capacity_at=now if takes_capacity else written.capacity_at)


def _with_capacity(status: Status, capacity: object) -> Status:
    rest = {key: value for key, value in status.items() if key != "capacity"}
    return rest if capacity is None else {**rest, "capacity": capacity}


def _capacity_due(written: Written, status: Status, now: datetime) -> bool:
    old, new = written.status.get("capacity"), status.get("capacity")
    if new is None or old is None:
        return bool(new)
    has_moved = any(is_changed(old.get(key), new.get(key)) for key in ("recordsPerSecond", "conservative"))
    return has_moved and now - written.capacity_at >= CAPACITY_EVERY


def _headlines(status: Status) -> object:
    """What people and programs wait for."""
    decision = status.get("decision", {})
    return (
        [status.get(key) for key in ("observedGeneration", "replicas", "desiredReplicas", "selector")],
        [decision.get(key) for key in ("verdict", "binding")],
        [clamp["name"] for clamp in decision.get("clamps", ())],
        sorted((c["type"], c["status"], c["reason"]) for c in status.get("conditions", ())),
    )


def _has_changed(old: Status, new: Status) -> bool:
    if _sentences(old) != _sentences(new):
        return True
    before, after = _numbers(old), _numbers(new)
    return any(is_changed(before.get(key), after.get(key)) for key in before.keys() | after.keys())


def _sentences(status: Status) -> object:
    """The decision's sentences without their numbers: those that matter are among its terms, and how long something
    lasts is no change. Conditions' are compared to the letter, as numbers may be names there."""
    decision = status.get("decision", {})
    told = [decision.get("because"), decision.get("wouldChangeIf"), *(c["why"] for c in decision.get("clamps", ()))]
    return (
        [decision.get(key) for key in ("from", "to", "nextEvaluationSeconds")],
        [without_numbers(text or "") for text in told],
        sorted((c["type"], c["message"]) for c in status.get("conditions", ()) if c["type"] != "Scaling"),
    )


def without_numbers(text: str) -> str:
    """The sentence with a # for each number."""
    return re.sub(r"\d[\d,.]*", "#", text)


def _numbers(status: Status) -> dict[str, Number]:
    found = {key: status.get(key) for key in ("partitions", "lagRecords", "ageSeconds")}
    terms = status.get("decision", {}).get("terms", {})
    return found | {key: value for key, value in terms.items() if isinstance(value, int | float)}


def is_changed(old: Number, new: Number) -> bool:
    """By more than jitter. None, unknown, differs from any number."""
    if old is None or new is None or not old or not new:
        return old != new
    return abs(old - new) > CHANGE * max(abs(old), abs(new))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Events told lately, and when."""

    at: Mapping[tuple[str, str], datetime] = field(default_factory=dict)


def choose_event(told: Told, event: Event, now: datetime) -> tuple[Told, bool]:
    """Whether to tell it, and what counts as told afterwards."""
    recent = {key: at for key, at in told.at.items() if timedelta(0) <= now - at < _same_within(key[0])}
    key = (event.reason, _what(event))
    is_new = key not in recent
    return Told(at={**recent, key: now} if is_new else recent), is_new


def _same_within(reason: str) -> timedelta:
    return SAME_OUTAGE_WITHIN if reason in _OUTAGE else SAME_EVENT_WITHIN


def _what(event: Event) -> str:
    """Numbers only say how long or how much, but for a few events."""
    return event.message if event.reason in _NUMBERS_MATTER else without_numbers(event.message)
