"""A way through the network that can be cut, slowed and mended, and a thread for such things."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, find_free_port
from forebay_cli.local.ha.loop_thread import LoopThread
from forebay_cli.local.ha.network import Network

ANSWER_S = 20.0
SILENCE_S = 0.2
"""How long nothing has to arrive; a wire takes less than a millisecond."""


class Echo(socketserver.BaseRequestHandler):
    """Sends back what it gets."""

    def handle(self) -> None:
        """Until the client has nothing more to say."""
        try:
            while got := self.request.recv(65536):
                self.request.sendall(got)
        except ConnectionError:
            return


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    network.stop()


def _connect(port: int) -> socket.socket:
    return socket.create_connection((LOOPBACK, port), timeout=ANSWER_S)


def _exchange(client: socket.socket, sent: bytes) -> bytes:
    client.sendall(sent)
    got = b""
    while len(got) < len(sent):
        got += client.recv(65536)
    return got


def test_way_carries_both_directions_and_their_ends(network: Network, echo: int) -> None:
    sent = bytes(range(256)) * 1000
    with _connect(network.lead("pg1", echo)) as client:
        assert _exchange(client, sent) == sent
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_cut_way_is_silent_and_delivers_when_mended(network: Network, echo: int) -> None:
    port = network.lead("pg1", echo)
    with _connect(port) as client:
        assert _exchange(client, b"before") == b"before"
        network.cut("pg1")
        client.sendall(b"after")
        client.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            client.recv(1)
        with _connect(port) as late:  # accepted, as by a kernel whose program hears nothing
            late.sendall(b"late")
            network.mend()
            client.settimeout(ANSWER_S)
            assert client.recv(100) == b"after"
            assert late.recv(100) == b"late"


def test_cut_concerns_one_member(network: Network, echo: int) -> None:
    network.lead("pg1", echo)
    port = network.lead("pg2", echo)

    network.cut("pg1")

    with _connect(port) as client:
        assert _exchange(client, b"through") == b"through"


@pytest.mark.parametrize(
    ("delay_s", "bytes_per_s"),
    [pytest.param(0.15, None, id="delay"), pytest.param(0.0, 100_000.0, id="bandwidth")],
)
def test_slow_way_takes_its_time(network: Network, echo: int, delay_s: float, bytes_per_s: float | None) -> None:
    port = network.lead("pg1", echo)
    sent = b"x" * 15_000
    with _connect(port) as client:
        network.slow("pg1", delay_s=delay_s, bytes_per_s=bytes_per_s)
        begun_at_s = time.monotonic()
        assert _exchange(client, sent) == sent
        assert time.monotonic() - begun_at_s > 0.15, "0.15 s there, and on the way back at least the last piece"


def test_way_to_nobody_ends_the_connection(network: Network) -> None:
    with _connect(network.lead("pg1", find_free_port())) as client:
        assert client.recv(1) == b""


def test_loop_thread_hands_results_and_errors_back_and_cancels_what_is_left() -> None:
    loop = LoopThread("test")
    ended = threading.Event()

    async def stay() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        raise ValueError("as asked")

    loop.spawn(stay())
    assert loop.call(asyncio.sleep(0, "result")) == "result"
    with pytest.raises(ValueError, match="as asked"):
        loop.call(fail())
    loop.stop()
    loop.stop()
    assert wait_until(ended.is_set, ANSWER_S)
