"""The API server's audit log: who asked for what, and what the answer was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
"""
"""Every request, without bodies. A watch is told when it begins and again when it ends."""

READING = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One request in RBAC's words. resource: `deployments` or `deployments/scale`; the path where there is none.

    at: when the API server received it. code: HTTP status of the answer.
    """

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str
    code: int
    at: datetime

    @property
    def is_write(self) -> bool:
        """Whether it was meant to change something."""
        return self.verb not in READING

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S} {self.verb} {self.resource} {self.namespace}/{self.name} → {self.code}"


def read_audit_log(file: Path, *, user: str | None = None, since: datetime | None = None) -> list[AuditRecord]:
    """Requests in the order of their answers. user: only this one's. since: only those received from then on."""
    return [
        record
        for record in _read_records(file)
        if user in (None, record.user) and (since is None or record.at >= since)
    ]


def _read_records(file: Path) -> Iterator[AuditRecord]:
    seen: set[str] = set()
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else ():
        if not line.endswith("\n"):
            return  # being written
        event = json.loads(line)
        if event["auditID"] not in seen:
            seen.add(event["auditID"])
            yield _build_record(event)


def _build_record(event: dict[str, Any]) -> AuditRecord:
    target = event.get("objectRef") or {"resource": event["requestURI"]}
    parts = (target.get("resource", ""), target.get("subresource"))
    return AuditRecord(
        user=event["user"].get("username", ""),
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource="/".join(part for part in parts if part),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
    )
