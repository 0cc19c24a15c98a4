"""`forebay local` and `forebay positions` on a real broker and a real database, as a person would use them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.postgres_server import PostgresServer
from forebay_cli.local.secrets import write_secret
from support.testbed.servers import DatabaseFactory, FreshDatabase, TopicFactory

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(420)]

FOREBAY = (sys.executable, "-m", "forebay_cli")
TABLE_SQL = Path(__file__).parents[2] / "manifests" / "samples" / "payments.sql"
RECORDS = 3_000
DEADLINE_S = 120.0


class Machine:
    """A folder with a pipeline file and its Secret, and the command run in it."""

    def __init__(
        self, folder: Path, kafka: KafkaServer, postgres: PostgresServer, topic: str, db: FreshDatabase
    ) -> None:
        self.folder = folder
        self.kafka, self.postgres, self.topic, self.db = kafka, postgres, topic, db
        self.started: list[subprocess.Popen[str]] = []
        secret = folder / "secrets" / "payments-db"
        secret.mkdir(parents=True)
        (secret / "uri").write_text(db.dsn)
        self.reference: dict[str, object] = {"connectionSecretRef": {"name": "payments-db"}}
        postgres.run_sql(TABLE_SQL.read_text(), parts=db.parts)
        self.write_pipeline()

    @property
    def state(self) -> Path:
        return self.folder / "state" / "bank.payments"

    def write_pipeline(self, **scaling: object) -> None:
        """scaling: keys of spec.scaling."""
        timing = {"sampleSeconds": 1, "fastWindowSeconds": 3, "scaleInWindowSeconds": 5, "settleSeconds": 1}
        spec = {
            "source": {"bootstrapServers": self.kafka.bootstrap, "topic": self.topic},
            "sink": {**self.reference, "table": "public.payments"},
            "scaling": {"maxReplicas": 3, "timing": timing, **scaling},
        }
        body = {"apiVersion": "forebay.dev/v1alpha1", "kind": "IngestPipeline", "spec": spec}
        body["metadata"] = {"name": "payments", "namespace": "bank"}
        draft = self.folder / "new.yaml"
        draft.write_text(yaml.safe_dump(body))
        draft.replace(self.folder / "pipeline.yaml")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        command = [*FOREBAY, *words, "--state-dir", "state"]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    def up(self) -> subprocess.Popen[str]:
        """`forebay local up` in the background."""
        command = [*FOREBAY, "local", "up", "pipeline.yaml", "--state-dir", "state"]
        with (self.folder / "up.log").open("a") as log:
            process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, text=True)
        self.started.append(process)
        return process

    def said(self) -> str:
        return (self.folder / "up.log").read_text()

    def consumers(self) -> list[str]:
        """Names of consumers that run and answer."""
        try:
            live = json.loads((self.state / "status.json").read_text())["live"]
        except FileNotFoundError:
            return []
        return [] if live is None else [c["name"] for c in live["consumers"] if c["phase"] == "Running"]

    def produce(self) -> None:
        """RECORDS payments without poison."""
        wave = ["--records", str(RECORDS), "--seconds", "1", "--poison-fraction", "0"]
        place = ["--bootstrap", self.kafka.bootstrap, "--topic", self.topic, "--ledger", str(self.folder / "ledger")]
        subprocess.run(
            [sys.executable, "-m", "forebay_cli.demo.producer", *place, *wave], check=True, timeout=DEADLINE_S
        )

    def rows(self) -> int:
        return int(self.postgres.run_sql("SELECT count(*) FROM payments;", parts=self.db.parts))

    def are_free(self) -> bool:
        """The server may end a session a little later than its client."""
        return self.run("positions", "show", "pipeline.yaml").stdout.count(" no ") == 4

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}; it said:\n{self.said()}"
            time.sleep(0.1)


@pytest.fixture
def machine(
    tmp_path: Path, kafka: KafkaServer, postgres: PostgresServer, topic: TopicFactory, database: DatabaseFactory
) -> Iterator[Machine]:
    machine = Machine(tmp_path, kafka, postgres, topic(4), database())
    yield machine
    for process in machine.started:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def test_a_pipeline_runs_is_looked_at_changes_and_drains(machine: Machine) -> None:
    up = machine.up()
    machine.wait(lambda: len(machine.consumers()) == 1, "one consumer runs")
    machine.produce()
    machine.wait(lambda: machine.rows() == RECORDS, "all rows are written")

    status = machine.run("local", "status")
    assert status.returncode == 0
    assert "payments-1" in status.stdout
    assert "decision" in status.stdout

    second = machine.run("local", "up", "pipeline.yaml")
    assert second.returncode == 1
    assert f"runs already (pid {up.pid}" in second.stderr

    machine.write_pipeline(minReplicas=2)
    machine.wait(lambda: len(machine.consumers()) == 2, "the changed file asks for two")
    machine.write_pipeline(minReplicas=7)
    machine.wait(lambda: "is not applied" in machine.said(), "the wrong file is refused")
    assert "spec.scaling.minReplicas" in machine.said()
    assert up.poll() is None

    held = machine.run("positions", "reset", "pipeline.yaml", "--to", "earliest")
    assert held.returncode == 2  # the file is wrong still
    machine.write_pipeline(minReplicas=2)
    held = machine.run("positions", "reset", "pipeline.yaml", "--to", "earliest")
    assert held.returncode == 1
    assert "suspend the pipeline" in held.stderr

    down = machine.run("local", "down", "payments")
    assert (down.returncode, up.wait(DEADLINE_S)) == (0, 0), machine.said()
    assert "all consumers have left" in machine.said()
    assert machine.run("local", "status").returncode == 1
    assert "payments-1" in machine.run("local", "logs").stdout


def test_positions_are_moved_while_nobody_holds_them(machine: Machine) -> None:
    machine.up()
    machine.wait(lambda: len(machine.consumers()) == 1, "one consumer runs")
    machine.produce()
    machine.wait(lambda: machine.rows() == RECORDS, "all rows are written")
    assert machine.run("local", "down").returncode == 0

    machine.wait(machine.are_free, "nobody holds the positions")
    wrong = machine.run("positions", "reset", "pipeline.yaml", "--to", "1000000")
    assert wrong.returncode == 2
    moved = machine.run("positions", "reset", "pipeline.yaml", "--to", "earliest", "--partition", "1", "2")
    assert moved.returncode == 0, moved.stderr
    assert [line.partition(":")[0] for line in moved.stdout.splitlines()] == ["partition 1", "partition 2"]
    again = sum(int(line.partition(": ")[2].partition(" ")[0]) for line in moved.stdout.splitlines())

    machine.up()
    machine.wait(lambda: machine.rows() == RECORDS + again, "the two partitions are written once more")


def test_a_cluster_is_reached_by_its_service_and_its_secret(machine: Machine) -> None:
    parts = machine.db.parts
    secret = machine.folder / "secrets" / "ingest.acid-payments.credentials.postgresql.acid.zalan.do"
    write_secret(secret, {"username": parts.user, "password": parts.password})
    cluster = {"name": "acid-payments", "user": "ingest", "database": parts.dbname}
    machine.reference = {"postgresClusterRef": cluster | {"serviceName": "localhost", "port": parts.port}}
    machine.write_pipeline()

    machine.up()
    machine.produce()
    machine.wait(lambda: machine.rows() == RECORDS, "all rows are written")
    assert machine.run("local", "down").returncode == 0
    machine.wait(machine.are_free, "nobody holds the positions")


def test_wrong_input_is_explained_and_nothing_is_started(machine: Machine) -> None:
    (machine.folder / "secrets").rename(machine.folder / "elsewhere")
    missing = machine.run("local", "up", "pipeline.yaml")
    assert missing.returncode == 2
    assert "spec.sink.connectionSecretRef: Secret 'payments-db' not found" in missing.stderr
    machine.write_pipeline(minReplicas=9, mode="Sometimes")
    wrong = machine.run("local", "up", "pipeline.yaml")
    assert wrong.returncode == 2
    assert "spec.scaling.mode" in wrong.stderr
    assert machine.run("local", "status", "nothing").returncode == 1
