"""JSON lines on standard error: constant messages, facts as fields. Never payloads, never secrets.

A line written during a pass carries the pass' id and its pipeline, whoever writes it.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_PASS: ContextVar[dict[str, str] | None] = ContextVar("forebay_pass", default=None)

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_KOPF_OWN = frozenset({"settings", "k8s_skip", "k8s_ref"})
"""What kopf hangs on its records: its whole settings, and the object that it is about, which is shown as `object`."""

_CHATTY = ("kopf", "asyncio", "aiohttp")
"""Libraries that say at INFO what is of no interest while all is well; at DEBUG all of it is shown."""


@contextmanager
def bind_pass(pipeline: str, reconcile_id: str) -> Iterator[None]:
    """Log lines within carry the pipeline's key and, unless it is empty, the id."""
    fields = {"pipeline": pipeline} | ({"reconcileID": reconcile_id} if reconcile_id else {})
    token = _PASS.set(fields)
    try:
        yield
    finally:
        _PASS.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts (UTC), level, logger, message, the pass, then the fields given as `extra`."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        line: dict[str, object] = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(_PASS.get() or {}),
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD | _KOPF_OWN})
        about = getattr(record, "k8s_ref", None)
        if isinstance(about, dict):
            line["object"] = f"{about.get('kind')} {about.get('namespace')}/{about.get('name')}"
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs(level: str, *, stream: TextIO = sys.stderr) -> None:
    """Send everything to the stream as JSON lines, the libraries' own lines included."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    if level != "DEBUG":
        for name in _CHATTY:
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
