"""One worker of Kafka Connect (standalone) as a process of this machine, and what an operator asks of it over REST."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.server_errors import ServerNotReady

from bench.peers.connect_jars import ConnectJava

START_S = 300.0
"""Deadline until the connector's task runs: 7 s on a free machine, two minutes on one that is far too busy."""
LOOK_EVERY_S = 0.5
STOP_S = 30.0
ASK_S = 5.0
MAIN_CLASS = "org.apache.kafka.connect.cli.ConnectStandalone"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """What the worker says of one task. trace: why it failed; None = it did not."""

    task: int
    state: str
    trace: str | None

    @property
    def has_failed(self) -> bool:
        """Tell whether it stopped for good: Connect never starts such a task again by itself."""
        return self.state == "FAILED"


class ConnectWorker:
    """A worker with one connector. start and kill may alternate; its offsets are in Kafka."""

    def __init__(
        self,
        connect: ConnectJava,
        folder: Path,
        worker: Mapping[str, str],
        connector: Mapping[str, str],
        *,
        heap_mb: int,
        flags: tuple[str, ...] = (),
    ) -> None:
        """folder: for settings and logs, must exist. worker, connector: their properties; the rest is added here.

        flags: further ones of the JVM.
        """
        self._connect = connect
        self._connector = connector
        self._heap_mb, self._flags = heap_mb, flags
        self._port = find_free_port()
        self._child: Child | None = None
        self.log_file = folder / "connect.log"
        self._worker_file, self._connector_file = folder / "worker.properties", folder / "connector.properties"
        own = {
            "listeners": f"http://{LOOPBACK}:{self._port}",
            "plugin.path": str(connect.plugins),
            "plugin.discovery": "service_load",
            "offset.storage.file.filename": str(folder / "source.offsets"),
        }
        _write_properties(self._worker_file, {**worker, **own})
        _write_properties(self._connector_file, connector)

    @property
    def name(self) -> str:
        """The connector's."""
        return self._connector["name"]

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        return self._child.pid if self._child is not None and self._child.is_running() else None

    def launch(self) -> None:
        """Start the process without waiting for it."""
        command = self._connect.java.command(
            MAIN_CLASS, self._worker_file, self._connector_file, heap_mb=self._heap_mb, flags=self._flags
        )
        self._child = start_child(command, self.log_file)

    def start(self) -> None:
        """Start, and wait until every task runs. Raises ServerNotReady."""
        self.launch()
        if not wait_until(lambda: self.pid is None or self.is_running(), START_S, LOOK_EVERY_S) or self.pid is None:
            self.kill()
            raise ServerNotReady("Kafka Connect", "has no running task", self.log_file)

    def tasks(self) -> tuple[TaskState, ...] | None:
        """What the worker says of its tasks; None while it does not answer."""
        try:
            status, body = self._ask("GET", f"/connectors/{self.name}/status")
        except (OSError, HTTPException):
            return None
        if status != 200:
            return None
        said: list[dict[str, Any]] = json.loads(body)["tasks"]
        return tuple(TaskState(task=t["id"], state=t["state"], trace=t.get("trace")) for t in said)

    def is_running(self) -> bool:
        """Tell whether there are tasks and all of them run."""
        tasks = self.tasks() or ()
        return bool(tasks) and all(task.state == "RUNNING" for task in tasks)

    def restart_failed_tasks(self) -> bool:
        """Do what an operator does with failed tasks; False when the worker did not take it."""
        try:
            status, _ = self._ask("POST", f"/connectors/{self.name}/restart?includeTasks=true&onlyFailed=true")
        except (OSError, HTTPException):
            return False
        return status in (200, 202, 204)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._child is not None:
            self._child.kill_family()

    def stop(self) -> None:
        """Shut down in order; killed when that takes longer than 30 s."""
        if self._child is not None and self._child.is_running():
            self._child.send(signal.SIGTERM)
            self._child.wait(STOP_S)
        self.kill()

    def _ask(self, method: str, path: str) -> tuple[int, str]:
        with closing(HTTPConnection(LOOPBACK, self._port, timeout=ASK_S)) as connection:
            connection.request(method, path, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def _write_properties(file: Path, properties: Mapping[str, str]) -> None:
    escaped = {key: value.replace("\\", "\\\\") for key, value in properties.items()}
    file.write_text("".join(f"{key}={value}\n" for key, value in escaped.items()))
    file.chmod(0o600)  # the connector's hold a password
