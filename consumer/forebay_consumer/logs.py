"""JSON lines on standard error: constant messages, facts as fields. Never payloads, never secrets."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, then the fields given as `extra`."""

    converter = staticmethod(time.gmtime)

    def __init__(self, **fields: str) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        line: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        line.update({k: v for k, v in vars(record).items() if k not in _STANDARD})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logs(level: str, *, stream: TextIO = sys.stderr, **fields: str) -> None:
    """Send everything to the stream as JSON lines that carry these fields."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(**fields))
    logging.basicConfig(level=level, handlers=[handler], force=True)
