"""The cluster that all end-to-end tests share, also when several processes run them side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from support.docker_engine import Engine, open_engine
from support.kind_cluster import KindCluster
from support.product_images import build_product_images
from support.server_image import server_image
from support.shared_cluster import Turns, share_cluster

TEST_S = 300
"""Deadline of a test itself. Not of the fixtures: from cold, the cluster is 20 minutes of compiling away, each of its
steps with a deadline of its own."""


CHORES: Mapping[str, Callable[[Engine], object]] = {"gw1": build_product_images, "gw2": server_image}
"""What other processes than the first build while that one makes the cluster. Everybody finds it done later."""


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the markers."""
    config.addinivalue_line("markers", "alone: disturbs whatever else runs in the cluster")
    config.addinivalue_line("markers", "operator: makes the operator go away for a while, for which others can wait")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deadlines without the making of the cluster; the long chain comes first, who works alone comes last."""
    own = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in own:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_S, func_only=True))
        group = next((each for each in ("alone", "operator") if item.get_closest_marker(each)), None)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))  # one after the other, in one process
    items.sort(key=lambda item: (_is_alone(item), item.get_closest_marker("operator") is None))


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


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
    _turns[0].take(alone=_is_alone(item))
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
