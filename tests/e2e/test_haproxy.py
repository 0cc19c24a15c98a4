"""HAProxy of the project's chart follows the primary, however the old one ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.server_errors import SqlFailed
from support.cluster_database import Kill
from support.cluster_servers import Servers
from support.testbed.servers import unique_name

FAILOVER_S = 60.0
"""The limit, not what is expected: ttl 20 s + promotion + checks, on a machine where compilers run."""


@pytest.mark.parametrize("how", list(Kill))
def test_haproxy_follows_the_primary(
    how: Kill, servers: Servers, record_property: Callable[[str, object], None]
) -> None:
    table = unique_name("beat")
    servers.sql_through_haproxy(f"CREATE TABLE {table} (n bigint)")

    with _Heart(servers, table) as heart:
        heart.wait_beats(3)
        started = time.monotonic()
        old = servers.database.kill_leader(how)
        new = servers.database.wait_other_leader(old, FAILOVER_S)
        elected_s = time.monotonic() - started
        heart.wait_beats(heart.beats + 3)
        servers.database.wait_healthy(FAILOVER_S)
        healthy_s = time.monotonic() - started

    stored = int(servers.database.sql(f"SELECT count(DISTINCT n) FROM {table}"))
    timings = (
        f"{how}: {old} -> {new}, elected {elected_s:.1f} s, silent {heart.longest_s:.1f} s, whole {healthy_s:.1f} s"
    )
    record_property("failover", timings)
    print(timings)  # noqa: T201 - shown by pytest -rP
    assert stored >= heart.beats, "a row that was acknowledged is gone"
    assert heart.longest_s < FAILOVER_S


class _Heart:
    """Writes a row every 50 ms through HAProxy, each over a new connection; remembers the longest silence."""

    def __init__(self, servers: Servers, table: str) -> None:
        self._servers = servers
        self._table = table
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.beats = 0
        self.longest_s = 0.0

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def wait_beats(self, number: int) -> None:
        assert wait_until(lambda: self.beats >= number, FAILOVER_S), "no writes through HAProxy"

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.05):
            try:
                self._servers.sql_through_haproxy(f"INSERT INTO {self._table} VALUES ({self.beats})")
            except SqlFailed:
                continue
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last)
            last = now
            self.beats += 1
