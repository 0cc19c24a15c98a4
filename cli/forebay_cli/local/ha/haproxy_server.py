"""HAProxy as a process of this machine, and what its statistics say."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.haproxy_config import HaproxyPorts
from forebay_cli.local.ha.loopback_http import ask
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.server_errors import MissingProgram, ServerNotReady

START_S = 60.0
"""From the start to the first answer; checks take a second, the rest is patience with a busy machine."""
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Haproxy:
    """A running HAProxy and its three ports on loopback."""

    child: Child
    ports: HaproxyPorts

    @property
    def primary_port(self) -> int:
        """Leads to the primary."""
        return self.ports.primary

    @property
    def replicas_port(self) -> int:
        """Leads to the replicas that are not far behind."""
        return self.ports.replicas

    def ask(self, path: str) -> tuple[int, str]:
        """Return status and body of the statistics port's answer. Raises OSError when there is none."""
        return ask(self.ports.stats, path, ANSWER_S)

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

    def read_checks(self) -> dict[str, dict[str, bool]]:
        """Return for each of primary and replicas where clients are sent; empty when HAProxy does not answer."""
        try:
            return parse_checks(self.ask("/stats;csv")[1])
        except OSError:
            return {}


def parse_checks(statistics: str) -> dict[str, dict[str, bool]]:
    """Read HAProxy's CSV: door -> member -> whether it is up. A member not checked yet counts as down."""
    checks: dict[str, dict[str, bool]] = {}
    for row in csv.DictReader(io.StringIO(statistics.removeprefix("# "))):
        if row["svname"] not in ("FRONTEND", "BACKEND"):
            # "UP 1/2" is on its way down; until its first check an old HAProxy says UP with the check INI.
            is_up = row["status"].startswith("UP") and row["check_status"] != "INI"
            checks.setdefault(row["pxname"], {})[row["svname"]] = is_up
    return checks


def find_haproxy() -> str:
    """Return the program's path, also where a user's PATH lacks it; MissingProgram."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise MissingProgram("haproxy", "haproxy")
    return found


def start_haproxy(config: str, ports: HaproxyPorts, folder: Path, wait_for: str = "/livez") -> Haproxy:
    """Start HAProxy with this configuration, which names the ports, and wait for a path to answer 200.

    Raises MissingProgram, and ServerNotReady when it does not answer after START_S. Ends with this process.
    """
    file = folder / "haproxy.cfg"
    file.write_text(config)
    child = start_child([find_haproxy(), "-db", "-f", file], folder / "haproxy.log")
    running = Haproxy(child=child, ports=ports)
    wait_until(lambda: running.answers(wait_for) or not child.is_running(), START_S)
    if not running.answers(wait_for):
        child.kill_family()
        raise ServerNotReady("HAProxy", f"did not answer {wait_for} within {START_S:.0f} s", child.log_file)
    return running
