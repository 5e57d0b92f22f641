"""Outgoing calls go where configuration allows, and nowhere else: counted at a listener."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from sinks.egress import (
    Egress,
    EgressSettings,
    Forbidden,
    Reply,
    RetryLater,
    parse_retry_after,
    raise_for_failure,
)
from sinks.errors import Permanent
from tests.unit.sinks.egress_scene import PEM, listening, resolver


async def refused(url: str, egress: Egress) -> Exception:
    try:
        reply = await egress.post(url, {}, b"{}")
    except (Forbidden, RetryLater) as error:
        return error
    raise AssertionError(f"{url} was called and answered {reply.status}")


SPELLINGS = [
    "127.0.0.1",
    "[::1]",
    "0.0.0.0",  # noqa: S104 an address to refuse, not one to bind
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.0.1.",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "a.localhost",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "[fd00::1]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "224.0.0.1",
    "[ff02::1]",
    "255.255.255.255",
    "198.18.0.1",
    "127。0。0。1",
    "１２７.0.0.1",
    "127.0.0.1%00.example.com",
    "[fe80::1%25lo]",
    "user@127.0.0.1",
    "user:pass@example.com",
    "example.com\\@127.0.0.1",
    "127.0.0.1\t",
]


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_no_spelling_of_a_forbidden_address_is_contacted(scheme: str) -> None:
    async def main() -> None:
        async with listening() as seen:
            # The system's resolver reads the odd spellings as loopback: the worst case.
            resolve, _ = resolver(["127.0.0.1"])
            egress = Egress(EgressSettings(), resolve)
            for spelling in SPELLINGS:
                error = await refused(f"{scheme}://{spelling}:{seen.port}/x", egress)
                assert isinstance(error, Forbidden), spelling
            assert seen.connects == 0

    asyncio.run(main())


def test_the_listener_does_count_what_is_allowed() -> None:
    async def main() -> None:
        async with listening() as seen:
            egress = Egress(EgressSettings(allow_private=(f"127.0.0.1:{seen.port}",)))
            reply = await egress.post(f"http://127.0.0.1:{seen.port}/x?y=1", {"a": "b"}, b"{}")
            assert (reply.status, reply.body, seen.connects) == (200, b"ok", 1)
            assert seen.heads[0].startswith("POST /x?y=1 HTTP/1.1\r\n")

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://example.com/",
        "ftp://example.com/",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "http://example.com/",
        "https:///x",
        "https://exa mple.com/",
        "https://example.com/#fragment",
        "https://example.com/\r\nhost: x",
        "https://-.com/",
        "//example.com/",
        "https://" + "a" * 4000,
    ],
)
def test_urls_are_refused_before_anything_is_resolved(url: str) -> None:
    resolve, asked = resolver(["93.184.215.14"])

    async def main() -> None:
        with pytest.raises(Forbidden):
            await Egress(EgressSettings(), resolve).post(url, {}, b"")

    asyncio.run(main())
    assert asked == []


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["93.184.215.14", "127.0.0.1"],
        ["127.0.0.1", "93.184.215.14"],
        ["::ffff:10.0.0.1"],
        ["169.254.169.254"],
        ["fe80::1%eth0"],
        ["0.0.0.0"],  # noqa: S104
        [],
    ],
)
def test_a_name_with_one_forbidden_address_is_not_contacted(answers: list[str]) -> None:
    async def main() -> None:
        async with listening() as seen:
            resolve, _ = resolver(answers)
            error = await refused(
                f"https://127.0.0.1.nip.example:{seen.port}/", Egress(EgressSettings(), resolve)
            )
            assert isinstance(error, RetryLater)
            assert seen.connects == 0

    asyncio.run(main())


def test_a_rebinding_resolver_is_asked_once_and_its_second_answer_is_never_used() -> None:
    async def main() -> None:
        async with listening() as seen:
            # 192.0.2.1 is for documentation: a public answer would be a call to a real host.
            resolve, asked = resolver(["192.0.2.1"], ["127.0.0.1"])
            settings = EgressSettings(
                allow_private=("192.0.2.0/24",), connect_timeout_ms=200, total_timeout_ms=400
            )
            error = await refused(f"http://rebind.example:{seen.port}/", Egress(settings, resolve))
            assert isinstance(error, RetryLater)
            assert (asked, seen.connects) == (["rebind.example"], 0)

    asyncio.run(main())


def test_the_call_goes_to_the_checked_address_under_the_name_of_the_url() -> None:
    async def main() -> None:
        async with listening() as seen:
            resolve, asked = resolver(["127.0.0.1"])
            settings = EgressSettings(allow_private=(f"deployer.test:{seen.port}",))
            reply = await Egress(settings, resolve).post(
                f"http://Deployer.Test:{seen.port}/", {}, b"{}"
            )
            assert reply.status == 200
            assert f"host: deployer.test:{seen.port}\r\n" in seen.heads[0].lower()
            assert asked == ["deployer.test"]

    asyncio.run(main())


def test_a_listed_name_opens_no_metadata_service() -> None:
    metadata = ("169.254.169.254", "fd00:ec2::254", "0.0.0.0", "224.0.0.1")  # noqa: S104
    for answer in metadata:
        resolve, _ = resolver([answer])
        settings = EgressSettings(allow_private=("deployer.test:80",))
        error = asyncio.run(refused("http://deployer.test/", Egress(settings, resolve)))
        assert isinstance(error, RetryLater)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_failures_and_are_not_followed(status: int) -> None:
    async def main() -> None:
        async with listening() as internal:
            head = f"HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:{internal.port}/\r\n"
            async with listening((head + "content-length: 0\r\n\r\n").encode()) as seen:
                settings = EgressSettings(
                    allow_private=(f"127.0.0.1:{seen.port}", f"127.0.0.1:{internal.port}")
                )
                reply = await Egress(settings).post(f"http://127.0.0.1:{seen.port}/", {}, b"")
                assert (reply.status, internal.connects) == (status, 0)
                with pytest.raises(Permanent, match="redirect"):
                    raise_for_failure(reply, "deployer")

    asyncio.run(main())


def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with listening() as proxy, listening() as seen:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            settings = EgressSettings(allow_private=(f"127.0.0.1:{seen.port}",))
            await Egress(settings).post(f"http://127.0.0.1:{seen.port}/", {}, b"")
            assert (proxy.connects, seen.connects) == (0, 1)

    asyncio.run(main())


def test_a_huge_response_is_cut_and_a_dripping_one_ends_at_the_deadline() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"

    async def main() -> None:
        async with listening(head, drip=b"x" * 50_000, drips=100) as seen:
            settings = EgressSettings(allow_private=(f"127.0.0.1:{seen.port}",))
            reply = await Egress(settings).post(f"http://127.0.0.1:{seen.port}/", {}, b"")
            assert (reply.status, len(reply.body)) == (200, 64 * 1024)
        async with listening(head, drip=b"x", drips=100) as seen:
            settings = EgressSettings(
                allow_private=(f"127.0.0.1:{seen.port}",), total_timeout_ms=400
            )
            start = asyncio.get_running_loop().time()
            reply = await Egress(settings).post(f"http://127.0.0.1:{seen.port}/", {}, b"")
            assert reply.status == 200
            assert asyncio.get_running_loop().time() - start < 2
        async with listening(b"HTTP/1.1 200 OK\r\n", drip=b"a: b\r\n", drips=100) as seen:
            settings = EgressSettings(
                allow_private=(f"127.0.0.1:{seen.port}",), total_timeout_ms=300
            )
            with pytest.raises(RetryLater, match="no answer within 300 ms"):
                await Egress(settings).post(f"http://127.0.0.1:{seen.port}/", {}, b"")

    asyncio.run(main())


def test_certificates_are_checked_against_the_name_of_the_url() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)

    async def call(host: str, settings: EgressSettings, port: int) -> Reply:
        resolve, _ = resolver(["127.0.0.1"])
        listed = replace(settings, allow_private=(f"{host}:{port}",))
        return await Egress(listed, resolve).post(f"https://{host}:{port}/", {}, b"{}")

    async def main() -> None:
        async with listening(tls=context) as seen:
            with pytest.raises(RetryLater, match="certificate is refused"):
                await call("deployer.test", EgressSettings(), seen.port)
            trusted = EgressSettings(ca_file=str(PEM))
            with pytest.raises(RetryLater, match="certificate is refused"):
                await call("other.test", trusted, seen.port)
            assert seen.heads == []
            assert (await call("deployer.test", trusted, seen.port)).status == 200

    asyncio.run(main())


def test_errors_show_the_host_and_no_secret_of_the_url() -> None:
    resolve, _ = resolver(["10.0.0.1"])
    texts = [
        str(asyncio.run(refused(url, Egress(EgressSettings(), resolve))))
        for url in (
            "https://hooks.example/services/SECRET?token=SECRET",
            "https://me:SECRET@hooks.example/",
            "http://hooks.example/SECRET",
            "https://hooks.example:22/SECRET",
        )
    ]
    assert all("SECRET" not in text for text in texts)
    assert "hooks.example" in texts[0]


@pytest.mark.parametrize("header", [{"Host": "x"}, {"a": "b\r\nc: d"}, {"Content-Length": "1"}])
def test_headers_that_would_change_the_request_are_refused(header: dict[str, str]) -> None:
    settings = EgressSettings(allow_private=("127.0.0.1:9",))
    with pytest.raises(Permanent, match="cannot be sent"):
        asyncio.run(Egress(settings).post("http://127.0.0.1:9/", header, b""))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120_000),
        (" 1.5 ", 1_500),
        ("Sat, 21 Nov 2026 00:01:00 GMT", 60_000),
        ("Fri, 20 Nov 2026 00:00:00 GMT", 0),
        ("999999999", 86_400_000),
        ("nan", None),
        ("-1", 0),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    value: str | None, expected: int | None
) -> None:
    assert parse_retry_after(value, datetime(2026, 11, 21, tzinfo=UTC)) == expected
