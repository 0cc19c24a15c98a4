"""The servers that the other tests rely on: reached from everywhere, laid out as said, a failover that is followed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.server_errors import SqlFailed
from support.cluster_database import CLUSTER_NAME, NAMESPACE, SECRET, USER, Kill
from support.cluster_kafka import INSIDE, INSIDE_SASL, SASL_USERS
from support.cluster_servers import Servers, deploy_plain_postgres
from support.kind_cluster import KindCluster
from support.testbed.servers import unique_name

RECORDS = 50_000
FAILOVER_S = 60.0
"""The limit, not what is expected: ttl 20 s + promotion + checks, on a machine where compilers run."""


def test_records_from_outside_are_read_outside_and_in_a_pod(
    cluster: KindCluster, servers: Servers, tmp_path: Path
) -> None:
    topic = unique_name("topic")
    servers.kafka.create_topic(topic, partitions=3)

    ledger = servers.kafka.produce(topic, tmp_path / "ledger", RECORDS)

    assert (ledger.good, ledger.holes) == (RECORDS, {})
    assert _count_outside(servers.kafka.bootstrap, topic) == RECORDS
    said = _run_kcat(cluster, servers, "-b", INSIDE, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p\n")
    assert len(said.splitlines()) == RECORDS


def test_records_from_a_pod_with_a_password_are_read_outside(cluster: KindCluster, servers: Servers) -> None:
    topic = unique_name("topic")
    servers.kafka.create_topic(topic, partitions=1)
    name, password = next(iter(SASL_USERS.items()))

    produce = f"seq 100 | kcat -P -t {topic} -b {INSIDE_SASL} {_sign_in(name, password)}"
    _run_in_pod(cluster, servers, ["sh", "-c", produce])

    assert _count_outside(servers.kafka.bootstrap, topic) == 100


def test_wrong_password_is_refused(cluster: KindCluster, servers: Servers) -> None:
    ask = f"kcat -L -m 3 -b {INSIDE_SASL} {_sign_in('ingest', 'wrong')} 2>&1 || true"

    said = _run_in_pod(cluster, servers, ["sh", "-c", ask])

    assert "Authentication failed" in said


def test_database_looks_as_the_operator_lays_it_out(cluster: KindCluster, servers: Servers) -> None:
    def read(*what: str) -> dict[str, object]:
        found = json.loads(cluster.kubectl("--namespace", NAMESPACE, "get", *what, "--output", "json"))
        assert isinstance(found, dict)
        return found

    pods = json.loads(
        cluster.kubectl(
            "--namespace",
            NAMESPACE,
            "get",
            "pods",
            f"--selector=application=spilo,cluster-name={CLUSTER_NAME}",
            "-o=json",
        )
    )["items"]
    roles = sorted(pod["metadata"]["labels"]["spilo-role"] for pod in pods)
    stores = {each["metadata"]["name"] for each in read("configmaps")["items"]}  # type: ignore[attr-defined]

    assert roles == ["master", "replica", "replica"]
    assert {f"{CLUSTER_NAME}-config", f"{CLUSTER_NAME}-leader"} <= stores
    assert set(read("secret", SECRET)["data"]) == {"username", "password"}  # type: ignore[call-overload]
    assert servers.database.sql("SELECT current_user, current_setting('ssl')") == f"{USER}\ton"
    assert servers.database.sql("SELECT count(*) FROM pg_stat_replication", user="postgres") == "2"


def test_plain_postgres_has_the_secret_of_another_operator(cluster: KindCluster, servers: Servers) -> None:
    parts = deploy_plain_postgres(cluster, servers.image)

    said = cluster.kubectl("--namespace", NAMESPACE, "get", "secret", "ledger-app", "--output", "json")

    assert {"host", "port", "dbname", "user", "username", "password", "uri"} == set(json.loads(said)["data"])
    assert parts.user == "app"


@pytest.mark.alone
@pytest.mark.parametrize("how", list(Kill))
def test_haproxy_follows_the_primary(
    how: Kill, servers: Servers, record_property: Callable[[str, object], None]
) -> None:
    table = unique_name("beat")
    servers.sql_through_haproxy(f"CREATE TABLE {table} (n bigint)")

    with _Heart(servers, table) as heart:
        heart.wait_beats(3)
        started = time.monotonic()
        old = servers.database.kill_leader(how)
        new = servers.database.wait_other_leader(old, FAILOVER_S)
        elected_s = time.monotonic() - started
        heart.wait_beats(heart.beats + 3)
        servers.database.wait_healthy(FAILOVER_S)
        healthy_s = time.monotonic() - started

    stored = int(servers.database.sql(f"SELECT count(DISTINCT n) FROM {table}"))
    timings = (
        f"{how}: {old} -> {new}, elected {elected_s:.1f} s, silent {heart.longest_s:.1f} s, whole {healthy_s:.1f} s"
    )
    record_property("failover", timings)
    print(timings)  # noqa: T201 - shown by pytest -rP
    assert stored >= heart.beats, "a row that was acknowledged is gone"
    assert heart.longest_s < FAILOVER_S


class _Heart:
    """Writes a row every 50 ms through HAProxy, each over a new connection; remembers the longest silence."""

    def __init__(self, servers: Servers, table: str) -> None:
        self._servers = servers
        self._table = table
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.beats = 0
        self.longest_s = 0.0

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def wait_beats(self, number: int) -> None:
        assert wait_until(lambda: self.beats >= number, FAILOVER_S), "no writes through HAProxy"

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.05):
            try:
                self._servers.sql_through_haproxy(f"INSERT INTO {self._table} VALUES ({self.beats})")
            except SqlFailed:
                continue
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last)
            last = now
            self.beats += 1


def _count_outside(bootstrap: str, topic: str) -> int:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    partitions = len(
        AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=10).topics[topic].partitions
    )
    consumer.subscribe([topic])
    count, ended, deadline = 0, set[int](), time.monotonic() + 60
    while len(ended) < partitions:
        assert time.monotonic() < deadline, f"{count} records, partitions {ended} read to the end"
        for message in consumer.consume(10_000, 1.0):
            error = message.error()
            if error is None:
                count += 1
            elif error.name() == "_PARTITION_EOF":
                ended.add(message.partition() or 0)
            else:
                raise KafkaException(error)
    consumer.close()
    return count


def _sign_in(name: str, password: str) -> str:
    words = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN"}
    words |= {"sasl.username": name, "sasl.password": password}
    return " ".join(f"-X {key}={value}" for key, value in words.items())


def _run_kcat(cluster: KindCluster, servers: Servers, *arguments: str) -> str:
    return _run_in_pod(cluster, servers, ["kcat", *arguments])


def _run_in_pod(cluster: KindCluster, servers: Servers, command: list[str]) -> str:
    """Run it in a new pod that has nothing to do with Kafka but its image; returns what it said."""
    name = unique_name("client").replace("_", "-")
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "client", "image": servers.image, "command": command, "securityContext": restricted}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    here = ("--namespace", NAMESPACE)
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(pod))
    try:
        phase = "--for=jsonpath={.status.phase}=Succeeded"
        cluster.kubectl(*here, "wait", phase, f"pod/{name}", "--timeout=60s")
        return cluster.kubectl(*here, "logs", name)
    finally:
        cluster.kubectl(*here, "delete", "pod", name, "--wait=false", "--grace-period=1")
