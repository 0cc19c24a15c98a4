"""Whether the database takes rows, judged by those that write to it.

What must not live here: what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forebay_api.state import SinkHealth

from forebay_operator.model import ConsumerView

_ORDER = (SinkHealth.BROKEN, SinkHealth.AWAY, SinkHealth.READY, SinkHealth.UNKNOWN)
"""Worst news first: one consumer that is refused outweighs the others' last success."""


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


def judge_sink(consumers: Sequence[ConsumerView]) -> SinkView:
    """The worst answer among the consumers."""
    sinks = [view.state.sink for view in consumers if view.state is not None]
    for health in _ORDER:
        for sink in sinks:
            if sink.health is health:
                return SinkView(health=health, reason=sink.reason, message=sink.message)
    return SinkView(health=SinkHealth.UNKNOWN)
