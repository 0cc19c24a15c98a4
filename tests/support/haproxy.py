"""HAProxy as a process of this machine, with the configuration that the chart patroni-haproxy renders."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.ha.haproxy_config import HaproxyPorts
from forebay_cli.local.ha.haproxy_server import Haproxy, find_haproxy, start_haproxy
from support.charts import render_haproxy_config


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

    Raises what start_haproxy does. Killed at the end, also when this process is.
    """
    ports = HaproxyPorts(primary=find_free_port(), replicas=find_free_port(), stats=find_free_port())
    where = {
        "bind": LOOPBACK,
        "primary": {"port": ports.primary},
        "replicas": {"port": ports.replicas} | dict(values.get("replicas", {})),
        "stats": {"port": ports.stats},
    }
    config = render_haproxy_config({"clusterName": "test"} | dict(values) | where)
    running = start_haproxy(config, ports, folder, wait_for)
    try:
        yield running
    finally:
        running.child.kill_family()
