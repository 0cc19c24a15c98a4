"""Where rounds happen: a broker and a PostgreSQL that all of them share, and a proxy before each for the consumers."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from forebay_cli.local.downloads import choose_cache_folder
from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.kafka_server import KafkaServer
from forebay_cli.local.kafka_settings import KafkaOptions
from forebay_cli.local.postgres_server import PostgresOptions, PostgresServer
from forebay_cli.local.process import create_guarded_folder
from support.testbed.servers import QUICK_SETTINGS

from bench.faults.plan import SESSION_S, Side
from bench.faults.proxy import FaultProxy


class RoundFailed(Exception):
    """What was waited for did not happen; the message says what, and the ends of the consumers' logs follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Everything runs. Producers and audits go straight to the servers, consumers through the proxies.

    at_work: one for each server, held while it is stopped and started: two faults may want that at the same time.
    """

    kafka: KafkaServer
    postgres: PostgresServer
    proxies: dict[Side, FaultProxy]
    folder: Path
    at_work: dict[Side, threading.Lock] = field(default_factory=lambda: {side: threading.Lock() for side in Side})

    @property
    def proxied_bootstrap(self) -> str:
        """Value for the consumers' bootstrap.servers."""
        return f"{LOOPBACK}:{self.proxies[Side.BROKER].port}"

    def heal(self) -> None:
        """Let both servers run and both ways be wires; what abandon() kept open stays so."""
        for proxy in self.proxies.values():
            proxy.mend()
        with self.at_work[Side.DATABASE]:
            self.postgres.start()
        with self.at_work[Side.BROKER]:
            self.kafka.start()


@contextmanager
def open_arena() -> Iterator[Arena]:
    """Start the servers and the proxies; all is gone afterwards."""
    folder = create_guarded_folder(prefix="forebay-faults-")
    behind, before = find_free_port(), find_free_port()
    session_ms = round(SESSION_S * 1000)
    kafka = KafkaServer(
        folder / "kafka",
        cache=choose_cache_folder(os.environ),
        options=KafkaOptions(
            second_listener=(behind, before), consumer_session_ms=session_ms, consumer_heartbeat_ms=session_ms // 5
        ),
    )
    postgres = PostgresServer(folder / "postgres", options=PostgresOptions(settings=QUICK_SETTINGS))
    proxies: dict[Side, FaultProxy] = {}
    try:
        kafka.start()
        postgres.start()
        proxies[Side.BROKER] = FaultProxy(before, behind)
        proxies[Side.DATABASE] = FaultProxy(find_free_port(), postgres.port)
        yield Arena(kafka=kafka, postgres=postgres, proxies=proxies, folder=folder)
    finally:
        for proxy in proxies.values():
            proxy.stop()
        kafka.kill()
        postgres.kill()
        shutil.rmtree(folder, ignore_errors=True)
