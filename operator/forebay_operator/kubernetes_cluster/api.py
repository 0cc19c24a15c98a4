"""Requests to the API server with raw JSON; the library's errors end here.

What must not live here: which objects are read and written, and why (cluster.py, lease.py, recorder.py).
The library's typed models and its dynamic client are not used: the first cost memory and drop fields that they do not
know, the second asks the server for all its resources before the first request.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config as library_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException

from forebay_operator.errors import ClusterUnavailable, Fatal, Forbidden, NotFound, WriteConflict
from forebay_operator.kubernetes_cluster.paths import LEASES, Access, ResourceType, describe_request
from forebay_operator.workload import SCALER

FIELD_MANAGER = "forebay"
"""Owner of everything that is applied; `kubectl get --show-managed-fields` shows it."""

APPLY_TYPE = "application/apply-patch+yaml"

LIST_CHUNK = 500
"""Objects a page, as kubectl asks for: the API server holds the whole page in memory."""

MAX_MESSAGE_CHARS = 500
"""An answer's text goes into conditions and logs; a refused object can be repeated in it at length."""

NO_ANSWER = "none"
"""The code under which a request without any answer is counted."""

CountRequest = Callable[[str, str, str], None]
"""Called once a request with its RBAC verb, resource (with subresource) and HTTP code, or NO_ANSWER."""


_NO_ANSWERS = (
    aiohttp.ClientError,
    ApiException,
    library_config.ConfigException,  # the token's file, read again now and then, is empty
    ssl.SSLError,
    OSError,
    TimeoutError,
)


def _ignore_request(_verb: str, _resource: str, _code: str) -> None:
    """For callers that count nothing."""


def _always() -> bool:
    """For programs without a leader."""
    return True


class KubernetesApi:
    """A connection pool to one API server. Use it as an async context manager.

    kubeconfig: a file with a context; None: the ServiceAccount of the pod that this runs in, whose token is read from
    its file again once a minute (the kubelet replaces it before it expires). Raises Fatal when there is neither.
    """

    def __init__(self, *, kubeconfig: Path | None = None, count: CountRequest = _ignore_request) -> None:
        self._kubeconfig = kubeconfig
        self._count = count
        self._may_write: Callable[[], bool] = _always
        self._client: ApiClient | None = None

    def fence(self, may_write: Callable[[], bool]) -> None:
        """From now on, write nothing but Leases while may_write() is false.

        A leader that was frozen for longer than its Lease resumes in the middle of a pass, with the answer to its last
        request at hand: its next write would be out before its tasks are cancelled, and an apply of what it once knew
        undoes what its successor has applied.
        """
        self._may_write = may_write

    async def __aenter__(self) -> KubernetesApi:
        self._client = ApiClient(await _load_configuration(self._kubeconfig))
        self._client.user_agent = "forebay-operator"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str | None = None,
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        """One request, and its answer as parsed JSON; {} when it is empty.

        content_type: of the body, application/json unless told. timeout_s: for the whole of it.
        Raises NotFound (404), WriteConflict (409), Forbidden (403), else ClusterUnavailable, with a remedy
        where a person must act.
        """
        access = describe_request(method, path)
        if method != "GET" and access.resource != LEASES.plural and not self._may_write():
            raise ClusterUnavailable(f"{access}: not sent, since this replica leads no more")
        try:
            async with asyncio.timeout(timeout_s):
                status, text = await self._exchange(method, path, query, body, content_type, timeout_s)
        except _NO_ANSWERS as e:
            self._count(access.verb, access.resource, NO_ANSWER)
            why = f"no answer within {timeout_s:g} s" if isinstance(e, TimeoutError) else f"{type(e).__name__}: {e}"
            raise ClusterUnavailable(f"{access}: the API server gave no answer: {why[:MAX_MESSAGE_CHARS]}") from e
        self._count(access.verb, access.resource, str(status))
        return _read_answer(access, status, text)

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: object | None,
        content_type: str | None,
        timeout_s: float,
    ) -> tuple[int, bytes]:
        if self._client is None:
            raise RuntimeError("use KubernetesApi as a context manager")
        headers = {"Accept": "application/json", "Content-Type": content_type or "application/json"}
        _, url, headers, payload, _ = await self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        if query:
            url += "?" + urlencode(query)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        answer = await self._client.call_api(method, url, headers, payload, _request_timeout=timeout)
        return answer.status, await answer.read()

    async def get(self, kind: ResourceType, namespace: str, name: str) -> dict[str, Any]:
        """Raises NotFound."""
        return await self.request("GET", kind.path(namespace, name))

    async def list_all(
        self, kind: ResourceType, namespace: str | None, selector: str | None = None
    ) -> list[dict[str, Any]]:
        """All objects, of all namespaces with None, page by page. selector: of labels."""
        items: list[dict[str, Any]] = []
        query = {"limit": str(LIST_CHUNK)} | ({} if selector is None else {"labelSelector": selector})
        while True:
            page = await self.request("GET", kind.path(namespace), query=query)
            items += page.get("items") or []
            token = page.get("metadata", {}).get("continue")
            if not token:
                return items
            query["continue"] = token

    async def apply(
        self,
        kind: ResourceType,
        body: Mapping[str, Any],
        *,
        subresource: str | None = None,
        manager: str = FIELD_MANAGER,
    ) -> dict[str, Any]:
        """Forced server-side apply; returns the object as it is now."""
        meta = body["metadata"]
        return await self.request(
            "PATCH",
            kind.path(meta["namespace"], meta["name"], subresource),
            query={"fieldManager": manager, "force": "true", "fieldValidation": "Strict"},
            body=dict(body),
            content_type=APPLY_TYPE,
        )

    async def patch_scale(
        self, kind: ResourceType, namespace: str, name: str, *, replicas: int, resource_version: str
    ) -> dict[str, Any]:
        """Set the number; returns the Scale. Raises WriteConflict when the object is not at resource_version.

        An apply, not a merge patch: of a number that nobody owns yet, as the default of a new Deployment, the API
        server notes no owner when it is patched or updated, and a person's number could not be told from ours
        (fieldmanager/skipnonapplied.go). An apply owns it even where it was the same before.
        """
        metadata = {"name": name, "namespace": namespace, "resourceVersion": resource_version}
        body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}}
        return await self.apply(kind, body, subresource="scale", manager=SCALER)

    async def delete(self, kind: ResourceType, namespace: str, name: str) -> None:
        """In the background: what it owns goes after it. Raises NotFound."""
        await self.request("DELETE", kind.path(namespace, name), query={"propagationPolicy": "Background"})


async def _load_configuration(kubeconfig: Path | None) -> Configuration:
    configuration = Configuration()
    try:
        if kubeconfig is None:
            library_config.load_incluster_config(client_configuration=configuration)
        else:
            await library_config.load_kube_config(
                config_file=str(kubeconfig), client_configuration=configuration, persist_config=False
            )
    except (library_config.ConfigException, OSError) as e:
        where = "the pod's ServiceAccount" if kubeconfig is None else str(kubeconfig)
        raise Fatal(f"no access to Kubernetes through {where}: {e}; set KUBECONFIG, or run in a pod") from e
    return configuration


def _read_answer(access: Access, status: int, text: bytes) -> dict[str, Any]:
    answer = _parse(text)
    if 200 <= status < 300:
        if answer is None:
            raise ClusterUnavailable(f"{access}: the API server answered what is no JSON object")
        return answer
    told = str((answer or {}).get("message") or f"HTTP {status}")[:MAX_MESSAGE_CHARS]
    match status:
        case 404:
            raise NotFound(f"{access}: {told}")
        case 409:
            raise WriteConflict(f"{access}: {told}")
        case 401:
            raise ClusterUnavailable(f"{access}: the API server does not accept the operator's token (401): {told}")
        case 403:
            raise Forbidden(f"{access}: {told}{_remedy(access, told)}")
        case _:
            raise ClusterUnavailable(f"{access}: {told} (HTTP {status})")


def _remedy(access: Access, told: str) -> str:
    """Refusals by RBAC and by admission (quota, policy) have the same code; only the first is cured by a role."""
    if " cannot " not in told:
        return ""
    return f'; grant verb "{access.verb}" on "{access.resource}" of API group "{access.group}" to the operator'


def _parse(text: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(text) if text else {}
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
