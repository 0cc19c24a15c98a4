"""Children started by forebay_cli.local end with their parent, however it ends, and take their folders along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.process import Child, create_guarded_folder, run_step, start_child
from forebay_cli.local.process_table import is_alive, parse_stat, read_process, send_signal
from forebay_cli.local.server_errors import ServerNotReady

ENDED_S = 60.0

PARENT = """
import os, signal, sys, time
from forebay_cli.local.process import create_guarded_folder, start_child
folder = create_guarded_folder()
start_child(["sh", "-c", "setsid sleep 600 & echo $! >pids; echo $$ >>pids; sleep 600"], folder / "log", cwd=folder)
child = start_child(["sleep", "600"], folder / "log")
def stay_until_removed(folder):  # a fork, which holds the reaper's pipe open
    while folder.exists():
        time.sleep(0.05)

print(folder, child.pid, flush=True)
sys.stdin.readline()
{ending}
"""


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="kill-9"),
        pytest.param("os._exit(0)", id="exit-without-cleanup"),
        pytest.param("sys.exit()", id="ordinary-exit"),
        pytest.param("os.fork() or stay_until_removed(folder); os.kill(os.getpid(), 9)", id="with-a-fork-alive"),
    ],
)
def test_end_of_the_parent_ends_children_grandchildren_and_folder(ending: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(ending=ending)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        folder_name, child = parent.stdout.readline().split()
        folder = Path(folder_name)
        assert wait_until(lambda: len(read_words(folder / "pids")) == 2, ENDED_S)
        entries = [read_process(int(pid)) for pid in (child, *read_words(folder / "pids"))]
        processes = [entry for entry in entries if entry is not None]
        assert len(processes) == 3
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert wait_until(lambda: not any(map(is_alive, processes)), ENDED_S)
        assert wait_until(lambda: not folder.exists(), ENDED_S)


def test_kill_family_reaches_grandchildren_in_sessions_of_their_own(sleepers: tuple[Child, int]) -> None:
    child, grandchild_pid = sleepers
    grandchild = read_process(grandchild_pid)
    assert grandchild is not None
    child.kill_family()
    assert not is_alive(grandchild)
    assert child.exit_code == -signal.SIGKILL


def test_process_with_another_start_time_is_not_signalled(sleepers: tuple[Child, int]) -> None:
    child, _ = sleepers
    reused = parse_stat(f"{child.pid} (sleep) S 1 {child.pid} " + "0 " * 16 + "1 0")
    send_signal([reused], signal.SIGKILL)
    assert child.wait(0.2) is None


def test_stat_line_with_parentheses_in_the_name_is_read() -> None:
    entry = parse_stat("42 (a (b) c) Z 7 40 " + "0 " * 16 + "12345 0")
    assert (entry.pid, entry.parent, entry.group, entry.start_ticks, entry.is_zombie) == (42, 7, 40, 12345, True)


def test_failed_step_tells_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ServerNotReady, match=r"(?s)baking failed with exit code 3.*the oven is cold"):
        run_step("baking", ["sh", "-c", "echo the oven is cold; exit 3"], tmp_path / "log", 10)


def test_step_beyond_its_deadline_is_killed(tmp_path: Path) -> None:
    with pytest.raises(ServerNotReady, match="did not end within 0 s"):
        run_step("baking", ["sleep", "600"], tmp_path / "log", 0.1)


def read_words(file: Path) -> list[str]:
    """Return the words of a file that a child is still writing, none when it is not there yet."""
    return file.read_text().split() if file.exists() else []


@pytest.fixture
def sleepers(tmp_path: Path) -> Iterator[tuple[Child, int]]:
    """A child and the pid of its grandchild, which leads a session of its own."""
    folder = create_guarded_folder(tmp_path)
    child = start_child(["sh", "-c", "setsid sleep 600 & echo $! >pid; sleep 600"], folder / "log", cwd=folder)
    assert wait_until(lambda: read_words(folder / "pid") != [], ENDED_S)
    pid = int((folder / "pid").read_text())
    assert wait_until(lambda: os.getsid(pid) == pid, ENDED_S)
    yield child, pid
    child.kill_family()
