"""Around every request: who may ask, what every answer carries, and how many there were.

It stands outside the whole application, so that an answer made by an error handler carries the
same headers and is counted as well.
"""

from __future__ import annotations

import hmac
import json
import math
import time
from collections.abc import Iterable
from typing import Final

import anyio
import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sinks.grants import Grant, TokenFileError, grant_of, read_grants, readers
from sinks.grants import Scope as Permission
from sinks.rate_limit import RateLimiter

log = structlog.get_logger()

__all__ = ["HttpGuard", "TokenFileError", "bearer", "read_tokens", "token_ok"]

BY: Final = "driftline.by"
"""Where the name of the token stands in a request's scope."""

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Probes of an orchestrator carry no token, and learn nothing but yes or no."""

APPROVALS: Final = "/v1/approvals"
"""The link to an approval is signed."""

SELF_CHECKED: Final = ("/v1/flagger/", "/v1/hooks/")
"""Flagger sends no headers of ours: the endpoints under the first look for the token in the path
and in the body as well. Under the second each proves who sends, by a signature or a token."""

OPERATED: Final = ("/v1/automation", "/v1/silences", "/v1/rollbacks")
"""What may be read like the rest, and changed with the scope operate only."""

PAGES: Final = "/console"
"""Under it are pages for people: a browser carries a session instead of a header, and the console
asks for it by itself (sinks/console/session.py)."""

REQUEST_TIMEOUT_S: Final = 20.0

MAX_HEAD_BYTES: Final = 32 * 1024
"""Path, query and headers of a request. The server bounds what it keeps of a head that is not whole
yet; one that comes in one piece is measured here."""

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


def read_tokens(path: str) -> tuple[str, ...]:
    """The tokens of a file that may read; () for no path. Raises `TokenFileError`."""
    return readers(read_grants(path))


def token_ok(given: str, tokens: Iterable[str]) -> bool:
    """Whether ``given`` is one of the tokens; takes equally long for each that is compared."""
    said = given.encode("utf-8", "surrogatepass")
    found = False
    for token in tokens:
        found |= hmac.compare_digest(said, token.encode())
    return found


def bearer(scope: Scope) -> str:
    """The token of the Authorization header, "" if there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            return token.strip() if scheme.lower() == "bearer" else ""
    return ""


class HttpGuard:
    """Wraps an ASGI application. Without tokens, everybody may ask and nobody may order.

    ``grants``: tokens with what they may beyond reading. ``limiter``: how often a client may ask.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: tuple[str, ...],
        registry: CollectorRegistry,
        grants: tuple[Grant, ...] = (),
        limiter: RateLimiter | None = None,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._grants = grants
        self._limiter = limiter
        self._requests = Counter(
            "driftline_http_requests",
            "Requests answered, by route and status code.",
            ("route", "code"),
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        code = 500
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal code, started
            if message["type"] == "http.response.start":
                code, started = message["status"], True
                given = {name for name, _ in message["headers"]}
                extra = [header for header in _HEADERS if header[0] not in given]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            wait_s = self._wait_s(scope)
            refused = self._refused(scope)
            if wait_s > 0:
                await _answer(send_guarded, 429, "too many requests", math.ceil(wait_s))
            elif refused is not None:
                await _answer(send_guarded, *refused)
            else:
                # A body that comes drop by drop must not keep its place for ever.
                with anyio.move_on_after(REQUEST_TIMEOUT_S) as limit:
                    await self._app(scope, receive, send_guarded)
                if limit.cancelled_caught and not started:
                    await _answer(send_guarded, 408, "the request took too long")
        except Exception as error:
            # The text of an error may quote what was asked; its type does not.
            log.exception("request_failed", error=type(error).__name__, exc_info=False)
            if not started:
                await _answer(send_guarded, 500, "internal error")
        finally:
            # The route's template, not the path: a scanner must not make a time series a guess.
            route = getattr(scope.get("route"), "path", "other")
            self._requests.labels(route, str(code)).inc()

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the reason with which a request is turned away, None if it is not."""
        if _head_bytes(scope) > MAX_HEAD_BYTES:
            return 431, f"the head of the request has more than {MAX_HEAD_BYTES} bytes"
        path = scope["path"]
        if path in OPEN_PATHS or path == APPROVALS or path.startswith(SELF_CHECKED):
            return None
        grant = grant_of(bearer(scope), self._grants)
        if grant is not None:
            scope[BY] = grant.name
        if path.startswith(OPERATED) and scope["method"] not in ("GET", "HEAD"):
            if grant is not None and grant.may(Permission.OPERATE):
                return None
            # Without tokens too: any page in a browser could order things on this machine.
            return 403, "a token of scope operate is needed (serve.token_file)"
        if not self._tokens or path in ("/", PAGES) or path.startswith(f"{PAGES}/"):
            return None
        given = bearer(scope)
        if token_ok(given, self._tokens):
            return None
        if grant is not None:
            return 403, "a token of scope read is needed (serve.token_file)"
        return 401, "the bearer token is not known" if given else "a bearer token is needed"

    def _wait_s(self, scope: Scope) -> float:
        """How long the client has to wait; probes never do."""
        if self._limiter is None or scope["path"] in OPEN_PATHS:
            return 0.0
        grant = grant_of(bearer(scope), self._grants)
        peer = (scope.get("client") or ("",))[0]
        client = f"token {grant.name}" if grant is not None else f"peer {peer}"
        return self._limiter.wait_s(client, time.monotonic())


def _head_bytes(scope: Scope) -> int:
    target = len(scope["raw_path"]) + len(scope["query_string"])
    return target + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


async def _answer(send: Send, status: int, error: str, wait_s: int = 0) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if wait_s:
        headers.append((b"retry-after", str(wait_s).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
