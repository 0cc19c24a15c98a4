"""Plays the demo between servers that run: the wave, the waiting, and what is shown meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from forebay_cli.demo.director import Director
from forebay_cli.demo.screen import build_line, build_screen
from forebay_cli.demo.story import Progress, Story
from forebay_cli.demo.wave import Wave
from forebay_cli.errors import DemoFailed
from forebay_cli.local.process import Child, start_child
from forebay_cli.local.runtime import LocalRuntime, RuntimeOptions

SAMPLE_S = 1.0
"""One column of the curves, one plain line."""

REDRAW_S = 0.25
_LOOK_S = 0.1
READY_DEADLINE_S = 60.0
"""Until the first consumer answers."""

PRODUCER_MARGIN_S = 150.0
"""Beyond the wave, for a machine that cannot keep up; the producer itself gives up a little earlier."""

DRAIN_DEADLINE_S = 240.0
"""For the backlog after the wave."""

FAILOVERS_DEADLINE_S = 180.0
"""Beyond the wave, for members that come back late on a busy machine."""

FALL_MARGIN_S = 90.0
"""Beyond the scale-in window, for going back to the fewest consumers, one settling after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the demo plays. logs: the producer's output goes there."""

    runtime: RuntimeOptions
    ledger: Path
    logs: Path
    plain: bool


class Play:
    """One performance."""

    def __init__(self, stage: Stage, wave: Wave, console: Console, director: Director | None = None) -> None:
        """director: what happens to the database meanwhile, None = nothing."""
        self.story = Story(wave=wave, database=None if director is None else director.scene)
        self._director = director
        self._plot: asyncio.Task[None] | None = None
        self._stage = stage
        self._console = console
        self._runtime = LocalRuntime(stage.runtime, say=self._say, listener=lambda view, _: self.story.see(view))
        self._running: asyncio.Task[None] | None = None
        self._producer: Child | None = None

    @property
    def group_topic_table(self) -> tuple[str, str, str]:
        """What the audit looks at."""
        spec = self._runtime.pipeline.spec
        return spec.source.group, spec.source.topic, spec.sink.table

    async def perform(self) -> None:
        """Send the wave, wait for the drain and for the consumers to leave, then end them all. Raises DemoFailed."""
        self._running = asyncio.create_task(self._runtime.run())
        helpers = [asyncio.create_task(self._show())]
        if self._director is not None:
            helpers.append(asyncio.create_task(self._director.look()))
        try:
            await self._act()
        finally:
            if self._plot is not None:
                self._plot.cancel()
            if self._producer is not None and self._producer.is_running():
                self._producer.send(signal.SIGTERM)
            self._set_stage("ending")
            self._runtime.stop()
            try:
                await self._running
            finally:
                for helper in helpers:
                    helper.cancel()
                    with suppress(asyncio.CancelledError):
                        await helper

    async def _act(self) -> None:
        story = self.story
        self._set_stage("starting the first consumer")
        if not await self._wait(lambda: self._has_answer() and story.replicas_first is not None, READY_DEADLINE_S):
            raise DemoFailed(f"no consumer was ready within {READY_DEADLINE_S:.0f} s: {self._last_words()}")
        producer = self._producer = self._start_producer()
        if self._director is not None:
            self._plot = asyncio.create_task(self._director.perform(lambda: story.elapsed_s(_now()), self._say))
        self._set_stage("last reports")
        if not await self._wait(lambda: not producer.is_running(), story.wave.seconds + PRODUCER_MARGIN_S):
            raise DemoFailed("the producer did not end in time")
        if producer.exit_code != 0:
            raise DemoFailed(f"the producer failed: {self._read_producer_words()}")
        self._say("every record was delivered to Kafka")
        if (plot := self._plot) is not None and not await self._wait(plot.done, FAILOVERS_DEADLINE_S):
            raise DemoFailed("the failovers did not end in time")
        self._set_stage("draining")
        if not await self._wait(lambda: story.is_drained, DRAIN_DEADLINE_S):
            self._say(f"the backlog was not drained within {DRAIN_DEADLINE_S:.0f} s")
        self._set_stage("consumers leave")
        window_s = self._runtime.pipeline.spec.scaling.timing.scale_in_window_s
        if not await self._wait(lambda: story.has_fallen, window_s + FALL_MARGIN_S):
            self._say("the consumers did not leave in time")

    def _has_answer(self) -> bool:
        view = self.story.view
        return view is not None and any(line.phase == "Running" for line in view.consumers)

    def _last_words(self) -> str:
        view = self.story.view
        troubles = [] if view is None else [line.trouble for line in view.consumers if line.trouble]
        return "; ".join(troubles) or (self.story.events[-1].text if self.story.events else "no word")

    def _start_producer(self) -> Child:
        wave, spec = self.story.wave, self._runtime.pipeline.spec
        self._stage.logs.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "forebay_cli.demo.producer"),
            *("--bootstrap", spec.source.bootstrap_servers, "--topic", spec.source.topic),
            *("--ledger", self._stage.ledger, "--records", wave.records, "--seconds", wave.seconds),
        ]
        self.story.started_at = _now()
        return start_child(command, self._producer_log)

    @property
    def _producer_log(self) -> Path:
        return self._stage.logs / "producer.log"

    def _read_progress(self) -> Progress:
        """The last whole line of the producer; the former one where there is none."""
        if not self._producer_log.exists():
            return self.story.progress
        lines = [line for line in self._producer_log.read_text().split("\n")[:-1] if line.startswith("{")]
        if not lines:
            return self.story.progress
        last = json.loads(lines[-1])
        return Progress(elapsed_s=last["elapsed_s"], delivered=last["delivered"], poison=last["poison"])

    def _read_producer_words(self) -> str:
        lines = [line for line in self._producer_log.read_text().splitlines() if not line.startswith("{")]
        return lines[-1] if lines else "no word"

    async def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Look until the condition holds; False after timeout_s. Raises what ended the runtime."""
        deadline = _now() + timeout_s
        while not condition():
            if self._running is not None and self._running.done():
                await self._running
                raise DemoFailed("the runtime has ended")
            if self._plot is not None and self._plot.done():
                self._plot.result()
            if _now() > deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    def _set_stage(self, words: str) -> None:
        self.story.stage = words

    def _say(self, message: str) -> None:
        now = _now()
        self.story.note(message, now)
        if self._stage.plain:
            self._console.print(Text(f"{self.story.elapsed_s(now):5.0f} s  * {message}"), soft_wrap=True)

    async def _show(self) -> None:
        if self._stage.plain:
            while True:
                await asyncio.sleep(SAMPLE_S)
                self.story.advance(self._read_progress(), SAMPLE_S)
                self._console.print(Text(build_line(self.story, now=_now())), soft_wrap=True)
        with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as live:
            sampled = _now()
            while True:
                await asyncio.sleep(REDRAW_S)
                now = _now()
                if now - sampled >= SAMPLE_S:
                    self.story.advance(self._read_progress(), now - sampled)
                    sampled = now
                max_age_s = self._runtime.pipeline.spec.scaling.objective.max_age_s
                width = self._console.width
                live.update(build_screen(self.story, now=now, width=width, max_age_s=max_age_s), refresh=True)


def _now() -> float:
    """The event loop's clock, monotonic seconds."""
    return asyncio.get_running_loop().time()
