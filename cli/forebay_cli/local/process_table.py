"""Linux's process table: who is alive, who descends from whom, and ending exactly those.

A process is known by pid *and* start time, so that a pid which the kernel gave away again is never hit.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEntry:
    """One line of the process table; start_ticks counts clock ticks from boot to the start of the process."""

    pid: int
    start_ticks: int
    parent: int
    group: int
    is_zombie: bool


def parse_stat(line: str) -> ProcessEntry:
    """Read a line of /proc/PID/stat; the name, in parentheses, may hold blanks and parentheses itself."""
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(")")[2].split()
    return ProcessEntry(
        pid=int(pid),
        start_ticks=int(fields[19]),
        parent=int(fields[1]),
        group=int(fields[2]),
        is_zombie=fields[0] in "ZX",
    )


def read_process(pid: int) -> ProcessEntry | None:
    """Return the entry of the process, a zombie included; None when there is none."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text(errors="replace"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def read_all() -> list[ProcessEntry]:
    """Return every process of this machine's (or container's) table."""
    entries = (read_process(int(name)) for name in os.listdir(PROC) if name.isdigit())
    return [entry for entry in entries if entry is not None]


def is_alive(process: ProcessEntry) -> bool:
    """Tell whether this very process still runs; a zombie does not."""
    now = read_process(process.pid)
    return now is not None and now.start_ticks == process.start_ticks and not now.is_zombie


def find_family(leaders: Iterable[ProcessEntry]) -> list[ProcessEntry]:
    """Return the leaders still alive, everyone in the group that each leads, and all their descendants.

    PostgreSQL's backends leave the postmaster's group and session (setsid), hence the descendants; when a leader
    is gone its group still names its orphans, unless the pid already belongs to somebody else.
    """
    table = {entry.pid: entry for entry in read_all()}
    groups = {one.pid for one in leaders if one.pid not in table or table[one.pid].start_ticks == one.start_ticks}
    family = {pid for pid, entry in table.items() if pid in groups or entry.group in groups}
    grown = True
    while grown:
        children = {pid for pid, entry in table.items() if entry.parent in family and pid not in family}
        family |= children
        grown = bool(children)
    return [table[pid] for pid in sorted(family) if not table[pid].is_zombie]


def send_signal(processes: Iterable[ProcessEntry], number: signal.Signals) -> None:
    """Signal those of the processes that are still themselves."""
    for process in processes:
        if is_alive(process):
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
