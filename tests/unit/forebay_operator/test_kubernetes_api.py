"""What becomes of the API server's answers, and of their absence."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from forebay_operator.errors import ClusterUnavailable, Fatal, Forbidden, NotFound, WriteConflict
from forebay_operator.kubernetes_cluster.api import KubernetesApi
from forebay_operator.kubernetes_cluster.paths import DEPLOYMENTS, LEASES, PODS, describe_request
from support.fake_kubernetes import FakeKubernetes, write_kubeconfig

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serve(handler: Handler, folder: Path) -> AsyncIterator[Path]:
    """A server that always does the same; the path of its kubeconfig."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield write_kubeconfig(folder / "kubeconfig", server=f"http://{host}:{port}", token="secret-token")
    finally:
        await runner.cleanup()


def answer(status: int, message: str) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": message}, status=status)

    return handle


async def test_fenced_writes_are_not_sent_but_reads_and_the_lease_are(tmp_path: Path) -> None:
    sent = []

    async def note(request: web.Request) -> web.Response:
        sent.append((request.method, request.path.rpartition("/")[2]))
        return web.json_response({})

    async with serve(note, tmp_path) as kubeconfig, KubernetesApi(kubeconfig=kubeconfig) as api:
        leads = True
        api.fence(lambda: leads)
        deployment = {"metadata": {"namespace": "bank", "name": "d"}}
        await api.apply(DEPLOYMENTS, deployment)
        leads = False
        with pytest.raises(ClusterUnavailable, match="patch deployments d in bank: not sent"):
            await api.apply(DEPLOYMENTS, deployment)
        await api.get(DEPLOYMENTS, "bank", "e")
        await api.request("PUT", LEASES.path("bank", "l"), body={})

    assert sent == [("PATCH", "d"), ("GET", "e"), ("PUT", "l")]


RBAC = 'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "bank"'
QUOTA = 'deployments "a" is forbidden: exceeded quota: q'

ANSWERS = [
    pytest.param(404, "gone", NotFound, "gone", id="not-found"),
    pytest.param(409, "the object has been modified", WriteConflict, "modified", id="conflict"),
    pytest.param(401, "Unauthorized", ClusterUnavailable, "does not accept the operator's token", id="unauthorized"),
    pytest.param(403, RBAC, Forbidden, 'grant verb "list" on "pods" of API group ""', id="no-right"),
    pytest.param(403, QUOTA, Forbidden, "exceeded quota: q$", id="admission-is-not-cured-by-rights"),
    pytest.param(422, "spec.x: Invalid value", ClusterUnavailable, "spec.x: Invalid value", id="invalid"),
    pytest.param(429, "slow down", ClusterUnavailable, "429", id="too-many"),
    pytest.param(503, "starting", ClusterUnavailable, "503", id="not-ready"),
]


@pytest.mark.parametrize(("status", "message", "error", "said"), ANSWERS)
async def test_an_error_becomes_one_of_ours_and_names_verb_and_resource(
    tmp_path: Path, status: int, message: str, error: type[Exception], said: str
) -> None:
    async with serve(answer(status, message), tmp_path) as kubeconfig, KubernetesApi(kubeconfig=kubeconfig) as api:
        with pytest.raises(error, match=said) as raised:
            await api.list_all(PODS, "bank")
    assert str(raised.value).startswith("list pods in bank: ")
    assert type(raised.value) is error


async def test_a_long_message_is_cut(tmp_path: Path) -> None:
    async with (
        serve(answer(422, "x" * 100_000), tmp_path) as kubeconfig,
        KubernetesApi(kubeconfig=kubeconfig) as api,
    ):
        with pytest.raises(ClusterUnavailable) as raised:
            await api.list_all(PODS, "bank")
    assert len(str(raised.value)) < 1000


async def test_no_answer_in_time_is_an_error_and_counted(tmp_path: Path) -> None:
    counted: list[tuple[str, str, str]] = []
    gate = asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        await gate.wait()
        return web.Response()

    def count(*what: str) -> None:
        counted.append((what[0], what[1], what[2]))

    async with serve(wait, tmp_path) as kubeconfig, KubernetesApi(kubeconfig=kubeconfig, count=count) as api:
        with pytest.raises(ClusterUnavailable, match=r"no answer within 0\.1 s"):
            await api.request("GET", "/api/v1/namespaces/bank/pods/a", timeout_s=0.1)
        gate.set()
    assert counted == [("get", "pods", "none")]


async def test_a_refused_connection_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else can be given the port
        taken.bind(("127.0.0.1", 0))
        kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", server=f"http://127.0.0.1:{taken.getsockname()[1]}")
        async with KubernetesApi(kubeconfig=kubeconfig) as api:
            with pytest.raises(ClusterUnavailable, match="gave no answer"):
                await api.get(PODS, "bank", "a")


async def test_a_broken_connection_is_an_error(tmp_path: Path) -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serve(hang_up, tmp_path) as kubeconfig, KubernetesApi(kubeconfig=kubeconfig) as api:
        with pytest.raises(ClusterUnavailable, match="gave no answer"):
            await api.get(PODS, "bank", "a")


@pytest.mark.parametrize("text", ["<html>", "[]"])
async def test_an_answer_that_is_no_object_is_an_error(tmp_path: Path, text: str) -> None:
    async def say(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async with serve(say, tmp_path) as kubeconfig, KubernetesApi(kubeconfig=kubeconfig) as api:
        with pytest.raises(ClusterUnavailable, match="no JSON object"):
            await api.get(PODS, "bank", "a")


async def test_the_token_is_sent(tmp_path: Path) -> None:
    seen: list[str] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response({})

    async with serve(note, tmp_path) as kubeconfig, KubernetesApi(kubeconfig=kubeconfig) as api:
        await api.get(PODS, "bank", "a")
    assert seen == ["Bearer secret-token"]


async def test_a_long_list_is_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay_operator.kubernetes_cluster.api.LIST_CHUNK", 2)
    fake = FakeKubernetes()
    async with fake.serve(tmp_path) as kubeconfig, KubernetesApi(kubeconfig=kubeconfig) as api:
        for name in "abcde":
            await api.request("POST", PODS.path("bank"), body={"metadata": {"name": name}})
        found = await api.list_all(PODS, None)
    assert [pod["metadata"]["name"] for pod in found] == list("abcde")
    assert [request.verb for request in fake.requests].count("list") == 3


async def test_a_missing_kubeconfig_is_fatal_and_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="KUBECONFIG"):
        async with KubernetesApi(kubeconfig=tmp_path / "nothing"):
            pass


async def test_outside_a_pod_without_kubeconfig_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Fatal, match="the pod's ServiceAccount"):
        async with KubernetesApi():
            pass


REQUESTS = [
    ("GET", DEPLOYMENTS.path("bank", "a"), "get deployments a in bank"),
    ("PATCH", DEPLOYMENTS.path("bank", "a", "scale"), "patch deployments/scale a in bank"),
    ("GET", PODS.path(None), "list pods"),
    ("POST", PODS.path("bank"), "create pods in bank"),
    ("PUT", PODS.path("bank", "a"), "update pods a in bank"),
    ("DELETE", PODS.path("bank", "a"), "delete pods a in bank"),
    ("GET", "/api/v1/namespaces/bank", "get namespaces bank"),
    ("GET", "/readyz", "get /readyz"),
]


@pytest.mark.parametrize(("method", "path", "said"), REQUESTS, ids=[said for _, _, said in REQUESTS])
def test_a_request_is_described_as_rbac_sees_it(method: str, path: str, said: str) -> None:
    assert str(describe_request(method, path)) == said
