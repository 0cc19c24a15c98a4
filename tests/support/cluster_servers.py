"""Puts Kafka, Patroni and HAProxy into a cluster and waits until all of them serve."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.postgres_programs import find_postgres
from forebay_cli.local.postgres_server import ConnectionParts, run_psql
from forebay_cli.local.server_errors import SqlFailed
from support.cluster_database import CLUSTER_NAME, DATABASE, NAMESPACE, PASSWORDS, USER, ClusterDatabase
from support.cluster_kafka import NODE_PORT, ClusterKafka
from support.docker_engine import open_engine
from support.kind_cluster import KindCluster
from support.server_image import server_image

SERVERS = Path(__file__).parents[1] / "e2e" / "servers"
REPOSITORY = Path(__file__).parents[2]
HAPROXY_CHART = REPOSITORY / "charts" / "patroni-haproxy"
TABLE = REPOSITORY / "manifests" / "samples" / "payments.sql"
HAPROXY_SERVICE = f"{CLUSTER_NAME}-haproxy"
PLAIN_NODE_PORT = 30435
READY_S = 180.0
"""Deadline of everything together: 30 s on two free cores, several times that while compilers run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What runs in the cluster. haproxy_ports: primary and replicas, at the node's address. image: of all servers."""

    kafka: ClusterKafka
    database: ClusterDatabase
    image: str
    node_ip: str
    haproxy_ports: tuple[int, int]

    def through_haproxy(self, *, replica: bool = False, user: str = USER) -> ConnectionParts:
        """How a client outside the cluster reaches the database through HAProxy."""
        port = self.haproxy_ports[1 if replica else 0]
        return ConnectionParts(host=self.node_ip, port=port, dbname=DATABASE, user=user, password=PASSWORDS[user])

    def sql_through_haproxy(self, query: str, *, replica: bool = False) -> str:
        """Run SQL through HAProxy; SqlFailed while it has nobody to lead to."""
        return run_psql(find_postgres(), self.through_haproxy(replica=replica), query)

    def is_haproxy_serving(self) -> bool:
        """Its primary port leads to a server that takes writes, its replica port to one that does not."""
        try:
            primary = self.sql_through_haproxy("SELECT pg_is_in_recovery()")
            replica = self.sql_through_haproxy("SELECT pg_is_in_recovery()", replica=True)
        except SqlFailed:
            return False
        return (primary, replica) == ("f", "t")


def deploy_servers(cluster: KindCluster, *, synchronous: bool = True) -> Servers:
    """Build and load the image, apply the manifests, install HAProxy's chart, wait for all, create the table.

    synchronous: Patroni's mode; without it a failover may lose what was acknowledged.
    """
    image = server_image(open_engine())
    cluster.load(image)
    node_ip = read_node_ip(cluster)
    cluster.kubectl("apply", "--filename", "-", stdin=_render("kafka.yaml", image))
    cluster.kubectl("apply", "--filename", "-", stdin=_render("patroni.yaml", image, synchronous))
    install_haproxy(cluster, image)
    servers = Servers(
        kafka=ClusterKafka(bootstrap=f"{node_ip}:{NODE_PORT}"),
        database=ClusterDatabase(cluster=cluster, node_ip=node_ip, synchronous=synchronous),
        image=image,
        node_ip=node_ip,
        haproxy_ports=_read_haproxy_ports(cluster),
    )
    servers.kafka.wait_answering(READY_S)
    servers.database.wait_bootstrapped(READY_S)
    servers.database.wait_healthy(READY_S)
    assert wait_until(servers.is_haproxy_serving, READY_S, 0.2), "HAProxy leads nowhere"
    if servers.database.sql("SELECT to_regclass('public.payments') IS NULL") == "t":
        servers.database.sql(TABLE.read_text())
    return servers


def deploy_plain_postgres(cluster: KindCluster, image: str) -> ConnectionParts:
    """One PostgreSQL without Patroni, with a Secret `ledger-app` as CloudNativePG makes it; how to reach it."""
    cluster.kubectl("apply", "--filename", "-", stdin=_render("postgres.yaml", image))
    parts = ConnectionParts(
        host=read_node_ip(cluster), port=PLAIN_NODE_PORT, dbname="app", user="app", password="only-for-tests-4"
    )

    def answers() -> bool:
        try:
            return run_psql(find_postgres(), parts, "SELECT 1") == "1"
        except SqlFailed:
            return False

    assert wait_until(answers, READY_S, 0.2), "the plain PostgreSQL did not answer"
    return parts


def install_haproxy(cluster: KindCluster, image: str) -> None:
    """Install the project's chart as a user would, with the local image and ports that the tests can reach."""
    repository, tag = image.rsplit(":", 1)
    values = {
        "clusterName": CLUSTER_NAME,
        "image.repository": repository,
        "image.tag": tag,
        "service.type": "NodePort",
    }
    settings = [word for name, value in values.items() for word in ("--set-string", f"{name}={value}")]
    cluster.helm("upgrade", "--install", CLUSTER_NAME, str(HAPROXY_CHART), "--namespace", NAMESPACE, *settings)


def read_node_ip(cluster: KindCluster) -> str:
    """The address of the cluster's first node, which this machine reaches through Docker's bridge."""
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output", "json"))["items"]
    addresses = {each["type"]: each["address"] for each in nodes[0]["status"]["addresses"]}
    return str(addresses["InternalIP"])


def _read_haproxy_ports(cluster: KindCluster) -> tuple[int, int]:
    said = cluster.kubectl("--namespace", NAMESPACE, "get", "service", HAPROXY_SERVICE, "--output", "json")
    ports = {each["name"]: int(each["nodePort"]) for each in json.loads(said)["spec"]["ports"]}
    return ports["primary"], ports["replicas"]


def _render(manifest: str, image: str, synchronous: bool = True) -> str:
    text = (SERVERS / manifest).read_text()
    words = {"SERVER_IMAGE": image, "SYNCHRONOUS_MODE": str(synchronous).lower()}
    for word, value in words.items():
        text = text.replace(f": {word}\n", f": {value}\n")
    return text
