"""What the operator costs while nothing happens: two replicas and 20 pipelines at rest on a bare control plane.

The API server, its audit log, the operator and Kafka are real. Pods are entries in the API server, their /state and
their groups' members are pretended (idle_groups.py): a consumer's own cost is none of this.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.kafka_server import KafkaServer
from forebay_operator.kubernetes_cluster.paths import PIPELINES
from support.charted_operator import ChartedOperator, install_rights
from support.histograms import read_buckets, take_quantile
from support.operator_process import OperatorProcess, running_operators
from support.pipeline_resources import PipelineResources
from support.pretended_pods import LABEL, settle_deployments
from support.testbed.audit_log import AuditRecord
from support.testbed.control_plane import MERGE, ControlPlane, start_control_plane
from support.testbed.servers import KafkaFactory, create_topic

from bench.idle_groups import STATE_ADDRESS, IdleGroups
from bench.results import Metric
from bench.rig import cpu_seconds, memory_mb, peak_memory_mb

PIPELINE_COUNT = 20
PARTITIONS = 6
NAMESPACE, OWN_NAMESPACE, TOPIC = "bank", "forebay-system", "payments"

SLICE_S = 10.0
"""The time at rest is cut into slices of this length, each a repeat."""

CALM_S, CALM_DEADLINE_S = 30.0, 400.0
"""Nothing has been written for so long: longer than any rule waits, but for the scale-in window, which is of no
consequence here. And until then at most."""

BUSY_ROUNDS = 5
"""So often all pipelines are changed at once."""

QUIET_LOAD = 2.0
"""Load average above which a machine of two processors has better things to do than to be measured."""

SEEN_S = 120.0
HISTOGRAM = "forebay_operator_reconcile_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """Everything that runs."""

    plane: ControlPlane
    installed: ChartedOperator
    leader: OperatorProcess
    standby: OperatorProcess
    resources: PipelineResources
    names: tuple[str, ...]

    def writes_since(self, since: datetime) -> list[AuditRecord]:
        """The operator's, but for its Lease."""
        seen = self.plane.read_audit(self.installed.user, since=since)
        return [record for record in seen if record.is_write and record.resource != "leases"]

    def is_observed(self) -> bool:
        """Every status is about the present spec."""
        found = self.plane.request("GET", PIPELINES.path(NAMESPACE))["items"]
        return len(found) == len(self.names) and all(
            (each.get("status") or {}).get("observedGeneration") == each["metadata"]["generation"] for each in found
        )

    def count_decisions(self) -> Counter[str]:
        """By the rule that decided; `Load` where the load alone did."""
        found = self.plane.request("GET", PIPELINES.path(NAMESPACE))["items"]
        return Counter(each["status"]["decision"]["binding"] for each in found)

    def buckets(self) -> dict[float, float]:
        """Of the leader's passes so far."""
        return read_buckets(self.leader.read_metrics(), HISTOGRAM)


def measure_idle(idle_s: float, patience_s: float) -> dict[str, Metric]:
    """Wait until nothing is left to do, watch for idle_s, then change everything a few times.

    patience_s: so long a machine that is busy with something else is waited for.
    """
    with open_bed() as bed:
        wait_calm(bed)
        print(f"the operator is at rest; its decisions: {dict(bed.count_decisions())}", flush=True)
        quiet = wait_until(lambda: os.getloadavg()[0] <= QUIET_LOAD, patience_s, 1.0)
        busy = "" if quiet else ": this machine is busy with something else"
        print(f"load average {os.getloadavg()[0]:.1f}{busy}", flush=True)
        metrics = watch(bed, max(1, round(idle_s / SLICE_S)))
        return {**metrics, **keep_busy(bed)}


@contextmanager
def open_bed() -> Iterator[Bed]:
    """Two replicas of the operator as the chart runs them, and the pipelines with all they own."""
    with ExitStack() as stack:
        brokers = KafkaFactory()
        stack.callback(brokers.remove_all)
        kafka = brokers()
        create_topic(kafka.bootstrap, TOPIC, PARTITIONS, {})
        plane = start_control_plane()
        stack.callback(plane.remove)
        plane.create_namespace(OWN_NAMESPACE)
        installed = install_rights(plane, OWN_NAMESPACE, {})
        first, second = (installed.replica(f"replica-{letter}", plane.folder) for letter in "ab")
        stack.enter_context(running_operators(first, second))
        if not wait_until(lambda: first.is_leader() or second.is_leader(), SEEN_S, 0.5):
            raise TimeoutError("nobody leads")
        leader, standby = (first, second) if first.is_leader() else (second, first)
        resources, names = apply_pipelines(plane, kafka)
        groups = [f"{NAMESPACE}.{name}" for name in names]
        stack.enter_context(IdleGroups(kafka.bootstrap, TOPIC, groups))
        bed = Bed(plane=plane, installed=installed, leader=leader, standby=standby, resources=resources, names=names)
        settle(bed)
        yield bed


def apply_pipelines(plane: ControlPlane, kafka: KafkaServer) -> tuple[PipelineResources, tuple[str, ...]]:
    """With the timing that a pipeline has when nobody says otherwise."""
    resources = PipelineResources(plane.kubeconfig, NAMESPACE, kafka.bootstrap, TOPIC)
    resources.create_namespace()
    names = tuple(f"payments-{number:02d}" for number in range(PIPELINE_COUNT))
    for name in names:
        resources.apply(name, timing={})
    return resources, names


def settle(bed: Bed) -> None:
    """Give every Deployment the pod that it asks for, and every pod an address."""
    if not wait_until(lambda: settle_deployments(bed.plane, NAMESPACE) == len(bed.names), SEEN_S, 1.0):
        raise TimeoutError("the operator did not make a Deployment for each pipeline")
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    for pod in bed.plane.request("GET", f"{pods}?labelSelector={LABEL}")["items"]:
        status = {"podIP": STATE_ADDRESS, "podIPs": [{"ip": STATE_ADDRESS}]}
        bed.plane.request("PATCH", f"{pods}/{pod['metadata']['name']}/status", {"status": status}, content=MERGE)


def wait_calm(bed: Bed) -> None:
    """Until the operator has written nothing but its Lease for a while."""

    def is_calm() -> bool:
        return not bed.writes_since(datetime.now(UTC) - timedelta(seconds=CALM_S))

    if not bed.is_observed() or not wait_until(is_calm, CALM_DEADLINE_S, 2.0):
        last = "\n".join(map(str, bed.writes_since(datetime.now(UTC) - timedelta(seconds=CALM_S))))
        raise TimeoutError(f"the operator does not come to rest:\n{last}")


def watch(bed: Bed, slices: int) -> dict[str, Metric]:
    """Look at both replicas at the end of each slice; count what the API server was asked meanwhile."""
    began, buckets = datetime.now(UTC), bed.buckets()
    pids = (bed.leader.pid, bed.standby.pid)
    cores: tuple[list[float], list[float]] = ([], [])
    resident: tuple[list[float], list[float]] = ([], [])
    for _ in range(slices):
        at, before = time.monotonic(), [cpu_seconds([pid]) for pid in pids]
        time.sleep(SLICE_S)
        elapsed = time.monotonic() - at
        for i, pid in enumerate(pids):
            cores[i].append((cpu_seconds([pid]) - before[i]) / elapsed)
            resident[i].append(memory_mb(pid))
    after, writes = bed.buckets(), bed.writes_since(began)
    for record in writes:
        print(f"a write while idle: {record}", flush=True)
    return {
        **count_requests(bed, began, writes),
        "reconcile_p50_ms": Metric(values=[quantile_ms(buckets, after, 0.5)], unit="ms"),
        "reconcile_p99_ms": Metric(
            values=[quantile_ms(buckets, after, 0.99)],
            unit="ms",
            about=f"of the {passes(after) - passes(buckets):.0f} passes at rest, from the operator's own histogram "
            f"`{HISTOGRAM}`, interpolated within a bucket as Prometheus does",
        ),
        "operator_rss_mb": Metric(
            values=resident[0],
            unit="MB",
            at_most=150,
            about=f"resident set of the leading replica at the end of each {SLICE_S:.0f} s at rest",
        ),
        "operator_standby_rss_mb": Metric(values=resident[1], unit="MB"),
        "operator_cores": Metric(
            values=cores[0],
            unit="cores",
            at_most=0.05,
            about=f"user and system time of the leading replica over each {SLICE_S:.0f} s at rest",
        ),
        "operator_standby_cores": Metric(values=cores[1], unit="cores"),
    }


def count_requests(bed: Bed, began: datetime, writes: list[AuditRecord]) -> dict[str, Metric]:
    """From the audit log."""
    seen = bed.plane.read_audit(bed.installed.user, since=began)
    leases = sum(record.resource == "leases" for record in seen)
    about = (
        f"writes by the operator's ServiceAccount in {(datetime.now(UTC) - began).total_seconds():.0f} s at rest, from "
        "the API server's audit log, all but those of its Lease"
    )
    return {
        "pipelines": Metric(values=[len(bed.names)], unit="pipelines"),
        "api_writes_idle": Metric(values=[len(writes)], unit="requests", at_most=0, about=about),
        "api_lease_requests_idle": Metric(values=[leases], unit="requests", about="of both replicas together"),
        "api_reads_idle": Metric(
            values=[sum(not r.is_write and r.resource != "leases" for r in seen)],
            unit="requests",
            about="lists, and watches that begin anew",
        ),
    }


def keep_busy(bed: Bed) -> dict[str, Metric]:
    """Change every pipeline some times, without waiting in between."""
    for turn in range(BUSY_ROUNDS):
        for name in bed.names:
            bed.resources.apply(name, timing={}, maxReplicas=3 + turn)
    if not wait_until(bed.is_observed, SEEN_S, 0.5):
        raise TimeoutError("the operator did not follow the changes")
    about = f"highest resident set of the leading replica, after every pipeline was changed {BUSY_ROUNDS} times"
    return {
        "operator_rss_busy_mb": Metric(values=[peak_memory_mb(bed.leader.pid)], unit="MB", at_most=150, about=about)
    }


def quantile_ms(before: dict[float, float], after: dict[float, float], share: float) -> float:
    """Of the passes between two readings."""
    seconds = take_quantile(before, after, share)
    if seconds is None:
        raise RuntimeError("the operator made no pass")
    return seconds * 1000


def passes(buckets: dict[float, float]) -> float:
    """How many are in a histogram."""
    return max(buckets.values(), default=0.0)
