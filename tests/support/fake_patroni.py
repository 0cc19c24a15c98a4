"""A Patroni member reduced to what HAProxy sees of it: the REST API's checks, and a port that says who answers."""

from __future__ import annotations

import socketserver
import threading
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOOPBACK = "127.0.0.1"


class Role(StrEnum):
    """What a member is at the moment; DOWN answers every check with 503."""

    PRIMARY = "primary"
    REPLICA = "replica"
    DOWN = "down"


class FakeMember:
    """One member on loopback, in threads of this process; use it in a `with`.

    role and lag_bytes may be changed at any time; while `answering` is cleared, checks hang. The database port sends
    the member's name and then stays silent.
    """

    def __init__(self, name: str, role: Role, lag_bytes: int = 0) -> None:
        self.name = name
        self.role = role
        self.lag_bytes = lag_bytes
        self.answering = threading.Event()
        self.answering.set()
        self._rest = ThreadingHTTPServer((LOOPBACK, 0), _make_rest_handler(self))
        self._database = _Database((LOOPBACK, 0), _make_database_handler(name))
        self._threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            for server in (self._rest, self._database)
        ]

    @property
    def as_static_value(self) -> dict[str, Any]:
        """The member as the chart's value members.static wants it."""
        return {
            "name": self.name,
            "host": LOOPBACK,
            "port": self._database.server_address[1],
            "restPort": self._rest.server_address[1],
        }

    def answer(self, path: str) -> int:
        """The HTTP status of a check, by Patroni's rules."""
        asked = urlsplit(path)
        if asked.path == "/primary":
            return 200 if self.role is Role.PRIMARY else 503
        if asked.path == "/replica":
            (bound,) = parse_qs(asked.query).get("lag", ["0"])
            return 200 if self.role is Role.REPLICA and self.lag_bytes <= int(bound) else 503
        return 404

    def __enter__(self) -> FakeMember:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answering.set()
        for server, thread in zip((self._rest, self._database), self._threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


class _Database(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True  # a session that the test forgot ends with the process


def _make_database_handler(name: str) -> type[socketserver.BaseRequestHandler]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                self.request.sendall(f"{name}\n".encode())
                while self.request.recv(1024):
                    pass
            except ConnectionError:
                return  # HAProxy cuts sessions with a reset

    return Handler


def _make_rest_handler(member: FakeMember) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            member.answering.wait()
            try:
                self.send_response(member.answer(self.path))
                self.end_headers()
            except ConnectionError:
                return  # a killed HAProxy does not wait for answers

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: it would be one line a check."""

    return Handler
