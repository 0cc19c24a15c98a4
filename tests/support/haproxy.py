"""HAProxy as a process of this machine, with the configuration that the chart patroni-haproxy renders."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.server_errors import MissingProgram, ServerNotReady
from support.charts import render_haproxy_config

START_S = 15.0
"""From the start to /readyz; checks take a second, the rest is patience with a busy machine."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks loopback itself, whatever proxy the environment names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Haproxy:
    """A running HAProxy and its three ports on loopback."""

    child: Child
    primary_port: int
    replicas_port: int
    stats_port: int

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of the statistics port's answer."""
        try:
            with DIRECT.open(f"http://{LOOPBACK}:{self.stats_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def answers(self, path: str) -> bool:
        """Tell whether the statistics port answers the path with 200."""
        try:
            return self.ask(path)[0] == 200
        except OSError:
            return False

    def is_ready(self) -> bool:
        """Tell whether Kubernetes would send clients here."""
        return self.answers("/readyz")

    def stop_softly(self) -> None:
        """What the chart's preStop does: no new sessions, the old ones live on for drain.sessionSeconds."""
        self.child.send(signal.SIGUSR1)


def find_haproxy() -> str:
    """Return the program's path, also where a user's PATH lacks it; MissingProgram."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingProgram("haproxy", "haproxy")
    return found


def check_config(config: str, folder: Path) -> str:
    """Return what `haproxy -c` has against the configuration, warnings included; empty when nothing."""
    file = folder / "haproxy.cfg"
    file.write_text(config)
    done = subprocess.run(
        [find_haproxy(), "-c", "-q", "-f", file], capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


@contextmanager
def run_haproxy(values: Mapping[str, Any], folder: Path, wait_for: str = "/readyz") -> Iterator[Haproxy]:
    """Start HAProxy on free ports of loopback with these values of the chart, and wait for a path to answer 200.

    ServerNotReady when it does not after START_S. Killed at the end, also when this process is.
    """
    primary, replicas, stats = (find_free_port() for _ in range(3))
    where = {
        "bind": LOOPBACK,
        "primary": {"port": primary},
        "replicas": {"port": replicas} | dict(values.get("replicas", {})),
        "stats": {"port": stats},
    }
    file = folder / "haproxy.cfg"
    file.write_text(render_haproxy_config({"clusterName": "test"} | dict(values) | where))
    child = start_child([find_haproxy(), "-db", "-f", file], folder / "haproxy.log")
    running = Haproxy(child=child, primary_port=primary, replicas_port=replicas, stats_port=stats)
    try:
        wait_until(lambda: running.answers(wait_for) or not child.is_running(), START_S)
        if not running.answers(wait_for):
            raise ServerNotReady("HAProxy", f"did not answer {wait_for} within {START_S:.0f} s", child.log_file)
        yield running
    finally:
        child.kill_family()
