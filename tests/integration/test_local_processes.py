"""Consumers as processes: started, drained, killed late, restarted after a crash, replaced, and never orphaned."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from forebay_api.v1alpha1 import Pipeline, PipelineSpec, SecretRef, SinkSpec, SourceSpec
from forebay_cli.local.process_cluster import ProcessCluster
from forebay_cli.local.process_table import read_process
from forebay_operator.model import Workload

pytestmark = pytest.mark.integration

FAKE_CONSUMER = """
import os, signal, sys, time
from pathlib import Path
behaviour = Path(os.environ["BEHAVIOUR"]).read_text()
def leave(number, frame):
    if behaviour != "stubborn":
        print("drained", flush=True)
        sys.exit(0)
signal.signal(signal.SIGTERM, leave)
if behaviour == "broken":
    print("no such table", flush=True)
    sys.exit(2)
port_file = Path(os.environ["FOREBAY_HTTP_PORT_FILE"])
port_file.with_suffix(".new").write_text("4711")
port_file.with_suffix(".new").replace(port_file)
while True:
    time.sleep(0.05)
"""
PIPELINE = Pipeline(
    namespace="bank",
    name="payments",
    spec=PipelineSpec(
        source=SourceSpec(bootstrap_servers="127.0.0.1:1", topic="payments", group="bank.payments"),
        sink=SinkSpec(connection_secret_ref=SecretRef(name="db"), table="public.payments"),
    ),
)
DEADLINE_S = 60.0


class Stage:
    """A cluster with fake consumers, supervised."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.behave("good")
        script = folder / "fake_consumer.py"
        script.write_text(FAKE_CONSUMER)
        self.cluster = ProcessCluster(
            folder,
            environment_for=self._environment,
            grace_s=20.0,
            say=self.said.append,
            command=(sys.executable, str(script)),
        )

    def behave(self, how: str) -> None:
        """How consumers started from now on behave."""
        (self.folder / "behaviour").write_text(how)

    def _environment(self, name: str, pipeline_file: Path, port_file: Path) -> dict[str, str]:
        assert pipeline_file.exists(), name
        return {"FOREBAY_HTTP_PORT_FILE": str(port_file), "BEHAVIOUR": str(self.folder / "behaviour")}

    async def see(self, wanted: Callable[[Workload], bool], pipeline: Pipeline = PIPELINE) -> Workload:
        """Wait for the workload to look as wanted."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            workload = await self.cluster.read_workload(pipeline)
            if workload is not None and wanted(workload):
                return workload
            assert time.monotonic() < deadline, f"{workload} after {self.said}"
            await asyncio.sleep(0.02)


def settled_with(count: int) -> Callable[[Workload], bool]:
    return lambda workload: workload.is_settled and workload.is_current and len(workload.consumers) == count


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    task = asyncio.create_task(stage.cluster.supervise())
    yield stage
    task.cancel()
    await stage.cluster.delete(PIPELINE)


async def test_nothing_exists_before_it_is_applied(stage: Stage) -> None:
    assert await stage.cluster.read_workload(PIPELINE) is None


async def test_consumers_come_and_the_newest_go_first(stage: Stage) -> None:
    await stage.cluster.apply_workload(PIPELINE)
    await stage.cluster.scale(PIPELINE, 3)
    workload = await stage.see(settled_with(3))
    assert {consumer.state_url for consumer in workload.consumers} == {"http://127.0.0.1:4711/state"}
    await stage.cluster.scale(PIPELINE, 1)
    workload = await stage.see(settled_with(1))
    assert [consumer.name for consumer in workload.consumers] == ["payments-1"]
    assert "payments-3 has left (exit code 0)" in stage.said


async def test_a_consumer_that_does_not_drain_is_killed_at_its_deadline(stage: Stage) -> None:
    stage.behave("stubborn")
    stage.cluster._grace_s = 0.5
    await stage.cluster.apply_workload(PIPELINE)
    await stage.cluster.scale(PIPELINE, 1)
    await stage.see(settled_with(1))
    await stage.cluster.scale(PIPELINE, 0)
    await stage.see(settled_with(0))
    assert "payments-1 has left (signal SIGKILL)" in stage.said


async def test_a_crashed_consumer_is_replaced(stage: Stage) -> None:
    await stage.cluster.apply_workload(PIPELINE)
    await stage.cluster.scale(PIPELINE, 1)
    await stage.see(settled_with(1))
    pid = int(stage.said[0].rpartition("pid ")[2].rstrip(")"))
    os.kill(pid, signal.SIGKILL)
    await stage.see(lambda workload: [c.name for c in workload.consumers] == ["payments-2"])


async def test_consumers_that_cannot_run_are_explained_and_come_back_once_repaired(stage: Stage) -> None:
    stage.behave("broken")
    await stage.cluster.apply_workload(PIPELINE)
    await stage.cluster.scale(PIPELINE, 1)
    workload = await stage.see(lambda workload: workload.problem is not None)
    assert workload.problem == "payments-1 ended by itself with exit code 2; its last line: no such table"
    stage.behave("good")
    assert (await stage.see(settled_with(1))).consumers
    assert (await stage.see(lambda workload: workload.problem is None)).replicas == 1


async def test_a_changed_spec_replaces_consumers_and_a_changed_target_does_not(stage: Stage) -> None:
    await stage.cluster.apply_workload(PIPELINE)
    await stage.cluster.scale(PIPELINE, 2)
    await stage.see(settled_with(2))
    rescaled = replace(PIPELINE, spec=replace(PIPELINE.spec, scaling=replace(PIPELINE.spec.scaling, max_replicas=3)))
    assert (await stage.see(settled_with(2), rescaled)).is_current
    moved = replace(PIPELINE, spec=replace(PIPELINE.spec, source=replace(PIPELINE.spec.source, topic="other")))
    assert not (await stage.see(lambda workload: workload.is_settled, moved)).is_current
    await stage.cluster.apply_workload(moved)
    workload = await stage.see(settled_with(2), moved)
    assert {consumer.name for consumer in workload.consumers} == {"payments-3", "payments-4"}


ORPHANING_PARENT = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import importlib
tests = importlib.import_module("test_local_processes")
async def main():
    stage = tests.Stage(Path(sys.argv[1]))
    asyncio.get_running_loop().create_task(stage.cluster.supervise())
    await stage.cluster.apply_workload(tests.PIPELINE)
    await stage.cluster.scale(tests.PIPELINE, 2)
    await stage.see(tests.settled_with(2))
    print(*(line.rpartition("pid ")[2].rstrip(")") for line in stage.said), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_consumers_drain_when_their_runtime_is_killed(tmp_path: Path) -> None:
    arguments = ["-c", ORPHANING_PARENT, str(tmp_path), str(Path(__file__).parent)]
    parent = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pids = [int(word) for word in (await parent.stdout.readline()).split()]
    assert len(pids) == 2
    parent.kill()
    await parent.wait()
    deadline = time.monotonic() + DEADLINE_S
    while any(read_process(pid) is not None for pid in pids):
        assert time.monotonic() < deadline, "a consumer outlived its runtime"
        await asyncio.sleep(0.05)
    assert [log.read_text() for log in sorted((tmp_path / "logs").iterdir())] == ["drained\n", "drained\n"]
