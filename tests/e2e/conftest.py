"""The cluster that all end-to-end tests share, also when several processes run them side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.docker_engine import Engine, open_engine
from support.kind_cluster import KindCluster
from support.product_images import build_product_images
from support.server_image import server_image
from support.shared_cluster import Turns, share_cluster
from xdist.scheduler import LoadScopeScheduling

TEST_S = 300
"""Deadline of a test itself. Not of the fixtures: from cold, the cluster is 20 minutes of compiling away, each of its
steps with a deadline of its own."""


CHORES: Mapping[str, Callable[[Engine], object]] = {"gw1": build_product_images, "gw2": server_image}
"""What other processes than the first build while that one makes the cluster. Everybody finds it done later."""


OPERATOR_AWAY = ("test_helm.py", "test_operator_faults.py", "test_secured_kafka.py")
"""Tests that make the operator go away for a while, which others can wait for: one after the other, from the start."""

ALONE = ("test_api_server.py", "test_docs.py", "test_failover.py", "test_haproxy.py")
"""Tests that disturb whatever else runs in the cluster: one after the other, at the end."""


TOGETHER = ("test_cluster.py",)
"""Tests that share what one of them has made."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deadlines without the making of the cluster; and the order."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_S, func_only=True))
    items.sort(key=lambda item: (item.path.name in ALONE, item.path.name not in OPERATOR_AWAY))


class Schedule(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Files that must not run against each other or themselves go to one process, all other tests to any.

    Not by xdist's own groups: it writes them into the tests' names, which pytest 9.2 does not let it do.
    """

    def _split_scope(self, nodeid: str) -> str:
        name = Path(nodeid.partition("::")[0]).name
        if name in ALONE:
            return "alone"
        if name in OPERATOR_AWAY:
            return "operator away"
        return name if name in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule:
    """How tests are dealt to the processes of a parallel run."""
    return Schedule(config, log)


_turns: list[Turns] = []
"""This process's, once the run's folder is known."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """A test's turn begins before its fixtures, those of the session included."""
    del nextitem
    if not item.path.is_relative_to(Path(__file__).parent):  # pytest asks all conftest files about all tests
        return (yield)
    if not _turns:
        _turns.append(Turns(run_folder(item.config)))
    _turns[0].take(alone=item.path.name in ALONE)
    try:
        return (yield)
    finally:
        _turns[0].release()


def run_folder(config: pytest.Config) -> Path:
    """Common to all processes of this run, and to no other run."""
    own: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # before any fixture there is no other way
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def run_files(pytestconfig: pytest.Config) -> Path:
    """A folder for what is made once a run; with `locked`, because several may come at a time."""
    return run_folder(pytestconfig)


@pytest.fixture(scope="session")
def cluster(run_files: Path) -> Iterator[KindCluster]:
    """A running cluster for all tests of the run; a test leaves nothing in it."""
    chore = CHORES.get(os.environ.get("PYTEST_XDIST_WORKER", ""))
    if chore is not None:
        chore(open_engine())
    with share_cluster(run_files, _turns[0]) as running:
        yield running
