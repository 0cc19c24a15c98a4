"""One etcd on loopback: where Patroni keeps its cluster's state. Asked over HTTP in JSON."""

from __future__ import annotations

import base64
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.ha.loopback_http import ask
from forebay_cli.local.process import Child, find_program, start_child
from forebay_cli.local.server_errors import ServerError, ServerNotReady

DEBIAN_PACKAGE = "etcd-server"
START_S = 60.0
ANSWER_S = 15.0


class EtcdSilent(ServerError):
    """etcd did not answer, or not as it should: it is frozen, stopped or starting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdValue:
    """What is stored under a key; lease: decimal id, "0" = none."""

    value: str
    lease: str


class EtcdServer:
    """An etcd with its data in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """folder: made when it starts."""
        self.folder = folder
        self.port = find_free_port()
        self._peer_port = find_free_port()
        self._child: Child | None = None

    @property
    def log_file(self) -> Path:
        """Its own log."""
        return self.folder / "etcd.log"

    def start(self) -> None:
        """Start and wait until it answers; does nothing when it runs. Raises MissingProgram, ServerNotReady."""
        if self._child is not None and self._child.is_running():
            return
        program = find_program("etcd", DEBIAN_PACKAGE)
        self.folder.mkdir(exist_ok=True)
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        # Debian's etcd of 2022 wants to be told so on arm64; it means nothing elsewhere.
        env = {"PATH": "/usr/bin:/bin", "ETCD_UNSUPPORTED_ARCH": "arm64"}
        child = start_child([program, *self._options()], self.log_file, env=env, cwd=self.folder)
        self._child = child
        wait_until(lambda: self._answers() or not child.is_running(), START_S)
        if not self._answers():
            self.kill()
            raise ServerNotReady("etcd", "did not start", self.log_file)

    def kill(self) -> None:
        """End it (SIGKILL); the data stay."""
        if self._child is not None:
            self._child.kill_family()
            self._child = None

    def freeze(self) -> None:
        """Stop it without a word to its clients (SIGSTOP)."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after freeze()."""
        self._send(signal.SIGCONT)

    def read(self, key: str) -> EtcdValue | None:
        """Return what is under the key; None when there is no such key. Raises EtcdSilent."""
        found = self._ask("kv/range", {"key": _encode(key)}).get("kvs")
        if not found:
            return None
        return EtcdValue(value=base64.b64decode(found[0].get("value", "")).decode(), lease=found[0].get("lease", "0"))

    def revoke(self, lease: str) -> None:
        """End a lease, and every key that hangs on it, as its time to live would. Raises EtcdSilent."""
        self._ask("lease/revoke", {"ID": lease})

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.is_running():
            self._child.signal_family(number)

    def _options(self) -> list[str]:
        client, peer = f"http://{LOOPBACK}:{self.port}", f"http://{LOOPBACK}:{self._peer_port}"
        return [
            "--name=etcd",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=etcd={peer}",
            "--logger=zap",
            "--log-level=warn",
        ]

    def _answers(self) -> bool:
        try:
            self._ask("maintenance/status", {})
        except EtcdSilent:
            return False
        return True

    def _ask(self, call: str, body: dict[str, str]) -> dict[str, Any]:
        try:
            status, said = ask(self.port, f"/v3/{call}", ANSWER_S, json.dumps(body).encode())
            answer = json.loads(said)
        except (OSError, ValueError) as error:
            raise EtcdSilent(f"etcd at port {self.port}: {call}: {error}") from error
        if status != 200 or not isinstance(answer, dict):
            raise EtcdSilent(f"etcd at port {self.port}: {call}: {status} {said}")
        return answer


def _encode(key: str) -> str:
    return base64.b64encode(key.encode()).decode()
