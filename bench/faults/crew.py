"""The consumers of one round, which faults kill, freeze and restart from several threads."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
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

    def kill(self, victim: float) -> int:
        """SIGKILL to one, and a new one. Returns how many it met: none while the only one is being restarted."""
        with self._lock:
            process = self._choose(victim)
            if process is None:
                return 0
            self._ask(process)
            self._flood.kill(process)
            self._flood.start_consumer()
        return 1

    def restart(self, victim: float) -> int:
        """SIGTERM to one, and a new one when it has ended. Returns as kill() does."""
        with self._lock:
            process = self._choose(victim)
            if process is None:
                return 0
            self._flood.processes.remove(process)
        self._end([process])
        with self._lock:
            self._flood.start_consumer()
        return 1

    def freeze(self, victim: float, hold_s: float) -> int:
        """SIGSTOP to one, and SIGCONT after so long; it may be killed meanwhile. Returns as kill() does."""
        with self._lock:
            process = self._choose(victim)
        if process is None:
            return 0
        process.child.send(signal.SIGSTOP)
        time.sleep(hold_s)
        process.child.send(signal.SIGCONT)
        return 1

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
        self._end(processes)

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

    def _choose(self, victim: float) -> ConsumerProcess | None:
        processes = self._flood.processes
        return processes[int(victim * len(processes))] if processes else None

    def _ask(self, process: ConsumerProcess) -> bool:
        """Note what it has counted; False: it does not answer, as one that has hardly begun."""
        state = process.state()
        self.retries += 0 if state is None else state.totals.retries
        return state is not None

    def _end(self, processes: Sequence[ConsumerProcess]) -> None:
        answered = [self._ask(process) for process in processes]
        for process in processes:
            process.child.send(signal.SIGTERM)
        for process, has_begun in zip(processes, answered, strict=True):
            code = process.child.wait(END_S)
            if code != 0 and (has_begun or code != -signal.SIGTERM):
                self.ended.append(f"{process.child.log_file.name} ended with {code} when asked to drain")
                process.child.kill_family()
