"""Our own engine lives while somebody uses it; privileged containers start with the rights that there are."""

from __future__ import annotations

import fcntl
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from support import docker_keeper

DEADLINE_S = 60.0


@pytest.fixture
def engine() -> Iterator[subprocess.Popen[bytes]]:
    """Stands in for dockerd: runs until it is told to end."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(docker_keeper, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(docker_keeper, "POLL_S", 0.01)
    (tmp_path / "users").touch()
    return tmp_path


class Waiting:
    """wait_until_unneeded() in a thread."""

    def __init__(self, engine: subprocess.Popen[bytes], users: Path) -> None:
        self.answer: bool | None = None
        self._thread = threading.Thread(target=self._wait, args=[engine, users])
        self._thread.start()

    def _wait(self, engine: subprocess.Popen[bytes], users: Path) -> None:
        with users.open("r+") as opened:
            self.answer = docker_keeper.wait_until_unneeded(engine, opened)

    def finish(self) -> bool | None:
        self._thread.join(DEADLINE_S)
        return self.answer


def test_engine_is_unneeded_when_its_last_user_has_gone(folder: Path, engine: subprocess.Popen[bytes]) -> None:
    with (folder / "users").open() as first, (folder / "users").open() as last:
        fcntl.flock(first, fcntl.LOCK_SH)
        fcntl.flock(last, fcntl.LOCK_SH)
        waiting = Waiting(engine, folder / "users")
        first.close()
        assert not wait_until(lambda: waiting.answer is not None, 0.2)
    assert waiting.finish() is True


def test_kept_engine_is_needed_without_users(folder: Path, engine: subprocess.Popen[bytes]) -> None:
    (folder / "kept").touch()
    waiting = Waiting(engine, folder / "users")
    assert not wait_until(lambda: waiting.answer is not None, 0.2)
    (folder / "kept").unlink()
    assert waiting.finish() is True


def test_engine_that_ended_by_itself_is_not_waited_for(folder: Path, engine: subprocess.Popen[bytes]) -> None:
    (folder / "kept").touch()
    waiting = Waiting(engine, folder / "users")
    engine.kill()
    assert waiting.finish() is False


@pytest.mark.parametrize("option", ["--bundle", "-b", "--process", "-p"])
def test_privileged_container_does_not_ask_for_what_nobody_has(tmp_path: Path, option: str) -> None:
    capabilities = [["CAP_KILL", "CAP_SYS_RESOURCE"], ["CAP_SYS_RESOURCE", "CAP_KILL"], ["CAP_SYS_RESOURCE"]]
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"capabilities": capabilities}, separators=(",", ":")))
    runc = tmp_path / "runc"
    runc.write_text(f'#!/bin/sh\necho "$@" >{tmp_path / "called"}\n')
    runc.chmod(0o755)
    named = file if option in ("--process", "-p") else tmp_path

    arguments = ["create", option, str(named), "name"]
    subprocess.run([docker_keeper.RUNTIME, *arguments], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)

    assert json.loads(file.read_text()) == {"capabilities": [["CAP_KILL"], ["CAP_KILL"], []]}
    assert (tmp_path / "called").read_text().split() == arguments


def test_stand_in_for_runc_is_used_only_where_the_right_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_keeper, "RUN", tmp_path)
    bounds = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
    has_right = bool(int(bounds.split()[1], 16) >> docker_keeper.SYS_RESOURCE & 1)

    chosen = docker_keeper.choose_runtime()

    assert (chosen == []) == has_right
    assert (tmp_path / docker_keeper.RUNTIME.name).exists() != has_right
