"""How to reach the database, read from a Secret's folder (one file a key) at every connect: rotation needs no restart.

connectionSecretRef: the keys of hand-made Secrets (host, port, dbname, user, password, or uri), and of CloudNativePG's
`-app` (username). postgresClusterRef: username and password alone. Keys that are not known are ignored: such Secrets
hold more than this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from forebay_api.v1alpha1 import PostgresClusterRef, SinkSpec, TlsMode, sink_secret_name

from forebay_consumer.errors import SinkBroken

DEFAULT_PORT = 5432

_KEYS = {
    "host": ("host",),
    "port": ("port",),
    "dbname": ("dbname", "database"),
    "user": ("user", "username"),
    "password": ("password",),
    "uri": ("uri", "URI", "url"),
}
"""What is needed -> file names that may hold it, the first one found wins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Where and as whom to connect. password: empty where the server asks for none. tls: what a URI's sslmode says."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)
    tls: TlsMode | None = None


class BadCredentials(SinkBroken):
    """The Secret's folder cannot be used; the message names the Secret and lists every problem with its key."""

    def __init__(self, sink: SinkSpec, folder: Path, problems: Sequence[str]) -> None:
        field = "connectionSecretRef" if sink.postgres_cluster_ref is None else "postgresClusterRef"
        secret = f"Secret {sink_secret_name(sink)} of spec.sink.{field} (read from {folder})"
        super().__init__("BadCredentials", f"{secret}: {'; '.join(problems)}")


def read_credentials(folder: Path, sink: SinkSpec) -> Credentials:
    """Read the folder of the Secret that the sink names anew. Raises BadCredentials."""
    if not _has_keys(folder):
        problem = "it has no keys; make it in the pipeline's namespace, or correct its name"
        raise BadCredentials(sink, folder, (problem,))
    problems: list[str] = []
    if sink.postgres_cluster_ref is None:
        credentials = _read_connection(folder, problems)
    else:
        credentials = _read_user(folder, sink.postgres_cluster_ref, problems)
    if problems:
        raise BadCredentials(sink, folder, problems)
    return credentials


def _has_keys(folder: Path) -> bool:
    """Kubernetes mounts a Secret that does not exist, where that is allowed, as an empty folder."""
    try:
        return any(not entry.name.startswith(".") for entry in folder.iterdir())
    except OSError:
        return False


def _read_user(folder: Path, cluster: PostgresClusterRef, problems: list[str]) -> Credentials:
    """User and password alone are the Secret's: where to connect is the spec's to say, whatever else it holds."""
    user, password = (_read_key(folder, (name,), problems) for name in ("username", "password"))
    if not problems:
        problems += [
            f"key {name} is missing" for name, value in (("username", user), ("password", password)) if not value
        ]
    return Credentials(
        host=cluster.host, port=cluster.port, dbname=cluster.database, user=user or "", password=password or ""
    )


def _read_connection(folder: Path, problems: list[str]) -> Credentials:
    """Single keys win over the URI, which fills in what they leave out."""
    given = {key: _read_key(folder, names, problems) for key, names in _KEYS.items()}
    from_uri, tls = _parse_uri(given.pop("uri"), problems)
    found = {key: value if value is not None else from_uri.get(key) for key, value in given.items()}
    if not problems:
        problems += [
            f"key {_KEYS[key][0]} is missing (and no key uri holds it)"
            for key in ("host", "dbname", "user", "password")
            if not found[key] and not (key == "password" and found[key] == "")
        ]
    port = _parse_port(found["port"], problems)
    return Credentials(
        host=found["host"] or "",
        port=port,
        dbname=found["dbname"] or "",
        user=found["user"] or "",
        password=found["password"] or "",
        tls=tls,
    )


def stronger_tls(wanted: TlsMode, other: TlsMode | None) -> TlsMode:
    """The stricter of spec.sink.tls.mode and the URI's sslmode: neither place may weaken the other."""
    order = list(TlsMode)
    return wanted if other is None or order.index(wanted) >= order.index(other) else other


def _read_key(folder: Path, names: tuple[str, ...], problems: list[str]) -> str | None:
    for name in names:
        try:
            return (folder / name).read_text(encoding="utf-8").strip("\r\n")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            problems.append(f"key {name}: {reason}")
    return None


def _parse_port(text: str | None, problems: list[str]) -> int:
    if not text:
        return DEFAULT_PORT
    if text.strip().isdecimal() and 0 < int(text) < 65536:
        return int(text)
    problems.append("key port: must be a number from 1 to 65535")
    return DEFAULT_PORT


def _parse_uri(uri: str | None, problems: list[str]) -> tuple[dict[str, str], TlsMode | None]:
    """Parts of a postgresql:// URI. Problems never quote it: it holds the password."""
    if not uri:
        return {}, None
    try:
        parts = urlsplit(uri.strip())
        port = parts.port
    except ValueError:
        problems.append("key uri: cannot be read; one host and a numeric port are expected")
        return {}, None
    if parts.scheme not in ("postgresql", "postgres"):
        problems.append("key uri: must begin with postgresql://")
        return {}, None
    query = parse_qs(parts.query)
    found = {
        "host": query.get("host", [unquote(parts.hostname or "")])[0],
        "port": query.get("port", [str(port) if port else ""])[0],
        "dbname": unquote(parts.path.lstrip("/")),
        "user": unquote(parts.username or ""),
    }
    if parts.password is not None:
        found["password"] = unquote(parts.password)
    return found, _parse_sslmode(query.get("sslmode", [None])[0], problems)


def _parse_sslmode(word: str | None, problems: list[str]) -> TlsMode | None:
    if word is None:
        return None
    try:
        return TlsMode(word)
    except ValueError:
        problems.append(f"key uri: sslmode must be one of {', '.join(TlsMode)}")
        return None
