"""Forebay in a test's cluster: installed by helm as a user would, and one pipeline of it at a time under the eye."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forebay_api.wire import API_VERSION, KIND
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.process import Child
from support.cluster_database import CLUSTER_NAME, DATABASE, NAMESPACE, USER
from support.cluster_kafka import INSIDE
from support.cluster_servers import HAPROXY_SERVICE, Servers
from support.kind_cluster import ClusterCommandFailed, KindCluster
from support.product_images import ProductImages
from support.testbed.servers import unique_name

CHART = Path(__file__).parents[2] / "charts" / "forebay"
RELEASE = "forebay"
OPERATOR_NAMESPACE = "forebay-system"
OPERATOR = f"app.kubernetes.io/name=forebay,app.kubernetes.io/instance={RELEASE}"
LEASE = f"{RELEASE}-leader"
WAIT_S = 90.0
"""Deadline of what takes seconds on a quiet machine."""
OWNED_KINDS = ("deployment", "configmap", "serviceaccount", "service", "poddisruptionbudget", "pod", "replicaset")
"""Everything that comes and goes with a pipeline."""
QUICK = {
    "sampleSeconds": 1,
    "fastWindowSeconds": 5,
    "scaleOutSamples": 2,
    "scaleInWindowSeconds": 10,
    "settleSeconds": 3,
}
"""spec.scaling.timing that shows in seconds what the defaults do in minutes."""

TABLE = """
CREATE TABLE {table} (
    id bigint NOT NULL, account text NOT NULL, amount_cents bigint NOT NULL CHECK (amount_cents >= 0),
    currency text NOT NULL, merchant text NOT NULL, status text NOT NULL, created_at timestamptz NOT NULL
)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """The operator's release."""

    cluster: KindCluster
    images: ProductImages

    def install(self, *settings: str) -> None:
        """Install or upgrade, with local images, and wait until the operator is ready. settings: as for helm."""
        words = [f"image.repository={self.images.operator_name}", f"image.tag={self.images.tag}"]
        words += [f"consumerImage.repository={self.images.consumer_name}", f"consumerImage.tag={self.images.tag}"]
        own = [argument for word in words for argument in ("--set-string", word)]
        where = ["--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s"]
        self.cluster.helm("upgrade", "--install", RELEASE, str(CHART), *where, *own, *settings)

    def uninstall(self) -> None:
        """Remove the release and wait for its pods to go."""
        self.cluster.helm("uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "120s")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the operator's namespace."""
        return self.cluster.kubectl("--namespace", OPERATOR_NAMESPACE, *arguments, stdin=stdin)

    def pods(self) -> list[str]:
        """Names of the operator's pods that run and are not being removed."""
        found = self.cluster.read(f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods?labelSelector={OPERATOR}")["items"]
        return [
            pod["metadata"]["name"]
            for pod in found
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def leader(self) -> str | None:
        """The pod that holds the Lease; None while nobody does."""
        try:
            lease = self.cluster.read(f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR_NAMESPACE}/leases/{LEASE}")
        except ClusterCommandFailed:
            return None
        holder = str(lease["spec"].get("holderIdentity") or "")
        return next((pod for pod in self.pods() if holder.startswith(pod)), None)

    def wait_leader(self, *, other_than: str | None = None, deadline_s: float = WAIT_S) -> str:
        """The leading pod, once there is one that is another."""
        found: list[str] = []

        def is_led() -> bool:
            name = self.leader()
            if name is None or name == other_than:
                return False
            found.append(name)
            return True

        assert wait_until(is_led, deadline_s, 0.2), f"nobody leads: {self.kubectl('get', 'pods,lease')}"
        return found[0]

    def stop_operator(self) -> None:
        """No operator at all, as in an outage; consumers and resources stay."""
        self.kubectl("scale", f"deployment/{RELEASE}", "--replicas=0")
        assert wait_until(lambda: not self.pods(), WAIT_S, 0.2), "the operator's pods did not go"

    def start_operator(self) -> None:
        """Both replicas again."""
        self.kubectl("scale", f"deployment/{RELEASE}", "--replicas=2")
        self.kubectl("rollout", "status", f"deployment/{RELEASE}", f"--timeout={WAIT_S:.0f}s")
        self.wait_leader()

    def metrics(self, pod: str) -> str:
        """What Prometheus would read from an operator's pod."""
        return str(self.cluster.read(f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:8080/proxy/metrics"))

    def last_pass(self, pipeline: str) -> float:
        """When the leader last looked at a pipeline, seconds since 1970; 0 while it has not, or nobody leads."""
        leader = self.leader()
        name = f'forebay_pipeline_last_reconcile_timestamp_seconds{{namespace="{NAMESPACE}",pipeline="{pipeline}"}} '
        lines = [] if leader is None else self.metrics(leader).splitlines()
        return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)

    def logs(self) -> str:
        """What all operator pods that are there have logged."""
        return self.kubectl("logs", f"--selector={OPERATOR}", "--tail=-1", "--prefix")


@dataclass(slots=True)
class PipelineOnCluster:
    """One IngestPipeline in the database's namespace, with a topic and a table of its own."""

    cluster: KindCluster
    servers: Servers
    name: str
    spec: dict[str, Any]
    table: str
    topic: str
    ledger: Path
    produced: int = 0
    ledgers: list[Path] = field(default_factory=list)
    waves: list[Child] = field(default_factory=list)

    @property
    def group(self) -> str:
        """The default group."""
        return f"{NAMESPACE}.{self.name}"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the pipeline's namespace."""
        return self.cluster.kubectl("--namespace", NAMESPACE, *arguments, stdin=stdin)

    def apply(self) -> None:
        """Create it, or change it to `spec`."""
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": self.name}, "spec": self.spec}
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(body))

    def patch(self, spec: Mapping[str, Any]) -> None:
        """Merge into its spec."""
        self.kubectl("patch", "ingest", self.name, "--type=merge", "--patch", json.dumps({"spec": spec}))

    def remove(self) -> None:
        """Delete it, and end what a failed test has left running."""
        for wave in self.waves:
            wave.kill_family()
        self.delete()

    def delete(self) -> None:
        """Delete it and wait until it is gone; what it owns goes later."""
        self.kubectl("delete", "ingest", self.name, "--ignore-not-found")

    def read(self) -> dict[str, Any]:
        """The resource as it is."""
        found = self._get("apis/forebay.dev/v1alpha1", f"ingestpipelines/{self.name}")
        assert isinstance(found, dict)
        return found

    def status(self) -> dict[str, Any]:
        """Its status, empty before the first one."""
        return dict(self.read().get("status", {}))

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition; three empty words while it is not there."""
        for found in self.status().get("conditions", []):
            if found["type"] == kind:
                return found["status"], found["reason"], found["message"]
        return "", "", ""

    def wait_condition(self, kind: str, status: str, reason: str | None = None, deadline_s: float = WAIT_S) -> str:
        """Wait for it and return its message."""

        def holds() -> bool:
            now = self.condition(kind)
            return now[0] == status and reason in (None, now[1])

        assert wait_until(holds, deadline_s, 0.3), f"{kind} is not {status} {reason or ''}: {self.describe()}"
        return self.condition(kind)[2]

    def deployment(self) -> dict[str, Any] | None:
        """Its Deployment, None where there is none."""
        try:
            found = self._get("apis/apps/v1", f"deployments/{self.name}-consumer")
        except ClusterCommandFailed:
            return None
        assert isinstance(found, dict)
        return found

    def replicas(self) -> int | None:
        """How many are asked for; None without a Deployment."""
        found = self.deployment()
        return None if found is None else int(found["spec"]["replicas"])

    def wait_replicas(self, wanted: int, deadline_s: float = WAIT_S) -> None:
        """Wait until so many are asked for and so many pods run."""
        done = wait_until(lambda: (self.replicas(), len(self.running())) == (wanted, wanted), deadline_s, 0.3)
        assert done, f"not {wanted} replicas: {self.describe()}"

    def pods(self) -> list[dict[str, Any]]:
        """Its consumers' pods."""
        return list(self._get("api/v1", f"pods?labelSelector=forebay.dev/pipeline={self.name}")["items"])

    def running(self) -> list[str]:
        """Names of its pods that run and are not leaving."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods()
            if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    def restarts(self) -> int:
        """Containers that ended and were started again, over all its pods."""
        return sum(c["restartCount"] for pod in self.pods() for c in pod["status"].get("containerStatuses", []))

    def pod_ids(self) -> set[str]:
        """Which pods there are: the same as long as nobody disturbs them."""
        return {pod["metadata"]["uid"] for pod in self.pods()}

    def owned(self) -> list[str]:
        """Everything that carries its label."""
        kinds = ",".join(OWNED_KINDS)
        said = self.kubectl("get", kinds, f"--selector=forebay.dev/pipeline={self.name}", "--output", "name")
        return said.split()

    def events(self) -> list[dict[str, Any]]:
        """Events about it, oldest first."""
        about = f"involvedObject.name={self.name},involvedObject.kind={KIND}"
        found = self._get("api/v1", f"events?fieldSelector={about}")["items"]
        return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))

    def event_reasons(self) -> list[str]:
        """Reasons of its events, oldest first."""
        return [str(event["reason"]) for event in self.events()]

    def produce(self, records: int) -> None:
        """Send so many payments as fast as possible."""
        ledger = self._next_ledger()
        self.servers.kafka.produce(self.topic, ledger, records, first_id=self.produced)
        self._note(ledger, records)

    def start_wave(self, records: int, seconds: float) -> Child:
        """Send a wave in the background; `wait(deadline)` of what is returned gives its exit code."""
        ledger = self._next_ledger()
        child = self.servers.kafka.start_producer(
            self.topic, ledger, records=records, seconds=seconds, first_id=self.produced
        )
        self._note(ledger, records)
        self.waves.append(child)
        return child

    def _get(self, api: str, what: str) -> Any:
        return self.cluster.read(f"/{api}/namespaces/{NAMESPACE}/{what}")

    def _next_ledger(self) -> Path:
        return self.ledger.with_name(f"{self.ledger.name}-{len(self.ledgers)}")

    def _note(self, ledger: Path, records: int) -> None:
        self.ledgers.append(ledger)
        self.produced += records

    def rows(self) -> int:
        """Rows in its table, on the primary."""
        return int(self.servers.database.sql(f"SELECT count(*) FROM {self.table}"))

    def describe(self) -> str:
        """What a person would look at first, for messages of failed tests."""
        parts = [
            self.kubectl("get", "ingest", self.name, "--output", "yaml", "--ignore-not-found"),
            self.kubectl("get", "deployment,pods", f"--selector=forebay.dev/pipeline={self.name}"),
            "\n".join(f"{e['type']} {e['reason']}: {e['message']}" for e in self.events()),
        ]
        return "\n".join(parts)


def make_pipeline(
    cluster: KindCluster, servers: Servers, folder: Path, *, partitions: int = 6, **scaling: Any
) -> PipelineOnCluster:
    """A pipeline with an empty topic and an empty table, not applied yet. scaling: of its spec."""
    name = unique_name("pay").replace("_", "-")
    topic, table = name, f"public.{name.replace('-', '_')}"
    servers.kafka.create_topic(topic, partitions)
    servers.database.sql(TABLE.format(table=table))
    reference = {"name": CLUSTER_NAME, "user": USER, "database": DATABASE, "serviceName": HAPROXY_SERVICE}
    spec = {
        "source": {"bootstrapServers": INSIDE, "topic": topic},
        "sink": {"postgresClusterRef": reference, "table": table},
        "scaling": {"timing": QUICK, **scaling},
        "consumer": {"resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}},
    }
    return PipelineOnCluster(
        cluster=cluster,
        servers=servers,
        name=name,
        spec=spec,
        table=table,
        topic=topic,
        ledger=folder / name,
    )
