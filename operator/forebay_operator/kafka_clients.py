"""The operator's own Kafka credentials: a folder with one sub-folder for each set of brokers, one file a property.

The file bootstrap.servers names the brokers that the others are for. Everything is looked at again when it is asked
for, so that a rotated Secret needs no restart. What must not live here: Kafka's client, the pipelines' own Secrets.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from forebay_api.v1alpha1 import Pipeline

log = logging.getLogger(__name__)

BROKERS_FILE = "bootstrap.servers"

DEFAULT_PORT = "9092"
"""librdkafka's, where a broker is named without one."""

Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Client:
    stamp: Stamp
    brokers: frozenset[str]
    properties: Mapping[str, str]

    def __repr__(self) -> str:
        return f"_Client(brokers={sorted(self.brokers)})"


class KafkaClients:
    """Properties for a pipeline's brokers. folder None or missing: there are none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._clients: dict[str, _Client] = {}

    def properties_for(self, pipeline: Pipeline) -> Mapping[str, str]:
        """Of the client whose brokers are the pipeline's, else of the first that shares a broker with it, else {}.

        They name the client's own brokers: a password must not go to whatever else a pipeline lists beside one of them.
        """
        wanted = split_brokers(pipeline.spec.source.bootstrap_servers)
        self._refresh()
        sharing = [client for _, client in sorted(self._clients.items()) if client.brokers & wanted]
        exact = [client for client in sharing if client.brokers == wanted]
        return next((client.properties for client in (*exact, *sharing)), {})

    def _refresh(self) -> None:
        found = {}
        for folder in self._list_folders():
            stamp = _read_stamp(folder)
            known = self._clients.get(folder.name)
            if known is not None and known.stamp == stamp:
                found[folder.name] = known
                continue
            client = _read_client(folder, stamp)
            if client is None:
                if known is not None:  # in the middle of a change; what was there goes on until it is over
                    found[folder.name] = known
                continue
            log.info("Kafka client read", extra={"folder": folder.name, "brokers": sorted(client.brokers)})
            found[folder.name] = client
        self._clients = found

    def _list_folders(self) -> list[Path]:
        try:
            return (
                [path for path in self._folder.iterdir() if path.is_dir() and _is_shown(path)] if self._folder else []
            )
        except OSError:
            return []


def split_brokers(text: str) -> frozenset[str]:
    """Each as host:port, in lower case."""
    brokers = set()
    for part in text.split(","):
        name = part.strip().lower().rpartition("://")[2]
        if name:
            has_port = ":" in name.rpartition("]")[2]
            brokers.add(name if has_port else f"{name}:{DEFAULT_PORT}")
    return frozenset(brokers)


def _is_shown(path: Path) -> bool:
    """Kubernetes keeps the files of a volume in folders like ..data and shows them by links."""
    return not path.name.startswith(".")


def _read_stamp(folder: Path) -> Stamp:
    """Changes when any file does. () when it cannot be told."""
    try:
        stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if _is_shown(path)]
    except OSError:
        return ()
    return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _read_client(folder: Path, stamp: Stamp) -> _Client | None:
    """None: it cannot be read, or does not say which brokers it is for."""
    try:
        files = {name: (folder / name).read_text(encoding="utf-8").strip() for name, *_ in stamp}
    except (OSError, UnicodeDecodeError) as e:
        log.warning("Kafka client cannot be read", extra={"folder": folder.name, "error": type(e).__name__})
        return None
    brokers = split_brokers(files.get(BROKERS_FILE, ""))
    return _Client(stamp=stamp, brokers=brokers, properties=files) if brokers else None
