"""Reading /state over HTTP: an answer or None, never an exception."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from forebay_api.state import to_json_object
from forebay_operator.consumer_state import HttpConsumerReader
from forebay_operator.model import RunningConsumer
from support.pipeline_builders import build_state

GOOD = build_state("c0")


async def _answer(request: web.Request) -> web.StreamResponse:
    bodies = {
        "good": json.dumps(to_json_object(GOOD)),
        "newer": json.dumps(to_json_object(GOOD) | {"inventedLater": 1}),
        "not-json": "<html>",
        "not-a-state": "[1, 2]",
        "huge": " " * (5 * 1024 * 1024) + json.dumps(to_json_object(GOOD)),
    }
    kind = request.match_info["kind"]
    if kind == "error":
        return web.Response(status=500)
    return web.Response(text=bodies[kind])


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    app.router.add_get("/{kind}", _answer)
    running = TestServer(app)
    async with running:
        yield running


@pytest.mark.parametrize("kind", ["good", "newer"])
async def test_answer_is_read(server: TestServer, kind: str) -> None:
    async with HttpConsumerReader() as reader:
        state = await reader.read_state(RunningConsumer(name="c0", state_url=str(server.make_url(f"/{kind}"))))

    assert state == GOOD


@pytest.mark.parametrize("kind", ["error", "not-json", "not-a-state", "huge"])
async def test_answer_that_is_no_state_is_none(server: TestServer, kind: str) -> None:
    async with HttpConsumerReader() as reader:
        state = await reader.read_state(RunningConsumer(name="c0", state_url=str(server.make_url(f"/{kind}"))))

    assert state is None


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(None, id="no-address-yet"),
        pytest.param("http://127.0.0.1:1/state", id="nobody-listens"),
        pytest.param("nonsense", id="not-an-address"),
    ],
)
async def test_consumer_that_cannot_be_asked_is_none(url: str | None) -> None:
    async with HttpConsumerReader() as reader:
        state = await reader.read_state(RunningConsumer(name="c0", state_url=url))

    assert state is None
