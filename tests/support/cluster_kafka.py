"""The broker inside a test's cluster, as clients outside and inside see it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from forebay_cli.demo.ledger import LedgerSummary, read_entries, summarize_entries
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.process import Child, start_child
from support.testbed.servers import create_topic

INSIDE = "kafka.kafka:9092"
"""What pods call it."""
INSIDE_SASL = "kafka.kafka:9094"
"""The same broker for clients that sign in with SASL/PLAIN."""
SASL_USERS = {"ingest": "only-for-tests-5", "operator": "only-for-tests-6"}
"""Users and passwords of that listener; see KAFKA_SETTINGS in server_image.py."""
NODE_PORT = 30092
ASK_S = 3.0
PRODUCE_S = 300.0
"""Deadline of a producer beyond the seconds of its wave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterKafka:
    """bootstrap: address for clients outside the cluster."""

    bootstrap: str

    def is_answering(self) -> bool:
        """Ask for the topics: the broker serves, and under an address that can be reached from here."""
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        try:
            return bool(client.list_topics(timeout=ASK_S).brokers)
        except KafkaException:
            return False

    def wait_answering(self, deadline_s: float) -> None:
        """Wait until it serves."""
        assert wait_until(self.is_answering, deadline_s, 0.2), f"Kafka at {self.bootstrap} did not answer"

    def create_topic(self, topic: str, partitions: int = 6, **settings: str) -> None:
        """Create a topic; settings with _ for . (retention_ms="1000")."""
        create_topic(self.bootstrap, topic, partitions, {k.replace("_", "."): v for k, v in settings.items()})

    def start_producer(
        self, topic: str, ledger: Path, *, records: int, seconds: float, poison: float = 0.0, first_id: int = 0
    ) -> Child:
        """The wave of the demo in a process of its own; it ends with 0 when everything is in the ledger.

        first_id: of the payments, which are numbered; waves into the same table must not share numbers.
        """
        command = [sys.executable, "-m", "forebay_cli.demo.producer", "--bootstrap", self.bootstrap]
        command += ["--topic", topic, "--ledger", str(ledger), "--records", str(records)]
        command += ["--seconds", str(seconds), "--poison-fraction", str(poison), "--first-id", str(first_id)]
        return start_child(command, ledger.with_suffix(".log"), env=dict(os.environ))

    def produce(
        self, topic: str, ledger: Path, records: int, *, poison: float = 0.0, first_id: int = 0
    ) -> LedgerSummary:
        """Send records as fast as possible and wait until all are delivered."""
        child = self.start_producer(topic, ledger, records=records, seconds=0.1, poison=poison, first_id=first_id)
        code = child.wait(PRODUCE_S)
        if code is None:
            child.kill_family()
        assert code == 0, child.log_file.read_text()[-2000:]
        return summarize_entries(read_entries(ledger))
