"""The consumer's configuration from its environment, and the pipeline file. Reports every problem at once.

What must not live here: os.environ (read in __main__ only) and anything of Kafka or PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from forebay_api.parse import InvalidPipeline, parse_pipeline
from forebay_api.v1alpha1 import Pipeline
from forebay_api.wire import CONSUMER_HTTP_PORT, Env

from forebay_consumer.errors import BadConfig

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the program is told. grace_s: from SIGTERM to the last moment of the drain."""

    pipeline: Pipeline
    sink_secret_dir: Path
    consumer_id: str
    kafka_config_dir: Path | None
    sink_ca_file: Path | None
    http_host: str
    http_port: int
    http_port_file: Path | None
    grace_s: float
    log_level: str


class _Reader:
    """Takes variables one by one and remembers what was wrong with each."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.problems: list[str] = []

    def read(self, name: Env, convert: Callable[[str], T], default: T) -> T:
        """The variable converted, or the default when it is unset or empty.

        Convert raises ValueError with the remedy.
        """
        text = self._env.get(name, "")
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as e:
            self.problems.extend(f"{name}: {line}" for line in str(e).splitlines())
            return default

    def require(self, name: Env, convert: Callable[[str], T]) -> T | None:
        """Like read, but the variable must be there; None after a problem."""
        if not self._env.get(name):
            self.problems.append(f"{name}: is not set")
            return None
        return self.read(name, convert, None)


def config_from_env(env: Mapping[str, str], *, default_id: str) -> Config:
    """Read all variables of wire.Env. Raises BadConfig naming every bad one."""
    reader = _Reader(env)
    pipeline = reader.require(Env.PIPELINE_FILE, _pipeline)
    secret_dir = reader.require(Env.SINK_SECRET_DIR, _folder)
    no_path: Path | None = None
    kafka_dir = reader.read(Env.KAFKA_CONFIG_DIR, _folder, no_path)
    ca_file = reader.read(Env.SINK_CA_FILE, _file, no_path)
    port = reader.read(Env.HTTP_PORT, _port, CONSUMER_HTTP_PORT)
    grace_s = reader.read(Env.GRACE_SECONDS, _seconds, 30.0)
    log_level = reader.read(Env.LOG_LEVEL, _log_level, "INFO")
    if pipeline is None or secret_dir is None or reader.problems:
        raise BadConfig(tuple(reader.problems))
    return Config(
        pipeline=pipeline,
        sink_secret_dir=secret_dir,
        consumer_id=env.get(Env.CONSUMER_ID) or default_id,
        kafka_config_dir=kafka_dir,
        sink_ca_file=ca_file,
        http_host=env.get(Env.HTTP_HOST) or "0.0.0.0",  # noqa: S104  a pod's endpoints are for its cluster
        http_port=port,
        http_port_file=reader.read(Env.HTTP_PORT_FILE, Path, None),
        grace_s=grace_s,
        log_level=log_level,
    )


def _pipeline(text: str) -> Pipeline:
    try:
        body = yaml.safe_load(_file(text).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as e:
        raise ValueError(f"{text} cannot be read as YAML: {e}") from e
    if not isinstance(body, Mapping):
        raise ValueError(f"{text} is not a YAML mapping")
    try:
        return parse_pipeline(body)
    except InvalidPipeline as e:
        raise ValueError(str(e)) from e


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError(f"{text} is not a folder")
    return path


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
    if not 1.0 <= seconds <= 3600.0:
        raise ValueError(f"must be seconds from 1 to 3600, is {text!r}")
    return seconds


def _log_level(text: str) -> str:
    if text not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}, is {text!r}")
    return text
