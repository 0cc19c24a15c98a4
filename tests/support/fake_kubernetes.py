"""An API server in memory, over HTTP on a loopback port: enough of Kubernetes for the operator's own requests.

Passes the same contract suite as a real kube-apiserver (tests/contract/test_kubernetes_cluster.py). It has no schemas,
no admission, no RBAC, no watch and no controllers besides the garbage collector.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from support.fake_apply import Path as FieldPath
from support.fake_apply import apply, changed_fields, list_fields, merge_patch, show_fields

Json = dict[str, Any]

LOST = 0
"""A status that no server sends: the request is carried out, and its connection closed without an answer."""

_KINDS = {
    "ingestpipelines": "IngestPipeline",
    "serviceaccounts": "ServiceAccount",
    "configmaps": "ConfigMap",
    "services": "Service",
    "pods": "Pod",
    "events": "Event",
    "poddisruptionbudgets": "PodDisruptionBudget",
    "deployments": "Deployment",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
    "leases": "Lease",
}

_WITH_STATUS = ("ingestpipelines", "deployments", "pods", "poddisruptionbudgets", "horizontalpodautoscalers")


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request in RBAC's words. manager: the field manager of a write."""

    verb: str
    resource: str
    name: str | None
    manager: str | None = None

    @property
    def is_write(self) -> bool:
        """Whether it changes something."""
        return self.verb not in ("get", "list")


@dataclass(slots=True)
class _Entry:
    """An object and who owns which of its fields: (manager, operation, subresource) → paths."""

    body: Json
    owners: dict[tuple[str, str, str], set[FieldPath]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    prefix: str
    plural: str
    namespace: str | None
    name: str | None
    subresource: str


class FakeKubernetes:
    """The server's objects and its faults.

    requests: all so far. fault: called with each request before it is carried out; a status other than None is answered
    instead, LOST afterwards. admit: may change an object that is created or applied, as an admission webhook does.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: Callable[[Request], int | None] = lambda _: None
        self.admit: Callable[[Json], None] = lambda _: None
        self._entries: dict[tuple[str, str, str], _Entry] = {}
        self._version = 100

    @property
    def writes(self) -> list[Request]:
        """All requests that change something."""
        return [request for request in self.requests if request.is_write]

    def find(self, plural: str, namespace: str, name: str) -> Json | None:
        """An object as it is now."""
        entry = self._entries.get((plural, namespace, name))
        return None if entry is None else copy.deepcopy(entry.body)

    def drop(self, plural: str, namespace: str, name: str) -> None:
        """Make an object vanish, whatever it owns."""
        del self._entries[plural, namespace, name]

    @asynccontextmanager
    async def serve(self, folder: Path) -> AsyncIterator[Path]:
        """Answer on a free port; the path of a kubeconfig for it in `folder`."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            yield write_kubeconfig(folder / "fake.kubeconfig", server=f"http://{host}:{port}")
        finally:
            await runner.cleanup()

    # --- HTTP -------------------------------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.Response:
        target = _parse_path(request.path)
        verb = _verb_of(request.method, target)
        resource = f"{target.plural}/{target.subresource}".rstrip("/")
        manager = request.query.get("fieldManager")
        seen = Request(verb=verb, resource=resource, name=target.name, manager=manager)
        self.requests.append(seen)
        fault = self.fault(seen)
        if fault not in (None, LOST):
            return _error(fault or 500, "a fault of the test")
        text = await request.text()
        body = json.loads(text) if text else {}
        try:
            answer = self._do(verb, target, body, request)
        except Refused as e:
            return _error(e.status, e.message)
        if fault == LOST:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(answer)

    def _do(self, verb: str, target: _Target, body: Json, request: web.Request) -> Json:
        match verb:
            case "get":
                return self._get(target)
            case "list":
                return self._list(target, request.query.get("labelSelector", ""), request)
            case "create":
                return self._create(target, body, request.query.get("fieldManager", "unknown"))
            case "update" | "patch":
                return self._change(target, body, request)
            case "delete":
                return self._delete(target)
            case _:
                raise Refused(405, f"{verb} is not supported")

    # --- verbs ------------------------------------------------------------------------------------------------------

    def _entry(self, target: _Target) -> _Entry:
        entry = self._entries.get((target.plural, target.namespace or "", target.name or ""))
        if entry is None:
            raise Refused(404, f'{target.plural} "{target.name}" not found')
        return entry

    def _get(self, target: _Target) -> Json:
        body = self._entry(target).body
        return _scale_of(body) if target.subresource == "scale" else body

    def _list(self, target: _Target, selector: str, request: web.Request) -> Json:
        wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
        found = [
            entry.body
            for (plural, namespace, _), entry in sorted(self._entries.items())
            if plural == target.plural
            and target.namespace in (None, namespace)
            and wanted.items() <= (entry.body["metadata"].get("labels") or {}).items()
        ]
        start, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 0) or len(found)
        token = str(start + limit) if start + limit < len(found) else ""
        metadata = {"resourceVersion": str(self._version), "continue": token}
        return {"kind": "List", "metadata": metadata, "items": found[start : start + limit or None]}

    def _create(self, target: _Target, body: Json, manager: str) -> Json:
        name = body["metadata"].get("name") or body["metadata"]["generateName"] + uuid.uuid4().hex[:5]
        key = (target.plural, target.namespace or "", name)
        if key in self._entries:
            raise Refused(409, f'{target.plural} "{name}" already exists')
        clean = {part: value for part, value in body.items() if part != "status" or target.plural not in _WITH_STATUS}
        entry = _Entry(body=self._new_object(target, name, clean))
        entry.owners[manager, "Update", ""] = list_fields(clean)
        self._entries[key] = entry
        return self._finish(entry)

    def _new_object(self, target: _Target, name: str, body: Json) -> Json:
        metadata = {
            **body.get("metadata", {}),
            "name": name,
            "namespace": target.namespace,
            "uid": str(uuid.uuid4()),
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        return {"kind": _KINDS[target.plural], **copy.deepcopy(body), "metadata": metadata}

    def _change(self, target: _Target, body: Json, request: web.Request) -> Json:
        manager = request.query.get("fieldManager", "unknown")
        is_apply = request.content_type == "application/apply-patch+yaml"
        if is_apply and (target.plural, target.namespace or "", target.name or "") not in self._entries:
            return self._create_by_apply(target, body, manager)
        entry = self._entry(target)
        _require_same(target, entry.body, body)
        before = copy.deepcopy(entry.body)
        owner = (manager, "Apply" if is_apply else "Update", target.subresource)
        if is_apply:
            alone = entry.owners.get(owner, set()) - set().union(
                *(paths for other, paths in entry.owners.items() if other != owner)
            )
            entry.body = _restrict(target, before, apply(before, body, alone))
        elif request.method == "PUT":
            entry.body = _restrict(target, before, {**body, "metadata": {**before["metadata"], **body["metadata"]}})
        else:
            entry.body = _restrict(target, before, merge_patch(before, body))
        self.admit(entry.body)
        self._note_owner(entry, owner, before, list_fields(body) if is_apply else None)
        if entry.body != before:
            self._count_generation(entry, before)
            self._touch(entry)
        self._show(entry)
        return _scale_of(entry.body) if target.subresource == "scale" else entry.body

    def _create_by_apply(self, target: _Target, body: Json, manager: str) -> Json:
        if target.subresource:
            raise Refused(404, f'{target.plural} "{target.name}" not found')
        if "uid" in body["metadata"]:
            raise Refused(409, f'{target.plural} "{target.name}": uid mismatch: the object does not exist')
        entry = _Entry(body=self._new_object(target, str(target.name), body))
        self.admit(entry.body)
        entry.owners[manager, "Apply", ""] = list_fields(body)
        self._entries[target.plural, target.namespace or "", str(target.name)] = entry
        return self._finish(entry)

    def _delete(self, target: _Target) -> Json:
        entry = self._entry(target)
        del self._entries[target.plural, target.namespace or "", target.name or ""]
        self._collect_garbage()
        return entry.body

    def _collect_garbage(self) -> None:
        """Remove what belongs to objects that do not exist."""
        uids = {entry.body["metadata"]["uid"] for entry in self._entries.values()}
        for key, entry in list(self._entries.items()):
            owners = entry.body["metadata"].get("ownerReferences") or ()
            if owners and not any(owner["uid"] in uids for owner in owners):
                del self._entries[key]

    # --- bookkeeping ------------------------------------------------------------------------------------------------

    def _finish(self, entry: _Entry) -> Json:
        if entry.body["kind"] == "Deployment":
            entry.body["spec"].setdefault("replicas", 1)
        self._touch(entry)
        self._show(entry)
        return entry.body

    def _touch(self, entry: _Entry) -> None:
        self._version += 1
        entry.body["metadata"]["resourceVersion"] = str(self._version)

    @staticmethod
    def _count_generation(entry: _Entry, before: Json) -> None:
        if entry.body.get("spec") != before.get("spec"):
            entry.body["metadata"]["generation"] = before["metadata"]["generation"] + 1

    @staticmethod
    def _note_owner(entry: _Entry, owner: tuple[str, str, str], before: Json, applied: set[FieldPath] | None) -> None:
        changed, owners_before = changed_fields(before, entry.body), [set(paths) for paths in entry.owners.values()]
        for other in entry.owners:
            if other != owner:
                entry.owners[other] -= changed
        if applied is None and owner[2] == "scale" and not any(("spec", "replicas") in p for p in owners_before):
            return  # as fieldmanager/skipnonapplied.go: what nobody owns, an update of the Scale does not own either
        mine = applied if applied is not None else entry.owners.get(owner, set()) | changed
        if mine:
            entry.owners[owner] = mine

    @staticmethod
    def _show(entry: _Entry) -> None:
        entry.body["metadata"]["managedFields"] = [
            {
                "manager": manager,
                "operation": operation,
                "fieldsType": "FieldsV1",
                "fieldsV1": show_fields(paths),
                **({"subresource": subresource} if subresource else {}),
            }
            for (manager, operation, subresource), paths in entry.owners.items()
            if paths
        ]


def write_kubeconfig(path: Path, *, server: str, **user: Any) -> Path:
    """A kubeconfig with one context; user: its credentials, as `token="..."`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": user or {"token": "none"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def count_down(
    n: int, status: int, *, verbs: tuple[str, ...] = ("create", "update", "patch", "delete")
) -> Callable[[Request], int | None]:
    """A fault: the n-th request of these verbs (from 1) and all after it get the status; LOST carries out the n-th
    alone and answers 503 from then on, as when the operator was killed after it."""
    counted: Iterator[int] = iter(range(1, 1_000_000))

    def fault(request: Request) -> int | None:
        position = next(counted) if request.verb in verbs else 0
        if position < n:
            return None
        return status if position == n or status != LOST else 503

    return fault


def _parse_path(path: str) -> _Target:
    parts = path.strip("/").split("/")
    skip = 2 if parts[0] == "api" else 3
    prefix, rest, namespace = "/".join(parts[:skip]), parts[skip:], None
    if rest[:1] == ["namespaces"]:
        namespace, rest = rest[1], rest[2:]
    name, subresource = rest[1] if len(rest) > 1 else None, "/".join(rest[2:3])
    return _Target(prefix=prefix, plural=rest[0], namespace=namespace, name=name, subresource=subresource)


def _verb_of(method: str, target: _Target) -> str:
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    return verbs.get(method, "list" if target.name is None else "get")


def _require_same(target: _Target, live: Json, body: Json) -> None:
    """Preconditions that a body carries."""
    for key, code in (("resourceVersion", 409), ("uid", 409)):
        wanted = body.get("metadata", {}).get(key)
        if wanted is not None and wanted != live["metadata"][key]:
            raise Refused(code, f'{target.plural} "{target.name}": {key} does not match: the object has been modified')


def _restrict(target: _Target, before: Json, after: Json) -> Json:
    """A write to a subresource changes that alone; one to the object leaves the status alone."""
    if target.subresource == "scale":
        return {**before, "spec": {**before["spec"], "replicas": after["spec"]["replicas"]}}
    if target.subresource == "status":
        return {**before, "status": after.get("status")}
    kept = {"status": before["status"]} if "status" in before else {}
    metadata = {
        **after["metadata"],
        **{key: before["metadata"][key] for key in ("uid", "resourceVersion", "generation")},
    }
    return {**after, **kept, "metadata": metadata} if target.plural in _WITH_STATUS else {**after, "metadata": metadata}


def _scale_of(body: Json) -> Json:
    metadata = {key: body["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}
    return {"kind": "Scale", "metadata": metadata, "spec": {"replicas": body["spec"]["replicas"]}}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "status": "Failure", "message": message, "code": status}, status=status)
