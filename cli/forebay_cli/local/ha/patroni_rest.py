"""Patroni's REST API: what a member says of itself, and what it can be asked to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forebay_cli.local.ha.loopback_http import ask
from forebay_cli.local.server_errors import ServerError

LOOK_S = 1.0
"""How long a look at a member may take; a frozen one never answers."""


class PatroniRefused(ServerError):
    """A member did not do what it was asked to; the message has its own words."""


class Role(StrEnum):
    """What PostgreSQL is, whoever holds the leader's lock."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberState:
    """What a member answered at this moment; None = it did not say, and all but the name when it does not answer."""

    name: str
    role: Role | None = None
    state: str | None = None
    """Patroni's word for the server: running, starting, stopped, creating replica, ..."""
    streaming: bool = False
    timeline: int | None = None
    wal_position: int | None = None
    """Bytes written (a primary's) or replayed (a replica's)."""
    lag_bytes: int | None = None
    """What a replica has yet to replay of the primary's WAL; known while there is exactly one primary."""
    sync_state: str | None = None
    """async, sync, quorum or potential: how the primary sees this replica."""
    pending_restart: bool = False


def parse_member(name: str, said: Mapping[str, Any]) -> MemberState:
    """Read the answer to GET /patroni. What a primary says of its replicas is added by join_members."""
    wal = said.get("xlog", {})
    position = wal.get("location", wal.get("replayed_location"))
    return MemberState(
        name=name,
        role=next((each for each in Role if each == said.get("role")), None),
        state=said.get("state"),
        streaming=said.get("replication_state") == "streaming",
        timeline=said.get("timeline"),
        wal_position=position,
        pending_restart=bool(said.get("pending_restart")),
    )


def read_sync_states(said: Mapping[str, Any]) -> dict[str, str]:
    """Return each replica's sync state from a primary's answer; empty from a replica's."""
    return {each["application_name"]: each["sync_state"] for each in said.get("replication") or ()}


def ask_member(port: int) -> dict[str, Any] | None:
    """Return the answer to GET /patroni; None when there is none."""
    try:
        said = json.loads(ask(port, "/patroni", LOOK_S)[1])  # 503 has an answer, too: the server does not run
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def post(port: int, call: str, body: Mapping[str, object], timeout_s: float) -> str:
    """Have a member do something; return its word. Raises PatroniRefused, also when it does not answer in time."""
    try:
        status, said = ask(port, f"/{call}", timeout_s, json.dumps(body).encode())
    except OSError as silent:
        raise PatroniRefused(f"{call}: {silent}") from silent
    if status not in (200, 202):
        raise PatroniRefused(f"{call}: {status} {said}")
    return said
