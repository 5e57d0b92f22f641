"""TLS of the API, over real sockets: whom it lets in, and who can be sure that it is the API."""

from __future__ import annotations

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from detectors.verdict import Status
from sinks.errors import Permanent
from sinks.serve_settings import ServeSettings
from sinks.tls import tls_options
from sinks.verdict_board import Decision
from streams.errors import UserError
from streams.verdict_client import ask_verdict, client_tls
from streams.wire import encode_verdict
from tests.unit.streams.test_serve import FakeConsumer, at_end, record, serving, until, verdict

FOLDER = Path(__file__).resolve().parents[2] / "certificates"
AUTHORITY, SERVER, CLIENT = FOLDER / "authority.pem", FOLDER / "server.pem", FOLDER / "client.pem"
UNKNOWN, EXPIRED, LOCKED = (
    FOLDER / f"{name}.pem" for name in ("unknown-client", "expired-server", "locked-client")
)


def settings(server: Path = SERVER, *, asks: bool = False) -> ServeSettings:
    return ServeSettings(
        port=0,
        tls_cert_file=str(server),
        tls_key_file=str(server),
        tls_client_ca_file=str(AUTHORITY) if asks else "",
    )


def consumer() -> FakeConsumer:
    return FakeConsumer([record(encode_verdict(verdict(Status.FAIL)), 2**52), at_end(0)])


def asked(url: str, ca: Path | None = AUTHORITY, cert: Path | None = None) -> Decision:
    return ask_verdict(url, "m", "2", "", "", tls=client_tls(ca, cert)).decision


def test_a_verdict_is_asked_over_tls_with_an_authority_of_ones_own() -> None:
    with serving(settings(), consumer()) as url:
        assert url.startswith("https://")
        until(lambda: asked(url) is Decision.FAIL)
        with pytest.raises(UserError, match=r"its certificate is refused .*--ca-file"):
            asked(url, ca=None)


def test_the_certificate_must_have_the_name_that_is_asked() -> None:
    with serving(replace(settings(), host="127.0.0.2"), consumer()) as url:
        assert url.startswith("https://127.0.0.2:")
        with pytest.raises(UserError, match="its certificate is refused"):
            asked(url)


def test_nobody_is_answered_without_tls_or_with_an_old_version_of_it() -> None:
    with serving(settings(), consumer()) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
            assert b"HTTP" not in plain.recv(1_000)
        old = ssl.create_default_context(cafile=str(AUTHORITY))
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            old.wrap_socket(connection, server_hostname="localhost")


def test_a_client_without_a_certificate_of_the_authority_is_not_answered() -> None:
    with serving(settings(asks=True), consumer()) as url:
        until(lambda: asked(url, cert=CLIENT) is Decision.FAIL)
        for cert in (None, UNKNOWN):
            with pytest.raises(UserError, match="no answer"):
                asked(url, cert=cert)


def test_an_expired_certificate_is_refused_by_who_asks() -> None:
    with (
        serving(settings(EXPIRED), consumer()) as url,
        pytest.raises(UserError, match=r"its certificate is refused .*expired"),
    ):
        asked(url)


@pytest.mark.parametrize(
    "wrong",
    [
        settings(FOLDER / "nowhere.pem"),
        settings(AUTHORITY),
        settings(LOCKED),
        ServeSettings(port=0, tls_cert_file=str(SERVER), tls_key_file=str(CLIENT)),
    ],
    ids=["missing", "without a key", "with a passphrase", "key of another"],
)
def test_what_cannot_be_used_stops_the_start_in_one_line(wrong: ServeSettings) -> None:
    with pytest.raises(Permanent, match=r"serve\.tls_"):
        tls_options(wrong)


def test_files_that_cannot_be_used_by_who_asks_are_one_line_as_well() -> None:
    for ca, cert in ((SERVER.with_name("nowhere.pem"), None), (AUTHORITY, LOCKED)):
        with pytest.raises(UserError, match="cannot be"):
            client_tls(ca, cert)
