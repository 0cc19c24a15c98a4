"""What is logged of failures that nobody waits for."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest
from forebay_consumer.app import tell_unawaited


async def test_a_future_that_nobody_waits_for_is_told_of_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_unawaited)
    with caplog.at_level(logging.INFO):
        loop.create_future().set_exception(ConnectionError("broke off"))
        gc.collect()
    assert [(r.levelname, r.exc_info) for r in caplog.records] == [("INFO", None)]
    assert "broke off" in caplog.records[0].__dict__["detail"]


async def test_a_task_that_fails_unseen_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_unawaited)

    async def fail() -> None:
        raise KeyError("mistake")

    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    del task
    gc.collect()
    assert [r.levelname for r in caplog.records] == ["ERROR"]
