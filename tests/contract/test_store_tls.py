"""A ClickHouse server behind TLS, with an authority of one's own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sinks.clickhouse import StoreSettings, connect
from sinks.embedded_store import EmbeddedStore
from sinks.errors import Permanent, Retryable
from sinks.http_face import HttpFace

FOLDER = Path(__file__).resolve().parents[1] / "certificates"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where the embedded store's HTTP face answers through TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem")
    with (
        EmbeddedStore(tmp_path_factory.mktemp("store")) as store,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        face = HttpFace(store, 0)
        face.start()
        accepting = threading.Thread(target=_accept, args=(listener, context, face.port))
        accepting.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(10)
            face.stop()


def test_the_authority_of_the_server_is_the_one_that_is_configured(port: int) -> None:
    url = f"https://default@localhost:{port}"
    client = connect(StoreSettings(url=url, ca_file=str(FOLDER / "authority.pem")))
    try:
        assert client.query("SELECT 41 + 1").result_rows == [(42,)]
    finally:
        client.close()
    with pytest.raises(Retryable, match="No answer"):
        connect(StoreSettings(url=url))


def test_a_missing_file_is_said_before_anything_is_sent() -> None:
    with pytest.raises(Permanent, match=r"store\.ca_file"):
        connect(StoreSettings(url="https://default@localhost:1", ca_file="/nowhere/ca.pem"))


def test_an_authority_without_tls_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="https"):
        StoreSettings(url="http://default@clickhouse:8123", ca_file="ca.pem")


def _accept(listener: socket.socket, context: ssl.SSLContext, to: int) -> None:
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_relay, args=(caller, context, to), daemon=True).start()


def _relay(caller: socket.socket, context: ssl.SSLContext, to: int) -> None:
    """One connection, in both directions, until one side hangs up."""
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", to)) as store,
        context.wrap_socket(caller, server_side=True) as inside,
    ):
        back = threading.Thread(target=_copy, args=(store, inside), daemon=True)
        back.start()
        _copy(inside, store)
        store.shutdown(socket.SHUT_WR)
        back.join(10)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
