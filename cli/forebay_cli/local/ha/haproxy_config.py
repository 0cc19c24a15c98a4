"""HAProxy's configuration: what the chart patroni-haproxy renders, kept in haproxy.cfg by `make manifests`, with this
machine's ports in it; pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forebay_cli.local.free_ports import LOOPBACK

TEMPLATE = Path(__file__).with_name("haproxy.cfg")
MEMBER = "MEMBER"
PORTS = {"primary": 60001, "replicas": 60002, "stats": 60003, "sql": 60004, "rest": 60005}
"""What stands in the template for a port: the chart takes nothing but numbers."""
CHART_VALUES: Mapping[str, Any] = {
    "clusterName": "ha",
    "bind": LOOPBACK,
    "primary": {"port": PORTS["primary"]},
    "replicas": {"port": PORTS["replicas"]},
    "stats": {"port": PORTS["stats"]},
    "members": {
        "static": [{"name": MEMBER, "host": LOOPBACK, "port": PORTS["sql"], "restPort": PORTS["rest"]}],
    },
    "threads": 1,
}
"""Values with which the template is rendered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HaproxyPorts:
    """Where HAProxy listens."""

    primary: int
    replicas: int
    stats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HaproxyMember:
    """Where HAProxy finds a member."""

    name: str
    sql: int
    rest: int


def fill_haproxy_config(template: str, ports: HaproxyPorts, members: tuple[HaproxyMember, ...]) -> str:
    """Return haproxy.cfg: the line of the template's one member is repeated for each."""
    lines: list[str] = []
    for line in template.splitlines():
        if f"server {MEMBER} " in line:
            lines += [_fill(line, {"sql": each.sql, "rest": each.rest}).replace(MEMBER, each.name) for each in members]
        else:
            lines.append(_fill(line, {"primary": ports.primary, "replicas": ports.replicas, "stats": ports.stats}))
    return "\n".join(lines) + "\n"


def _fill(line: str, ports: Mapping[str, int]) -> str:
    for name, port in ports.items():
        line = line.replace(str(PORTS[name]), str(port))
    return line
