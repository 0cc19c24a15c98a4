"""Makes each pass of the loop visible: status.json, a line for each event, and whoever else listens."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import Retryable
from forebay_operator.model import Report, Verdict
from forebay_operator.status import to_status

from forebay_cli.local.files import write_atomically
from forebay_cli.local.view import PipelineView, view_from_plain, view_report, view_to_plain

STATUS_FILE = "status.json"

Listener = Callable[[PipelineView, Report], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFile:
    """What status.json holds. status: as in the resource's status; view: None when a pass could not be made."""

    pid: int
    status: dict[str, Any]
    view: PipelineView | None
    problem: str | None


class LocalRecorder:
    """The operator's Recorder for one machine. A disk that is full costs the file, never the loop."""

    def __init__(self, folder: Path, *, say: Callable[[str], None], listener: Listener | None = None) -> None:
        self._folder = folder
        self._say = say
        self._listener = listener
        self._status: dict[str, Any] = {}
        self._last_problem: str | None = None

    async def record(self, pipeline: Pipeline, report: Report) -> None:
        """Write the file anew and say what is news."""
        view = view_report(pipeline, report)
        self._status = to_status(report)
        if self._last_problem is not None:
            self._say("the loop works again")
            self._last_problem = None
        self._write(view, None)
        for event in report.events:
            if event.reason == Verdict.HELD:
                continue  # comes and goes with every start and stop; the decision in the status says it
            self._say(f"{event.reason}: {event.message}")
        if self._listener is not None:
            self._listener(view, report)

    async def record_problem(self, pipeline: Pipeline, problem: Retryable, retry_in_s: float) -> None:
        """Say it once, and note it in the file."""
        del pipeline
        text = str(problem)
        if text != self._last_problem:
            self._say(f"{text} (next try in {retry_in_s:.0f} s)")
        self._last_problem = text
        self._write(None, text)

    def _write(self, view: PipelineView | None, problem: str | None) -> None:
        content = {
            "pid": os.getpid(),
            "status": self._status,
            "live": None if view is None else view_to_plain(view),
            "problem": problem,
        }
        try:
            write_atomically(self._folder / STATUS_FILE, json.dumps(content, indent=2))
        except OSError as error:
            self._say(f"{self._folder / STATUS_FILE} cannot be written: {error}")


def read_status_file(folder: Path) -> StatusFile | None:
    """None when there is none, or one of another release."""
    try:
        content = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
        live = content["live"]
        return StatusFile(
            pid=int(content["pid"]),
            status=dict(content["status"]),
            view=None if live is None else view_from_plain(live),
            problem=content["problem"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
