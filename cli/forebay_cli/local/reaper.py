"""Cleans up after its parent, however the parent ends: run as `python -m forebay_cli.local.reaper PARENT`.

Standard input brings lines from the parent and from each starting child (see reaper_link.py):

    process SIGNAL STAT     a child leads a process group; SIGNAL is how to ask it to end, STAT its /proc/PID/stat
    folder PATH             a folder that must not outlive the parent

When the parent is gone, or has closed the pipe, every registered process, group and descendant is ended and every
folder removed. The pipe alone would not do: a forked copy of the parent may hold it open, hence the pidfd.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
from pathlib import Path

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.process_table import ProcessEntry, find_family, is_alive, parse_stat, send_signal
from forebay_cli.local.shared_memory import remove_segments_of

GENTLE_S = 8.0
"""How long the asked ones may take; PostgreSQL's immediate shutdown kills stragglers after 5 s and frees its memory."""
LAST_LINES_S = 2.0
"""After the parent's death, children that are just starting still write their line; longer only forks hold the pipe."""


class Registry:
    """What the lines of the pipe asked to clean up."""

    def __init__(self) -> None:
        self.leaders: dict[ProcessEntry, signal.Signals] = {}
        self.folders: list[Path] = []

    def note(self, line: str) -> None:
        """Take one line of the pipe."""
        kind, _, rest = line.partition(" ")
        if kind == "process":
            number, _, stat = rest.partition(" ")
            self.leaders[parse_stat(stat)] = signal.Signals(int(number))
        elif kind == "folder":
            self.folders.append(Path(rest))


def listen(pipe: int, parent: int, registry: Registry) -> None:
    """Take lines until the parent has gone or closed the pipe."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.register(parent, select.POLLIN)
    pending = b""
    parent_lives = True
    while True:
        ready = dict(poll.poll(None if parent_lives else LAST_LINES_S * 1000))
        if parent in ready and parent_lives:
            parent_lives = False
            poll.unregister(parent)
        if pipe in ready:
            chunk = os.read(pipe, 65536)
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                registry.note(line.decode())
            if not chunk:
                return
        elif not ready:
            return


def end_processes(leaders: dict[ProcessEntry, signal.Signals]) -> None:
    """Ask those that want to be asked, kill the others, and after a while everyone that is left."""
    asked = [leader for leader, number in leaders.items() if number is not signal.SIGKILL]
    asked_families = find_family(asked)
    for leader in asked:
        send_signal([leader], leaders[leader])
    send_signal(asked_families, signal.SIGCONT)
    abrupt = [leader for leader, number in leaders.items() if number is signal.SIGKILL]
    send_signal(abrupt, signal.SIGSTOP)  # no forks between the look and the kill
    send_signal(find_family(abrupt), signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, asked_families)), GENTLE_S)
    send_signal(leaders, signal.SIGSTOP)
    left = [*asked_families, *find_family(leaders)]
    send_signal(left, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, left)), GENTLE_S)


def remove_folders(folders: list[Path]) -> None:
    """Remove the folders and the shared memory that a killed PostgreSQL inside one left."""
    for folder in folders:
        remove_segments_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Wait for the parent named by the first argument, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    registry = Registry()
    try:
        parent = os.pidfd_open(int(sys.argv[1]))
    except ProcessLookupError:  # it died before we ran: nothing but the pipe's last lines is left to read
        parent = os.open("/dev/null", os.O_RDONLY)
    listen(sys.stdin.fileno(), parent, registry)
    end_processes(registry.leaders)
    remove_folders(registry.folders)


if __name__ == "__main__":
    main()
