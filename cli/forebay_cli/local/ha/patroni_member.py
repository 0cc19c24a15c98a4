"""One member: Patroni, and the PostgreSQL that it runs, as a family of processes below one parent (subreaper.py)."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

from forebay_cli.local.free_ports import LOOPBACK
from forebay_cli.local.ha.patroni_config import MemberPlace, ServerPasswords, build_patroni_config
from forebay_cli.local.ha.patroni_program import PatroniProgram
from forebay_cli.local.ha.settings import HaSettings
from forebay_cli.local.postgres_server import SUPERUSER, ConnectionParts
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.process_table import ProcessEntry, find_family, is_alive, read_process, send_signal
from forebay_cli.local.shared_memory import remove_segment, remove_segments_of


class PatroniMember:
    """A node of the cluster. start, kill, freeze and thaw may alternate: ports and data stay."""

    def __init__(self, place: MemberPlace, user: str | None) -> None:
        """user: who runs Patroni and PostgreSQL, None = our own user."""
        self.place = place
        self.name = place.name
        self._user = user
        self._password: str | None = None
        self._program: PatroniProgram | None = None
        self._families: list[Child] = []

    @property
    def log_file(self) -> Path:
        """Patroni's and PostgreSQL's log, of all starts."""
        return self.place.folder / "patroni.log"

    def prepare(self, program: PatroniProgram, settings: HaSettings, passwords: ServerPasswords) -> None:
        """Make the folder and write the configuration."""
        self._program = program
        self._password = passwords.superuser
        folder = self.place.folder
        folder.mkdir(mode=0o700)
        file = folder / "patroni.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(build_patroni_config(self.place, settings, passwords), indent=1))
        if self._user is not None:
            for each in (folder, file):
                shutil.chown(each, self._user, self._user)

    def admin(self, dbname: str = "postgres") -> ConnectionParts:
        """Return how the superuser signs in here, whatever this member is; around HAProxy and every proxy."""
        assert self._password is not None, "prepare() comes first"
        return ConnectionParts(
            host=LOOPBACK, port=self.place.ports.sql, dbname=dbname, user=SUPERUSER, password=self._password
        )

    def start(self) -> None:
        """Start Patroni if it does not run, without waiting. A PostgreSQL that outlived an earlier one is kept."""
        assert self._program is not None, "prepare() comes first"
        if self.patroni() is not None or self._is_coming_up():
            return
        parent = [sys.executable, "-m", "forebay_cli.local.ha.subreaper", self._user or "-", self._patroni_pid_file]
        command = [*parent, *self._program.command, self.place.folder / "patroni.json"]
        self._patroni_pid_file.unlink(missing_ok=True)
        child = start_child(command, self.log_file, env=self._program.environment, cwd=self.place.folder)
        self._families = [each for each in self._families if each.is_running()] + [child]

    def patroni(self) -> ProcessEntry | None:
        """Patroni's process; None while it does not run."""
        return self._read_living(self._patroni_pid_file)

    def postmaster(self) -> ProcessEntry | None:
        """PostgreSQL's first process; None while it does not run."""
        return self._read_living(self.place.data / "postmaster.pid")

    def is_running(self) -> bool:
        """Tell whether anything of the node is alive, a frozen one included."""
        return any(each.is_running() for each in self._families)

    def kill(self) -> None:
        """End Patroni and PostgreSQL as a loss of the node would (SIGKILL)."""
        for each in self._families:
            each.kill_family()
        self._families = []
        self._forget_postmaster()

    def kill_patroni(self) -> None:
        """End Patroni alone (SIGKILL); PostgreSQL goes on."""
        _kill(self.patroni())

    def kill_postmaster(self) -> None:
        """End PostgreSQL's first process (SIGKILL); the others notice and end."""
        _kill(self.postmaster())

    def freeze(self) -> None:
        """Stop the whole node without a word (SIGSTOP)."""
        # Twice: what was forked between the look and the signal is found the second time, its parent being stopped.
        for _ in range(2):
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after freeze(), and every single process that was stopped."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it, and remove the data and whatever else it left on this machine."""
        self.kill()
        remove_segments_of(self.place.folder)
        shutil.rmtree(self.place.data, ignore_errors=True)

    @property
    def _patroni_pid_file(self) -> Path:
        return self.place.folder / "patroni.pid"

    def _is_coming_up(self) -> bool:
        """Tell whether start() was called, and the parent has not written yet whom it started: seconds, at worst."""
        return bool(self._families) and self._families[-1].is_running() and not self._patroni_pid_file.exists()

    def _forget_postmaster(self) -> None:
        """Remove the lock file of a postmaster that is dead, and still has its entry in the process table.

        On a machine that was lost there is no such entry. Here init may take seconds to fetch what it inherits, and
        PostgreSQL takes a process that can be signalled for a server that runs: `lock file "postmaster.pid" already
        exists`.
        """
        lock_file = self.place.data / "postmaster.pid"
        entry = _read_named(lock_file)
        if entry is not None and not is_alive(entry):
            remove_segment(lock_file)  # nobody else knows its name
            lock_file.unlink()

    def _signal(self, number: signal.Signals) -> None:
        for each in self._families:
            if each.is_running():
                each.signal_family(number)

    def _read_living(self, pid_file: Path) -> ProcessEntry | None:
        """Return the process named in the file if it lives and is one of ours."""
        entry = _read_named(pid_file)
        if entry is None or not is_alive(entry):
            return None
        family = find_family([each.entry for each in self._families])
        return entry if any(each.pid == entry.pid for each in family) else None


def _read_named(pid_file: Path) -> ProcessEntry | None:
    """Return the process that the file names first, a zombie included."""
    try:
        return read_process(int(pid_file.read_text().split()[0]))
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _kill(process: ProcessEntry | None) -> None:
    if process is not None:
        send_signal([process], signal.SIGKILL)
