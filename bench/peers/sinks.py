"""What is put under fire, each behind the same few verbs: Forebay's consumer and Debezium's sink."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from forebay_api.wire import API_VERSION, KIND, Env
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.ha.loopback_http import ask
from forebay_cli.local.postgres_server import ConnectionParts
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.server_errors import ServerNotReady

from bench.peers.connect_jars import ConnectJava
from bench.peers.connect_worker import ConnectWorker
from bench.peers.debezium import DebeziumSettings, build_connector_properties, build_group, build_worker

START_S = 60.0
SESSION = {"session.timeout.ms": "10000", "heartbeat.interval.ms": "3000"}
"""The same for all, in the classic group protocol, the only one that Connect has: how long the partitions of a killed
member stay with it. Connect's default of 45 s would lengthen that fault alone."""
QUICK_START = ("-XX:TieredStopAtLevel=1",)
"""The JVM compiles quickly rather than well: for faults, where its start counts and its speed does not."""

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one trial happens. table: in the schema public. folder: for settings and logs, exists."""

    bootstrap: str
    topic: str
    table: str
    database: ConnectionParts
    folder: Path


class Sink(Protocol):
    """One process between a topic and a table."""

    @property
    def group(self) -> str:
        """Its consumer group."""

    def start(self) -> None:
        """Start it and wait until it reads. Raises ServerNotReady."""

    def launch(self) -> None:
        """Start it without waiting, as whatever supervises processes does when one has died."""

    def is_alive(self) -> bool:
        """Tell whether the process runs."""

    def find_stop(self) -> str | None:
        """Return why it stopped for good in a process that goes on, in a line; None = it did not."""

    def restart_by_hand(self) -> bool:
        """Do what a person has to do after such a stop; False = it was not taken."""

    def count_rewound(self) -> int | None:
        """Return the records that it read again because the database had lost them; None = it cannot know."""

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""


class ForebaySink:
    """One consumer process, with the settings that it has by itself."""

    def __init__(self, place: Place, sink: Mapping[str, object] = NOTHING, *, group: str | None = None) -> None:
        """sink: more of spec.sink. group: None = one named after the topic."""
        self._place = place
        self._group = group or f"forebay.{place.topic}"
        self._child: Child | None = None
        self._port_file = place.folder / "port"
        write_pipeline(place, self.group, {"group.protocol": "classic", **SESSION}, sink)

    @property
    def group(self) -> str:
        """As Sink.group."""
        return self._group

    def start(self) -> None:
        """As Sink.start."""
        self.launch()
        if not wait_until(lambda: self._ask("/readyz") is not None, START_S):
            raise ServerNotReady("Forebay's consumer", "is not ready", self._place.folder / "consumer.log")

    def launch(self) -> None:
        """As Sink.launch."""
        self._port_file.unlink(missing_ok=True)
        self._child = start_consumer(self._place, self._place.folder / "consumer.log", self._port_file)

    def is_alive(self) -> bool:
        """As Sink.is_alive."""
        return self._child is not None and self._child.is_running()

    def find_stop(self) -> str | None:
        """As Sink.find_stop: its process ends, or it goes on."""
        return None

    def restart_by_hand(self) -> bool:
        """As Sink.restart_by_hand."""
        return False

    def count_rewound(self) -> int | None:
        """As Sink.count_rewound, since its last start."""
        metrics = self._ask("/metrics")
        found = re.search(r"^forebay_rewound_records_total(?:\{[^}]*\})? (\S+)$", metrics or "", re.MULTILINE)
        return None if found is None else int(float(found[1]))

    def kill(self) -> None:
        """As Sink.kill."""
        if self._child is not None:
            self._child.kill_family()

    def _ask(self, path: str) -> str | None:
        try:
            status, body = ask(int(self._port_file.read_text()), path, 5.0)
        except (OSError, ValueError):
            return None
        return body if status == 200 else None


class DebeziumSink:
    """One worker of Connect with Debezium's connector."""

    def __init__(
        self, place: Place, connect: ConnectJava, settings: DebeziumSettings, *, name: str | None = None
    ) -> None:
        """name: the connector's; None = the topic's."""
        extra = {f"consumer.override.{name}": value for name, value in SESSION.items()}
        connector = build_connector_properties(name or place.topic, place.topic, place.table, place.database, settings)
        self._worker: ConnectWorker = build_worker(
            connect, place.folder, place.bootstrap, {**connector, **extra}, settings, QUICK_START
        )

    @property
    def group(self) -> str:
        """As Sink.group."""
        return build_group(self._worker.name)

    def start(self) -> None:
        """As Sink.start."""
        self._worker.start()

    def launch(self) -> None:
        """As Sink.launch."""
        self._worker.launch()

    def is_alive(self) -> bool:
        """As Sink.is_alive."""
        return self._worker.pid is not None

    def find_stop(self) -> str | None:
        """As Sink.find_stop: Connect never starts a failed task again."""
        failed = [task for task in self._worker.tasks() or () if task.has_failed]
        return find_cause(failed[0].trace or "no trace") if failed else None

    def restart_by_hand(self) -> bool:
        """As Sink.restart_by_hand."""
        return self._worker.restart_failed_tasks()

    def count_rewound(self) -> int | None:
        """As Sink.count_rewound: its offsets are Kafka's."""
        return None

    def kill(self) -> None:
        """As Sink.kill."""
        self._worker.kill()


def find_cause(trace: str) -> str:
    """Return the innermost cause of a Java trace, in one line."""
    causes = [line for line in trace.splitlines() if line.startswith("Caused by: ")]
    return (causes[-1].removeprefix("Caused by: ") if causes else trace.splitlines()[0])[:200]


def write_pipeline(place: Place, group: str, kafka: Mapping[str, str], sink: Mapping[str, object] = NOTHING) -> None:
    """Write what Forebay's consumers of a place are told. kafka: properties of the client. sink: more of spec.sink."""
    source = {"bootstrapServers": place.bootstrap, "topic": place.topic, "group": group}
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"namespace": "bench", "name": "peers"},
        "spec": {
            "source": {**source, "configSecretRef": {"name": "kafka"}},
            "sink": {"connectionSecretRef": {"name": "sink"}, "table": f"public.{place.table}", **sink},
        },
    }
    (place.folder / "pipeline.json").write_text(json.dumps(body))
    _write_folder(place.folder / "sink", place.database.secret)
    _write_folder(place.folder / "kafka", kafka)


def start_consumer(place: Place, log_file: Path, port_file: Path) -> Child:
    """Start one of Forebay's consumers, without waiting, after write_pipeline()."""
    folder = place.folder
    env = {
        Env.PIPELINE_FILE: folder / "pipeline.json",
        Env.SINK_SECRET_DIR: folder / "sink",
        Env.KAFKA_CONFIG_DIR: folder / "kafka",
        Env.HTTP_HOST: "127.0.0.1",
        Env.HTTP_PORT: 0,
        Env.HTTP_PORT_FILE: port_file,
    }
    variables = {**os.environ, **{str(key): str(value) for key, value in env.items()}}
    return start_child([sys.executable, "-m", "forebay_consumer"], log_file, env=variables)


def _write_folder(folder: Path, keys: Mapping[str, str]) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    for key, value in keys.items():
        (folder / key).write_text(value)
