"""G4 and G11: what a hostile client gets through to a `serve` that runs as in production."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sinks.rate_limit import RateLimiter
from sinks.serve_settings import ServeSettings
from tests.faults.http_attacks import (
    DRIPPED,
    HEADS,
    HOOK,
    NO_NOTIFICATIONS,
    SMUGGLED,
    UNCLEAR_LENGTHS,
    large_body,
    post,
)
from tests.faults.served_api import (
    PLACES,
    Hurried,
    Kafka,
    Served,
    answering,
    answers,
    drip,
    flood,
    serving,
    with_signature,
)
from tests.unit.sinks.operations_scene import body, grafana_alert

if TYPE_CHECKING:
    import httpx2

RATE: Final = 20
BURST: Final = 50
FLOOD: Final = 600
_DRIP_S: Final = 1.2


@contextmanager
def careless() -> Iterator[Served]:
    """Without the guards: a server that reads whatever comes, unpacks it, takes it for JSON if it
    can, is content with it, and waits for its clients as long as they like."""

    async def take(request: Request) -> JSONResponse:
        raw = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        with suppress(ValueError, RecursionError):
            json.loads(raw)
        return JSONResponse({"taken": 1}, 202)

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({})

    app = Starlette(routes=[Route(HOOK, take, methods=["POST"]), Route("/{path:path}", live)])
    options = {
        "http": "h11",
        "lifespan": "off",
        "log_config": None,
        "limit_concurrency": PLACES,
        "h11_max_incomplete_event_size": 16 * 1024 * 1024,
        "timeout_keep_alive": 1,
        "timeout_graceful_shutdown": 1,
    }
    with answering(app, options, ServeSettings(port=0, max_connections=PLACES)) as port:
        yield Served(port, Kafka())


def hostile_requests(*, guarded: bool) -> int:
    """G4: bodies, heads and signed texts that were answered with success or became a command,
    second requests read out of a first, and drips that kept others out."""
    with serving(http=Hurried) if guarded else careless() as served:
        through = sum(
            [
                *(_got(served, *large_body(told=told)) for told in (True, False)),
                *(_got(served, head) for head in HEADS.values()),
                *(_got(served, post(text, b"0\r\n\r\n" + SMUGGLED)) for text in UNCLEAR_LENGTHS),
            ]
        )
        with served.client() as client:
            for content, more in NO_NOTIFICATIONS.values():
                headers = with_signature(content) | more
                through += client.post(HOOK, content=content, headers=headers).is_success
        through += len(served.kafka.commands)
        _genuine(served)
        for sent in DRIPPED.values():
            left = drip(served, sent, _DRIP_S)
            through += answers(served) != 200
            for connection in left:
                connection.close()
        return through


def _got(served: Served, *parts: bytes) -> bool:
    """Whether the request had success, or was read as two."""
    answer = served.raw(*parts)
    return b"HTTP/1.1 2" in answer or answer.count(b"HTTP/1.1 ") > 1


def _genuine(served: Served) -> None:
    """What is genuine must be taken, or a count of nothing would mean nothing."""
    content = body(grafana_alert())
    with served.client() as client:
        taken = client.post(HOOK, content=content, headers=with_signature(content))
    if taken.status_code != 202:
        raise AssertionError("a genuine notification was not taken")


def floods(*, guarded: bool) -> int:
    """G11: of `FLOOD` genuine notifications as fast as they go, those that became commands beyond
    the rate and the burst of a client; and probes that were not answered meanwhile."""
    with serving(RateLimiter(RATE, BURST) if guarded else None) as served:
        found, took_s = flood(served, FLOOD)
        taken = len(served.kafka.commands)
        if taken < min(FLOOD, BURST) or taken != sum(map(_taken, found)):
            raise AssertionError("genuine notifications within the rate were not taken")
        return max(0, taken - BURST - int(RATE * took_s) - 1) + (answers(served) != 200)


def _taken(reply: httpx2.Response) -> bool:
    return reply.status_code == 202
