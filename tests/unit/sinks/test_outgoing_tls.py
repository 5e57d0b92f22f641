"""Mutual TLS of outgoing calls: a certificate is shown to the hosts it is for, and to no others."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from sinks.egress import Egress, EgressSettings, Reply, RetryLater
from sinks.errors import Permanent
from sinks.outgoing_tls import ClientCertificate
from tests.unit.sinks.egress_scene import Listener, listening, resolver

FOLDER = Path(__file__).resolve().parents[2] / "certificates"
AUTHORITY, CLIENT = str(FOLDER / "authority.pem"), str(FOLDER / "client.pem")


def asking() -> ssl.SSLContext:
    """A server that asks every client for a certificate of its authority. In TLS 1.3 a client
    hears of a refusal only with the answer, so what counts is that no request is read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FOLDER / "server.pem")
    context.load_verify_locations(AUTHORITY)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def call(seen: Listener, *certificates: ClientCertificate, host: str = "serve.test") -> Reply:
    resolve, _ = resolver(["127.0.0.1"])
    settings = EgressSettings(
        allow_private=(f"{host}:{seen.port}",), ca_file=AUTHORITY, client_certificates=certificates
    )
    return await Egress(settings, resolve).post(f"https://{host}:{seen.port}/", {}, b"{}")


def test_a_far_side_that_asks_who_calls_is_told() -> None:
    async def main() -> None:
        async with listening(tls=asking()) as seen:
            for hosts in (("serve.test",), ("*.test",), (f"serve.test:{seen.port}",)):
                reply = await call(seen, ClientCertificate(hosts, CLIENT))
                assert reply.status == 200
            assert len(seen.heads) == 3

    asyncio.run(main())


def test_without_the_right_certificate_nothing_is_sent() -> None:
    unknown = str(FOLDER / "unknown-client.pem")

    async def main() -> None:
        async with listening(tls=asking()) as seen:
            for certificates in (
                (),
                (ClientCertificate(("other.test",), CLIENT),),
                (ClientCertificate((f"serve.test:{seen.port + 1}",), CLIENT),),
                (ClientCertificate(("serve.test",), unknown),),
                # The first that fits a host counts, so that there is no doubt which it is.
                (ClientCertificate(("*",), unknown), ClientCertificate(("serve.test",), CLIENT)),
            ):
                with pytest.raises(RetryLater):
                    await call(seen, *certificates)
            assert seen.heads == []

    asyncio.run(main())


def test_the_far_side_must_still_prove_itself() -> None:
    async def main() -> None:
        expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        expired.load_cert_chain(FOLDER / "expired-server.pem")
        async with listening(tls=expired) as seen:
            with pytest.raises(RetryLater, match=r"certificate is refused .*expired"):
                await call(seen, ClientCertificate(("*",), CLIENT))
        async with listening(tls=asking()) as seen:
            with pytest.raises(RetryLater, match="certificate is refused"):
                await call(seen, ClientCertificate(("*",), CLIENT), host="other.test")
            assert seen.heads == []

    asyncio.run(main())


@pytest.mark.parametrize("file", ["nowhere.pem", "authority.pem", "locked-client.pem"])
def test_a_certificate_that_cannot_be_used_stops_the_start(file: str) -> None:
    certificate = ClientCertificate(("*",), str(FOLDER / file))
    with pytest.raises(Permanent, match="client_certificates") as refused:
        Egress(EgressSettings(client_certificates=(certificate,)))
    assert "BEGIN" not in str(refused.value)


def test_a_certificate_for_nobody_is_refused() -> None:
    for hosts, file in (((), CLIENT), (("a",), "")):
        with pytest.raises(ValueError, match="are needed"):
            ClientCertificate(hosts, file)
