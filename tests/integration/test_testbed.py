"""The testbed's servers: they start, keep their data over every kind of end, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.postgres_server import PostgresServer, StopMode
from forebay_cli.local.process_table import find_family, is_alive, read_process
from forebay_cli.local.server_errors import SqlFailed
from forebay_cli.local.shared_memory import SEGMENTS
from support.testbed.servers import DatabaseFactory, KafkaFactory, PostgresFactory, TopicFactory, create_topic

pytestmark = pytest.mark.integration

DEADLINE_S = 60.0
STARTER = Path(__file__).parents[1] / "support" / "testbed" / "starter.py"

postgres_ends = pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda server: server.stop(), id="fast"),
        pytest.param(lambda server: server.stop(StopMode.IMMEDIATE), id="immediate"),
        pytest.param(lambda server: server.kill(), id="kill-9"),
    ],
)
kafka_ends = pytest.mark.parametrize(
    "end", [pytest.param(KafkaServer.stop, id="stop"), pytest.param(KafkaServer.kill, id="kill-9")]
)


def test_topic_has_the_partitions_asked_for(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(3)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert len(admin.list_topics(name, timeout=DEADLINE_S).topics[name].partitions) == 3


def test_expired_records_are_deleted_within_seconds(kafka: KafkaServer, topic: TopicFactory) -> None:
    name = topic(1, retention_ms="100")
    produce(kafka.bootstrap, name, 10)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": name})
    partition = TopicPartition(name, 0)
    assert wait_until(lambda: consumer.get_watermark_offsets(partition, timeout=DEADLINE_S)[0] == 10, DEADLINE_S)
    consumer.close()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"session.timeout.ms": 2000, "heartbeat.interval.ms": 500}, id="classic"),
        pytest.param({"group.protocol": "consumer"}, id="consumer-protocol"),
    ],
)
def test_group_with_short_session_gets_its_partitions(
    kafka: KafkaServer, topic: TopicFactory, settings: dict[str, str | int]
) -> None:
    name = topic(2)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": name, **settings})
    consumer.subscribe([name])

    def has_both() -> bool:
        consumer.poll(0.05)
        return len(consumer.assignment()) == 2

    assert wait_until(has_both, DEADLINE_S, poll_s=0)
    consumer.close()


@kafka_ends
def test_broker_keeps_records_and_address_over_a_restart(
    own_kafka: KafkaFactory, end: Callable[[KafkaServer], None]
) -> None:
    server = own_kafka()
    create_topic(server.bootstrap, "kept", 1)
    produce(server.bootstrap, "kept", 100)
    address = server.bootstrap
    end(server)
    assert server.pid is None
    server.start()
    assert server.bootstrap == address
    consumer = Consumer({"bootstrap.servers": address, "group.id": "reader"})
    assert consumer.get_watermark_offsets(TopicPartition("kept", 0), timeout=DEADLINE_S) == (0, 100)
    consumer.close()


@postgres_ends
def test_postgres_keeps_rows_and_address_over_a_restart(
    own_postgres: PostgresFactory, end: Callable[[PostgresServer], None]
) -> None:
    server = own_postgres()
    server.run_sql("CREATE TABLE kept AS SELECT generate_series(1, 100) AS n;")
    port = server.port
    end(server)
    assert server.pid is None
    server.start()
    assert server.port == port
    assert server.run_sql("SELECT count(*) FROM kept;") == "100"


def test_fresh_database_has_an_ordinary_role_that_owns_it(postgres: PostgresServer, database: DatabaseFactory) -> None:
    fresh = database()
    asked = "SELECT rolname, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user;"
    assert postgres.run_sql(asked, parts=fresh.parts) == f"{fresh.user}\tf\tf"
    assert postgres.run_sql("CREATE SCHEMA mine; SELECT 1;", parts=fresh.parts) == "1"
    assert postgres.run_sql("SELECT usesuper FROM pg_user WHERE usename = current_user;", parts=fresh.admin) == "t"


def test_role_that_does_not_own_its_database_may_not_create_schemas(
    postgres: PostgresServer, database: DatabaseFactory
) -> None:
    fresh = database(owner=False)
    with pytest.raises(SqlFailed, match="permission denied for database"):
        postgres.run_sql("CREATE SCHEMA mine;", parts=fresh.parts)


def test_wrong_password_is_refused(postgres: PostgresServer, database: DatabaseFactory) -> None:
    fresh = database()
    with pytest.raises(SqlFailed, match="password authentication failed"):
        postgres.run_sql("SELECT 1;", parts=replace(fresh.parts, password="wrong"))


def test_frozen_server_serves_again_when_thawed(own_postgres: PostgresFactory) -> None:
    server = own_postgres()
    assert server.pid is not None
    stat = Path(f"/proc/{server.pid}/stat")
    server.freeze()
    assert wait_until(lambda: ") T " in stat.read_text(), DEADLINE_S)
    server.thaw()
    assert server.run_sql("SELECT 1;") == "1"


def test_kill_of_the_program_that_started_servers_leaves_nothing_behind() -> None:
    with subprocess.Popen([sys.executable, STARTER], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        told = json.loads(starter.stdout.readline())
        leaders = [entry for entry in map(read_process, told["pids"]) if entry is not None]
        processes = find_family(leaders)
        assert len(processes) > len(leaders) == 3, "PostgreSQL's own processes were not seen"
        assert told["segment"] in SEGMENTS.read_text().split()
        os.kill(starter.pid, signal.SIGKILL)
        assert wait_until(lambda: not any(map(is_alive, processes)), DEADLINE_S)
        assert wait_until(lambda: not Path(told["folder"]).exists(), DEADLINE_S)
        assert told["segment"] not in SEGMENTS.read_text().split()


def produce(bootstrap: str, topic: str, records: int) -> None:
    """Send so many records to partition 0 and wait until the broker has them."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for number in range(records):
        producer.produce(topic, str(number).encode(), partition=0)
    assert producer.flush(DEADLINE_S) == 0
