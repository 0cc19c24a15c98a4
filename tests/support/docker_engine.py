"""The Docker engine for tests and images: the one that is there, else, as root, one of our own.

Our own keeps its images in the cache, lives while anybody uses it, and then leaves the machine as it was (see
docker_keeper.py). On the command line (with tests/ on the path):

    python -m support.docker_engine up       starts it for good; prints what a shell may eval
    python -m support.docker_engine env      prints the same, exit code 1 where no engine answers
    python -m support.docker_engine run ...  runs a command with DOCKER_HOST set, the engine held as long
    python -m support.docker_engine down     ends what `up` began
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.downloads import locked
from forebay_cli.local.server_errors import ServerError, ServerNotReady

RUN = Path("/run/forebay-docker")
"""Socket, pid, logs and locks of our own engine: short, because a socket's path has 107 characters at most. One for the
machine: two engines would fight for the bridge and for the packet filter."""
SOCKET = RUN / "docker.sock"
USERS = RUN / "users"
"""Everybody who uses our engine holds a shared lock of this file; the kernel lets go when the user dies."""
KEPT = RUN / "kept"
"""There while `up` wants the engine to live on."""
KEEPER_LOG = RUN / "keeper.log"
START_S = 60.0
STOP_S = 60.0
ASK_S = 20.0
"""Deadline of an engine's answer to `docker info`."""


class NoEngine(ServerError):
    """There is no Docker engine, and without being root none can be started."""

    def __init__(self) -> None:
        super().__init__(
            "no Docker engine answers (docker info): start one, set DOCKER_HOST, "
            "or run this as root where dockerd is installed"
        )


class DockerFailed(ServerError):
    """A docker command failed; the message is its own."""

    def __init__(self, arguments: Sequence[str], said: str) -> None:
        super().__init__(f"docker {' '.join(arguments)}: {said.strip()[-4000:]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """host: value for DOCKER_HOST; None where docker finds the engine by itself. is_own: we started it."""

    host: str | None
    is_own: bool

    @property
    def environment(self) -> Mapping[str, str]:
        """What every docker, kind or make command needs beside the usual: the classic builder is everywhere."""
        return {"DOCKER_BUILDKIT": "0", **({"DOCKER_HOST": self.host} if self.host else {})}

    def docker(self, *arguments: str, stdin: str | None = None, timeout_s: float = 600.0) -> str:
        """Run docker and return its output without the last line feed. Raises DockerFailed with its words."""
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, **self.environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise DockerFailed(arguments, done.stderr or done.stdout)
        return done.stdout.removesuffix("\n")

    def has_image(self, tag: str) -> bool:
        """Tell whether the image is there."""
        return bool(self.docker("images", "--quiet", tag))


@cache
def open_engine() -> Engine:
    """Return a working engine, held until this process ends. Raises NoEngine, ServerNotReady."""
    engine = _hold_running()
    if engine is not None:
        return engine
    if os.geteuid() != 0:
        raise NoEngine
    RUN.mkdir(mode=0o711, exist_ok=True)
    _hold()  # before the start: the keeper ends an engine that nobody holds
    with locked(RUN / "start"):
        if not _answers(f"unix://{SOCKET}"):
            _start_keeper()
    return Engine(host=f"unix://{SOCKET}", is_own=True)


def keep_engine() -> None:
    """Let our own engine live on after all who use it, until the command `down`."""
    KEPT.touch()


def find_running() -> Engine | None:
    """An engine that answers now, without holding it; None when there is none."""
    if _answers(None):
        host = os.environ.get("DOCKER_HOST")
        return Engine(host=host, is_own=host == f"unix://{SOCKET}")
    return Engine(host=f"unix://{SOCKET}", is_own=True) if _answers(f"unix://{SOCKET}") else None


def has_ended() -> bool:
    """Tell whether our own engine is gone and its traces are removed."""
    if SOCKET.exists() or not USERS.exists():
        return not SOCKET.exists()
    with USERS.open() as users:
        try:
            fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:  # the keeper is still at it
            return False
    return True


def _hold_running() -> Engine | None:
    engine = find_running()
    if engine is None or not engine.is_own:
        return engine
    _hold()
    return find_running()  # it may have ended before we held it


_held: list[int] = []


def _hold() -> None:
    descriptor = os.open(USERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    _held.append(descriptor)


def _answers(host: str | None) -> bool:
    env = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    try:
        asked = subprocess.run(["docker", "info"], env=env, capture_output=True, timeout=ASK_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    # `docker info` of some versions succeeds without a server and says so
    return asked.returncode == 0 and b"Cannot connect" not in asked.stdout + asked.stderr


def _start_keeper() -> None:
    """The keeper belongs to nobody (setsid --fork): it must outlive who started it, however that ends."""
    with KEEPER_LOG.open("wb") as log:
        keeper = ["setsid", "--fork", sys.executable, "-m", "support.docker_keeper"]
        tests = str(Path(__file__).parents[1])
        path = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path}
        subprocess.run(keeper, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/", check=True)
    if not wait_until(lambda: _answers(f"unix://{SOCKET}"), START_S, poll_s=0.2):
        raise ServerNotReady("the Docker engine", f"did not answer within {START_S:.0f} s", KEEPER_LOG)


def _print_environment(engine: Engine) -> None:
    for name, value in engine.environment.items():
        print(f"export {name}={value}")  # noqa: T201 - its answer


def _stop() -> None:
    KEPT.unlink(missing_ok=True)
    if not wait_until(has_ended, STOP_S, poll_s=0.2):
        print("the engine runs on: somebody else uses it", file=sys.stderr)  # noqa: T201 - its answer


def main(arguments: Sequence[str]) -> int:
    """One of the commands in this module's text; returns the exit code."""
    match list(arguments):
        case ["up"]:
            engine = open_engine()
            if engine.is_own:
                keep_engine()
            _print_environment(engine)
        case ["env"]:
            running = find_running()
            if running is None:
                return 1
            _print_environment(running)
        case ["down"]:
            _stop()
        case ["run", command, *rest]:
            _become(command, rest)
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201 - its answer
            return 2
    return 0


def _become(command: str, rest: Sequence[str]) -> NoReturn:
    environment = {**os.environ, **open_engine().environment}
    for descriptor in _held:  # the command holds the engine in our place
        os.set_inheritable(descriptor, True)
    os.execvpe(command, [command, *rest], environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
