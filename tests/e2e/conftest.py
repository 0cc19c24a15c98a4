"""The cluster that all end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kind_cluster import KindCluster

TEST_S = 300
"""Deadline of a test itself. Not of the fixtures: from cold, the cluster is 20 minutes of compiling away, each of its
steps with a deadline of its own."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take the making of the cluster out of the deadline of the test that happens to come first."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_S, func_only=True))


@pytest.fixture(scope="session")
def cluster() -> Iterator[KindCluster]:
    """A running cluster for all tests of the run; a test leaves nothing in it."""
    with KindCluster() as running:
        yield running
