"""Who looks after a sink during a trial: a supervisor of its process, and an attentive person."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from bench.peers.sinks import Sink

LOOK_EVERY_S = 1.0
NOTICE_S = 10.0
"""From a stop for good to the person's restart: somebody is watching the screen and knows the command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """What was done for a sink. stops: why it stopped for good, each time."""

    process_restarts: int
    hand_restarts: int
    stops: tuple[str, ...]


class Attendant:
    """Looks after the sink from `with` to its end, in a thread of its own."""

    def __init__(self, sink: Sink, notice_s: float = NOTICE_S) -> None:
        self._sink, self._notice_s = sink, notice_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench-attendant")
        self._process_restarts = 0
        self._hand_restarts = 0
        self._stops: list[str] = []

    def __enter__(self) -> Attendant:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def report(self) -> Care:
        """What was done so far."""
        return Care(
            process_restarts=self._process_restarts, hand_restarts=self._hand_restarts, stops=tuple(self._stops)
        )

    def _run(self) -> None:
        stopped_at_s: float | None = None
        while not self._ended.wait(LOOK_EVERY_S):
            if not self._sink.is_alive():
                self._sink.launch()
                self._process_restarts += 1
            cause = self._sink.find_stop()
            if cause is None:
                stopped_at_s = None
            elif stopped_at_s is None:
                stopped_at_s = time.monotonic()
                self._stops.append(cause)
            elif time.monotonic() - stopped_at_s > self._notice_s and self._sink.restart_by_hand():
                self._hand_restarts += 1
                stopped_at_s = None
