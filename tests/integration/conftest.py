"""Fixtures of the tests that let a flood loose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.flood import TABLE, Flood
from support.testbed.servers import DatabaseFactory, TopicFactory

FloodFactory = Callable[..., Flood]


@pytest.fixture
def flood(kafka: Any, topic: TopicFactory, database: DatabaseFactory, tmp_path: Path) -> Iterator[FloodFactory]:
    """flood(...) prepares a topic and a database with the table; what it started is stopped in the end."""
    made: list[Flood] = []

    def prepare(*, partitions: int = 6, table: str = TABLE, **more: Any) -> Flood:
        own = more.pop("database", None) or database()
        server = more.pop("kafka", None)
        name = more.pop("topic", None) or topic(partitions)
        own_folder = tmp_path / f"flood-{len(made)}"
        own_folder.mkdir()
        result = Flood(kafka=server or kafka, database=own, topic=name, folder=own_folder, **more)
        if table:
            result.run_sql(table)
        made.append(result)
        return result

    yield prepare
    for one in made:
        one.stop_all()
