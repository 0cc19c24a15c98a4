"""The consumers of one round, which faults kill, freeze and restart from several threads."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.flood import ConsumerProcess, Flood

END_S = 25.0
"""Above the grace period of 15 s that they have."""
UNKNOWN = "outcome of a commit unknown"
REWOUND = "the database lost commits, reading on from before"
FENCED = "fenced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What consumers said in their logs. unknown: COMMITs of which they heard no outcome. fenced: batches.

    rewound: records by which a position went backwards under a consumer.
    """

    unknown: int
    fenced: int
    rewound: int


class Crew:
    """So many consumers. victim: 0..1, whom it meets."""

    def __init__(self, flood: Flood, count: int) -> None:
        """Start them."""
        self._flood = flood
        self._lock = threading.Lock()
        self.retries = 0
        """Transactions that were repeated without bad rows, as far as consumers could be asked."""
        self.ended: list[str] = []
        """Who ended without being asked to, or not as asked."""
        for _ in range(count):
            flood.start_consumer()

    def kill(self, victim: float) -> None:
        """SIGKILL to one, and a new one."""
        with self._lock:
            process = self._take(victim)
            process.child.send(signal.SIGKILL)
            process.child.wait(END_S)
            self._flood.start_consumer()

    def restart(self, victim: float) -> None:
        """SIGTERM to one, and a new one when it has ended."""
        with self._lock:
            process = self._take(victim)
        self._end(process)
        with self._lock:
            self._flood.start_consumer()

    def freeze(self, victim: float, hold_s: float) -> None:
        """SIGSTOP to one, and SIGCONT after so long. It may be killed meanwhile."""
        with self._lock:
            process = self._choose(victim)
        process.child.send(signal.SIGSTOP)
        time.sleep(hold_s)
        process.child.send(signal.SIGCONT)

    def replace_ended(self) -> None:
        """Note who has ended by itself, and start others."""
        with self._lock:
            for process in [each for each in self._flood.processes if not each.child.is_running()]:
                self._flood.processes.remove(process)
                self.ended.append(f"{process.child.log_file.name} ended with {process.child.exit_code}")
                self._flood.start_consumer()

    def stop(self) -> None:
        """End all in good order."""
        self.replace_ended()
        with self._lock:
            processes, self._flood.processes[:] = list(self._flood.processes), []
        for process in processes:
            self._ask(process)
            process.child.send(signal.SIGTERM)
        for process in processes:
            self._wait(process)

    def read_logs(self) -> Told:
        """Return what all of them said, those that are gone included."""
        lines = list(self._read_lines())
        rewound = sum(int(line.get("rewound_records", 0)) for line in lines if line.get("message") == REWOUND)
        messages = [line.get("message") for line in lines]
        return Told(unknown=messages.count(UNKNOWN), fenced=messages.count(FENCED), rewound=rewound)

    def _read_lines(self) -> Iterator[dict[str, Any]]:
        for file in self._flood.folder.glob("consumer-*.log"):
            for line in file.read_text().splitlines():
                if line.startswith("{") and line.endswith("}"):  # not a traceback, nor a line cut by a kill
                    yield json.loads(line)

    def _choose(self, victim: float) -> ConsumerProcess:
        return self._flood.processes[int(victim * len(self._flood.processes))]

    def _take(self, victim: float) -> ConsumerProcess:
        process = self._choose(victim)
        self._ask(process)
        self._flood.processes.remove(process)
        return process

    def _ask(self, process: ConsumerProcess) -> None:
        state = process.state()
        self.retries += 0 if state is None else state.totals.retries

    def _end(self, process: ConsumerProcess) -> None:
        process.child.send(signal.SIGTERM)
        self._wait(process)

    def _wait(self, process: ConsumerProcess) -> None:
        code = process.child.wait(END_S)
        if code != 0:
            self.ended.append(f"{process.child.log_file.name} ended with {code} when asked to drain")
            process.child.kill_family()
