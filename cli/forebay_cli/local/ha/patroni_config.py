"""The configuration file of one Patroni member; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from forebay_cli.local.free_ports import LOOPBACK
from forebay_cli.local.ha.settings import Durability, HaSettings
from forebay_cli.local.postgres_server import SUPERUSER

SCOPE = "ha"
NAMESPACE = "/forebay"
LEADER_KEY = f"{NAMESPACE}/{SCOPE}/leader"
SYNC_KEY = f"{NAMESPACE}/{SCOPE}/sync"
"""Who may take over in a synchronous mode: JSON, with the names in sync_standby, comma-separated."""
SHARED_PARAMETERS = frozenset(
    {"max_locks_per_transaction", "max_prepared_transactions", "max_worker_processes", "track_commit_timestamp"}
)
"""Settings that Patroni takes from etcd alone: a replica must not have less of them than its primary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPorts:
    """sql, rest: where the member listens. seen_*: where everybody else finds it, etcd: where it finds etcd; these
    differ from the ports behind them where a proxy stands between."""

    sql: int
    rest: int
    seen_sql: int
    seen_rest: int
    etcd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlace:
    """Where one member lives; folder: its own. bin: of PostgreSQL's programs."""

    name: str
    folder: Path
    bin: Path
    ports: MemberPorts

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.folder / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPasswords:
    """Of the roles that Patroni makes; the same on every member."""

    superuser: str = field(repr=False)
    replication: str = field(repr=False)
    rewind: str = field(repr=False)


def build_patroni_config(place: MemberPlace, settings: HaSettings, passwords: ServerPasswords) -> dict[str, Any]:
    """Return the file's content; as JSON it is YAML, too."""
    return {
        "scope": SCOPE,
        "namespace": f"{NAMESPACE}/",
        "name": place.name,
        "restapi": {
            "listen": f"{LOOPBACK}:{place.ports.rest}",
            "connect_address": f"{LOOPBACK}:{place.ports.seen_rest}",
        },
        # use_proxies: else Patroni asks etcd for its address and goes there directly, past a proxy that can be cut.
        "etcd3": {"hosts": [f"{LOOPBACK}:{place.ports.etcd}"], "use_proxies": True},
        "bootstrap": {
            "dcs": build_dynamic_config(settings),
            "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums", "no-sync"],
        },
        "postgresql": _build_server(place, settings, passwords),
    }


def build_dynamic_config(settings: HaSettings) -> dict[str, Any]:
    """Return what all members share and Patroni keeps in etcd."""
    timing = settings.timing
    return {
        "ttl": timing.ttl_s,
        "loop_wait": timing.loop_wait_s,
        "retry_timeout": timing.retry_timeout_s,
        "primary_start_timeout": timing.primary_start_timeout_s,
        "maximum_lag_on_failover": settings.maximum_lag_bytes,
        "failsafe_mode": settings.failsafe,
        **_choose_synchronous(settings.durability),
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "parameters": {
                "wal_level": "replica",
                "hot_standby": "on",
                "wal_log_hints": "on",
                "max_connections": settings.max_connections,
                "max_wal_senders": 10,
                "max_replication_slots": 10,
                # With less, a member that was away during a flood cannot stream any more and waits for ever.
                "wal_keep_size": "1GB",
                **{name: value for name, value in settings.parameters.items() if name in SHARED_PARAMETERS},
            },
        },
    }


def _choose_synchronous(durability: Durability) -> dict[str, Any]:
    match durability:
        case Durability.ASYNCHRONOUS:
            return {"synchronous_mode": False}
        case Durability.SYNCHRONOUS:
            return {"synchronous_mode": True}
        case Durability.STRICT:
            return {"synchronous_mode": True, "synchronous_mode_strict": True}
        case Durability.QUORUM:
            return {"synchronous_mode": "quorum"}
        case _:
            assert_never(durability)


def _build_server(place: MemberPlace, settings: HaSettings, passwords: ServerPasswords) -> dict[str, Any]:
    return {
        "listen": f"{LOOPBACK}:{place.ports.sql}",
        "connect_address": f"{LOOPBACK}:{place.ports.seen_sql}",
        "data_dir": str(place.data),
        "bin_dir": str(place.bin),
        "pgpass": str(place.folder / "pgpass"),
        "authentication": {
            "superuser": {"username": SUPERUSER, "password": passwords.superuser},
            "replication": {"username": "replicator", "password": passwords.replication},
            "rewind": {"username": "rewinder", "password": passwords.rewind},
        },
        "parameters": _choose_parameters(settings.parameters),
        "pg_hba": [
            f"host all all {LOOPBACK}/32 scram-sha-256",
            f"host replication replicator {LOOPBACK}/32 scram-sha-256",
        ],
        "create_replica_methods": ["basebackup"],
        "basebackup": [{"checkpoint": "fast"}, "no-sync"],
    }


def _choose_parameters(wanted: Mapping[str, str]) -> dict[str, str]:
    return {
        # No sockets: their paths may not be longer than 107 bytes, and nobody needs them.
        "unix_socket_directories": "",
        "shared_buffers": "32MB",
        # Files below PGDATA instead of /dev/shm: nothing outside the folder survives a SIGKILL.
        "dynamic_shared_memory_type": "mmap",
        "wal_retrieve_retry_interval": "1s",
        "log_line_prefix": "%m [%p] ",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "wal_sender_timeout": "10s",
        "wal_receiver_timeout": "10s",
        **wanted,
    }
