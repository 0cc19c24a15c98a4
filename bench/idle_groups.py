"""Consumers of many pipelines as the operator sees them at rest: a member in each group, and an answer at /state.

They read nothing and write nothing: what is measured beside them is the operator, not the consumers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from confluent_kafka import Consumer
from forebay_api.state import ConsumerState, Phase, SinkHealth, SinkState, Totals, to_json_object
from forebay_api.wire import CONSUMER_HTTP_PORT

STATE_ADDRESS = "127.80.80.80"
"""Of all pretended pods: the operator asks a pod at a fixed port, and nobody else listens at this address."""

POLL_S = 0.2


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """A consumer that runs, with nothing to do."""
        state = ConsumerState(
            consumer="idle",
            pipeline="bench/idle",
            phase=Phase.RUNNING,
            sink=SinkState(health=SinkHealth.READY),
            partitions=(),
            totals=Totals(),
            busy_fraction=0.0,
            records_per_second=0.0,
            oldest_unwritten_s=None,
            buffered_bytes=0,
            paused_because=None,
            source_message=None,
            uptime_s=3600.0,
        )
        body = json.dumps(to_json_object(state)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silence."""


class IdleGroups:
    """with IdleGroups(bootstrap, topic, groups): each group has one member, and /state is answered."""

    def __init__(self, bootstrap: str, topic: str, groups: Sequence[str]) -> None:
        common: dict[str, str | int | float | bool] = {
            "bootstrap.servers": bootstrap,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5000,  # few requests: the broker shares the machine with what is measured
            "log_level": 0,
        }
        self._members = [Consumer({**common, "group.id": group}) for group in groups]
        for member in self._members:
            member.subscribe([topic])
        self._server = ThreadingHTTPServer((STATE_ADDRESS, CONSUMER_HTTP_PORT), _Answer)
        self._server.daemon_threads = True
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._server.serve_forever), threading.Thread(target=self._poll)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        with ExitStack() as closing:
            for member in self._members:
                closing.callback(member.close)

    def _poll(self) -> None:
        """A member that is never polled does not join, and is thrown out after a while."""
        while not self._ended.wait(POLL_S):
            for member in self._members:
                member.poll(0)
