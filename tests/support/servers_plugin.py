"""The fixture of the servers inside the cluster: deployed once for all tests of the run, whole at each test's begin."""

from __future__ import annotations

from pathlib import Path

import pytest
from forebay_cli.local.downloads import locked
from support.cluster_servers import Servers, deploy_servers
from support.kind_cluster import KindCluster

HEAL_S = 120.0
"""A member that an earlier test killed has come back by then, its data copied again if need be."""


@pytest.fixture(scope="session")
def deployed_servers(cluster: KindCluster, run_files: Path) -> Servers:
    """Kafka, Patroni and HAProxy; take `servers` instead."""
    with locked(run_files / "servers"):  # who comes second finds everything in place
        return deploy_servers(cluster)


@pytest.fixture
def servers(deployed_servers: Servers) -> Servers:
    """Kafka, Patroni and HAProxy, whole and serving when the test begins. A test may kill any of them."""
    deployed_servers.kafka.wait_answering(HEAL_S)
    deployed_servers.database.wait_healthy(HEAL_S)
    return deployed_servers
