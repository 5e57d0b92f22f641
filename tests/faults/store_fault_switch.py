"""A fault switch between the store role and ClickHouse's HTTP protocol.

It passes requests on to a real engine and does to inserts what servers, proxies and networks do:
nothing for a while, an error instead of the work, the work without an answer, an answer that says
200 and means an error.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mode(StrEnum):
    """What happens to an insert."""

    PASS = "pass"
    REFUSE = "refuse"
    """The connection is reset before anything was read: the server is down."""
    SLOW = "slow"
    """The work is done, the answer takes a while."""
    HANG = "hang"
    """Nothing is done and nothing is answered."""
    CODE = "code"
    """An error of ClickHouse, and nothing was done."""
    CUT = "cut"
    """The connection is reset in the middle of the request: nothing was done."""
    UNANSWERED = "unanswered"
    """The work is done, the connection is reset before the answer."""
    ERROR_IN_200 = "error in 200"
    """Status 200, a header with an exception's code, and nothing was done."""
    GATEWAY = "gateway"
    """502 by something in between; the work was done."""


@dataclass(slots=True)
class Switch:
    """``left``: how many inserts the mode is for (then PASS); ``seen``: inserts that came."""

    port: int
    mode: Mode = Mode.PASS
    left: int = 0
    code: int = 0
    seconds: float = 0.0
    seen: int = 0
    applied: int = 0

    def set(self, mode: Mode, times: int = 10**9, *, code: int = 0, seconds: float = 0.0) -> None:
        self.mode, self.left, self.code, self.seconds = mode, times, code, seconds

    def take(self) -> Mode:
        self.seen += 1
        if self.left <= 0:
            return Mode.PASS
        self.left -= 1
        return self.mode


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.stopping = threading.Event()
        self.switch = Switch(int(self.server_address[1]))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Server

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer(*self._upstream(b""))

    def do_POST(self) -> None:
        insert = "INSERT" in self.path.upper()
        switch = self.server.switch
        mode = switch.take() if insert else Mode.PASS
        if mode in (Mode.REFUSE, Mode.CUT):
            self.rfile.read(10 if mode is Mode.CUT else 0)
            self._reset()
            return
        body = self._body()
        if mode in (Mode.PASS, Mode.SLOW, Mode.UNANSWERED, Mode.GATEWAY):
            answer = self._upstream(body)
            switch.applied += insert
        else:
            text = f"Code: {switch.code}. DB::Exception: made by a test"
            headers = {"X-ClickHouse-Exception-Code": str(switch.code)}
            answer = (200 if mode is Mode.ERROR_IN_200 else 500, headers, text.encode())
        match mode:
            case Mode.HANG:
                self.server.stopping.wait(switch.seconds)
                self._reset()
            case Mode.UNANSWERED:
                self._reset()
            case Mode.GATEWAY:
                self._answer(502, {}, b"<html>Bad Gateway</html>")
            case _:
                time.sleep(switch.seconds if mode is Mode.SLOW else 0)
                self._answer(*answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _upstream(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        dropped = ("transfer-encoding", "content-length", "host", "connection")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in dropped}
            return answer.status, kept, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        with suppress(OSError):  # who asked may have given up
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _reset(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)  # closing then resets
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


@contextmanager
def switched(upstream: int) -> Iterator[Switch]:
    """A switch before the engine at port ``upstream`` of this machine."""
    server = _Server(upstream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.switch
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
