"""What the consumers hold to be written, looked at again and again while faults happen."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from forebay_api.state import ConsumerState
from support.flood import ConsumerProcess

LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """at_s: when it was answered, on time.monotonic()'s clock."""

    at_s: float
    state: ConsumerState


class StateWatch:
    """Asks every consumer for its /state from `with` to its end, in a thread of its own each: one may be slow."""

    def __init__(self, consumers: list[ConsumerProcess]) -> None:
        self._looks: list[list[Look]] = [[] for _ in consumers]
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(consumer, looks), daemon=True)
            for consumer, looks in zip(consumers, self._looks, strict=True)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def have_committed_since(self, at_s: float) -> bool:
        """Tell whether every consumer has committed something after at_s."""
        return all(_has_committed_since(looks, at_s) for looks in self._looks)

    def have_connected(self) -> bool:
        """Tell whether each consumer's last answer says that its sink is ready."""
        return all(looks and looks[-1].state.sink.health == "Ready" for looks in self._looks)

    def are_away(self) -> bool:
        """Tell whether each consumer's last answer says that its sink is not ready."""
        return all(looks and looks[-1].state.sink.health != "Ready" for looks in self._looks)

    def read_acknowledged(self, since_s: float) -> dict[int, int] | None:
        """Return the position of each partition whose commit was acknowledged on the connection that was lost.

        That is what a consumer says last before its first claim after since_s. None: one was not asked in between.
        """
        positions: dict[int, int] = {}
        for looks in self._looks:
            before = [look for look in looks if look.at_s < since_s]
            if not before:
                return None
            claims = before[-1].state.totals.claims
            own = [look for look in looks if look.at_s >= since_s and look.state.totals.claims == claims]
            away = [look for look in own if look.state.sink.health == "Away"]
            if not away:
                return None
            positions |= {p.partition: p.next_offset for p in away[-1].state.partitions if p.next_offset is not None}
        return positions

    def _watch(self, consumer: ConsumerProcess, looks: list[Look]) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            state = consumer.state()
            if state is not None:
                looks.append(Look(at_s=time.monotonic(), state=state))


def _has_committed_since(looks: list[Look], at_s: float) -> bool:
    after = [look.state.totals.transactions for look in list(looks) if look.at_s > at_s]
    return len(after) > 1 and after[-1] > after[0]
