"""The operator as a process of its own, against any API server that a kubeconfig leads to."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.server_errors import ServerNotReady

READY_S = 60.0
STOP_S = 40.0
ANSWER_S = 5.0

CONSUMER_IMAGE = "forebay-consumer:test"

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Never through a proxy: everything is on this machine."""


@dataclass(slots=True, kw_only=True)
class OperatorProcess:
    """One replica. name: its identity; its files are in folder. settings: more of its environment."""

    name: str
    kubeconfig: Path
    folder: Path
    namespace: str = "default"
    settings: Mapping[str, str] = field(default_factory=dict)
    _child: Child | None = None

    @property
    def log_file(self) -> Path:
        """Its log of all runs."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Of the present run."""
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        assert self._child is not None, "not started"
        return self._child.exit_code

    @property
    def _port_file(self) -> Path:
        return self.folder / f"{self.name}.port"

    def start(self, *, wait: bool = True) -> None:
        """Start it and wait until it is ready. Raises ServerNotReady with the end of its log."""
        self._port_file.unlink(missing_ok=True)
        argv = [sys.executable, "-m", "forebay_operator"]
        self._child = start_child(argv, self.log_file, env=self._environment(), ask_with=signal.SIGTERM)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Raises ServerNotReady with the end of its log."""
        if not wait_until(lambda: self.exit_code is not None or self.probe("/readyz") == 200, READY_S):
            raise ServerNotReady("the operator", f"was not ready within {READY_S:.0f} s", self.log_file)
        if self.exit_code is not None:
            raise ServerNotReady("the operator", f"ended with exit code {self.exit_code}", self.log_file)

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        assert self._child is not None, "not started"
        self._child.send(number)

    def wait_end(self, timeout_s: float = STOP_S) -> int | None:
        """Its exit code; None when it still runs after timeout_s."""
        assert self._child is not None, "not started"
        return self._child.wait(timeout_s)

    def stop(self) -> None:
        """End it in its own way, else by force. Raises nothing when it has ended already, or never began."""
        if self._child is not None and self._child.is_running():
            self._child.send(signal.SIGTERM)
            if self._child.wait(STOP_S) is None:
                self._child.kill_family()

    def probe(self, path: str) -> int | None:
        """The HTTP status of /livez or /readyz; None when nobody answers."""
        status, _ = self._get(path)
        return status

    def read_metrics(self) -> dict[str, float]:
        """Each sample as it is written, `name{label="value"}` → value; {} when nobody answers."""
        _, text = self._get("/metrics")
        found = re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, flags=re.MULTILINE)
        return {name: float(value) for name, value in found}

    def is_leader(self) -> bool:
        """By its own word."""
        return self.read_metrics().get("forebay_operator_leader") == 1.0

    def read_log(self) -> list[dict[str, Any]]:
        """Its lines, of all runs; what is not JSON is a line with `message` alone."""
        lines = self.log_file.read_text(encoding="utf-8").splitlines() if self.log_file.exists() else []
        return [json.loads(line) if line.startswith("{") else {"message": line} for line in lines]

    def _get(self, path: str) -> tuple[int | None, str]:
        try:
            url = f"http://127.0.0.1:{int(self._port_file.read_text())}{path}"
            with _direct.open(url, timeout=ANSWER_S) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as e:
            with e:
                return e.code, e.read().decode()
        except (URLError, OSError, ValueError):
            return None, ""

    def _environment(self) -> dict[str, str]:
        own = {
            "FOREBAY_NAMESPACE": self.namespace,
            "FOREBAY_POD_NAME": self.name,
            "FOREBAY_CONSUMER_IMAGE": CONSUMER_IMAGE,
            "FOREBAY_HTTP_PORT": "0",
            "FOREBAY_HTTP_PORT_FILE": str(self._port_file),
            "KUBECONFIG": str(self.kubeconfig),
        }
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**inherited, "PYTHONWARNINGS": "default", **own, **self.settings}


@contextmanager
def running_operators(*operators: OperatorProcess) -> Iterator[None]:
    """Start them one after the other, and stop all in the end, whatever happened to them meanwhile."""
    try:
        for operator in operators:
            operator.start()
        yield
    finally:
        for operator in operators:
            operator.stop()
