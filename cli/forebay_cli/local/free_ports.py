"""Finding a port that nobody uses, and that stays free while a stopped server waits to be started again."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
CANDIDATES = range(15000, 30000)
"""Below Linux's default range of outgoing connections (32768-60999), any of which could take the port of a server that
is down for a moment, and below Kubernetes' node ports (30000-32767)."""

_given: set[int] = set()


def find_free_port() -> int:
    """Return a port of the loopback interface that is free now and was not returned before by this process."""
    outgoing = _read_outgoing_range()
    candidates = [port for port in CANDIDATES if port not in outgoing and port not in _given]
    random.SystemRandom().shuffle(candidates)
    port = next(port for port in candidates if is_free(port))
    _given.add(port)
    return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def recall_port(file: Path) -> int:
    """Return the port noted in the file if it is free, else a free one, and note it: a restart keeps its address."""
    if file.exists() and is_free(noted := int(file.read_text())):
        return noted
    port = find_free_port()
    file.write_text(f"{port}\n")
    return port


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on the port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _read_outgoing_range() -> range:
    try:
        low, high = EPHEMERAL.read_text().split()
    except FileNotFoundError:
        return range(0)
    return range(int(low), int(high) + 1)
