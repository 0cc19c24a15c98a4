"""The operator's configuration from its environment. Reports every problem at once.

What must not live here: os.environ (read in __main__ only) and anything of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from forebay_operator.errors import BadConfig
from forebay_operator.logs import LOG_LEVELS

T = TypeVar("T")

HTTP_PORT = 8080
"""Of /livez /readyz /metrics in a pod."""

PULL_POLICIES = ("Always", "IfNotPresent", "Never")


class Env(StrEnum):
    """Environment of the operator. Kubernetes' own: KUBECONFIG, outside a cluster."""

    NAMESPACE = "FOREBAY_NAMESPACE"  # the operator's own, where its Lease is
    POD_NAME = "FOREBAY_POD_NAME"  # who it is among its replicas; default hostname-pid
    WATCH_NAMESPACES = "FOREBAY_WATCH_NAMESPACES"  # comma-separated; empty: all, which needs a ClusterRole
    CONSUMER_IMAGE = "FOREBAY_CONSUMER_IMAGE"  # of pipelines that name none
    CONSUMER_IMAGE_PULL_POLICY = "FOREBAY_CONSUMER_IMAGE_PULL_POLICY"  # Always IfNotPresent Never
    KAFKA_CLIENTS_DIR = "FOREBAY_KAFKA_CLIENTS_DIR"  # folder of folders, one a set of brokers; may be missing
    LEASE_NAME = "FOREBAY_LEASE_NAME"
    LEASE_DURATION_SECONDS = "FOREBAY_LEASE_DURATION_SECONDS"  # after which another may take over from a silent leader
    RENEW_DEADLINE_SECONDS = "FOREBAY_RENEW_DEADLINE_SECONDS"  # after which a leader that cannot renew gives up
    RETRY_PERIOD_SECONDS = "FOREBAY_RETRY_PERIOD_SECONDS"  # between two looks at the Lease
    HTTP_PORT = "FOREBAY_HTTP_PORT"  # 0 = any free port
    HTTP_PORT_FILE = "FOREBAY_HTTP_PORT_FILE"  # path: where the port in use is written, atomically (optional)
    LOG_LEVEL = "FOREBAY_LOG_LEVEL"  # DEBUG INFO WARNING ERROR
    KUBECONFIG = "KUBECONFIG"  # path; unset: the ServiceAccount of the pod


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """Seconds. retry_period_s < renew_deadline_s < lease_duration_s."""

    lease_duration_s: float
    renew_deadline_s: float
    retry_period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the program is told. watch_namespaces: empty = all. kafka_clients_dir None: no credentials."""

    namespace: str
    pod_name: str
    watch_namespaces: tuple[str, ...]
    consumer_image: str
    consumer_image_pull_policy: str
    kafka_clients_dir: Path | None
    lease_name: str
    lease: LeaseTiming
    http_port: int
    http_port_file: Path | None
    log_level: str
    kubeconfig: Path | None


class _Reader:
    """Takes variables one by one and remembers what was wrong with each."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def read(self, name: Env, convert: Callable[[str], T], default: T) -> T:
        """The variable converted, or the default when it is unset or empty. Convert raises ValueError."""
        text = self._env.get(name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as e:
            self.problems.append(f"{name}: {e}")
            return default

    def require(self, name: Env, convert: Callable[[str], str]) -> str:
        """Like read, but the variable must be there; "" after a problem."""
        if not self._env.get(name, "").strip():
            self.problems.append(f"{name}: is not set")
        return self.read(name, convert, "")


def config_from_env(env: Mapping[str, str], *, default_id: str) -> Config:
    """Read all variables of Env. Raises BadConfig naming every bad one."""
    reader = _Reader(env)
    no_path: Path | None = None
    config = Config(
        namespace=reader.require(Env.NAMESPACE, _name),
        pod_name=reader.read(Env.POD_NAME, str, default_id),
        watch_namespaces=reader.read(Env.WATCH_NAMESPACES, _names, ()),
        consumer_image=reader.require(Env.CONSUMER_IMAGE, str),
        consumer_image_pull_policy=reader.read(Env.CONSUMER_IMAGE_PULL_POLICY, _pull_policy, "IfNotPresent"),
        kafka_clients_dir=reader.read(Env.KAFKA_CLIENTS_DIR, Path, no_path),
        lease_name=reader.read(Env.LEASE_NAME, _name, "forebay-operator"),
        lease=_lease_timing(reader),
        http_port=reader.read(Env.HTTP_PORT, _port, HTTP_PORT),
        http_port_file=reader.read(Env.HTTP_PORT_FILE, Path, no_path),
        log_level=reader.read(Env.LOG_LEVEL, _log_level, "INFO"),
        kubeconfig=reader.read(Env.KUBECONFIG, _file, no_path),
    )
    if reader.problems:
        raise BadConfig(tuple(reader.problems))
    return config


def _lease_timing(reader: _Reader) -> LeaseTiming:
    """Kubernetes' own components use these defaults."""
    timing = LeaseTiming(
        lease_duration_s=reader.read(Env.LEASE_DURATION_SECONDS, _seconds, 15.0),
        renew_deadline_s=reader.read(Env.RENEW_DEADLINE_SECONDS, _seconds, 10.0),
        retry_period_s=reader.read(Env.RETRY_PERIOD_SECONDS, _seconds, 2.0),
    )
    if not timing.retry_period_s < timing.renew_deadline_s < timing.lease_duration_s:
        reader.problems.append(
            f"{Env.RETRY_PERIOD_SECONDS}, {Env.RENEW_DEADLINE_SECONDS}, {Env.LEASE_DURATION_SECONDS}: "
            "each must be below the next"
        )
    return timing


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", text):
        raise ValueError(f"must be a Kubernetes name, is {text!r}")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(part.strip()) for part in text.split(",") if part.strip()))


def _pull_policy(text: str) -> str:
    if text not in PULL_POLICIES:
        raise ValueError(f"must be one of {', '.join(PULL_POLICIES)}, is {text!r}")
    return text


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"{text} is not a file")
    return path


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(f"must be a port from 0 (any) to 65535, is {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600.0:
        raise ValueError(f"must be seconds from 0.1 to 3600, is {text!r}")
    return seconds


def _log_level(text: str) -> str:
    if text not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}, is {text!r}")
    return text
