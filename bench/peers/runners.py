"""The processes of one variant, each engine behind the same few verbs. At full speed: nothing here is for faults."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from forebay_cli.local.process import Child, start_child

from bench.bare_loop import GATE
from bench.peers.connect_jars import ConnectJava
from bench.peers.debezium import (
    DebeziumSettings,
    InsertMode,
    build_connector_properties,
    build_group,
    build_worker,
)
from bench.peers.sinks import NOTHING, Place, find_cause, start_consumer, write_pipeline
from bench.peers.variants import DEBEZIUM_BATCH, Engine, Task, Variant
from bench.results import ROOT
from bench.write_path import PARTITIONS

DRAIN_S = 40.0
HEAP_MB = 2048
UPSERT = {"mode": "Upsert", "keyColumns": ["id"]}
"""More of spec.sink."""

GATES = {
    Engine.FOREBAY: "LOCK TABLE forebay.positions IN EXCLUSIVE MODE",
    Engine.POLARS: f"SELECT pg_advisory_xact_lock({GATE})",
    Engine.MSGSPEC: f"SELECT pg_advisory_xact_lock({GATE})",
    Engine.DEBEZIUM: "LOCK TABLE payments IN SHARE MODE",
}
"""What a transaction holds so that an engine may not write yet: ours waits to claim, a bare loop for its lock, and
Debezium's first batch, which nothing else can delay, for the table."""


class Runner(Protocol):
    """What drains a topic."""

    @property
    def group(self) -> str:
        """Its consumer group."""

    def start(self) -> None:
        """Start every process. Raises ServerNotReady."""

    def pids(self) -> list[int]:
        """Return its processes; children are theirs."""

    def find_trouble(self) -> str | None:
        """Return why it will write no more; None = it goes on."""

    def stop(self) -> None:
        """End every process."""


class ProcessRunner:
    """Forebay's consumers or bare loops: processes that are all alike."""

    def __init__(self, place: Place, variant: Variant, group: str) -> None:
        self._place, self._variant, self._group = place, variant, group
        self._children: list[Child] = []
        if variant.engine is Engine.FOREBAY:
            write_pipeline(place, group, {}, UPSERT if variant.task.has_key else NOTHING)

    @property
    def group(self) -> str:
        """As Runner.group."""
        return self._group

    def start(self) -> None:
        """As Runner.start, without waiting."""
        self._children = [self._start_one(number) for number in range(self._variant.members)]

    def pids(self) -> list[int]:
        """As Runner.pids."""
        return [child.pid for child in self._children]

    def find_trouble(self) -> str | None:
        """As Runner.find_trouble."""
        ended = [child.exit_code for child in self._children if not child.is_running()]
        return f"ended with exit code {ended[0]}" if ended else None

    def stop(self) -> None:
        """As Runner.stop; ours in order, so that no connection is left to be waited for."""
        if self._variant.engine is Engine.FOREBAY:
            for child in self._children:
                with suppress(ProcessLookupError):
                    child.send(signal.SIGTERM)
            for child in self._children:
                child.wait(DRAIN_S)
        for child in self._children:
            child.kill_family()

    def _start_one(self, number: int) -> Child:
        log = self._place.folder / f"process-{number}.log"
        if self._variant.engine is Engine.FOREBAY:
            return start_consumer(self._place, log, self._place.folder / f"port-{number}")
        options = {
            "encoder": self._variant.engine.removeprefix("bare-"),
            "bootstrap": self._place.bootstrap,
            "topic": self._place.topic,
            "group": self._group,
            "dsn": self._place.database.dsn,
            "members": self._variant.members,
            "partitions": PARTITIONS,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return start_child([sys.executable, "-m", "bench.bare_loop", *words, "--text"], log, cwd=ROOT)


class DebeziumRunner:
    """One worker of Kafka Connect with as many tasks as the variant says."""

    def __init__(self, place: Place, variant: Variant, name: str, connect: ConnectJava) -> None:
        settings = choose_settings(variant)
        connector = build_connector_properties(name, place.topic, place.table, place.database, settings)
        self._worker = build_worker(connect, place.folder, place.bootstrap, connector, settings)

    @property
    def group(self) -> str:
        """As Runner.group."""
        return build_group(self._worker.name)

    def start(self) -> None:
        """As Runner.start; waits until every task runs."""
        self._worker.start()

    def pids(self) -> list[int]:
        """As Runner.pids."""
        return [] if self._worker.pid is None else [self._worker.pid]

    def find_trouble(self) -> str | None:
        """As Runner.find_trouble."""
        if self._worker.pid is None:
            return "the worker has ended"
        failed = [task for task in self._worker.tasks() or () if task.has_failed]
        return find_cause(failed[0].trace or "no trace") if failed else None

    def stop(self) -> None:
        """As Runner.stop; there is nothing in it that a kill would spoil."""
        self._worker.kill()


def build_runner(place: Place, variant: Variant, name: str, connect: ConnectJava) -> Runner:
    """Return the variant's processes, not started. name: of its group, never used before."""
    if variant.engine is Engine.DEBEZIUM:
        return DebeziumRunner(place, variant, name, connect)
    return ProcessRunner(place, variant, name)


def choose_settings(variant: Variant, *, optional: frozenset[str] = frozenset()) -> DebeziumSettings:
    """Return Debezium's for a variant. optional: fields that the values' schema lets be null."""
    extra: dict[str, str] = {}
    if variant.task is Task.REPEATS:
        # One INSERT must not meet a key twice ("ON CONFLICT DO UPDATE command cannot affect row a second time").
        extra["use.reduction.buffer"] = "true"
    if variant.dead_letters:
        extra["errors.tolerance"] = "all"
        extra["errors.deadletterqueue.topic.replication.factor"] = "1"
    return DebeziumSettings(
        mode=InsertMode.UPSERT if variant.task.has_key else InsertMode.INSERT,
        tasks=variant.members,
        batch_size=variant.batch_size or DEBEZIUM_BATCH,
        heap_mb=HEAP_MB,
        optional=optional,
        extra=extra,
    )


def read_logs(folder: Path) -> str:
    """Return the ends of a place's logs, to be printed when a trial went wrong: the folder goes."""
    return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(folder.glob("*.log")))
