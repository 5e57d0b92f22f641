"""G4 and G11: what a hostile client can send to a `serve` that runs as it does in production.

Over real sockets, to the server with its own settings. Whatever comes: a refusal, no command, no
memory, and others are answered meanwhile.
"""

from __future__ import annotations

import gzip
import json
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import httpx2
import pytest
import uvicorn

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
from tests.unit.sinks.operations_scene import SECRET, body, grafana_alert, signed

HOOK = "/v1/hooks/grafana"
PLACES = 20
MEGABYTE = 1024 * 1024


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
    listener = listen(settings)
    options = {**server_options(settings), "http": http}
    server = uvicorn.Server(uvicorn.Config(create_app(parts), **options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.01)
        yield Served(listener.getsockname()[1], kafka)
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(http=Hurried) as found:
        yield found


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def post(headers: str, content: bytes = b"", path: str = HOOK) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n".encode() + content


def with_signature(content: bytes) -> dict[str, str]:
    return {**signed(content, at_ms=now_ms()), "content-type": "application/json"}


def test_a_genuine_notification_is_taken(served: Served) -> None:
    """So that the refusals below mean something."""
    content = body(grafana_alert())
    with served.client() as client:
        assert (
            client.post(HOOK, content=content, headers=with_signature(content)).status_code == 202
        )
    assert len(served.kafka.commands) == 1
    served.kafka.commands.clear()


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "in chunks"])
def test_a_body_of_100_megabytes_is_refused_and_not_kept(served: Served, told: bool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = b"x" * MEGABYTE
    if told:
        answer = served.raw(post(f"content-length: {100 * MEGABYTE}"), *[part] * 100)
    else:
        chunk = f"{MEGABYTE:x}\r\n".encode() + part + b"\r\n"
        answer = served.raw(post("transfer-encoding: chunked"), *[chunk] * 100)
    # Where the server has hung up before it was read, the answer may be lost with the connection.
    assert not answer or b" 413 " in answer.split(b"\r\n")[0]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 30 * 1024, f"{grown} kB more memory"
    assert served.kafka.commands == []


@pytest.mark.parametrize(
    "request_text",
    [
        "GET /healthz HTTP/1.1\r\nhost: a\r\n" + "".join(f"x-{n}: y\r\n" for n in range(10_000)),
        "GET /healthz HTTP/1.1\r\nhost: a\r\nx: " + "y" * 100_000,
        "GET /" + "y" * 100_000 + " HTTP/1.1\r\nhost: a\r\n",
    ],
    ids=["10,000 headers", "a long header", "a long path"],
)
def test_a_head_that_is_too_large_is_refused(served: Served, request_text: str) -> None:
    answer = served.raw(request_text.encode(), b"\r\n\r\n")
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert b" 200 " not in answer


SMUGGLED = b"POST /v1/hooks/alertmanager HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        "content-length: 4\r\ncontent-length: 5",
        "content-length: -1",
        "content-length: +4",
        "content-length: 4, 5",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: \x0bchunked",
        "transfer-encoding : chunked",
        "transfer-encoding: xchunked",
    ],
)
def test_requests_whose_length_can_be_read_in_two_ways_are_refused(
    served: Served, headers: str
) -> None:
    answer = served.raw(post(headers, b"0\r\n\r\n" + SMUGGLED))
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 "))
    assert answer.count(b"HTTP/1.1 ") == 1, "a second request was read out of the first"


def test_chunks_count_where_a_length_is_told_as_well(served: Served) -> None:
    """RFC 9112, 6.3: the chunks win, and the connection ends, so that nothing hides behind them."""
    content = body(grafana_alert())
    chunked = f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n\r\n"
    answer = served.raw(
        post(f"content-length: {len(chunked) + len(SMUGGLED)}\r\ntransfer-encoding: chunked\r\n"
             "connection: close", chunked + SMUGGLED)
    )  # fmt: skip
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 4")
    assert served.kafka.commands == []


DEEP = b"[" * 100_000 + b"]" * 100_000
BOMB = gzip.compress(b'{"alerts": [' + b" " * (50 * MEGABYTE) + b"]}")


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (DEEP, {}),
        (b'{"alerts": ' + DEEP[:60_000] + b"}", {}),
        (BOMB, {"content-encoding": "gzip"}),
        (b"alerts=1", {"content-type": "application/x-www-form-urlencoded"}),
        (b"\xff\xfe{}", {"content-type": "application/json; charset=utf-16"}),
        (b'{"alerts": [' + b"1," * 50_000 + b"1]}", {}),
        (b'{"alerts": [{"labels": ' + json.dumps("x" * 60_000).encode() + b"}]}", {}),
    ],
    ids=["deep", "deep inside", "gzip bomb", "form", "utf-16", "many nothings", "labels no map"],
)
def test_a_signed_body_that_is_no_notification_is_refused_and_costs_nothing(
    served: Served, content: bytes, more: dict[str, str]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with served.client() as client:
        answer = client.post(HOOK, content=content, headers={**with_signature(content), **more})
    assert answer.status_code in (400, 413, 415)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 * 1024
    assert served.kafka.commands == []


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


DRIPPED = {
    "nothing": b"",
    "a head": b"POST /v1/hooks/grafana HTTP/1.1\r\nhost: a\r\nx-a: ",
    "a body after its answer": b"POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\n",
}


@pytest.mark.parametrize("what", DRIPPED)
def test_clients_that_drip_lose_their_place(what: str) -> None:
    with serving(http=Hurried) as served:
        assert drip(served, DRIPPED[what], 1.5) == []
        assert answers(served) == 200


def test_without_the_deadline_dripping_clients_keep_everybody_out() -> None:
    with serving(http="h11") as served:
        left = drip(served, DRIPPED["a head"], 1.5)
        assert len(left) == PLACES
        assert answers(served) == 503
        for connection in left:
            connection.close()


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


def test_a_flood_of_genuine_notifications_is_held_to_its_rate_and_probes_go_on() -> None:
    rate, burst = 20, 50
    with serving(RateLimiter(rate, burst)) as served:
        found, took_s = flood(served, 600)
        taken = [each for each in found if each.status_code == 202]
        refused = [each for each in found if each.status_code == 429]
        assert len(taken) + len(refused) == 600
        assert burst <= len(taken) <= burst + rate * took_s + 1
        assert len(served.kafka.commands) == len(taken)
        assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
        assert answers(served) == 200


def test_without_the_limit_all_of_the_flood_becomes_commands() -> None:
    with serving() as served:
        found, _ = flood(served, 200)
        assert {each.status_code for each in found} == {202}
        assert len(served.kafka.commands) == 200
