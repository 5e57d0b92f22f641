"""G5 to G9: how many connections reach where none may go, through our way out and without it.

    python -m tests.faults.egress_cells

prints the count of each cell. Without its guard, which is a plain HTTP client in the place of
`sinks.egress.Egress`, the same cell must reach the forbidden listener.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


async def _through(egress: Egress, url: str) -> None:
    try:
        await egress.post(url, {}, b"{}")
    except (Forbidden, RetryLater):
        return


async def _plain(url: str, **given: Any) -> None:
    async with httpx2.AsyncClient(timeout=2, **given) as client:
        try:
            await client.post(url, content=b"{}")
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return


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


async def proxies(*, guarded: bool) -> int:
    """The environment names a proxy."""
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


@dataclass(frozen=True, slots=True)
class EgressCell:
    """``play`` gives how often it reached where it may not go."""

    id: str
    fault: str
    play: Callable[..., Coroutine[Any, Any, int]]
    guard: str


CELLS: Final = (
    EgressCell("G5", "spellings of forbidden addresses", addresses, "addresses are checked"),
    EgressCell("G6", "a redirect", redirects, "redirects are not followed"),
    EgressCell("G7", "a rebinding resolver", rebinding, "it is asked once"),
    EgressCell("G8", "a proxy", proxies, "no proxy is used"),
    EgressCell("G9", "another's certificate", certificates, "certificates are checked"),
)


def main() -> int:
    wrong = 0
    for cell in CELLS:
        found = asyncio.run(cell.play(guarded=True))
        without = asyncio.run(cell.play(guarded=False))
        right = found == 0 and without > 0
        wrong += not right
        print(
            f"{'ok    ' if right else 'FAILED'} {cell.id:4} {cell.fault}: {found} forbidden"
            f" connections; without its guard ({cell.guard}): {without}",
            flush=True,
        )
    print(f"cells: {len(CELLS)}, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
