"""The operator's log: one JSON object a line, with the pass that it belongs to."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from forebay_operator.logs import JsonFormatter, bind_pass


def render(message: str = "pass failed", *, error: bool = False, **fields: object) -> dict[str, object]:
    """A record as its reader sees it."""
    record = logging.makeLogRecord({"name": "forebay", "levelname": "INFO", "msg": message, **fields})
    record.created, record.msecs = 0.0, 7.0
    record.exc_info = sys.exc_info() if error else None
    line = JsonFormatter().format(record)
    assert "\n" not in line
    return dict(json.loads(line))


def test_line_has_its_facts_as_fields() -> None:
    assert render(retry_in_s=2.5, error=False) == {
        "ts": "1970-01-01T00:00:00.007Z",
        "level": "INFO",
        "logger": "forebay",
        "message": "pass failed",
        "retry_in_s": 2.5,
    }


def test_lines_of_a_pass_carry_its_id_and_others_do_not() -> None:
    with bind_pass("bank/payments", "1f2e"):
        inside = render()
    outside = render()

    assert (inside["pipeline"], inside["reconcileID"]) == ("bank/payments", "1f2e")
    assert "reconcileID" not in outside


async def test_passes_of_two_pipelines_at_once_keep_their_ids() -> None:
    async def work(name: str) -> list[object]:
        with bind_pass(name, name):
            seen = [render()["reconcileID"]]
            await asyncio.sleep(0)
            return [*seen, render()["reconcileID"], await asyncio.to_thread(lambda: render()["reconcileID"])]

    assert list(await asyncio.gather(work("a"), work("b"))) == [["a"] * 3, ["b"] * 3]


def test_kopfs_own_fields_are_one_readable_one() -> None:
    about = {"kind": "Pod", "namespace": "bank", "name": "p", "uid": "u", "apiVersion": "v1"}

    line = render("seen", settings=object(), k8s_skip=True, k8s_ref=about)

    assert line["object"] == "Pod bank/p"
    assert not {"settings", "k8s_skip", "k8s_ref"} & line.keys()


def test_traceback_is_in_the_line() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        line = render(error=True)

    assert "ValueError: no" in str(line["traceback"])
