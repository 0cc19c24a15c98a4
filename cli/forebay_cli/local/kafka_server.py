"""One Apache Kafka broker with its controller (KRaft) as a process of this machine, on the loopback interface."""

from __future__ import annotations

import signal
from pathlib import Path

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, recall_port
from forebay_cli.local.kafka_classes import STARTED, use_class_archive
from forebay_cli.local.kafka_java import KafkaJava, find_kafka_java
from forebay_cli.local.kafka_settings import KafkaOptions, build_properties, format_storage, write_properties
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.server_errors import ServerNotReady

STOP_S = 30.0


class KafkaServer:
    """A broker in a folder of its own. start, stop and kill may alternate: port and data stay."""

    def __init__(self, folder: Path, *, cache: Path, options: KafkaOptions | None = None) -> None:
        """folder: made if missing; data of an earlier server in it is taken over. cache: see choose_cache_folder."""
        self.folder = folder.absolute()
        self.options = options or KafkaOptions()
        self._cache = cache
        self._java: KafkaJava | None = None
        self._child: Child | None = None
        self._ports: tuple[int, int] | None = None

    @property
    def port(self) -> int:
        """Port of the clients' listener; known from the first start on."""
        assert self._ports is not None, "start() chooses the port"
        return self._ports[0]

    @property
    def bootstrap(self) -> str:
        """Value for bootstrap.servers."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log_file(self) -> Path:
        """The broker's own log, of all its starts."""
        return self.folder / "kafka.log"

    @property
    def pid(self) -> int | None:
        """Process id; None while it does not run."""
        return self._child.pid if self._child is not None and self._child.is_running() else None

    def start(self) -> None:
        """Start and wait until clients are served; does nothing when it runs."""
        if self.pid is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        java = self._prepare()
        already_logged = self.log_file.stat().st_size if self.log_file.exists() else 0
        child = start_child(
            java.command("kafka.Kafka", self._properties_file, heap_mb=self.options.heap_mb), self.log_file
        )
        self._child = child
        wait_until(lambda: self._is_started(already_logged) or not child.is_running(), self.options.start_timeout_s)
        if not self._is_started(already_logged):
            self.kill()
            raise ServerNotReady("Kafka", "did not start", self.log_file)

    def stop(self) -> None:
        """Shut down in order; killed when that takes longer than 30 s."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it without a word to its clients (SIGSTOP)."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after freeze()."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.is_running():
            self._child.signal_family(number)

    def _end(self, number: signal.Signals) -> None:
        if self._child is None:
            return
        self._send(signal.SIGCONT)
        self._send(number)
        if self._child.wait(STOP_S) is None:
            self._child.kill_family()
        self._child = None

    def _is_started(self, after: int) -> bool:
        with self.log_file.open("rb") as log:
            log.seek(after)
            return STARTED in log.read()

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    def _prepare(self) -> KafkaJava:
        if self._java is None:
            plain = find_kafka_java(self._cache)
            self._java = use_class_archive(plain)
        if self._ports is None:
            self._ports = (recall_port(self.folder / "port"), recall_port(self.folder / "controller-port"))
        data = self.folder / "data"
        write_properties(self._properties_file, build_properties(self.options, self._ports, data))
        if not (data / "meta.properties").exists():
            format_storage(self._java, self._properties_file, self.folder / "format.log")
        return self._java
