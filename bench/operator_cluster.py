"""How fast the product acts on a real cluster: from kubectl apply to the first row, from a step of the load to pods.

Kafka, Patroni behind HAProxy, the operator by its chart and the consumers all run in one kind cluster, as in tests/e2e.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from forebay_api.v1alpha1 import Objective, Timing
from forebay_cli.local.deadlines import wait_until
from forebay_operator.scaling.target import deadline_s, size_group
from support.cluster_servers import Servers, deploy_servers
from support.kind_cluster import KindCluster
from support.product import WAIT_S, PipelineOnCluster, Product, make_pipeline
from support.product_images import load_product_images

from bench.results import Metric
from bench.steady_load import SteadyLoad

WAITING_RECORDS = 2_000
"""In the topic before the pipeline is applied."""
FIRST_ROW_POLL_S, READY_POLL_S = 0.02, 0.1

PARTITIONS = 12
CAP = 1_000
"""spec.consumer.maxRowsPerSecond: so one consumer's capacity is known."""
LOW, HIGH = 200.0, 2_400.0
"""Records/s before and after the step."""
REST_S = 90.0
"""Of the low load before the first step: longer than a group is left alone after it has settled."""
WATCH_S = 100.0
"""After the step: long enough for a second change, which the settling time holds back for a minute."""
STEP_POLL_S = 0.1

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A cluster with everything in it. folder: for what the pipelines keep."""

    cluster: KindCluster
    servers: Servers
    folder: Path

    def new_pipeline(self, partitions: int, **scaling: Any) -> PipelineOnCluster:
        """With the timing that a pipeline has when nobody says otherwise."""
        return make_pipeline(
            self.cluster, self.servers, self.folder, partitions=partitions, timing={}, maxReplicas=12, **scaling
        )

    def version(self) -> str:
        """Kubernetes'."""
        return str(self.cluster.read("/version")["gitVersion"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Seconds after `kubectl apply` was called."""

    first_row_s: float
    ready_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Seconds after the first record of the higher rate. changes: (when, replicas), each that was asked for."""

    running_s: float
    changes: tuple[tuple[float, int], ...]


@contextmanager
def open_field() -> Iterator[Field]:
    """A cluster with servers and the product; removed in the end unless FOREBAY_KEEP_CLUSTER names it."""
    with KindCluster() as cluster, tempfile.TemporaryDirectory(prefix="forebay-bench-") as folder:
        servers = deploy_servers(cluster)
        product = Product(cluster=cluster, images=load_product_images(cluster))
        product.install()
        product.wait_leader()
        yield Field(cluster=cluster, servers=servers, folder=Path(folder))


def count_needed() -> int:
    """Consumers for the higher rate, with nothing waiting."""
    return size_group(
        arrival=HIGH,
        lag_records=0,
        deadline=deadline_s(Objective()),
        capacity=CAP,
        partitions=PARTITIONS,
        at_least=1,
    ).replicas


# --- from apply to the first row ------------------------------------------------------------------------------------


def measure_starts(field: Field, repeats: int) -> dict[str, Metric]:
    """After one start that does not count."""
    taken = [asyncio.run(measure_start(field, turn)) for turn in range(-1, repeats)][1:]
    return {
        "apply_to_first_row_seconds": Metric(
            values=[start.first_row_s for start in taken],
            unit="s",
            at_most=15,
            about="from the call of `kubectl apply` until a SELECT sees the first row; images are on the node, the "
            f"topic already holds {WAITING_RECORDS:,} records",
        ),
        "apply_to_ready_seconds": Metric(
            values=[start.ready_s for start in taken], unit="s", about="until the condition Ready is True"
        ),
    }


async def measure_start(field: Field, turn: int) -> Start:
    """Apply a new pipeline and watch its table and its status."""
    pipeline = field.new_pipeline(6)
    pipeline.produce(WAITING_RECORDS)
    connection = await asyncpg.connect(field.servers.database.parts("postgres").dsn)
    began = time.monotonic()
    try:
        async with asyncio.timeout(WAIT_S):
            row, ready, _ = await asyncio.gather(
                see_first_row(connection, pipeline.table), see_ready(pipeline), asyncio.to_thread(pipeline.apply)
            )
        await asyncio.to_thread(expect_rows, pipeline, WAITING_RECORDS)
    finally:
        await connection.close()
        await asyncio.to_thread(remove, pipeline)
    start = Start(first_row_s=row - began, ready_s=ready - began)
    print(f"{turn:3d} apply: first row {start.first_row_s:5.1f} s, Ready {start.ready_s:5.1f} s", flush=True)
    return start


async def see_first_row(connection: asyncpg.Connection, table: str) -> float:
    """When it was there."""
    while not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"):  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(FIRST_ROW_POLL_S)
    return time.monotonic()


async def see_ready(pipeline: PipelineOnCluster) -> float:
    """When the status said so."""
    while not await asyncio.to_thread(is_ready, pipeline):  # noqa: ASYNC110  a watch would be no nearer
        await asyncio.sleep(READY_POLL_S)
    return time.monotonic()


def is_ready(pipeline: PipelineOnCluster) -> bool:
    """Also before it exists."""
    found = pipeline.cluster.read("/apis/forebay.dev/v1alpha1/ingestpipelines")["items"]
    mine = [each.get("status", {}) for each in found if each["metadata"]["name"] == pipeline.name]
    conditions = [c for status in mine for c in status.get("conditions", ())]
    return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


# --- a step of the load ---------------------------------------------------------------------------------------------


def measure_steps(field: Field, repeats: int) -> dict[str, Metric]:
    """Pipelines side by side at a low load; each in turn gets the step, and is removed afterwards."""
    pipelines = [start_pipeline(field) for _ in range(repeats)]
    for pipeline in pipelines:
        pipeline.wait_condition("Ready", "True")
    with ExitStack() as stack:
        kafka = field.servers.kafka.bootstrap
        loads = [SteadyLoad(kafka, p.topic, rate=LOW, seed=i) for i, p in enumerate(pipelines)]
        for load in loads:
            stack.enter_context(load)
        time.sleep(REST_S)
        steps = [measure_step(pipeline, load) for pipeline, load in zip(pipelines, loads, strict=True)]
    return describe_steps(steps)


def start_pipeline(field: Field) -> PipelineOnCluster:
    """Applied, with a capped consumer."""
    pipeline = field.new_pipeline(PARTITIONS)
    pipeline.spec["consumer"]["maxRowsPerSecond"] = CAP
    pipeline.apply()
    return pipeline


def measure_step(pipeline: PipelineOnCluster, load: SteadyLoad) -> Step:
    """Raise the load and watch for as long as a second change may take."""
    if pipeline.replicas() != 1:
        raise RuntimeError(f"the low load needed more than one consumer: {pipeline.describe()}")
    began = load.step(HIGH)
    step = watch_step(pipeline, began)
    expect_rows(pipeline, load.stop())
    said = ", ".join(f"{replicas} after {at:.1f} s" for at, replicas in step.changes)
    print(f"    step: {said}; running after {step.running_s:.1f} s", flush=True)
    remove(pipeline)
    return step


def watch_step(pipeline: PipelineOnCluster, began: float) -> Step:
    """began: the step, by time.monotonic()."""
    needed, last, running_s = count_needed(), 1, None
    changes: list[tuple[float, int]] = []
    while (elapsed := time.monotonic() - began) < WATCH_S:
        replicas = pipeline.replicas() or 0
        if replicas != last:
            changes.append((elapsed, replicas))
            last = replicas
        if running_s is None and count_ready(pipeline.pods()) >= needed:
            running_s = time.monotonic() - began
        time.sleep(STEP_POLL_S)
    if running_s is None:
        raise TimeoutError(f"{needed} consumers did not run within {WATCH_S:.0f} s: {pipeline.describe()}")
    return Step(running_s=running_s, changes=tuple(changes))


def count_ready(pods: Sequence[Json]) -> int:
    """Those that run, are ready, and stay."""
    return sum(
        pod["status"].get("phase") == "Running"
        and "deletionTimestamp" not in pod["metadata"]
        and any((c["type"], c["status"]) == ("Ready", "True") for c in pod["status"].get("conditions", ()))
        for pod in pods
    )


def describe_steps(steps: Sequence[Step]) -> dict[str, Metric]:
    """With the default timing: samples every 5 s, two of which must ask for more."""
    timing = Timing()
    about = (
        f"from the first record of {HIGH:,.0f}/s, after {LOW:,.0f}/s, until {count_needed()} consumers of at most "
        f"{CAP:,}/s each are Running and Ready; {PARTITIONS} partitions, default timing (a sample every "
        f"{timing.sample_s:g} s, {timing.scale_out_samples} must ask for more)"
    )
    return {
        "step_to_running_seconds": Metric(values=[s.running_s for s in steps], unit="s", at_most=30, about=about),
        "step_to_decision_seconds": Metric(
            values=[s.changes[0][0] for s in steps], unit="s", about="until the Deployment asks for more"
        ),
        "steps_used": Metric(
            values=[len(s.changes) for s in steps],
            unit="changes",
            at_most=1,
            about=f"changes of the number of consumers in the {WATCH_S:.0f} s after the step",
        ),
        "replicas_after_step": Metric(values=[s.changes[-1][1] for s in steps], unit="consumers"),
    }


# --- both -----------------------------------------------------------------------------------------------------------


def expect_rows(pipeline: PipelineOnCluster, rows: int) -> None:
    """Wait for all of them; more or fewer make the measurement worthless."""
    wait_until(lambda: pipeline.rows() >= rows, WAIT_S, 0.5)
    if pipeline.rows() != rows:
        raise RuntimeError(f"{pipeline.rows()} rows instead of {rows}: {pipeline.describe()}")


def remove(pipeline: PipelineOnCluster) -> None:
    """And wait until it takes nothing from the next one."""
    pipeline.delete()
    if not wait_until(lambda: not pipeline.pods(), WAIT_S, 0.5):
        raise TimeoutError(f"the pods of {pipeline.name} did not go")
