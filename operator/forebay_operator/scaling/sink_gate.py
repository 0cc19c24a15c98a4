"""Whether the database takes rows, judged by those that write to it, and since when.

What must not live here: what to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf

from forebay_api.state import SinkHealth

from forebay_operator.model import ConsumerView
from forebay_operator.remembered import Outage, SinkMemory

_ORDER = (SinkHealth.BROKEN, SinkHealth.AWAY, SinkHealth.READY, SinkHealth.UNKNOWN)
"""Worst news first: one consumer that is refused outweighs the others' last success."""

CLOSED_BINDINGS = {f"Sink{health.value}": health for health in (SinkHealth.AWAY, SinkHealth.BROKEN)}
"""Bindings of decisions that hold because of this, and what they say of the database."""

SETTLING_BINDING = "SinkSettling"
"""Binding of decisions that hold because the database is back for a short time only."""

_REWOUND = re.compile(r"; ([\d,]+) records were read again after the database had lost their commits$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkView:
    """health: the worst that any consumer says; UNKNOWN when none can tell. reason and message: that consumer's."""

    health: SinkHealth
    reason: str | None = None
    message: str | None = None

    @property
    def is_closed(self) -> bool:
        """More or fewer consumers would not help, and what they show now says nothing about them."""
        return self.health in (SinkHealth.AWAY, SinkHealth.BROKEN)


def judge_sink(memory: SinkMemory, consumers: Sequence[ConsumerView]) -> SinkView:
    """The worst answer among the consumers; where none can tell, the outage that is remembered goes on.

    Consumers that are silent or just started say nothing of the database, and the backlog of its outage is still there.
    """
    sinks = [view.state.sink for view in consumers if view.state is not None]
    for health in _ORDER[:-1]:
        for sink in sinks:
            if sink.health is health:
                return SinkView(health=health, reason=sink.reason, message=sink.message)
    if consumers and memory.outage is not None:
        return SinkView(
            health=memory.outage.health, reason=memory.outage.reason or None, message=memory.outage.message or None
        )
    return SinkView(health=SinkHealth.UNKNOWN)


def follow_sink(memory: SinkMemory, consumers: Sequence[ConsumerView], now: datetime) -> SinkMemory:
    """What is to be remembered after these answers. Without consumers nobody knows whether an outage goes on."""
    view = judge_sink(memory, consumers)
    old, outage, opened_at = memory.outage, None, memory.opened_at
    if view.is_closed:
        since = now if old is None else min(old.since, now)  # the clock may have been set back
        outage = Outage(since=since, health=view.health, reason=view.reason or "", message=view.message or "")
    elif view.health is SinkHealth.READY and old is not None:
        opened_at = now
    opened_at = None if opened_at is None else min(opened_at, now)
    return replace(_follow_rewound(memory, consumers, now), outage=outage, opened_at=opened_at)


def _follow_rewound(memory: SinkMemory, consumers: Sequence[ConsumerView], now: datetime) -> SinkMemory:
    """Count what was read again since the last pass, until the database is back and it can be told as one number."""
    heard = {view.consumer.name: view.state.totals.rewound_records for view in consumers if view.state is not None}
    running = {view.consumer.name for view in consumers}
    rewound = {name: count for name, count in memory.rewound.items() if name in running} | heard
    before = memory.rewound_before
    untold = memory.rewound_untold if memory.outage is not None else 0
    if before:  # of which consumers that was, no restarted process knows
        more = max(0, sum(rewound.values()) - before)
        before = 0 if running <= rewound.keys() else before + more
    else:
        more = sum(_count_more(count, memory.rewound.get(name, 0)) for name, count in heard.items())
    at = now if more else memory.rewound_at
    return replace(memory, rewound=rewound, rewound_before=before, rewound_untold=untold + more, rewound_at=at)


def _count_more(count: int, before: int) -> int:
    """A counter that went backwards is that of a consumer that was started anew."""
    return count - before if count >= before else count


def open_since_s(memory: SinkMemory, now: datetime) -> float:
    """Seconds since the last outage ended; infinite where there was none."""
    return inf if memory.opened_at is None else (now - memory.opened_at).total_seconds()


def has_rewound(memory: SinkMemory, now: datetime, *, within_s: float) -> bool:
    """Whether consumers said so lately: the offsets in Kafka, which follow a moment later, then go back with reason."""
    return memory.rewound_at is not None and abs((now - memory.rewound_at).total_seconds()) <= within_s


def add_rewound(message: str, records: int) -> str:
    """The message of a condition, with the records that were read again; split_rewound() finds them."""
    if not records:
        return message
    return f"{message}; {records:,} records were read again after the database had lost their commits"


def split_rewound(message: str) -> tuple[str, int]:
    """The inverse of add_rewound()."""
    found = _REWOUND.search(message)
    return (message, 0) if found is None else (message[: found.start()], int(found[1].replace(",", "")))
