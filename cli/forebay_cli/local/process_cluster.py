"""The operator's Cluster over processes of this machine: one supervisor for one pipeline.

Consumers lead process groups of their own, so that Ctrl-C in the terminal reaches this program alone, which then drains
them. When this program is killed, its reaper asks them to drain (SIGTERM) and kills after eight seconds those that are
still there: nothing is lost by that, because what a consumer had not committed is read again.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from forebay_api.parse import pipeline_to_body
from forebay_api.v1alpha1 import Pipeline
from forebay_operator.errors import ClusterUnavailable
from forebay_operator.model import RunningConsumer, Workload

from forebay_cli.local.environment import LOOPBACK, EnvironmentFor, revision_of
from forebay_cli.local.files import write_atomically
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.server_errors import ServerError, read_tail
from forebay_cli.local.supervision import (
    Ask,
    Failures,
    Forget,
    Kill,
    Start,
    Step,
    Supervised,
    count_failure,
    is_settled,
    plan_steps,
)

CONSUMER_COMMAND = (sys.executable, "-m", "forebay_consumer")

LOOK_EVERY_S = 0.2
"""How often ended processes and port files are looked for: below what a person notices."""

KILL_MARGIN_S = 2.0
"""Beyond the grace period that the consumer itself keeps."""

KEPT_LOGS = 50
"""Log files of consumers that are kept; the oldest go first."""


@dataclass(slots=True)
class _Process:
    """A consumer process: what supervision.py knows of it, and its handle."""

    view: Supervised
    child: Child
    name: str
    port_file: Path

    def url(self) -> str | None:
        """Its /state; None until it has told its port."""
        with suppress(OSError, ValueError):
            return f"http://{LOOPBACK}:{int(self.port_file.read_text())}/state"
        return None


class ProcessCluster:
    """Runs the consumers of one pipeline. Use `supervise()` as a task for as long as any of them should run."""

    def __init__(
        self,
        folder: Path,
        *,
        environment_for: EnvironmentFor,
        grace_s: float,
        say: Callable[[str], None],
        command: Sequence[str] = CONSUMER_COMMAND,
    ) -> None:
        self._folder = folder
        self._environment_for = environment_for
        self._grace_s = grace_s
        self._say = say
        self._command = tuple(command)
        self._processes: list[_Process] = []
        self._wanted = 0
        self._revision: str | None = None
        self._name = ""
        self._failures = Failures()
        self._last_number = 0
        self._problem: str | None = None
        self._wake = asyncio.Event()

    async def read_workload(self, pipeline: Pipeline) -> Workload | None:
        """None until the first `apply_workload`."""
        if self._revision is None:
            return None
        self._refresh()
        views = [p.view for p in self._processes]
        is_current = self._revision == revision_of(pipeline)
        return Workload(
            replicas=self._wanted,
            consumers=tuple(
                RunningConsumer(name=p.name, state_url=p.url()) for p in self._processes if p.view.exit_code is None
            ),
            is_current=is_current and all(v.revision == self._revision for v in views),
            is_settled=is_settled(views, wanted=self._wanted, revision=self._revision),
            problem=self._problem,
        )

    async def apply_workload(self, pipeline: Pipeline) -> None:
        """Write the file that consumers read at their start; those that were made from another one are replaced."""
        try:
            write_atomically(self._pipeline_file, json.dumps(pipeline_to_body(pipeline), indent=2))
        except OSError as error:
            raise ClusterUnavailable(f"{self._pipeline_file} cannot be written: {error}") from error
        self._name = pipeline.name
        self._revision = revision_of(pipeline)
        self._failures = Failures()
        self._wake.set()

    async def scale(self, pipeline: Pipeline, replicas: int) -> None:
        """Processes are started and asked to leave by `supervise`."""
        del pipeline
        self._wanted = replicas
        self._wake.set()

    async def delete(self, pipeline: Pipeline) -> None:
        """Drain and end every consumer; returns when none is left, after the grace period at the latest."""
        await self.scale(pipeline, 0)
        while self._processes:
            self.take_steps()
            await asyncio.sleep(LOOK_EVERY_S / 4)

    async def supervise(self) -> None:
        """Keep as many consumers running as are asked for, until cancelled. Cancelling ends none of them."""
        while True:
            self.take_steps()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._wake.wait()
            self._wake.clear()

    def take_steps(self) -> None:
        """Look once and do what is due."""
        if self._revision is None:
            return
        self._refresh()
        now = time.monotonic()
        views = [p.view for p in self._processes]
        steps = plan_steps(views, wanted=self._wanted, revision=self._revision, failures=self._failures, now=now)
        for step in steps:
            self._take_step(step, now)

    @property
    def _pipeline_file(self) -> Path:
        return self._folder / "pipeline.json"

    def _refresh(self) -> None:
        for process in self._processes:
            is_ready = process.view.is_ready or process.url() is not None
            process.view = replace(process.view, exit_code=process.child.exit_code, is_ready=is_ready)
            ran_s = time.monotonic() - process.view.started_at
            if process.view.stays and is_ready and ran_s > 2 * LOOK_EVERY_S and not self._is_in_pause():
                self._problem = None

    def _is_in_pause(self) -> bool:
        return self._failures.not_before > time.monotonic()

    def _take_step(self, step: Step, now: float) -> None:
        match step:
            case Start(count=count):
                for _ in range(count):
                    self._start(now)
            case Ask(number=number):
                process = self._find(number)
                process.view = replace(process.view, leaves_by=now + self._grace_s + KILL_MARGIN_S)
                self._say(f"{process.name} is asked to drain")
                process.child.send(signal.SIGTERM)
            case Kill(number=number):
                process = self._find(number)
                self._say(f"{process.name} did not drain in time and is killed")
                process.child.signal_family(signal.SIGKILL)
            case Forget(number=number, is_failure=is_failure):
                self._forget(self._find(number), is_failure=is_failure, now=now)

    def _find(self, number: int) -> _Process:
        return next(p for p in self._processes if p.view.number == number)

    def _start(self, now: float) -> None:
        self._last_number += 1
        name = f"{self._name}-{self._last_number}"
        port_file = self._folder / "run" / f"{name}.port"
        log_file = self._folder / "logs" / f"{name}.log"
        assert self._revision is not None, "nothing is started before apply_workload"
        try:
            for folder in (port_file.parent, log_file.parent):
                folder.mkdir(parents=True, exist_ok=True)
            port_file.unlink(missing_ok=True)
            remove_old_logs(log_file.parent)
            variables = self._environment_for(name, self._pipeline_file, port_file)
            child = start_child(self._command, log_file, env={**os.environ, **variables}, ask_with=signal.SIGTERM)
        except (OSError, ServerError) as error:
            self._note_failure(f"{name} could not be started: {error}", ran_s=0.0, now=now)
            return
        view = Supervised(number=self._last_number, revision=self._revision, started_at=now)
        self._processes.append(_Process(view=view, child=child, name=name, port_file=port_file))
        self._say(f"{name} started (pid {child.pid})")

    def _forget(self, process: _Process, *, is_failure: bool, now: float) -> None:
        self._processes.remove(process)
        process.port_file.unlink(missing_ok=True)
        process.child.signal_family(signal.SIGKILL)
        if is_failure:
            last = last_line(process.child.log_file)
            what = f"{process.name} ended by itself with {describe_exit(process.view.exit_code)}; its last line: {last}"
            self._note_failure(what, ran_s=now - process.view.started_at, now=now)
        else:
            self._say(f"{process.name} has left ({describe_exit(process.view.exit_code)})")

    def _note_failure(self, what: str, *, ran_s: float, now: float) -> None:
        self._failures = count_failure(self._failures, ran_s=ran_s, now=now)
        self._problem = what
        self._say(f"{what} (next start in {self._failures.not_before - now:.0f} s)")


def describe_exit(code: int | None) -> str:
    """An exit code for people."""
    if code is None:
        return "no exit code"
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def last_line(log_file: Path) -> str:
    """The last line of a log."""
    return read_tail(log_file).splitlines()[-1]


def remove_old_logs(folder: Path, *, kept: int = KEPT_LOGS) -> None:
    """Remove the oldest logs, so that a crash loop does not fill the disk."""
    logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for log in logs[:-kept]:
        log.unlink(missing_ok=True)
