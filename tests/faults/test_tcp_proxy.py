"""The proxy of the fault cells does what it says."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.tcp_proxy import TcpProxy


class Echo:
    """Sends back what it gets; ``seen``: bytes that came."""

    def __init__(self) -> None:
        self.seen = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while data := connection.recv(65_536):
                self.seen += len(data)
                connection.sendall(data)
        except OSError:
            return
        finally:
            connection.close()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def behind() -> Iterator[tuple[TcpProxy, Echo]]:
    echo = Echo()
    try:
        with TcpProxy(echo.port) as proxy:
            yield proxy, echo
    finally:
        echo.close()


def connected(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=2)


def asked(connection: socket.socket, data: bytes = b"hello") -> bytes:
    connection.sendall(data)
    return received(connection, len(data))


def received(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length and (more := connection.recv(length - len(found))):
        found += more
    return found


def test_it_carries_what_it_is_given() -> None:
    with behind() as (proxy, _), connected(proxy) as one:
        data = bytes(range(256)) * 1_000
        assert asked(one, data) == data


def test_latency_and_bandwidth_take_their_time() -> None:
    with behind() as (proxy, _), connected(proxy) as one:
        proxy.link.latency_s = 0.2
        began = time.monotonic()
        assert asked(one) == b"hello"
        assert time.monotonic() - began >= 0.4
        proxy.link.latency_s, proxy.link.bytes_per_s = 0.0, 50.0
        began = time.monotonic()
        assert asked(one, b"x" * 10) == b"x" * 10
        assert time.monotonic() - began >= 0.4


def test_silence_ends_and_nothing_was_lost() -> None:
    with behind() as (proxy, _), connected(proxy) as one:
        proxy.link.silent = True
        one.settimeout(0.3)
        with pytest.raises(TimeoutError):
            asked(one)
        proxy.heal()
        one.settimeout(2)
        assert received(one, 5) == b"hello"


def test_forgotten_connections_stay_dead_and_new_ones_work() -> None:
    with behind() as (proxy, _), connected(proxy) as one:
        assert asked(one) == b"hello"
        proxy.forget()
        one.settimeout(0.3)
        with pytest.raises(TimeoutError):
            asked(one)
        with connected(proxy) as other:
            assert asked(other) == b"hello"


def test_a_reset_is_a_reset_and_refusing_refuses() -> None:
    with behind() as (proxy, _), connected(proxy) as one:
        assert asked(one) == b"hello"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        assert proxy.resets == 1
        proxy.link.refusing = True
        # The reset may come before connecting has returned.
        with pytest.raises(ConnectionResetError), connected(proxy) as other:
            other.recv(1)


def test_a_cut_lets_so_many_bytes_through_and_no_more() -> None:
    with behind() as (proxy, echo), connected(proxy) as one:
        proxy.link.cut_after = 7
        one.sendall(b"x" * 1_000)
        with pytest.raises(ConnectionResetError):
            received(one, 1_000)
        assert echo.seen <= 7
        with connected(proxy) as other:
            assert asked(other) == b"hello"


def test_an_answer_that_is_thrown_away_was_asked_for() -> None:
    with behind() as (proxy, echo), connected(proxy) as one:
        proxy.link.unanswered = 1
        one.sendall(b"hello")
        with pytest.raises(ConnectionResetError):
            received(one, 5)
        assert echo.seen == 5
        with connected(proxy) as other:
            assert asked(other) == b"hello"
