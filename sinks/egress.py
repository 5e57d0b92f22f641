"""The one way out: every HTTP call that driftline makes to receivers goes through here.

What it keeps (promise 8): the host is resolved once, every address it has is checked, and the
connection goes to a checked address with the right Host header and TLS name. There are no
redirects, no proxies, no cookies, no settings from the environment and no decompression. The
whole call has one deadline; the response is read up to a limit. Errors and logs show the host and
nothing else of a URL, as paths and queries may hold secrets.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from math import isfinite
from typing import ClassVar

import httpx2

from sinks.addresses import (
    Address,
    AllowList,
    Target,
    UrlError,
    parse_allow_list,
    parse_url,
    permitted,
)
from sinks.errors import Gone, Permanent, Retryable
from sinks.outgoing_tls import ClientCertificate, OutgoingTls, tls_failure

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to the addresses of the host, as text."""

MAX_RETRY_AFTER_MS = 24 * 3_600_000
_RETRIED = frozenset({408, 425, 429})
_REFUSED_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class EgressSettings:
    """Where outgoing calls may go and what they may cost.

    ``allow_private``: ``host:port`` or networks beyond the public internet, see
    `sinks.addresses`. ``ca_file``: further certificate authorities, in PEM.
    ``client_certificates``: for far sides that ask who calls (mutual TLS).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    allow_private: tuple[str, ...] = ()
    connect_timeout_ms: int = 5_000
    total_timeout_ms: int = 20_000
    max_request_bytes: int = 512 * 1024
    max_response_bytes: int = 64 * 1024
    ca_file: str = ""
    client_certificates: tuple[ClientCertificate, ...] = ()

    def __post_init__(self) -> None:
        parse_allow_list(self.allow_private)
        for name in ("connect_timeout_ms", "total_timeout_ms", "max_request_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"egress: {name} must be above 0")
        if self.max_response_bytes < 0:
            raise ValueError("egress: max_response_bytes must be 0 or more")


class RetryLater(Retryable):
    """A failure that may pass, with the wait the far side asked for (None if it did not say)."""

    def __init__(self, text: str, retry_after_ms: int | None = None) -> None:
        super().__init__(text)
        self.retry_after_ms = retry_after_ms


class Forbidden(Permanent):
    """A call that configuration does not allow."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. ``body`` is cut at the limit, and may be short if the far side stalled."""

    status: int
    retry_after_ms: int | None
    body: bytes


async def resolve_with_system(host: str, port: int) -> list[str]:
    """The addresses of ``host``, from the resolver of the machine. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """Sends requests under ``settings``. It holds no connection between calls, so that each call
    is checked anew; make one and share it."""

    def __init__(
        self,
        settings: EgressSettings,
        resolve: Resolve = resolve_with_system,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls`` replaces the usual trust, for a far side with an authority of its own."""
        self._settings = settings
        self._allowed: AllowList = parse_allow_list(settings.allow_private)
        self._resolve = resolve
        self._tls_to: Callable[[str, int], ssl.SSLContext] = (
            OutgoingTls(settings.ca_file, settings.client_certificates).to
            if tls is None
            else lambda _host, _port: tls
        )

    def check(self, url: str) -> Target:
        """What `request` would refuse without asking a resolver. Raises Forbidden."""
        try:
            return parse_url(url, self._allowed)
        except UrlError as error:
            raise Forbidden(str(error)) from None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """`request` with POST."""
        return await self.request("POST", url, headers, body)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Reply:
        """Send once. Any status is a reply; what it means is for the receiver to say.

        Raises Forbidden for a URL that may not be called and RetryLater when no status came back
        in time. RetryLater is also raised when a name resolves to an address that is not allowed:
        a lying resolver must neither get a call nor cancel one for good.
        """
        target = self.check(url)
        if len(body) > self._settings.max_request_bytes:
            raise Permanent(
                f"{target.authority}: the body has {len(body)} bytes, "
                f"more than {self._settings.max_request_bytes}"
            )
        try:
            async with asyncio.timeout(self._settings.total_timeout_ms / 1000) as deadline:
                addresses = await self._addresses(target)
                return await self._send(method, target, addresses, headers, body, deadline)
        except TimeoutError:
            raise RetryLater(
                f"{target.authority}: no answer within {self._settings.total_timeout_ms} ms"
            ) from None

    async def _addresses(self, target: Target) -> list[Address]:
        """Every address of the target, all of them checked: one bad one refuses them all."""
        if target.address is not None:
            # Checked again, as a network of the list may open http to this address or not.
            if not permitted(target, target.address, self._allowed):
                raise Forbidden(
                    f"{target.authority} may not be called; list host:port in egress.allow_private"
                )
            return [target.address]
        try:
            found = [ip_address(text) for text in await self._resolve(target.host, target.port)]
        except (OSError, ValueError, UnicodeError) as error:
            raise RetryLater(
                f"{target.authority} cannot be resolved ({type(error).__name__}); check its name"
            ) from None
        if not found:
            raise RetryLater(f"{target.authority} has no address; check its name")
        if not all(permitted(target, address, self._allowed) for address in found):
            raise RetryLater(
                f"{target.authority} resolves to an address that is not public, or is called "
                "without TLS: not called; if it is intended, list host:port in egress.allow_private"
            )
        return found

    async def _send(
        self,
        method: str,
        target: Target,
        addresses: list[Address],
        headers: Mapping[str, str],
        body: bytes,
        deadline: asyncio.Timeout,
    ) -> Reply:
        failure = "no address"
        for address in addresses:
            # A transport of its own for each call: a pooled connection was checked for another
            # host name, as pools only know the address.
            tls = self._tls_to(target.host, target.port)
            async with httpx2.AsyncHTTPTransport(verify=tls, trust_env=False) as transport:
                try:
                    response = await transport.handle_async_request(
                        self._request(method, target, address, headers, body)
                    )
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    # Nothing was sent yet: the next address may be tried.
                    failure = _connect_failure(error)
                    continue
                except httpx2.TransportError as error:
                    raise RetryLater(
                        f"{target.authority}: {type(error).__name__} after the request was sent"
                    ) from None
                return Reply(
                    status=response.status_code,
                    retry_after_ms=parse_retry_after(
                        response.headers.get("retry-after"), datetime.now(UTC)
                    ),
                    body=await self._body(response, deadline),
                )
        raise RetryLater(f"{target.authority}: {failure}")

    def _request(
        self,
        method: str,
        target: Target,
        address: Address,
        headers: Mapping[str, str],
        body: bytes,
    ) -> httpx2.Request:
        host = f"[{address}]" if address.version == 6 else str(address)
        sent = {name.lower(): value for name, value in headers.items()}
        for name, value in sent.items():
            if name in _REFUSED_HEADERS or "\r" in value or "\n" in value or "\0" in value:
                raise Permanent(f"{target.authority}: header {name!r} cannot be sent as given")
        connect_s = self._settings.connect_timeout_ms / 1000
        total_s = self._settings.total_timeout_ms / 1000
        timeout = httpx2.Timeout(total_s, connect=connect_s).as_dict()
        return httpx2.Request(
            method,
            f"{target.scheme}://{host}:{target.port}{target.path}",
            headers={"host": target.authority, "user-agent": "driftline", **sent},
            content=body,
            extensions={"timeout": timeout, "sni_hostname": target.host},
        )

    async def _body(self, response: httpx2.Response, deadline: asyncio.Timeout) -> bytes:
        """The first bytes of the body. The status is the answer, so a body that stalls, breaks or
        never ends takes nothing from it."""
        limit = self._settings.max_response_bytes
        kept = bytearray()
        due = deadline.when()
        remaining = None if due is None else due - asyncio.get_running_loop().time()
        try:
            # Half of what is left, so that this ends before the deadline of the whole call.
            async with asyncio.timeout(None if remaining is None else remaining / 2):
                async for chunk in response.aiter_raw():
                    kept += chunk[: limit - len(kept)]
                    if len(kept) >= limit:
                        break
        except (httpx2.TransportError, TimeoutError):
            return bytes(kept)
        finally:
            await response.aclose()
        return bytes(kept)


def raise_for_failure(reply: Reply, receiver: str, *, also_retried: int | None = None) -> None:
    """Turn a status into an error: nothing for success, RetryLater for what asks to come again,
    ``also_retried`` and 5xx, Gone for 410, Permanent for the rest, redirects included (they are not
    followed)."""
    if 200 <= reply.status < 300:
        return
    if reply.status in {*_RETRIED, also_retried} or 500 <= reply.status < 600:
        raise RetryLater(f"{receiver} answered {reply.status}", reply.retry_after_ms)
    if 300 <= reply.status < 400:
        raise Permanent(
            f"{receiver} answered {reply.status}, a redirect; configure the final URL instead"
        )
    if reply.status == 410:
        raise Gone(f"{receiver} answered 410: it wants no more calls; remove or replace it")
    raise Permanent(f"{receiver} refused the call with {reply.status}; check its configuration")


def parse_retry_after(value: str | None, now: datetime) -> int | None:
    """Milliseconds to wait as RFC 9110 says it (seconds or a date); None if it says nothing."""
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text) if len(text) < 32 else float("nan")
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - now).total_seconds()
    if not isfinite(seconds):
        return None
    return int(min(max(seconds, 0.0) * 1000, MAX_RETRY_AFTER_MS))


def _connect_failure(error: httpx2.TransportError) -> str:
    """What went wrong while connecting, without quoting text that the far side chose."""
    timed_out = isinstance(error, httpx2.ConnectTimeout)
    return tls_failure(error) or ("connecting timed out" if timed_out else "cannot connect")
