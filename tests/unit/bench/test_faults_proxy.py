"""The proxy of the fault campaign: each verb does on real sockets what its name says, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from forebay_cli.local.deadlines import wait_until
from forebay_cli.local.free_ports import LOOPBACK, find_free_port

from bench.faults.proxy import Direction, FaultProxy

SILENCE_S = 0.3
"""How long is listened to make out that nothing comes."""
DEADLINE_S = 5.0


class Server:
    """Accepts connections and keeps them."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self.accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(DEADLINE_S)
            self.accepted.append(connection)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self.accepted:
            connection.close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    running = FaultProxy(find_free_port(), server.port)
    yield running
    running.stop()


Connect = Callable[[], tuple[socket.socket, socket.socket]]


@pytest.fixture
def connect(server: Server, proxy: FaultProxy) -> Iterator[Connect]:
    """connect() returns the client's end and the server's of a new connection."""
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        count, joined = len(server.accepted), proxy.counts.joined
        client = socket.create_connection((LOOPBACK, proxy.port), timeout=DEADLINE_S)
        made.append(client)
        # The server has it a moment before the proxy knows.
        assert wait_until(lambda: len(server.accepted) > count and proxy.counts.joined > joined, DEADLINE_S)
        return client, server.accepted[count]

    yield make
    for client in made:
        client.close()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the end, which is an orderly one."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def is_silent(connection: socket.socket) -> bool:
    connection.settimeout(SILENCE_S)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(DEADLINE_S)
    return False


def test_bytes_and_ends_pass_in_both_directions(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    client.sendall(b"question")
    assert server.recv(100) == b"question"
    server.sendall(b"answer")
    assert client.recv(100) == b"answer"
    client.shutdown(socket.SHUT_WR)

    assert server.recv(100) == b""
    assert proxy.counts.moved == {Direction.UP: 8, Direction.DOWN: 6}


def test_close_ends_every_connection_in_good_order_and_new_ones_are_welcome(
    connect: Connect, proxy: FaultProxy
) -> None:
    pairs = [connect(), connect()]

    assert proxy.close() == 2

    for client, server in pairs:
        assert (client.recv(1), server.recv(1)) == (b"", b"")
    client, server = connect()
    client.sendall(b"x")
    assert server.recv(1) == b"x"


def test_reset_ends_every_connection_with_an_error_on_both_sides(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()

    assert proxy.reset() == 1

    for end in (client, server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_abandon_resets_the_client_and_keeps_the_server_waiting_until_release(
    connect: Connect, proxy: FaultProxy
) -> None:
    client, server = connect()

    assert proxy.abandon() == 1

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert is_silent(server)
    proxy.release()
    assert server.recv(1) == b""


@pytest.mark.parametrize(
    ("directions", "up_is_silent", "down_is_silent"),
    [
        pytest.param({Direction.UP, Direction.DOWN}, True, True, id="both"),
        pytest.param({Direction.UP}, True, False, id="up"),
        pytest.param({Direction.DOWN}, False, True, id="down"),
    ],
)
def test_hole_swallows_its_directions_and_what_it_held_arrives_after_fill(
    connect: Connect, proxy: FaultProxy, directions: set[Direction], up_is_silent: bool, down_is_silent: bool
) -> None:
    client, server = connect()
    proxy.hole(directions)
    client.sendall(b"u")
    server.sendall(b"d")

    assert is_silent(server) == up_is_silent
    assert is_silent(client) == down_is_silent
    proxy.fill(directions)
    if up_is_silent:
        assert server.recv(1) == b"u"
    if down_is_silent:
        assert client.recv(1) == b"d"


def test_hole_hides_the_end_of_a_connection_too(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.hole()
    client.close()

    assert is_silent(server)
    proxy.fill()
    assert server.recv(1) == b""


def test_delay_holds_what_comes_after_a_pause_for_its_time(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.slow(delay_ms=200)
    began_at_s = time.monotonic()
    client.sendall(b"x")
    server.recv(1)
    took_s = time.monotonic() - began_at_s
    proxy.slow()
    client.sendall(b"y")
    server.recv(1)

    assert 0.2 <= took_s < 2.0


def test_latency_stays_after_mend_and_does_not_add_up_over_pieces(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.settle(200)
    proxy.mend()
    began_at_s = time.monotonic()
    client.sendall(bytes(200_000))
    client.shutdown(socket.SHUT_WR)

    assert len(read_all(server)) == 200_000
    assert 0.2 <= time.monotonic() - began_at_s < 1.5


def test_throttle_lets_no_more_than_its_rate_through(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.slow(bytes_per_s=100_000)
    began_at_s = time.monotonic()
    client.sendall(bytes(50_000))
    client.shutdown(socket.SHUT_WR)

    assert len(read_all(server)) == 50_000
    assert 0.45 <= time.monotonic() - began_at_s < 3.0


@pytest.mark.parametrize("cut_bytes", [0, 1, 777, 40_000])
def test_cut_up_lets_exactly_so_many_bytes_reach_the_server(
    connect: Connect, proxy: FaultProxy, cut_bytes: int
) -> None:
    client, server = connect()
    sent = bytes(number % 251 for number in range(60_000))
    proxy.cut_after(cut_bytes, Direction.UP)
    client.sendall(sent)

    assert read_all(server) == sent[:cut_bytes]
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.counts.cuts == 1


def test_cut_down_lets_exactly_so_many_bytes_reach_the_client_over_all_connections(
    connect: Connect, proxy: FaultProxy
) -> None:
    (first, to_first), (second, to_second) = connect(), connect()
    proxy.cut_after(10, Direction.DOWN)
    to_first.sendall(b"1234567")
    assert first.recv(100) == b"1234567"
    to_second.sendall(b"abcdefg")

    assert read_all(second) == b"abc"
    to_first.sendall(b"8")
    assert first.recv(1) == b"8"
    assert not proxy.forget_cut(Direction.DOWN)


def test_cut_waits_for_the_byte_after_its_last(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.cut_after(3, Direction.DOWN)
    server.sendall(b"abc")
    assert client.recv(100) == b"abc"
    client.sendall(b"COMMIT")

    assert server.recv(100) == b"COMMIT"
    server.sendall(b"done")
    assert client.recv(100) == b""
    assert proxy.counts.cuts == 1


def test_forgotten_cut_cuts_nothing(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.cut_after(0, Direction.UP)

    assert proxy.forget_cut(Direction.UP)
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    assert proxy.counts.cuts == 0


def test_lost_answer_reaches_nobody_though_its_question_was_heard(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.lose_answer(b"COMMIT")
    client.sendall(b"BEGIN")
    assert server.recv(100) == b"BEGIN"
    server.sendall(b"begun")
    assert client.recv(100) == b"begun"
    client.sendall(b"COMMIT")
    assert server.recv(100) == b"COMMIT"
    assert is_silent(client)
    server.sendall(b"committed")

    with pytest.raises(ConnectionResetError):
        client.recv(100)
    assert proxy.counts.cuts == 1


def test_only_one_answer_is_lost(connect: Connect, proxy: FaultProxy) -> None:
    (first, to_first), (second, to_second) = connect(), connect()
    proxy.lose_answer(b"COMMIT")
    first.sendall(b"COMMIT")
    assert to_first.recv(100) == b"COMMIT"
    second.sendall(b"COMMIT")
    assert to_second.recv(100) == b"COMMIT"
    to_second.sendall(b"committed")

    assert second.recv(100) == b"committed"


def test_refuse_refuses_new_connections_and_keeps_those_that_are_open(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, proxy.port), timeout=DEADLINE_S)
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    proxy.accept()
    connect()


def test_mend_undoes_every_verb(connect: Connect, proxy: FaultProxy) -> None:
    client, server = connect()
    proxy.hole()
    proxy.slow(delay_ms=60_000, bytes_per_s=1)
    proxy.cut_after(0, Direction.UP)
    proxy.lose_answer(b"x")
    proxy.refuse()

    proxy.mend()

    client.sendall(b"x")
    assert server.recv(1) == b"x"
    server.sendall(b"y")
    assert client.recv(1) == b"y"
    connect()


def test_client_of_a_server_that_is_not_there_is_told_by_the_end() -> None:
    alone = FaultProxy(find_free_port(), find_free_port())
    try:
        with socket.create_connection((LOOPBACK, alone.port), timeout=DEADLINE_S) as client:
            assert client.recv(1) == b""
    finally:
        alone.stop()
