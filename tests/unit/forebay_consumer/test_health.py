"""The HTTP endpoints, asked over a socket, and the metrics behind one of them."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from forebay_api.state import (
    ConsumerState,
    PartitionReport,
    PartitionState,
    Phase,
    SinkHealth,
    SinkState,
    Totals,
    from_json_object,
)
from forebay_consumer.health import serve_health

GOOD = ConsumerState(
    consumer="c-1",
    pipeline="bank/payments",
    phase=Phase.RUNNING,
    sink=SinkState(health=SinkHealth.READY, since="2026-01-01T00:00:00+00:00"),
    partitions=(PartitionReport(partition=3, state=PartitionState.RUNNING, epoch=2, next_offset=7),),
    totals=Totals(records=7, rows=6, dead_letters=1),
    busy_fraction=0.25,
    records_per_second=3.5,
    oldest_unwritten_s=None,
    buffered_bytes=0,
    paused_because=None,
    source_message=None,
    uptime_s=12.0,
)
AWAY = SinkState(health=SinkHealth.AWAY, reason="Unreachable", message="no answer from db:5432")
STOPPED = PartitionReport(partition=5, state=PartitionState.STOPPED, why="retention removed 4 unwritten records")


@dataclass(slots=True)
class Endpoints:
    """A server and what it is to say."""

    base: str
    state: ConsumerState

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, body, content type."""
        async with aiohttp.ClientSession() as session, session.get(self.base + path) as answer:
            return answer.status, await answer.text(), answer.headers["Content-Type"]


@asynccontextmanager
async def serving(state: ConsumerState, port_file: Path | None = None) -> AsyncIterator[Endpoints]:
    endpoints = Endpoints("", state)
    async with serve_health(
        host="127.0.0.1",
        port=0,
        port_file=port_file,
        read_state=lambda: endpoints.state,
        read_metrics=lambda: b"forebay_up 1\n",
    ) as port:
        endpoints.base = f"http://127.0.0.1:{port}"
        yield endpoints


@pytest.mark.parametrize(
    ("state", "text"),
    [
        pytest.param(GOOD, "ok\n", id="ready"),
        pytest.param(replace(GOOD, partitions=()), "ok\n", id="idle"),
        pytest.param(replace(GOOD, sink=AWAY), "sink: Unreachable: no answer from db:5432\n", id="away"),
        pytest.param(
            replace(GOOD, sink=SinkState(health=SinkHealth.BROKEN, reason="TableMissing", message="create it")),
            "sink: TableMissing: create it\n",
            id="broken",
        ),
        pytest.param(
            replace(GOOD, sink=SinkState(health=SinkHealth.UNKNOWN)),
            "sink: Unknown: the database has not been reached yet\n",
            id="starting",
        ),
        pytest.param(replace(GOOD, source_message="topic missing"), "source: topic missing\n", id="source"),
        pytest.param(
            replace(GOOD, partitions=(*GOOD.partitions, STOPPED)),
            "partition 5: retention removed 4 unwritten records\n",
            id="stopped-partition",
        ),
        pytest.param(
            replace(GOOD, sink=AWAY, source_message="topic missing", partitions=(STOPPED,)),
            "sink: Unreachable: no answer from db:5432\n"
            "source: topic missing\n"
            "partition 5: retention removed 4 unwritten records\n",
            id="everything",
        ),
    ],
)
async def test_readyz_says_in_words_what_keeps_records_from_being_written(state: ConsumerState, text: str) -> None:
    async with serving(state) as endpoints:
        status, body, _ = await endpoints.get("/readyz")
        assert (status, body) == (200 if text == "ok\n" else 503, text)
        assert (await endpoints.get("/livez"))[:2] == (200, "ok\n")


async def test_state_round_trips_and_is_always_the_present_one() -> None:
    async with serving(GOOD) as endpoints:
        for state in (GOOD, replace(GOOD, sink=AWAY, busy_fraction=None, partitions=(STOPPED,))):
            endpoints.state = state
            status, body, kind = await endpoints.get("/state")
            assert (status, kind.split(";")[0]) == (200, "application/json")
            assert from_json_object(json.loads(body)) == state


async def test_metrics_have_prometheus_type() -> None:
    async with serving(GOOD) as endpoints:
        assert await endpoints.get("/metrics") == (200, "forebay_up 1\n", "text/plain; version=0.0.4; charset=utf-8")
        assert (await endpoints.get("/secrets"))[0] == 404


async def test_port_in_use_is_written_to_the_file_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    async with serving(GOOD, tmp_path / "port") as endpoints:
        assert (tmp_path / "port").read_text() == endpoints.base.rsplit(":", 1)[1] + "\n"
        assert os.listdir(tmp_path) == ["port"]


async def test_port_that_is_taken_is_an_error() -> None:
    async with serving(GOOD) as endpoints:
        port = int(endpoints.base.rsplit(":", 1)[1])
        with pytest.raises(OSError):
            async with serve_health(
                host="127.0.0.1", port=port, port_file=None, read_state=lambda: GOOD, read_metrics=lambda: b""
            ):
                pass
