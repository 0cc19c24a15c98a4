"""Keeps our own Docker engine while anybody uses it: run as `python -m support.docker_keeper` by docker_engine.py.

It starts dockerd, waits until nobody holds the users' lock and `kept` is gone, removes what containers are left, stops
dockerd and undoes what was done to the whole machine: dockerd's bridge and chains, and kernel settings, also those that
a kubelet in a privileged container makes. Loaded kernel modules stay, and so does the folder of logs and locks.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from forebay_cli.local.downloads import choose_cache_folder
from support.docker_engine import KEPT, RUN, SOCKET, USERS

PID_FILE = RUN / "dockerd.pid"
LOG = RUN / "dockerd.log"
RUNTIME = Path(__file__).with_name("runc_with_our_rights")
ADDRESSES = "172.30.0.0/16"
"""Of everything in our engine; cut in networks of 256. Private, and none that docker takes by itself."""
BRIDGE_ADDRESS = "172.30.0.1/24"
SYS_RESOURCE = 24
"""Number of CAP_SYS_RESOURCE among the capabilities."""
POLL_S = 1.0
STOP_S = 30.0
PACKET_FILTERS = ("iptables", "ip6tables")
SETTINGS = (
    "net/ipv4/ip_forward",
    "net/bridge/bridge-nf-call-iptables",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
)
"""Kernel settings that dockerd, or a kubelet in it, changes for the whole machine."""


def main() -> None:
    """Start, wait, stop, undo."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    had_bridge = bool(run("ip", "link", "show", "docker0"))
    settings = read_settings()
    policies = {tool: read_forward_policy(tool) for tool in PACKET_FILTERS}
    with LOG.open("wb") as log:
        engine = subprocess.Popen(
            build_command(choose_cache_folder(os.environ) / "docker"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    signal.signal(signal.SIGTERM, lambda *_: engine.terminate())
    with USERS.open("w") as users:  # its lock is held to the end: newcomers, and who asked for the end, wait
        if wait_until_unneeded(engine, users):
            remove_containers()
            stop(engine)
        if not had_bridge:
            remove_network_traces(policies)
        write_settings(settings)
        SOCKET.unlink(missing_ok=True)


def build_command(data: Path) -> list[str]:
    """dockerd with nothing in the usual places, so that an installed one is not met."""
    data.mkdir(parents=True, exist_ok=True)
    folders = ["--data-root", str(data), "--exec-root", str(RUN / "exec"), "--pidfile", str(PID_FILE)]
    network = ["--host", f"unix://{SOCKET}", "--bip", BRIDGE_ADDRESS]
    pool = ["--default-address-pool", f"base={ADDRESSES},size=24"]
    dies_with_us = ["setpriv", "--pdeathsig", "TERM"]
    return [*dies_with_us, "dockerd", *folders, *network, *pool, *choose_runtime()]


def choose_runtime() -> list[str]:
    """Where even root may not have CAP_SYS_RESOURCE, privileged containers start only without asking for it."""
    bounds = re.findall(r"CapBnd:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    if int(bounds[0], 16) >> SYS_RESOURCE & 1:
        return []
    own = RUN / RUNTIME.name  # the engine may outlive this checkout
    shutil.copy(RUNTIME, own)
    return ["--add-runtime", f"without-sys-resource={own}", "--default-runtime", "without-sys-resource"]


def wait_until_unneeded(engine: subprocess.Popen[bytes], users: IO[str]) -> bool:
    """Return True, having locked the file, when nobody uses the engine any more; False when it has ended by itself."""
    while engine.poll() is None:
        try:
            if not KEPT.exists():
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        except BlockingIOError:
            pass
        time.sleep(POLL_S)
    return False


def remove_containers() -> None:
    """All are of tests that have ended, some of them killed."""
    names = run("docker", "ps", "--all", "--quiet").split()
    if names:
        run("docker", "rm", "--force", "--volumes", *names)
    run("docker", "network", "prune", "--force")


def stop(engine: subprocess.Popen[bytes]) -> None:
    """Ask dockerd to end, and insist."""
    engine.terminate()
    try:
        engine.wait(STOP_S)
    except subprocess.TimeoutExpired:
        engine.kill()
        engine.wait()


def read_settings() -> Mapping[Path, str]:
    """The kernel settings of now; those that do not exist are left out."""
    files = [Path("/proc/sys", name) for name in SETTINGS]
    return {file: file.read_text() for file in files if file.exists()}


def write_settings(settings: Mapping[Path, str]) -> None:
    """Put back what has changed."""
    for file, value in settings.items():
        if file.exists() and file.read_text() != value:
            file.write_text(value)


def read_forward_policy(tool: str) -> str | None:
    """ACCEPT or DROP: dockerd sets DROP. None where the tool or the kernel's part of it is missing."""
    found = re.match(r"-P FORWARD (\w+)", run(tool, "-S", "FORWARD"))
    return found[1] if found else None


def remove_network_traces(policies: Mapping[str, str | None]) -> None:
    """Remove docker0 and all rules and chains of dockerd; there were none before ours started."""
    run("ip", "link", "delete", "docker0")
    for tool, policy in policies.items():
        rules = run(f"{tool}-save").splitlines(keepends=True)
        others = [rule for rule in rules if "DOCKER" not in rule and "docker0" not in rule]
        if others != rules:
            run(f"{tool}-restore", stdin="".join(others))
        if policy is not None:
            run(tool, "-P", "FORWARD", policy)


def run(*argv: str, stdin: str | None = None) -> str:
    """Run a command of the clean-up and return its output; nobody is there to be told of a failure but the log."""
    environment = {**os.environ, "DOCKER_HOST": f"unix://{SOCKET}"}
    try:
        done = subprocess.run(argv, env=environment, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    sys.stderr.write(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
