"""The embedded store's answers to ClickHouse's HTTP protocol, on loopback.

Grafana's ClickHouse plugin, clickhouse-connect, clickhouse-go and curl can read the store here.

Who may do what: ``default`` reads and writes, with a password if one is set; ``grafana_reader``
only reads. Whatever the user, a statement cannot reach out of the store (sinks/statement.py), a
GET only reads, and web pages are kept away: the Host must be a loopback name (DNS rebinding) and a
browser's request from another site is refused (a page may post to 127.0.0.1 unasked).

Left out: HTTP sessions (each request stands alone), ClickHouse's own block compression
(``compress=1``), external tables, progress headers.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import json
import socket
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlsplit

import structlog
import uvicorn
from pydantic import ConfigDict

from sinks.embedded_store import Answer, EmbeddedStore, QueryFailed
from sinks.errors import Permanent
from sinks.http_body import BodyRefused, decode_body, gzip_body
from sinks.migrations import READER
from sinks.statement import Refused, read_statement

_log = structlog.get_logger()

HOST: Final = "127.0.0.1"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_LOOPBACK_PEERS = frozenset({"127.0.0.1", "::1"})
_AUTHENTICATION_FAILED = 516
_GZIP_FROM_BYTES = 1024

# What a request may say that is not a setting of the engine, and settings that are not for it.
_NOT_SETTINGS = frozenset(
    {"query", "database", "default_format", "user", "password", "query_id", "session_id"}
    | {"session_timeout", "session_check", "quota_key", "compress", "decompress", "readonly"}
    | {"dialect", "client_protocol_version", "wait_end_of_query", "buffer_size", "role"}
    | {"enable_http_compression", "max_result_bytes", "result_overflow_mode", "max_execution_time"}
)
# A reader's settings may only change how an answer looks or make it smaller.
_READER_SETTINGS = frozenset(
    {"max_result_rows", "max_block_size", "max_threads", "max_rows_to_read"}
)
_READER_PREFIXES = ("output_format_", "date_time_", "session_timezone", "join_use_nulls")

_STATUS = {
    36: 400, 41: 400, 47: 404, 46: 404, 53: 400, 60: 404, 62: 400, 73: 400, 81: 404, 115: 404,
    158: 413, 159: 408, 160: 408, 164: 403, 202: 503, 241: 500, 396: 413, 497: 403, 516: 403,
}  # fmt: skip
_CONTENT_TYPES = {
    "Arrow": "application/vnd.apache.arrow.file",
    "ArrowStream": "application/vnd.apache.arrow.stream",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "Native": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class PortTaken(Permanent):
    """The HTTP port of the embedded store is in use."""


@dataclass(frozen=True, slots=True)
class HttpFaceSettings:
    """Bounds of the HTTP port. An empty password means: no password is asked for."""

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid"}

    password: str = field(default="", repr=False)
    reader_password: str = field(default="", repr=False)
    max_body_bytes: int = 64 * 1024 * 1024
    max_result_bytes: int = 256 * 1024 * 1024
    max_connections: int = 64
    max_queries: int = 4
    query_timeout_ms: int = 60_000
    body_timeout_ms: int = 30_000
    idle_timeout_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    params: dict[str, str]
    peer: str
    body: bytes


class HttpFace:
    """The server, in a thread of its own. ``port`` is the one it got, if 0 was asked for."""

    def __init__(
        self, store: EmbeddedStore, port: int, settings: HttpFaceSettings | None = None
    ) -> None:
        """Raises PortTaken. Nothing is answered before ``start``."""
        self._store = store
        self._settings = settings or HttpFaceSettings()
        self._queries = ThreadPoolExecutor(self._settings.max_queries, thread_name_prefix="query")
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                lifespan="off",
                # Forwarded headers would let a client choose its address.
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                limit_concurrency=self._settings.max_connections,
                timeout_keep_alive=max(1, self._settings.idle_timeout_ms // 1000),
                timeout_graceful_shutdown=2,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="store-http", daemon=True)

    def start(self) -> None:
        """Returns when requests are answered."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        _log.info("store_answers_http", host=HOST, port=self.port)

    def stop(self) -> None:
        """Finish what runs (2 s at most) and close the port. The store stays open."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(timeout=4)
        self._queries.shutdown(wait=True, cancel_futures=True)
        self._socket.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = await self._reply(scope, receive)
        headers = [(k.lower().encode(), v.encode("latin-1", "replace")) for k, v in reply.headers]
        headers.append((b"content-length", str(len(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else reply.body
        await send({"type": "http.response.body", "body": body})

    async def _reply(self, scope: Scope, receive: Receive) -> _Reply:
        request = _Request(
            method=scope["method"],
            path=scope["path"],
            headers={k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]},
            params=dict(
                parse_qsl(
                    scope["query_string"].decode("latin-1"),
                    keep_blank_values=True,
                    max_num_fields=500,
                )
            ),
            peer=(scope.get("client") or ("",))[0],
            body=b"",
        )
        if request.path not in ("/", "/ping"):
            return _error(404, 0, "There is no such page. Use / with a query, or /ping.")
        try:
            _refuse_strangers(request)
            if request.path == "/ping" or _asks_nothing(request):
                return _Reply(200, (("Content-Type", "text/html; charset=UTF-8"),), b"Ok.\n")
            user = _authenticate(request, self._settings)
            raw = await asyncio.wait_for(
                _read_body(receive, self._settings.max_body_bytes),
                self._settings.body_timeout_ms / 1000,
            )
            encoding = request.headers.get("content-encoding", "")
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                self._queries, self._run, request, user, raw, encoding
            )
        except TimeoutError:
            return _error(408, 0, "The request's body did not arrive in time")
        except BodyRefused as error:
            return _error(error.status, 0, str(error))
        except Refused as error:
            return _error(_STATUS.get(error.code, 500), error.code, str(error))

    def _run(self, request: _Request, user: str, raw: bytes, encoding: str) -> _Reply:
        try:
            body = decode_body(raw, encoding, self._settings.max_body_bytes)
            return self._query(request, user, body)
        except BodyRefused as error:
            return _error(error.status, 0, str(error))
        except Refused as error:
            return _error(_STATUS.get(error.code, 500), error.code, str(error))
        except QueryFailed as error:
            text = f"{error} (version {self._store.version})"
            return _error(_STATUS.get(error.code, 500), error.code, text)

    def _query(self, request: _Request, user: str, body: bytes) -> _Reply:
        params = request.params
        if params.get("compress") in ("1", "true") or params.get("decompress") in ("1", "true"):
            raise BodyRefused(400, "compress=1 is not supported here: use gzip (Accept-Encoding)")
        read_only = user == READER or request.method != "POST" or params.get("readonly", "0") != "0"
        query = params.get("query", "").encode()
        bound = {k[6:]: v for k, v in params.items() if k.startswith("param_")}
        statement = read_statement(
            query + b"\n" + body if query and body else query or body,
            read_only=read_only,
            outward_names=self._store.outward,
            parameters=tuple(bound.values()),
        )
        answer = self._store.run(
            statement,
            default_format=params.get("default_format")
            or request.headers.get("x-clickhouse-format", "TabSeparated"),
            database=params.get("database") or request.headers.get("x-clickhouse-database", ""),
            settings=self._engine_settings(params, user),
            parameters=bound,
            read_only=read_only,
        )
        return self._answered(request, answer, has_result=statement.reads)

    def _engine_settings(self, params: dict[str, str], user: str) -> dict[str, str]:
        settings = {
            name: value
            for name, value in params.items()
            if name not in _NOT_SETTINGS
            and not name.startswith("param_")
            and (user != READER or name in _READER_SETTINGS or name.startswith(_READER_PREFIXES))
        }
        limit = self._settings.query_timeout_ms / 1000
        with contextlib.suppress(ValueError):
            asked = float(params.get("max_execution_time") or limit)
            limit = min(limit, asked) if asked > 0 else limit
        settings["max_execution_time"] = f"{limit:g}"
        settings["max_result_bytes"] = str(self._settings.max_result_bytes)
        return settings

    def _answered(self, request: _Request, answer: Answer, *, has_result: bool) -> _Reply:
        counts = {
            "read_rows": answer.rows_read,
            "read_bytes": answer.bytes_read,
            "written_rows": answer.rows_written,
            "written_bytes": answer.bytes_written,
        }
        headers = [
            ("Content-Type", _CONTENT_TYPES.get(answer.format, "text/plain; charset=UTF-8")),
            ("X-ClickHouse-Query-Id", request.params.get("query_id") or str(uuid.uuid4())),
            ("X-ClickHouse-Timezone", self._store.timezone),
            ("X-ClickHouse-Server-Display-Name", str(self._store.display_name)),
            ("X-ClickHouse-Summary", json.dumps({k: str(v) for k, v in counts.items()})),
        ]
        body = answer.data
        if has_result:
            headers.append(("X-ClickHouse-Format", answer.format))
        accepted = request.headers.get("accept-encoding", "").lower()
        if "gzip" in accepted and len(body) >= _GZIP_FROM_BYTES:
            headers.append(("Content-Encoding", "gzip"))
            body = gzip_body(body)
        return _Reply(200, tuple(headers), body)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"The store's HTTP port {HOST}:{port} cannot be used: {error.strerror}."
            " Stop what listens there, or set store.http_port to another one."
        ) from None
    return listener


def _asks_nothing(request: _Request) -> bool:
    return request.method in ("GET", "HEAD") and not request.params.get("query")


def _refuse_strangers(request: _Request) -> None:
    host = request.headers.get("host", "")
    if _host_name(f"//{host}") not in _LOOPBACK_NAMES:
        raise BodyRefused(403, "The Host must be localhost, 127.0.0.1 or [::1]")
    origin = request.headers.get("origin")
    foreign_page = origin is not None and _host_name(origin) not in _LOOPBACK_NAMES
    if foreign_page or request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise BodyRefused(403, "Requests from web pages of other sites are refused")
    if request.method not in ("GET", "HEAD", "POST"):
        raise BodyRefused(405, "Use GET or POST")


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _authenticate(request: _Request, settings: HttpFaceSettings) -> str:
    """The user. Raises Refused, with the same words for a wrong name and a wrong password."""
    user, password = _credentials(request)
    passwords = {"default": settings.password, READER: settings.reader_password}
    expected = passwords.get(user)
    right = expected is not None and (
        hmac.compare_digest(expected.encode(), password.encode())
        if expected
        # Nothing to prove is only offered to this machine.
        else request.peer in _LOOPBACK_PEERS
    )
    if not right:
        raise Refused(
            _AUTHENTICATION_FAILED,
            "Authentication failed: password is incorrect, or there is no user with such name."
            " (AUTHENTICATION_FAILED)",
        )
    return user


def _credentials(request: _Request) -> tuple[str, str]:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user or "default", password
    if scheme:
        return "", ""
    headers, params = request.headers, request.params
    user = headers.get("x-clickhouse-user") or params.get("user") or "default"
    return user, headers.get("x-clickhouse-key") or params.get("password") or ""


async def _read_body(receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyRefused(400, "The client went away")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise BodyRefused(413, f"The body is larger than {max_bytes} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _error(status: int, code: int, text: str) -> _Reply:
    headers = [("Content-Type", "text/plain; charset=UTF-8")]
    if code:
        headers.append(("X-ClickHouse-Exception-Code", str(code)))
        text = text if text.startswith("Code:") else f"Code: {code}. DB::Exception: {text}"
    return _Reply(status, tuple(headers), text.encode() + b"\n")
