"""Starting a child that cannot outlive this process: own group, output in a file, the reaper informed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.process_table import ProcessEntry, find_family, is_alive, read_process, send_signal
from forebay_cli.local.reaper_link import open_reaper
from forebay_cli.local.server_errors import MissingProgram, ServerNotReady

REGISTER_THEN_EXEC = (
    'read -r stat </proc/$$/stat && printf "process %s %s\\n" "$1" "$stat" >&0 || exit 126; shift; exec "$@" </dev/null'
)
"""A child names itself to the reaper (its standard input is the pipe) before it becomes the program: nobody can kill
this process between the child's start and its registration. pid and start time stay the same over exec."""


class Child:
    """A process started here, leader of its own group."""

    def __init__(self, popen: subprocess.Popen[bytes], entry: ProcessEntry, log_file: Path) -> None:
        self._popen = popen
        self.entry = entry
        self.log_file = log_file

    @property
    def pid(self) -> int:
        """Process id, also that of its group and session."""
        return self.entry.pid

    def is_running(self) -> bool:
        """Tell whether it has not ended yet."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._popen.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end; None when it still runs after timeout_s."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: signal.Signals) -> None:
        """Signal the child alone."""
        self._popen.send_signal(number)

    def signal_family(self, number: signal.Signals) -> None:
        """Signal the child, its group and all its descendants."""
        send_signal(find_family([self.entry]), number)

    def kill_family(self, timeout_s: float = 30.0) -> None:
        """Kill (SIGKILL) the child, its group and all its descendants, and wait until none is left."""
        send_signal([self.entry], signal.SIGSTOP)  # a postmaster must not fork between the look and the kill
        family = find_family([self.entry])
        send_signal(family, signal.SIGKILL)
        self._popen.wait(timeout_s)
        wait_until(lambda: not any(map(is_alive, family)), timeout_s)


def start_child(
    argv: Sequence[object],
    log_file: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: str | None = None,
    ask_with: signal.Signals = signal.SIGKILL,
) -> Child:
    """Start argv (strings or paths) with its output appended to log_file.

    env: the whole environment (None = this process's). user: operating-system user (needs root).
    ask_with: what the reaper sends first when this process has died; SIGKILL where no state matters.
    """
    command = ["/bin/sh", "-c", REGISTER_THEN_EXEC, "forebay-child", str(int(ask_with)), *map(str, argv)]
    with log_file.open("ab") as log:
        popen = subprocess.Popen(  # noqa: S603 - starting what the caller names is the purpose
            command,
            stdin=open_reaper().pipe,
            stdout=log,
            stderr=log,
            env=env,
            cwd=cwd,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            start_new_session=True,
        )
    entry = read_process(popen.pid)
    assert entry is not None, "a child that nobody has waited for keeps its entry in the process table"
    return Child(popen, entry, log_file)


def run_step(
    what: str,
    argv: Sequence[object],
    log_file: Path,
    timeout_s: float,
    *,
    cwd: Path | None = None,
    user: str | None = None,
) -> None:
    """Run a program to its end; ServerNotReady with the end of its log when it fails or takes longer."""
    child = start_child(argv, log_file, cwd=cwd, user=user)
    code = child.wait(timeout_s)
    if code is None:
        child.kill_family()
        raise ServerNotReady(what, f"did not end within {timeout_s:.0f} s", log_file)
    if code != 0:
        raise ServerNotReady(what, f"failed with exit code {code}", log_file)


def find_program(name: str, debian_package: str) -> str:
    """Return the program's path; MissingProgram when it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise MissingProgram(name, debian_package)
    return found


def create_guarded_folder(parent: Path | None = None, prefix: str = "forebay-") -> Path:
    """Create a folder that is removed when this process ends, in whatever way.

    It is made where temporary files go (None) or in parent; another user may pass through it but not list it, because
    PostgreSQL runs under its own user when this process is root's.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
    open_reaper().guard_folder(folder)
    folder.chmod(0o711)
    return folder
