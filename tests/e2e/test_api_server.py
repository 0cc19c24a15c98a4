"""The API server is restarted: every watch is cut, and nobody may notice."""

from __future__ import annotations

from forebay_cli.local.deadlines import wait_until
from support.exactly_once import assert_exactly_once
from support.kind_cluster import ClusterCommandFailed, KindCluster
from support.product import WAIT_S, Product
from support.product_plugin import NewPipeline


async def test_restarted_api_server_disturbs_nobody_and_changes_are_seen_again(
    cluster: KindCluster, new_pipeline: NewPipeline, product: Product
) -> None:
    pipeline = new_pipeline(maxReplicas=1)
    pipeline.apply()
    pipeline.wait_condition("Ready", "True")
    pipeline.wait_replicas(1)
    before = pipeline.pod_ids()
    restarts = pipeline.restarts()
    wave = pipeline.start_wave(40_000, 20)

    _restart_api_server(cluster)

    assert wave.wait(120.0) == 0
    await assert_exactly_once(pipeline)
    assert (pipeline.pod_ids(), pipeline.restarts()) == (before, restarts), pipeline.describe()
    product.wait_leader()
    pipeline.patch({"scaling": {"minReplicas": 2, "maxReplicas": 2}})
    pipeline.wait_replicas(2)


def _restart_api_server(cluster: KindCluster) -> None:
    """End its process, as a crash does; the kubelet starts another. Every watch is cut."""
    node = next(name for name in cluster.nodes if name.endswith("control-plane"))

    def read_container() -> str:
        return cluster.engine.docker("exec", node, "crictl", "ps", "--quiet", "--name", "kube-apiserver").strip()

    old = read_container()
    cluster.engine.docker("exec", node, "crictl", "stop", "--timeout", "0", old)

    def answers() -> bool:
        try:
            return read_container() not in ("", old) and cluster.kubectl("get", "--raw", "/readyz") == "ok"
        except ClusterCommandFailed:
            return False

    assert wait_until(answers, WAIT_S, 0.5), "the API server did not come back"
