"""G5 to G9: how many connections reach where none may go, through our way out and without it.

Without its guard, which is a plain HTTP client in the place of `sinks.egress.Egress`, each must
reach the forbidden listener.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from sinks.egress import Egress, EgressSettings, Forbidden, RetryLater
from tests.unit.sinks.egress_scene import PEM, listening, resolver

SPELLINGS: Final = (
    "127.0.0.1",
    "localhost",
    "127.0.0.1.",
    "2130706433",
    "0x7f.1",
    "[::ffff:7f00:1]",
)


async def _through(egress: Egress, url: str) -> bytes:
    """What came back, if anything."""
    try:
        return (await egress.post(url, {}, b"{}")).body
    except (Forbidden, RetryLater):
        return b""


async def _plain(url: str, **given: Any) -> bytes:
    async with httpx2.AsyncClient(timeout=2, **given) as client:
        try:
            return (await client.post(url, content=b"{}")).content
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return b""


async def addresses(*, guarded: bool) -> int:
    async with listening() as inside:
        for spelling in SPELLINGS:
            url = f"http://{spelling}:{inside.port}/"
            if guarded:
                await _through(Egress(EgressSettings(), resolver(["127.0.0.1"])[0]), url)
            else:
                await _plain(url, trust_env=False)
        return inside.connects


async def redirects(*, guarded: bool) -> int:
    async with listening() as inside:
        head = f"HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:{inside.port}/\r\n"
        async with listening((head + "content-length: 0\r\n\r\n").encode()) as listed:
            url = f"http://127.0.0.1:{listed.port}/"
            if guarded:
                allowed = (f"127.0.0.1:{listed.port}", f"127.0.0.1:{inside.port}")
                await _through(Egress(EgressSettings(allow_private=allowed)), url)
            else:
                await _plain(url, trust_env=False, follow_redirects=True)
        return inside.connects


async def rebinding(*, guarded: bool) -> int:
    """The name has an allowed address when it is checked, and another one a moment later."""
    async with listening() as inside:
        resolve, _ = resolver(["192.0.2.1"], ["127.0.0.1"])
        if guarded:
            quick = EgressSettings(
                allow_private=("192.0.2.0/24",), connect_timeout_ms=200, total_timeout_ms=400
            )
            await _through(Egress(quick, resolve), f"http://rebind.example:{inside.port}/")
        else:
            if await resolve("rebind.example", inside.port) == ["192.0.2.1"]:  # checked
                (address,) = await resolve("rebind.example", inside.port)  # and asked again
                await _plain(f"http://{address}:{inside.port}/", trust_env=False)
        return inside.connects


async def proxies_and_answers(*, guarded: bool) -> int:
    """The environment names a proxy; and an answer is larger than any has to be."""
    return await _proxies(guarded=guarded) + await _large_answers(guarded=guarded)


async def _large_answers(*, guarded: bool) -> int:
    part, parts = b"x" * 50_000, 10
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(part) * parts}\r\n\r\n".encode()
    async with listening(head, drip=part, drips=parts) as listed:
        url = f"http://127.0.0.1:{listed.port}/"
        settings = EgressSettings(allow_private=(f"127.0.0.1:{listed.port}",))
        got = await (_through(Egress(settings), url) if guarded else _plain(url, trust_env=False))
        return int(not 0 < len(got) <= settings.max_response_bytes)


async def _proxies(*, guarded: bool) -> int:
    async with listening() as proxy, listening() as listed:
        url = f"http://127.0.0.1:{listed.port}/"
        with _environment(f"http://127.0.0.1:{proxy.port}"):
            if guarded:
                settings = EgressSettings(allow_private=(f"127.0.0.1:{listed.port}",))
                await _through(Egress(settings), url)
            else:
                await _plain(url)
        return proxy.connects


@contextmanager
def _environment(proxy: str) -> Iterator[None]:
    names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: proxy if "NO" not in name.upper() else "" for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def certificates(*, guarded: bool) -> int:
    """Requests that were sent to somebody who cannot prove his name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    async with listening(tls=context) as stranger:
        if guarded:
            listed = EgressSettings(allow_private=(f"deployer.test:{stranger.port}",))
            egress = Egress(listed, resolver(["127.0.0.1"])[0])
            await _through(egress, f"https://deployer.test:{stranger.port}/")
        else:
            await _plain(f"https://127.0.0.1:{stranger.port}/", trust_env=False, verify=False)
        return len(stranger.heads)
