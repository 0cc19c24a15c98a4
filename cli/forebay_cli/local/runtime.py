"""Runs one pipeline on this machine: the operator's loop, with consumers as processes, until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline
from forebay_operator.clock import SystemClock
from forebay_operator.consumer_state import HttpConsumerReader
from forebay_operator.kafka_lag import KafkaLag
from forebay_operator.model import Memory
from forebay_operator.ports import Ports
from forebay_operator.reconcile import PipelineLoop
from forebay_operator.status import memory_from_status

from forebay_cli.errors import UsageProblem
from forebay_cli.kafka_admin import read_properties
from forebay_cli.local.environment import build_environment, find_secrets, lead_to_database
from forebay_cli.local.process_cluster import ProcessCluster
from forebay_cli.local.recorder import Listener, LocalRecorder, read_status_file
from forebay_cli.local.secrets import SecretPlaces
from forebay_cli.pipeline_file import find_forbidden_changes, read_pipeline_file, read_stamp

WATCH_EVERY_S = 1.0
"""How often the pipeline file is looked at."""

DEFAULT_GRACE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """file: the pipeline file, watched. folder: its state. redirect: puts other servers in the spec's place."""

    file: Path
    folder: Path
    places: SecretPlaces
    grace_s: float = DEFAULT_GRACE_S
    log_level: str = "INFO"
    redirect: Callable[[Pipeline], Pipeline] = field(default=lambda pipeline: pipeline)


class LocalRuntime:
    """One pipeline. `stop` is the way to end it: every consumer drains first."""

    def __init__(
        self, options: RuntimeOptions, *, say: Callable[[str], None], listener: Listener | None = None
    ) -> None:
        """Raises UsageProblem when the file or a Secret is wrong."""
        self._options = options
        self._say = say
        self._listener = listener
        self._file_pipeline = read_pipeline_file(options.file)
        redirected = options.redirect(self._file_pipeline)
        self._secrets = find_secrets(redirected, options.places)
        self.pipeline = lead_to_database(redirected, self._secrets)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `run` drain and return. Safe to call at any time, from the event loop."""
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`; the caller holds the folder's pid file. Raises the operator's Fatal after draining."""
        cluster = ProcessCluster(
            self._options.folder, environment_for=self._environment_for, grace_s=self._options.grace_s, say=self._say
        )
        supervision = asyncio.create_task(cluster.supervise())
        try:
            await self._reconcile_until_stopped(cluster)
        finally:
            self._say("draining all consumers")
            await cluster.delete(self.pipeline)
            supervision.cancel()
            with suppress(asyncio.CancelledError):
                await supervision
            self._say("all consumers have left")

    async def _reconcile_until_stopped(self, cluster: ProcessCluster) -> None:
        folder = self._options.folder
        recorder = LocalRecorder(folder, say=self._say, listener=self._listener)
        before = read_status_file(folder)
        lag = KafkaLag(self._read_kafka_properties)
        async with HttpConsumerReader() as consumers:
            ports = Ports(cluster=cluster, lag=lag, consumers=consumers, recorder=recorder)
            # All consumers ended with the last run: of what it knew, only their capacity still holds.
            memory = None if before is None else Memory(capacity=memory_from_status(before.status).capacity)
            loop = PipelineLoop(ports, self.pipeline, SystemClock(), memory=memory)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch_stop(loop))
                watcher = tasks.create_task(self._watch_file(loop))
                await loop.run()
                self._stopping.set()
                watcher.cancel()

    async def _watch_stop(self, loop: PipelineLoop) -> None:
        await self._stopping.wait()
        loop.stop()

    async def _watch_file(self, loop: PipelineLoop) -> None:
        stamp = read_stamp(self._options.file)
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            seen = read_stamp(self._options.file)
            if seen is not None and seen != stamp:
                stamp = seen
                self._apply_file(loop)

    def _apply_file(self, loop: PipelineLoop) -> None:
        try:
            new = read_pipeline_file(self._options.file)
            changed = replace(self._options.redirect(new), generation=self.pipeline.generation + 1)
            secrets = find_secrets(changed, self._options.places)
            changed = lead_to_database(changed, secrets)
        except UsageProblem as error:
            self._refuse_change(error.problems)
            return
        forbidden = find_forbidden_changes(self._file_pipeline, new)
        if forbidden:
            self._refuse_change(forbidden)
            return
        if new == self._file_pipeline:
            return
        self._file_pipeline, self.pipeline, self._secrets = new, changed, secrets
        self._say(f"{self._options.file} has changed and is applied")
        loop.change(changed)

    def _refuse_change(self, problems: tuple[str, ...]) -> None:
        self._say(f"{self._options.file} has changed but is not applied, the pipeline runs on as it was:")
        for problem in problems:
            self._say(f"  {problem}")

    def _environment_for(self, consumer: str, pipeline_file: Path, port_file: Path) -> dict[str, str]:
        return build_environment(
            consumer=consumer,
            pipeline=self.pipeline,
            pipeline_file=pipeline_file,
            port_file=port_file,
            secrets=self._secrets,
            grace_s=self._options.grace_s,
            log_level=self._options.log_level,
        )

    def _read_kafka_properties(self, pipeline: Pipeline) -> dict[str, str]:
        del pipeline
        return read_properties(self._secrets.kafka)
