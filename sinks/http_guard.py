"""Around every request: who may ask, what every answer carries, and how many there were.

It stands outside the whole application, so that an answer made by an error handler carries the
same headers and is counted as well.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import anyio
import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sinks.errors import Permanent

log = structlog.get_logger()

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Probes of an orchestrator carry no token, and learn nothing but yes or no."""

SELF_CHECKED_PATHS: Final = frozenset({"/v1/flagger/gate", "/v1/flagger/rollback"})
"""Flagger sends no headers of ours: these look for the token in the body as well."""

MIN_TOKEN_CHARS: Final = 16
REQUEST_TIMEOUT_S: Final = 20.0
_MAX_TOKEN_FILE_BYTES: Final = 64 * 1024

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


class TokenFileError(Permanent):
    """The file of tokens cannot be used. Says what, where and what to do; never a token."""

    def __init__(self, what: str, where: str, hint: str) -> None:
        super().__init__(f"{where}: {what}; {hint}")
        self.what = what
        self.where = where
        self.hint = hint


def read_tokens(path: str) -> tuple[str, ...]:
    """The tokens of a file, one a line; () for no path. Raises `TokenFileError`."""
    if not path:
        return ()
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_TOKEN_FILE_BYTES + 1)
        text = data.decode("ascii")
    except (OSError, UnicodeDecodeError, ValueError):
        raise TokenFileError(
            "the token file cannot be read as ASCII text", path, "check serve.token_file"
        ) from None
    tokens = tuple(line.strip() for line in text.splitlines() if line.strip())
    # An empty file must not mean "no token asked for".
    if not tokens or len(data) > _MAX_TOKEN_FILE_BYTES:
        raise TokenFileError("the token file holds no token", path, "write one token a line")
    if any(len(token) < MIN_TOKEN_CHARS for token in tokens):
        raise TokenFileError(
            f"a token is shorter than {MIN_TOKEN_CHARS} characters", path, "make it longer"
        )
    return tokens


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
    """Wraps an ASGI application. Without tokens, everybody may ask."""

    def __init__(self, app: ASGIApp, tokens: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._app = app
        self._tokens = tokens
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
            if self._refused(scope):
                await _answer(send_guarded, 401, "a bearer token is needed")
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

    def _refused(self, scope: Scope) -> bool:
        if not self._tokens or scope["path"] in OPEN_PATHS | SELF_CHECKED_PATHS:
            return False
        return not token_ok(bearer(scope), self._tokens)


async def _answer(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
