"""A deployer that rolls back on request: small, but safe in the ways that matter.

    python -m examples.deployer --state-file deployer.db --deploy gpt-4=0314:0613

It accepts ``POST /rollback`` only with a valid Standard Webhooks signature that is not older than
five minutes, acts once per webhook-id (ids are kept on disk, for ever), and acts only if the
version to leave is the canary that runs and the version to return to is in production.
``GET /state`` shows what runs, ``GET /log`` every request and what was done.

The secret is read from a file or from an environment variable, DRIFTLINE_ROLLBACK_KEY by default.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from standardwebhooks import Webhook, WebhookVerificationError

from examples.ledger import Ledger, Outcome, Running
from examples.serving import TooLarge, read_body, run

EVENT_TYPE = "io.driftline.rollback.requested.v1"
MAX_BODY_BYTES = 64 * 1024
MAX_ID_CHARS = 200
MAX_LOGGED_REFUSALS = 1_000
HANG_S = 60


@dataclass(frozen=True, slots=True)
class Faults:
    """How to misbehave, for tests: on the first ``fail_first`` requests answer 503 and do nothing;
    on the next ``lose_replies`` act and answer 500; on the next ``hang_replies`` act and do not
    answer."""

    fail_first: int = 0
    lose_replies: int = 0
    hang_replies: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """A rollback, as the body of a request asks for it."""

    model: str
    version: str
    return_to: str


def build(
    ledger: Ledger,
    keys: tuple[Webhook, ...],
    faults: Faults | None = None,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> FastAPI:
    """The service over ``ledger``; a request signed with any of ``keys`` is genuine."""
    app = FastAPI(title="driftline example deployer", docs_url=None, redoc_url=None)
    switches = faults or Faults()
    taken = refused = 0

    @app.post("/rollback")
    async def rollback(request: Request) -> JSONResponse:
        nonlocal taken, refused
        try:
            body = await read_body(request, MAX_BODY_BYTES)
        except TooLarge:
            return JSONResponse({"error": "the body is too large"}, 413)
        webhook_id = request.headers.get("webhook-id", "")
        if not genuine(keys, body, request.headers):
            # Everything else about the request is unproven, so nothing of it is kept, and a
            # flood of forged requests does not fill the disk.
            refused += 1
            if refused <= MAX_LOGGED_REFUSALS:
                ledger.note(now_ms(), "", Outcome.REFUSED, "no valid signature")
            return JSONResponse({"error": "no valid signature"}, 401)
        order = parse_order(body)
        if order is None or len(webhook_id) > MAX_ID_CHARS:
            ledger.note(now_ms(), webhook_id[:MAX_ID_CHARS], Outcome.REFUSED, "not a rollback")
            return JSONResponse({"error": f"expected a CloudEvent {EVENT_TYPE}"}, 400)
        taken += 1
        fault = _fault(switches, taken)
        if fault == "fail":
            ledger.note(now_ms(), webhook_id, Outcome.FAILED, "fault switch: 503 and nothing done")
            return JSONResponse({"error": "not now"}, 503)
        decided = await asyncio.to_thread(
            ledger.roll_back, webhook_id, order.model, order.version, order.return_to, now_ms()
        )
        print(f"{webhook_id}: {decided.detail}" + ("" if decided.first else " (repeated)"))
        sys.stdout.flush()
        if fault == "lose":
            return JSONResponse({"error": "lost the reply"}, 500)
        if fault == "hang":
            await asyncio.sleep(HANG_S)
        return JSONResponse(
            {"outcome": decided.outcome, "detail": decided.detail, "repeated": not decided.first}
        )

    @app.get("/state")
    def state() -> JSONResponse:
        return JSONResponse({"running": [asdict(entry) for entry in ledger.running()]})

    @app.get("/log")
    def log() -> JSONResponse:
        entries = ledger.log()
        executed = sum(1 for entry in entries if entry.outcome == Outcome.EXECUTED)
        return JSONResponse({"executed": executed, "requests": [asdict(e) for e in entries]})

    return app


def genuine(keys: tuple[Webhook, ...], body: bytes, headers: Mapping[str, str]) -> bool:
    """True if ``body`` and its id are signed with one of ``keys`` within the last five minutes."""
    for key in keys:
        try:
            key.verify(body, dict(headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            # ValueError: a header that is not even shaped like a signature, a body not in UTF-8.
            continue
        return True
    return False


def parse_order(body: bytes) -> Order | None:
    """The rollback that a CloudEvent asks for; None if it is not one."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("type") != EVENT_TYPE:
        return None
    data = event.get("data")
    if not isinstance(data, dict):
        return None
    values = [data.get(name) for name in ("model", "version", "return_to")]
    if not all(isinstance(value, str) and value for value in values):
        return None
    return Order(*map(str, values))


def _fault(switches: Faults, taken: int) -> str:
    for name, count in (
        ("fail", switches.fail_first),
        ("lose", switches.lose_replies),
        ("hang", switches.hang_replies),
    ):
        if taken <= count:
            return name
        taken -= count
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.deployer", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--state-file", type=Path, required=True)
    parser.add_argument("--secret-file", type=Path)
    parser.add_argument("--secret-env", default="DRIFTLINE_ROLLBACK_KEY")
    parser.add_argument(
        "--deploy", action="append", default=[], metavar="MODEL=PRODUCTION[:CANARY]"
    )
    parser.add_argument("--fail-first", type=int, default=0)
    parser.add_argument("--lose-replies", type=int, default=0)
    parser.add_argument("--hang-replies", type=int, default=0)
    given = parser.parse_args(arguments)
    secret = (
        given.secret_file.read_text("ascii")
        if given.secret_file is not None
        else os.environ.get(given.secret_env, "")
    )
    if not secret.split():
        parser.error(f"no secret: set {given.secret_env} or give --secret-file")
    ledger = Ledger(given.state_file)
    for text in given.deploy:
        model, separator, versions = text.partition("=")
        if not separator:
            parser.error(f"--deploy {text}: expected MODEL=PRODUCTION[:CANARY]")
        production, _, canary = versions.partition(":")
        ledger.deploy(Running(model, production, canary))
    faults = Faults(given.fail_first, given.lose_replies, given.hang_replies)
    run(build(ledger, tuple(map(Webhook, secret.split())), faults), given.host, given.port)


if __name__ == "__main__":
    main()
