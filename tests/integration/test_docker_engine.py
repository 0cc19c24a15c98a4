"""Our own Docker engine, in a network of its own: who keeps it alive, and what is left when it has ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until

NEEDED = ("dockerd", "docker", "unshare", "iptables", "nsenter")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
DEADLINE_S = 90.0
TESTS = Path(__file__).parents[1]
HOLD = "import signal; from support.docker_engine import open_engine; print(open_engine().host); signal.pause()"
IS_UP = "from support.docker_engine import has_ended; print(not has_ended())"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="the right to start an engine (root) is missing"),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} missing"),
]


class Island:
    """A process with a network and a /run of its own, in which commands can be run; the rest is this machine's."""

    def __init__(self, root: subprocess.Popen[str], cache: Path) -> None:
        self._enter = ["nsenter", "--target", str(root.pid), "--net", "--mount"]
        others = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
        self._environment = {**others, "PYTHONPATH": str(TESTS), "FOREBAY_CACHE": str(cache)}

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command there."""
        return subprocess.Popen([*self._enter, *argv], env=self._environment, stdout=subprocess.PIPE, text=True)

    def run(self, *argv: str) -> str:
        """What a command says there; CalledProcessError when it fails."""
        done = subprocess.run(
            [*self._enter, *argv],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        return done.stdout

    def engine(self, command: str) -> str:
        """One of the engine's own commands."""
        return self.run(sys.executable, "-m", "support.docker_engine", command)

    def is_up(self) -> bool:
        """Tell whether an engine answers there."""
        return self.run(sys.executable, "-c", IS_UP).strip() == "True"

    def traces(self) -> str:
        """What an engine does to a machine's network."""
        rules = "iptables-save | grep -e '^-' -e '^:.*DOCKER'; iptables -S FORWARD"
        return self.run("sh", "-c", f"{rules}; ip -brief link; cat /proc/sys/net/ipv4/ip_forward")


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Island]:
    """An island without an engine; one that is left there is told to end."""
    with _open_island(tmp_path) as found:
        yield found
        found.engine("down")
        assert wait_until(lambda: not found.is_up(), DEADLINE_S)


@contextmanager
def _open_island(tmp_path: Path) -> Iterator[Island]:
    prepare = "mount -t tmpfs none /run && ip link set lo up && echo ready && exec sleep 600"
    root = subprocess.Popen(["unshare", "--net", "--mount", "sh", "-c", prepare], stdout=subprocess.PIPE, text=True)
    with root:
        try:
            assert root.stdout is not None
            assert root.stdout.readline() == "ready\n"
            yield Island(root, tmp_path / "cache")
        finally:
            root.kill()


def test_engine_stays_until_told_and_leaves_the_network_as_it_was(island: Island) -> None:
    island.run("iptables", "-A", "FORWARD", "-s", "203.0.113.7", "-j", "DROP")
    before = island.traces()

    said = island.engine("up")

    assert "export DOCKER_HOST=unix:///run/forebay-docker/docker.sock" in said.splitlines()
    assert island.engine("env") == said
    assert "DOCKER-USER" in island.traces()
    island.engine("down")
    assert not island.is_up()
    assert island.traces() == before


def test_engine_goes_with_its_last_user_even_if_killed(island: Island) -> None:
    first, second = island.start(sys.executable, "-uc", HOLD), island.start(sys.executable, "-uc", HOLD)
    try:
        for user in (first, second):
            assert user.stdout is not None
            assert user.stdout.readline() == "unix:///run/forebay-docker/docker.sock\n"
        first.send_signal(signal.SIGKILL)
        first.wait()
        island.engine("env")
        second.send_signal(signal.SIGKILL)
        assert wait_until(lambda: not island.is_up(), DEADLINE_S)
    finally:
        for user in (first, second):
            user.kill()
            user.communicate()


def test_command_holds_the_engine_as_long_as_it_runs(island: Island) -> None:
    said = island.run(sys.executable, "-m", "support.docker_engine", "run", "docker", "info", "--format", "{{.Driver}}")
    assert said.strip()
    assert wait_until(lambda: not island.is_up(), DEADLINE_S)
