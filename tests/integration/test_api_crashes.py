"""A crash before and after each write to a real API server: the next operator ends where an undisturbed one does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from forebay_operator.kubernetes_cluster.paths import PIPELINES
from support.crashing_operator import TOPIC, Crash, CrashPoint, Moment, OperatorLives
from support.pretended_pods import LABEL, delete_pods
from support.testbed.control_plane import ControlPlane
from support.testbed.servers import unique_name

pytestmark = pytest.mark.integration

NAME = "payments"

OWNED = ("v1/serviceaccounts", "v1/configmaps", "v1/services", "policy/v1/poddisruptionbudgets", "apps/v1/deployments")

FEWEST_WRITES = 7
"""Of a creation: five objects, the replicas, the status."""

VOLATILE = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "clusterIP",
    "clusterIPs",
    "lastTransitionTime",
    "observedGeneration",
    "forebay.dev/revision",
}
"""Different in each life of an object, or in each run; the revision is also of the owner's uid."""

TELLING = ("type", "status", "reason")

CREATED = {"minReplicas": 2, "maxReplicas": 6}
CHANGED = {"minReplicas": 3, "maxReplicas": 5}

Json = dict[str, Any]


class Stage:
    """A namespace in which the same pipeline is created, and removed, again and again."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.namespace = unique_name("crash").replace("_", "-")
        plane.create_namespace(self.namespace)

    def apply(self, scaling: Json, *, rows_per_second: int | None = None) -> None:
        consumer = {} if rows_per_second is None else {"consumer": {"maxRowsPerSecond": rows_per_second}}
        spec: Json = {
            "source": {"bootstrapServers": "127.0.0.1:9", "topic": TOPIC},
            "sink": {"connectionSecretRef": {"name": "db"}, "table": "public.payments"},
            "scaling": {"timing": {"sampleSeconds": 1, "fastWindowSeconds": 5, "settleSeconds": 5}, **scaling},
            **consumer,
        }
        body = {"apiVersion": "forebay.dev/v1alpha1", "kind": "IngestPipeline", "metadata": {"name": NAME}}
        self.plane.apply(PIPELINES.path(self.namespace, NAME), {**body, "spec": spec})

    def lives(self) -> OperatorLives:
        return OperatorLives(self.plane, self.namespace, NAME)

    def clear(self) -> None:
        """Nothing collects garbage here."""
        self.plane.request("DELETE", PIPELINES.path(self.namespace, NAME))
        delete_pods(self.plane, self.namespace)
        for found in self._list_owned():
            self.plane.request("DELETE", found["path"])

    def describe(self) -> Json:
        """What is there now, without what differs between two runs that end alike."""
        owned = {each["path"]: _strip(each["body"]) for each in self._list_owned()}
        status = self.plane.request("GET", PIPELINES.path(self.namespace, NAME))["status"]
        conditions = {tuple(each[key] for key in TELLING) for each in status["conditions"]}
        numbers = {key: status.get(key) for key in ("replicas", "desiredReplicas", "selector")}
        verdict = {key: status["decision"].get(key) for key in ("verdict", "binding")}
        return {"owned": owned, "conditions": conditions, "numbers": numbers, "verdict": verdict}

    def _list_owned(self) -> list[Json]:
        found = []
        for kind in OWNED:
            version, plural = kind.rsplit("/", 1)
            path = f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/{self.namespace}/{plural}"
            items = self.plane.request("GET", f"{path}?labelSelector={LABEL}")["items"]
            found += [{"path": f"{path}/{item['metadata']['name']}", "body": item} for item in items]
        return found


def _strip(thing: Any) -> Any:
    if isinstance(thing, list):
        return [_strip(each) for each in thing]
    if isinstance(thing, dict):
        return {key: _strip(value) for key, value in thing.items() if key not in VOLATILE}
    return thing


@pytest.fixture
def stage(control_plane: ControlPlane) -> Iterator[Stage]:
    stage = Stage(control_plane)
    yield stage
    stage.clear()


async def crash_at(lives: OperatorLives, point: CrashPoint) -> bool:
    """Whether the crash came; without it the operator lived until all was quiet."""
    try:
        await lives.live(point)
    except Crash:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("moment", list(Moment))
async def test_creation_converges_after_a_crash_at_each_write(stage: Stage, moment: Moment) -> None:
    stage.apply(CREATED)
    writes = await stage.lives().live()
    expected = stage.describe()
    assert len(writes) >= FEWEST_WRITES, writes
    assert len(expected["owned"]) == len(OWNED)
    assert expected["numbers"]["desiredReplicas"] == CREATED["minReplicas"]

    for n, write in enumerate(writes, 1):
        stage.clear()
        stage.apply(CREATED)
        lives = stage.lives()
        assert await crash_at(lives, CrashPoint(n, moment)), f"write {n} did not come"
        await lives.live()
        assert stage.describe() == expected, f"after a crash {moment} write {n}, {write}"


@pytest.mark.slow
@pytest.mark.parametrize("moment", list(Moment))
async def test_change_converges_after_a_crash_at_each_write(stage: Stage, moment: Moment) -> None:
    stage.apply(CREATED)
    lives = stage.lives()
    await lives.live()
    stage.apply(CHANGED, rows_per_second=700)
    writes = await lives.live()
    expected = stage.describe()
    assert any(re.search("/deployments/[^/]+$", write) for write in writes), writes
    assert any(write.endswith("/scale") for write in writes), writes
    assert expected["numbers"]["desiredReplicas"] == CHANGED["minReplicas"]

    for n, write in enumerate(writes, 1):
        stage.clear()
        stage.apply(CREATED)
        lives = stage.lives()
        await lives.live()
        stage.apply(CHANGED, rows_per_second=700)
        assert await crash_at(lives, CrashPoint(n, moment)), f"write {n} did not come"
        await lives.live()
        assert stage.describe() == expected, f"after a crash {moment} write {n}, {write}"
