"""Builds everything and runs it: who leads, what is watched, the loops, and the order in which they end.

SIGTERM: the loops finish their passes, the Lease is handed back, the watches end. A lost Lease: the loops end at once,
in the middle of a pass if need be, since another replica may act by now; the process ends with an error, to start anew.
What must not live here: rules of any kind.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress

from forebay_api.parse import InvalidPipeline
from forebay_api.v1alpha1 import Pipeline

from forebay_operator.clock import SystemClock
from forebay_operator.config import Config
from forebay_operator.consumer_state import HttpConsumerReader
from forebay_operator.errors import Fatal, NotFound, Retryable
from forebay_operator.fleet import FIRST_PAUSE_S, Fleet, Loop
from forebay_operator.handlers import watch
from forebay_operator.http_server import serve_http
from forebay_operator.kafka_clients import KafkaClients
from forebay_operator.kafka_lag import KafkaLag
from forebay_operator.kubernetes_cluster.api import KubernetesApi
from forebay_operator.kubernetes_cluster.cluster import KubernetesCluster
from forebay_operator.kubernetes_cluster.lease import LeaseElection
from forebay_operator.kubernetes_cluster.recorder import KubernetesRecorder
from forebay_operator.model import Report
from forebay_operator.ports import Ports, Recorder
from forebay_operator.reconcile import PassResult, PipelineLoop
from forebay_operator.resources import ConsumerImage
from forebay_operator.sightings import Body, Listing, Resource
from forebay_operator.status import memory_from_status
from forebay_operator.telemetry import Telemetry

log = logging.getLogger(__name__)

GRACE_S = 10.0
"""For passes under way to end after SIGTERM; every call in a pass has a shorter deadline."""

RELEASE_S = 3.0
"""For handing back the Lease; when the API server does not answer, the successor waits until it runs out."""

UNWATCH_S = 2.0
"""For kopf to end its watches by itself; it would wait five seconds for anything that is still connected."""

LOOK_S = 5.0
"""Between two attempts to reach the API server at the start."""

THREADS = 32
"""For calls into Kafka's client that block, for seconds when brokers are away: they must not hold up each other."""


class LostLease(Fatal):
    """Another replica leads now, or may: this process has to end."""


async def run_operator(config: Config) -> None:
    """Until SIGTERM or SIGINT. Raises LostLease, and what makes going on impossible."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="blocking"))
    stop = asyncio.Event()
    _take_signals(stop)
    clock = SystemClock()
    telemetry = Telemetry(now_s=lambda: clock.now().timestamp(), count_pipelines=lambda: program.fleet.size)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(KubernetesApi(kubeconfig=config.kubeconfig, count=telemetry.on_request))
        consumers = await stack.enter_async_context(HttpConsumerReader())
        program = _Program(config, api, consumers, telemetry, clock, stop)
        await stack.enter_async_context(
            serve_http(
                port=config.http_port,
                port_file=config.http_port_file,
                reasons_dead=program.fleet.reasons_dead,
                reasons_not_ready=program.reasons_not_ready,
                render_metrics=telemetry.render,
            )
        )
        await program.run()


def _take_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


class MeteredRecorder:
    """A Recorder that also shows each pass as metrics."""

    def __init__(self, inner: Recorder, telemetry: Telemetry) -> None:
        self._inner = inner
        self._telemetry = telemetry

    async def record(self, pipeline: Pipeline, report: Report) -> None:
        """Metrics first: they are right even when the status cannot be written."""
        self._telemetry.on_report(pipeline, report)
        await self._inner.record(pipeline, report)

    async def record_problem(self, pipeline: Pipeline, problem: Retryable, retry_in_s: float) -> None:
        """Passes are counted by the loop, failed ones too."""
        await self._inner.record_problem(pipeline, problem, retry_in_s)


class _Surroundings:
    """What the fleet needs: fleet.Surroundings."""

    def __init__(
        self,
        config: Config,
        api: KubernetesApi,
        consumers: HttpConsumerReader,
        telemetry: Telemetry,
        clock: SystemClock,
    ) -> None:
        image = ConsumerImage(name=config.consumer_image, pull_policy=config.consumer_image_pull_policy)
        self._clock = clock
        self._telemetry = telemetry
        self._recorder = KubernetesRecorder(api, now=clock.now)
        self._lag = KafkaLag(KafkaClients(config.kafka_clients_dir).properties_for)
        self.cluster = KubernetesCluster(
            api, image=image, now=clock.now, namespaces=config.watch_namespaces, jitter=_draw
        )
        self._ports = Ports(
            cluster=self.cluster,
            lag=self._lag,
            consumers=consumers,
            recorder=MeteredRecorder(self._recorder, telemetry),
        )
        self.fleet = Fleet(self, now_s=asyncio.get_running_loop().time, jitter=_draw)

    def build_loop(self, pipeline: Pipeline, status: Body) -> Loop:
        """A PipelineLoop that remembers what the status says, and will not write it again."""
        self._recorder.begin(pipeline, status)
        return PipelineLoop(
            self._ports,
            pipeline,
            self._clock,
            memory=memory_from_status(status),
            jitter=_draw,
            new_id=lambda: secrets.token_hex(4),
            on_pass=self._on_pass,
        )

    async def list_bodies(self) -> Listing:
        """Raises Retryable."""
        return await self.cluster.list_pipelines()

    def touch(self, namespace: str, name: str) -> None:
        """The next pass reads the workload anew."""
        self.cluster.touch(namespace, name)

    async def record_invalid(self, namespace: str, name: str, resource: Resource, problem: InvalidPipeline) -> None:
        """A condition that repeats the parser's words."""
        await self._recorder.record_invalid(
            namespace,
            name,
            uid=resource.uid,
            generation=resource.generation,
            status=resource.status,
            problem=str(problem),
        )

    async def record_defect(self, pipeline: Pipeline, defect: Exception) -> None:
        """One Event for those in a row; the log has the rest."""
        self._telemetry.on_restart()
        problem = Retryable(f"a defect of the operator, {type(defect).__name__}: its log has the traceback")
        await self._recorder.record_problem(pipeline, problem, FIRST_PAUSE_S)

    def forget(self, namespace: str, name: str) -> None:
        """Its metrics, its connections, what was read of it."""
        self._telemetry.forget(namespace, name)
        self._lag.forget(f"{namespace}/{name}")
        self._recorder.forget(namespace, name)
        self.cluster.forget(namespace, name)

    def _on_pass(self, pipeline: Pipeline, result: PassResult, took_s: float) -> None:
        self._telemetry.on_pass(pipeline, result, took_s)
        self.fleet.passed(pipeline)


class _Program:
    """The tasks of the process. Created inside the event loop; run once."""

    def __init__(
        self,
        config: Config,
        api: KubernetesApi,
        consumers: HttpConsumerReader,
        telemetry: Telemetry,
        clock: SystemClock,
        stop: asyncio.Event,
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        self._surroundings = _Surroundings(config, api, consumers, telemetry, clock)
        self.fleet = self._surroundings.fleet
        self._election = LeaseElection(
            api,
            namespace=config.namespace,
            name=config.lease_name,
            identity=config.pod_name,
            timing=config.lease,
            now=clock.now,
        )
        api.fence(lambda: self._election.is_leader)
        self._stop = stop
        self._unwatch = asyncio.Event()
        self._watching = asyncio.Event()
        self._waiting_for: str | None = "the API server has not answered yet"
        self._leading: asyncio.Task[None] | None = None
        self._has_lost = False

    def reasons_not_ready(self) -> tuple[str, ...]:
        """Why this process could not serve now."""
        if self._waiting_for is not None:
            return (self._waiting_for,)
        return self.fleet.reasons_not_ready() if self._watching.is_set() else ("the watches have not begun yet",)

    async def run(self) -> None:
        """Until told to stop. Raises LostLease, and what makes going on impossible."""
        await self._await_definition()
        if self._stop.is_set():
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._run_tasks(tasks)
        finally:
            await self._release()
        if self._has_lost:
            raise LostLease("the Lease was lost: another replica leads, or may")

    async def _await_definition(self) -> None:
        """kopf looks for the resource once, at its start: it has to be there by then."""
        while not self._stop.is_set():
            try:
                await self._surroundings.list_bodies()
            except NotFound:
                self._waiting_for = "the definition of IngestPipelines is not installed: kubectl apply -f crds/"
            except Retryable as e:
                self._waiting_for = str(e)
            else:
                self._waiting_for = None
                return
            log.warning("waiting", extra={"because": self._waiting_for})
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._stop.wait()

    async def _run_tasks(self, tasks: asyncio.TaskGroup) -> None:
        resync = tasks.create_task(self.fleet.watch_over())
        election = tasks.create_task(self._elect(tasks))
        watching = tasks.create_task(self._watch())
        await self._watching.wait()
        _take_signals(self._stop)  # kopf had taken them
        log.info("operator started", extra={"namespaces": self._config.watch_namespaces or "all"})
        await self._stop.wait()
        log.info("operator is stopping")
        self.fleet.stop()
        if self._leading is not None:
            await asyncio.wait([self._leading])
        election.cancel()
        await self._release()
        resync.cancel()
        self._unwatch.set()
        await asyncio.wait([watching], timeout=UNWATCH_S)
        watching.cancel()

    async def _watch(self) -> None:
        await watch(
            self.fleet,
            namespaces=self._config.watch_namespaces,
            in_cluster=self._config.kubeconfig is None,
            on_event=self._telemetry.on_event,
            ready=self._watching,
            stop=self._unwatch,
        )
        if not self._unwatch.is_set():  # a signal that came before it was ours
            self._stop.set()
            self._watching.set()

    async def _elect(self, tasks: asyncio.TaskGroup) -> None:
        """Look after the Lease; lead while it is held."""

        async def begin() -> None:
            log.info("leading")
            self._telemetry.set_leader(True)
            self._leading = tasks.create_task(self.fleet.lead(GRACE_S))

        async def lose() -> None:
            log.error("lease lost")
            self._has_lost = True
            if self._leading is not None:
                self._leading.cancel()
            self._stop.set()

        await self._election.run(begin, lose)

    async def _release(self) -> None:
        """Hand the Lease back, if it is held and no loop runs any more."""
        self._telemetry.set_leader(False)
        leading, self._leading = self._leading, None
        if leading is None or not leading.done() or self._has_lost:
            return
        try:
            async with asyncio.timeout(RELEASE_S):
                await self._election.release()
        except (Retryable, TimeoutError) as e:
            log.warning("lease not released", extra={"error": repr(e)})


def _draw() -> float:
    return random.random()  # noqa: S311  spreads work, keeps no secret
