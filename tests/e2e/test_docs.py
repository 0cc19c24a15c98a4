"""Every command of docs/kubernetes.md, in order, as a new user types them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from forebay_cli.local.deadlines import wait_until
from support.cluster_servers import Servers
from support.kind_cluster import KindCluster
from support.product import OPERATOR_NAMESPACE, RELEASE, WAIT_S, Product
from support.programs import program

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "kubernetes.md"
COMMAND_S = 240.0
PROGRAMS = ("helm", "kind", "kubectl")


def read_commands(page: Path) -> list[str]:
    """The shell commands of a page: the lines of its blocks marked sh; a backslash at the end joins two."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    joined = "".join(blocks).replace("\\\n", " ")
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip()]


@pytest.fixture
def bare_cluster(cluster: KindCluster, servers: Servers, product: Product) -> Iterator[KindCluster]:
    """Servers, but no Forebay, and an empty topic `payments`, as the page's reader has it."""
    product.uninstall()
    servers.kafka.create_topic("payments")
    yield cluster
    cluster.kubectl("delete", "ingest", "payments", "--namespace", "bank", "--ignore-not-found")
    product.install()


def test_commands_of_the_page_work_in_order(bare_cluster: KindCluster, tmp_path: Path) -> None:
    for name in PROGRAMS:
        (tmp_path / name).symlink_to(program(name))
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, **bare_cluster.engine.environment, "PATH": path}
    environment |= {"KUBECONFIG": str(bare_cluster.kubeconfig)}
    commands = read_commands(PAGE)
    assert len(commands) > 15

    for command in commands:
        _run(command.replace("--name forebay", f"--name {bare_cluster.name}"), environment)

    def is_gone() -> bool:
        return not bare_cluster.kubectl("get", "pods", "--namespace", OPERATOR_NAMESPACE, "--output", "name")

    assert wait_until(is_gone, WAIT_S, 0.5), f"release {RELEASE} left pods"


def _run(command: str, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=REPOSITORY,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
