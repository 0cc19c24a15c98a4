"""A Transport in memory without sockets, for tests in virtual time: objects with versions, and what goes wrong."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from forebay_operator.errors import ClusterUnavailable, NotFound, WriteConflict

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request, whatever became of it."""

    method: str
    path: str
    body: Any


@dataclass(slots=True, kw_only=True)
class FakeTransport:
    """objects: by path. One client's view of it is made by `client()`.

    took_s: how long each request takes on its way there, and again on its way back.
    """

    objects: dict[str, Json] = field(default_factory=dict)
    took_s: float = 0.0
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def client(self) -> FakeClient:
        """A connection of its own, with troubles of its own."""
        return FakeClient(server=self)

    def put(self, path: str, body: Mapping[str, Any]) -> Json:
        """Store a new version."""
        stored = copy.deepcopy(dict(body))
        stored["metadata"] = stored.get("metadata", {}) | {"resourceVersion": str(next(self._versions))}
        self.objects[path] = stored
        return copy.deepcopy(stored)

    def serve(self, method: str, path: str, body: Any) -> Json:
        """Carry out one request. Raises NotFound, WriteConflict."""
        match method:
            case "GET":
                return copy.deepcopy(self._find(path))
            case "POST":
                name = body["metadata"].get("name") or f"generated-{next(self._versions)}"
                if f"{path}/{name}" in self.objects:
                    raise WriteConflict(f"{path}/{name} already exists")
                return self.put(f"{path}/{name}", body)
            case "PUT":
                present = self._find(path)["metadata"]["resourceVersion"]
                if body["metadata"].get("resourceVersion") != present:
                    raise WriteConflict(f"{path} has been modified")
                return self.put(path, body)
            case "PATCH" if path.endswith("/status"):
                return self._apply_status(path.removesuffix("/status"), body)
            case _:
                raise AssertionError(f"not understood: {method} {path}")

    def _apply_status(self, path: str, body: Json) -> Json:
        """All of the status belongs to one manager, so that it is replaced as a whole. As in Kubernetes, a uid in the
        body is not looked at."""
        present = self._find(path)
        version = body["metadata"].get("resourceVersion")
        if version is not None and version != present["metadata"]["resourceVersion"]:
            raise WriteConflict(f"{path} has been modified")
        return self.put(path, {**present, "status": body["status"]})

    def _find(self, path: str) -> Json:
        if path not in self.objects:
            raise NotFound(f"{path} not found")
        return self.objects[path]


@dataclass(slots=True, kw_only=True)
class FakeClient:
    """is_away: no answer to what matches `away_from`. loses_answers: requests are carried out, their answers lost."""

    server: FakeTransport
    is_away: bool = False
    away_from: str = ""
    loses_answers: bool = False
    hangs: bool = False
    sent: list[Sent] = field(default_factory=list)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str | None = None,
        timeout_s: float = 10.0,
    ) -> Json:
        """As Transport.request()."""
        del query, content_type
        self.sent.append(Sent(method=method, path=path, body=copy.deepcopy(body)))
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(method, path, body)
        except TimeoutError as e:
            raise ClusterUnavailable(f"no answer within {timeout_s:g} s") from e

    async def _exchange(self, method: str, path: str, body: object) -> Json:
        if self.server.took_s:
            await asyncio.sleep(self.server.took_s)
        if self.is_away and self.away_from in path:
            if self.hangs:
                await asyncio.sleep(3600)
            raise ClusterUnavailable("connection refused")
        answer = self.server.serve(method, path, copy.deepcopy(body))
        if self.loses_answers:
            raise ClusterUnavailable("connection reset")
        if self.server.took_s:
            await asyncio.sleep(self.server.took_s)
        return answer

    def writes(self, path_part: str = "") -> list[Sent]:
        """Requests that would change something."""
        return [sent for sent in self.sent if sent.method != "GET" and path_part in sent.path]
