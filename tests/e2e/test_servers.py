"""The servers that the other tests rely on: reached from everywhere, laid out as said, a failover that is followed."""

from __future__ import annotations

import json
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient
from support.cluster_database import CLUSTER_NAME, NAMESPACE, SECRET, USER
from support.cluster_kafka import INSIDE, INSIDE_SASL, SASL_USERS
from support.cluster_servers import Servers, deploy_plain_postgres
from support.kind_cluster import KindCluster
from support.testbed.servers import unique_name

RECORDS = 50_000


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
