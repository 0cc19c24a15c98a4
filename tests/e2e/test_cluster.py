"""The cluster is one: pods run and find each other, the tests reach them, and nothing gets out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.process import start_child
from support.cluster_guard import LABEL, isolation_rules
from support.kind_cluster import ClusterCommandFailed, KindCluster
from support.probe import ask, probe_namespace
from support.programs import program

ANSWER_S = 30.0
"""A Service answers a second or two after its pods are ready; the machine may be busy."""
OUTSIDE = "http://203.0.113.1/"
"""An address for documentation: nobody is there, also when it should not be refused on the way."""


@pytest.fixture(scope="module")
def namespace(cluster: KindCluster) -> Iterator[str]:
    with probe_namespace(cluster, "probes") as name:
        yield name


def test_all_nodes_are_ready(cluster: KindCluster) -> None:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output", "json"))["items"]
    ready = {
        node["metadata"]["name"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if (condition["type"], condition["status"]) == ("Ready", "True")
    }
    assert ready == set(cluster.nodes)


@pytest.mark.parametrize("host", ["server", "server.probes", "server.probes.svc.cluster.local"])
def test_service_answers_by_its_names(cluster: KindCluster, namespace: str, host: str) -> None:
    assert wait_until(lambda: _is_server(_try(cluster, namespace, f"http://{host}/")), ANSWER_S)


def test_service_spreads_over_its_pods(cluster: KindCluster, namespace: str) -> None:
    address = cluster.kubectl("get", "service", "server", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")
    seen: set[str] = set()

    def has_seen_both() -> bool:
        seen.add(_try(cluster, namespace, f"http://{address}/"))
        return len({name for name in seen if _is_server(name)}) == 2

    assert wait_until(has_seen_both, ANSWER_S), seen


def test_node_port_answers_the_tests(cluster: KindCluster, namespace: str) -> None:
    port = cluster.kubectl("get", "service", "server", "-n", namespace, "-o", "jsonpath={.spec.ports[0].nodePort}")
    shown = "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}"
    address = cluster.kubectl("get", "nodes", "-o", shown)
    assert wait_until(lambda: _is_server(_fetch(f"http://{address}:{port}/")), ANSWER_S)


def test_forwarded_port_answers_the_tests(cluster: KindCluster, namespace: str, tmp_path: Path) -> None:
    port = find_free_port()
    argv = [program("kubectl"), "--kubeconfig", cluster.kubeconfig, "port-forward", "-n", namespace, "svc/server"]
    forward = start_child([*argv, f"{port}:80"], tmp_path / "forward.log")
    try:
        assert wait_until(lambda: _is_server(_fetch(f"http://{LOOPBACK}:{port}/")), ANSWER_S), forward.log_file
    finally:
        forward.kill_family()


def test_nothing_gets_out_of_the_clusters_network(cluster: KindCluster, namespace: str) -> None:
    if not cluster.is_isolated:
        pytest.skip("the right to set packet filter rules is missing")
    before = _count_rejected(cluster)
    with pytest.raises(ClusterCommandFailed, match="connection refused"):
        ask(cluster, namespace, OUTSIDE)
    assert _count_rejected(cluster) > before


def test_killed_tests_leave_no_cluster(cluster: KindCluster) -> None:
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, **cluster.engine.environment, "PYTHONPATH": tests, "FOREBAY_KEEP_CLUSTER": ""}
    code = (
        "import signal; from support.kind_cluster import KindCluster as K\nwith K() as c: print(c.name); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-uc", code], env=environment, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        name = victim.stdout.readline().strip()
        assert _count_containers(cluster, name) > 0
        victim.send_signal(signal.SIGKILL)
    assert wait_until(lambda: _count_containers(cluster, name) == 0, ANSWER_S)
    assert wait_until(lambda: name not in cluster.engine.docker("network", "ls"), ANSWER_S)


def _is_server(answer: str) -> bool:
    return answer.startswith("server-")


def _try(cluster: KindCluster, namespace: str, url: str) -> str:
    try:
        return ask(cluster, namespace, url).strip()
    except ClusterCommandFailed as failure:
        return f"failed: {failure.said}"


def _fetch(url: str) -> str:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError) as failure:
        return f"failed: {failure}"


def _count_rejected(cluster: KindCluster) -> int:
    """Packets that met the rules at the edge of the cluster's network."""
    bridge = isolation_rules(cluster.engine, cluster.name)[0][1]
    listed = ["iptables", "--list", "DOCKER-USER", "--verbose", "--exact", "--numeric"]
    rules = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    own = [rule.split() for rule in rules if bridge in rule and "REJECT" in rule]
    assert len(own) == 2, rules
    return sum(int(rule[0]) for rule in own)


def _count_containers(cluster: KindCluster, name: str) -> int:
    return len(cluster.engine.docker("ps", "--quiet", "--filter", f"label={LABEL}={name}").split())
