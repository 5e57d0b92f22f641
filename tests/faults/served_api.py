"""The API behind a real socket, with the settings of `serve`, and clients that mean it harm."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import httpx2

from sinks.api import ApiParts, Readiness, create_app
from sinks.approvals import ApprovalLinks, ApprovalSettings
from sinks.commands import Command
from sinks.control import ControlBoard, ControlRecord
from sinks.credentials import SecretSource
from sinks.head_deadline import HeadDeadline
from sinks.hooks import HookSettings
from sinks.operations import Operations
from sinks.rate_limit import RateLimiter
from sinks.serve_settings import ServeSettings
from sinks.verdict_board import VerdictBoard
from streams.serve import listen, server_options
from tests.faults.http_attacks import HOOK
from tests.unit.sinks.operations_scene import SECRET, body, grafana_alert, signed
from tests.web_server import running

if TYPE_CHECKING:
    from starlette.types import ASGIApp

PLACES = 20


@dataclass
class Kafka:
    """Counts what would be written."""

    commands: list[Command] = field(default_factory=list)

    def command(self, command: Command) -> None:
        self.commands.append(command)

    def control(self, record: ControlRecord) -> None:
        raise AssertionError("nobody orders anything here")


class Hurried(HeadDeadline):
    """The same with less patience, for a test that must not wait."""

    head_s: ClassVar[float] = 0.5


@dataclass
class Served:
    port: int
    kafka: Kafka

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=10)

    def connection(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.settimeout(10)
        return connection

    def raw(self, *parts: bytes) -> bytes:
        """Everything that comes back, until the server hangs up."""
        with self.connection() as connection:
            for part in parts:
                try:
                    connection.sendall(part)
                except OSError:
                    break
            return received(connection)


def received(connection: socket.socket) -> bytes:
    got = b""
    while True:
        try:
            part = connection.recv(65_536)
        except ConnectionError:
            return got
        if not part:
            return got
        got += part


@contextmanager
def serving(
    limiter: RateLimiter | None = None, http: type[HeadDeadline] | str = HeadDeadline
) -> Iterator[Served]:
    settings = ServeSettings(port=0, max_connections=PLACES)
    kafka = Kafka()
    parts = ApiParts(
        board=VerdictBoard(),
        now_ms=lambda: time.time_ns() // 1_000_000,
        max_age_ms=300_000,
        ready=lambda: Readiness(True, ""),
        findings=lambda _: [],
        operations=Operations(
            ControlBoard(5),
            lambda: True,
            kafka,
            ApprovalLinks(ApprovalSettings()),
            hooks=HookSettings(SecretSource(env="G")),
            environ={"G": SECRET},
        ),
        limiter=limiter,
    )
    options = {**server_options(settings), "http": http}
    with answering(create_app(parts), options, settings) as port:
        yield Served(port, kafka)


@contextmanager
def answering(app: ASGIApp, options: Mapping[str, Any], settings: ServeSettings) -> Iterator[int]:
    """``app`` at the socket of `serve`; gives its port."""
    with listen(settings) as listener, running(app, listener, **options) as port:
        yield port


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def with_signature(content: bytes) -> dict[str, str]:
    return {**signed(content, at_ms=now_ms()), "content-type": "application/json"}


def drip(served: Served, sent: bytes, seconds: float) -> list[socket.socket]:
    """As many connections as there are places, each with the beginning of a request and then a
    byte now and then; those that the server has not ended by then."""
    connections = [served.connection() for _ in range(PLACES)]
    for connection in connections:
        connection.sendall(sent)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for connection in connections:
            try:
                connection.sendall(b"x")
            except OSError:
                continue
        time.sleep(0.1)
    left = []
    for connection in connections:
        connection.settimeout(0.1)
        try:
            received(connection)
            connection.close()
        except TimeoutError:
            left.append(connection)
    return left


def answers(served: Served) -> int:
    with served.client() as client:
        return client.get("/healthz").status_code


def flood(served: Served, requests: int) -> tuple[list[httpx2.Response], float]:
    """Signed, valid and each different, over four connections as fast as they go."""
    found: list[httpx2.Response] = []

    def send(part: range) -> None:
        with served.client() as client:
            for number in part:
                content = body({**grafana_alert(), "fingerprint": f"f{number}"})
                found.append(client.post(HOOK, content=content, headers=with_signature(content)))

    began = time.monotonic()
    threads = [threading.Thread(target=send, args=(range(n, requests, 4),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found, time.monotonic() - began
