"""A stand-in for PagerDuty and Slack: takes what they take, refuses what they refuse, shows it.

    python -m examples.pager

``POST /v2/enqueue`` is PagerDuty's Events API v2, ``POST /slack`` a Slack incoming webhook.
``GET /pages`` returns what arrived. Open incidents are counted as PagerDuty would: one per
dedup_key, triggers of an open one merged, resolves of an unknown one ignored.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from examples.serving import TooLarge, read_body, run

SEVERITIES = ("critical", "error", "warning", "info")
MAX_PAGES = 10_000
BLOCK_LIMITS = {"header/plain_text": 150, "section/mrkdwn": 3000}


@dataclass(frozen=True, slots=True)
class Page:
    """One accepted event. ``dedup_key`` is "" for Slack."""

    service: str
    action: str
    dedup_key: str
    severity: str
    summary: str


@dataclass(slots=True)
class Desk:
    """What has arrived, and which incidents are open."""

    pages: list[Page] = field(default_factory=list)
    open_keys: set[str] = field(default_factory=set)
    opened: int = 0
    refused: int = 0

    def take(self, page: Page) -> None:
        if len(self.pages) < MAX_PAGES:
            self.pages.append(page)
        if page.action == "trigger" and page.dedup_key not in self.open_keys:
            self.open_keys.add(page.dedup_key)
            self.opened += 1
        if page.action == "resolve":
            self.open_keys.discard(page.dedup_key)
        print(f"[{page.service} {page.action}] {page.severity} {page.summary}", flush=True)


def build(desk: Desk) -> FastAPI:
    """The service that fills ``desk``."""
    app = FastAPI(title="driftline example pager", docs_url=None, redoc_url=None)

    @app.post("/v2/enqueue")
    async def enqueue(request: Request) -> Response:
        event = await _json(request)
        faults = pagerduty_faults(event)
        if event is None or faults:
            desk.refused += 1
            return JSONResponse(
                {"status": "invalid event", "message": "Event object is invalid", "errors": faults},
                400,
            )
        payload = event.get("payload") or {}
        key = str(event["dedup_key"])
        desk.take(
            Page(
                "pagerduty",
                str(event["event_action"]),
                key,
                str(payload.get("severity", "")),
                str(payload.get("summary", "")),
            )
        )
        return JSONResponse(
            {"status": "success", "message": "Event processed", "dedup_key": key}, 202
        )

    @app.post("/slack")
    async def slack(request: Request) -> Response:
        message = await _json(request)
        fault = slack_fault(message)
        if message is None or fault:
            desk.refused += 1
            return PlainTextResponse(fault, 400)
        desk.take(Page("slack", "message", "", "", str(message["text"])))
        return PlainTextResponse("ok")

    @app.get("/pages")
    def pages() -> JSONResponse:
        return JSONResponse(
            {
                "pages": [asdict(page) for page in desk.pages],
                "incidents_opened": desk.opened,
                "incidents_open": len(desk.open_keys),
                "refused": desk.refused,
            }
        )

    return app


def pagerduty_faults(event: dict[str, Any] | None) -> list[str]:
    """What Events API v2 would refuse ``event`` for; empty if nothing."""
    if event is None:
        return ["the body is not a JSON object"]
    faults = []
    key = event.get("routing_key")
    if not isinstance(key, str) or len(key) != 32:
        faults.append("'routing_key' must have 32 characters")
    action = event.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        faults.append("'event_action' is missing or unknown")
    dedup_key = event.get("dedup_key")
    if not isinstance(dedup_key, str) or not 0 < len(dedup_key) <= 255:
        faults.append("'dedup_key' must have 1 to 255 characters")
    if action != "trigger":
        return faults
    payload = event.get("payload")
    if not isinstance(payload, dict):
        return [*faults, "'payload' is missing"]
    summary = payload.get("summary")
    if not isinstance(summary, str) or not 0 < len(summary) <= 1024:
        faults.append("'payload.summary' must have 1 to 1024 characters")
    if not isinstance(payload.get("source"), str) or not payload["source"]:
        faults.append("'payload.source' is missing")
    if payload.get("severity") not in SEVERITIES:
        faults.append("'payload.severity' is missing or unknown")
    return faults


def slack_fault(message: dict[str, Any] | None) -> str:
    """What an incoming webhook would refuse ``message`` for; "" if nothing."""
    if message is None:
        return "invalid_payload"
    text = message.get("text")
    if not isinstance(text, str) or not text:
        return "no_text"
    if len(text) > 40_000:
        return "msg_too_long"
    blocks = message.get("blocks", [])
    if not isinstance(blocks, list) or len(blocks) > 50:
        return "invalid_blocks"
    total = 0
    for block in blocks:
        inner = block.get("text") if isinstance(block, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("text"), str):
            return "invalid_blocks"
        size = len(inner["text"])
        limit = BLOCK_LIMITS.get(f"{block.get('type')}/{inner.get('type')}", 0)
        if not 0 < size <= limit:
            return "invalid_blocks"
        total += size
    return "msg_blocks_too_long" if total > 13_000 else ""


async def _json(request: Request) -> dict[str, Any] | None:
    try:
        value = json.loads(await read_body(request))
    except (TooLarge, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.pager", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    given = parser.parse_args(arguments)
    run(build(Desk()), given.host, given.port)


if __name__ == "__main__":
    main()
