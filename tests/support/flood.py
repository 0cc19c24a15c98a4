"""A load, consumers that take it in, and the audit: what the tests under fire have in common."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from forebay_api.state import ConsumerState, PartitionState, from_json_object
from forebay_api.wire import API_VERSION, KIND, Env
from forebay_cli.demo.audit import Verdict, judge_facts
from forebay_cli.demo.audit_database import gather_facts
from forebay_cli.demo.ledger import read_entries, summarize_entries
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.postgres_server import run_psql
from forebay_cli.local.process import Child, start_child
from support.testbed.servers import FreshDatabase

TABLE = """
CREATE TABLE payments (
    id bigint NOT NULL, account text NOT NULL, amount_cents bigint NOT NULL CHECK (amount_cents >= 0),
    currency text NOT NULL, merchant text NOT NULL, status text NOT NULL, created_at timestamptz NOT NULL
)"""
CLASSIC = {"group.protocol": "classic", "session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}
"""The broker notices a dead member within three seconds instead of 45."""
PATIENT = {"group.protocol": "classic", "session.timeout.ms": "10000", "heartbeat.interval.ms": "1000"}
"""For tests in which no member may be lost: a busy machine stands still for three seconds now and then."""
NEW = {"group.protocol": "consumer"}
"""Session and heartbeat are the broker's business: see KafkaOptions."""

_FAILING_OVER = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
"""What a client sees of a server that is going or coming, or of HAProxy in front of none."""

GRACE_S = 15
ANSWER_S = 5.0
CONNECT_S = 60.0
"""Deadline for one connection to whatever is the primary by then."""

_numbers = itertools.count(1)


class ConsumerProcess:
    """One consumer program under test."""

    def __init__(self, child: Child, port_file: Path) -> None:
        self.child = child
        self._port_file = port_file

    def read(self, path: str) -> tuple[int, str] | None:
        """GET from its endpoints: status and text; None while it does not answer."""
        try:
            url = f"http://127.0.0.1:{int(self._port_file.read_text())}{path}"
            with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode()
        except (OSError, ValueError):
            return None

    def state(self) -> ConsumerState | None:
        """What it says of itself; None while it does not answer."""
        answer = self.read("/state")
        return None if answer is None else from_json_object(json.loads(answer[1]))

    def claimed(self) -> int:
        """Partitions that it reads."""
        state = self.state()
        return 0 if state is None else sum(p.state is PartitionState.RUNNING for p in state.partitions)

    def log(self) -> str:
        """Everything it logged."""
        return self.child.log_file.read_text()


@dataclass(slots=True)
class Flood:
    """A topic, a database, a pipeline between them. spec: parts that replace those of the default pipeline."""

    kafka: KafkaServer
    database: FreshDatabase
    topic: str
    folder: Path
    source: Mapping[str, Any] = field(default_factory=dict)
    sink: Mapping[str, Any] = field(default_factory=dict)
    consumer: Mapping[str, Any] = field(default_factory=dict)
    kafka_config: Mapping[str, str] = field(default_factory=lambda: CLASSIC)
    processes: list[ConsumerProcess] = field(default_factory=list)
    producer: Child | None = None
    group: str = "bank.payments"

    def __post_init__(self) -> None:
        self._write_folder("kafka", self.kafka_config)
        self.write_secret()

    @property
    def ledger(self) -> Path:
        """Where the producer writes what was delivered."""
        return self.folder / "ledger"

    def write_secret(self, **changes: str) -> None:
        """The connection's Secret, with some keys changed."""
        d = self.database
        parts = {"host": d.host, "port": str(d.port), "dbname": d.dbname, "user": d.user, "password": d.password}
        self._write_folder("sink", {**parts, **changes})

    def run_sql(self, sql: str) -> str:
        """Run SQL as the pipeline's role; rows as lines, tab-separated."""
        return run_psql(find_postgres(), self.database.parts, sql)

    def run_sql_as_admin(self, sql: str) -> str:
        """Run SQL as the superuser in the same database."""
        return run_psql(find_postgres(), self.database.admin, sql)

    def start_consumer(self) -> ConsumerProcess:
        """One more consumer."""
        number = next(_numbers)
        pipeline_file, port_file = self.folder / "pipeline.json", self.folder / f"port-{number}"
        pipeline_file.write_text(json.dumps(self.body()))
        env = {
            Env.PIPELINE_FILE: pipeline_file,
            Env.SINK_SECRET_DIR: self.folder / "sink",
            Env.KAFKA_CONFIG_DIR: self.folder / "kafka",
            Env.CONSUMER_ID: f"consumer-{number}",
            Env.HTTP_HOST: "127.0.0.1",
            Env.HTTP_PORT: 0,
            Env.HTTP_PORT_FILE: port_file,
            Env.GRACE_SECONDS: GRACE_S,
        }
        variables = {**os.environ, **{str(k): str(v) for k, v in env.items()}}
        command = [sys.executable, "-m", "forebay_consumer"]
        child = start_child(command, self.folder / f"consumer-{number}.log", env=variables)
        process = ConsumerProcess(child, port_file)
        self.processes.append(process)
        return process

    def kill(self, process: ConsumerProcess) -> None:
        """kill -9, and forget it."""
        process.child.send(signal.SIGKILL)
        process.child.wait(10)
        self.processes.remove(process)

    def start_producer(self, records: int, seconds: float, poison: float = 0.001, seed: int = 1) -> None:
        """The wave of the demo, in a process of its own."""
        command = [sys.executable, "-m", "forebay_cli.demo.producer", "--bootstrap", self.kafka.bootstrap]
        command += ["--topic", self.topic, "--ledger", str(self.ledger), "--records", str(records)]
        command += ["--seconds", str(seconds), "--poison-fraction", str(poison), "--seed", str(seed)]
        self.producer = start_child(command, self.folder / "producer.log", env=dict(os.environ))

    async def producer_ended(self, deadline_s: float) -> None:
        """Wait until everything is delivered."""
        producer = self.producer
        assert producer is not None
        await eventually(lambda: not producer.is_running(), deadline_s, "the producer did not end")
        assert producer.exit_code == 0, producer.log_file.read_text()[-2000:]

    async def drained(self, deadline_s: float) -> None:
        """Wait until the positions are at the ledger's ends."""
        ends = summarize_entries(read_entries(self.ledger)).ends

        async def is_drained() -> bool:
            try:
                connection = await asyncpg.connect(self.database.admin.dsn)
            except _FAILING_OVER:
                return False
            try:
                rows = await connection.fetch(
                    'SELECT partition, next_offset FROM forebay.positions WHERE "group" = $1 AND topic = $2',
                    self.group,
                    self.topic,
                )
            except _FAILING_OVER:
                return False
            finally:
                connection.terminate()
            stored = {r["partition"]: r["next_offset"] for r in rows}
            return all(stored.get(p) == end for p, end in ends.items())

        await eventually(is_drained, deadline_s, lambda: f"not drained: {self.tails()}")

    async def audit(self) -> Verdict:
        """Ledger against tables."""
        connection = await self._connect()
        try:
            facts = await gather_facts(
                connection, ledger=self.ledger, table="payments", group=self.group, topic=self.topic
            )
        finally:
            await connection.close()
        return judge_facts(facts)

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        """As superuser; again and again, since HAProxy may lead a connection after a failover to the dead server."""
        async with asyncio.timeout(CONNECT_S):
            while True:
                try:
                    return await asyncpg.connect(self.database.admin.dsn)
                except _FAILING_OVER:
                    await asyncio.sleep(0.1)

    def stop_all(self) -> None:
        """SIGTERM to all; SIGKILL to what is left."""
        for process in self.processes:
            process.child.send(signal.SIGCONT)
            process.child.send(signal.SIGTERM)
        for process in self.processes:
            if process.child.wait(20) is None:
                process.child.kill_family()
        if self.producer is not None:
            self.producer.kill_family()

    def has_logged(self, words: str) -> bool:
        """Whether a consumer that is not forgotten has, from its start on."""
        return any(words in process.log() for process in self.processes)

    def tails(self) -> str:
        """The end of every log, for a failed wait."""
        return "\n".join(f"--- {p.child.log_file.name}\n{p.log()[-1500:]}" for p in self.processes)

    def body(self) -> dict[str, Any]:
        """The IngestPipeline."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"namespace": "bank", "name": "payments"},
            "spec": {
                "source": {
                    "bootstrapServers": self.kafka.bootstrap,
                    "topic": self.topic,
                    "group": self.group,
                    "configSecretRef": {"name": "kafka"},
                    **self.source,
                },
                "sink": {"connectionSecretRef": {"name": "sink"}, "table": "public.payments", **self.sink},
                "consumer": dict(self.consumer),
            },
        }

    def _write_folder(self, name: str, keys: Mapping[str, str]) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for key, value in keys.items():
            (folder / key).write_text(value)


async def eventually(
    condition: Callable[[], Any], deadline_s: float, message: str | Callable[[], str], every_s: float = 0.1
) -> None:
    """Wait until the condition (a coroutine function or a plain one) holds; fails with the message."""
    deadline = time.monotonic() + deadline_s
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return
        if time.monotonic() > deadline:
            raise AssertionError(message if isinstance(message, str) else message())
        await asyncio.sleep(every_s)
