"""What the demo sees from outside, and in which order it asks."""

from __future__ import annotations

import json

import httpx2

from streams.demo_traffic import CANARY
from streams.demo_watch import Addresses, Snapshot, look

ADDRESSES = Addresses("http://serve", "http://store", "http://deployer", "http://pager")


def test_who_sees_a_rollback_sees_the_verdict_that_led_to_it() -> None:
    """The line goes on while it is asked: each answer is one step later than the one before."""
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        failed = len(asked) > 1
        match request.url.path:
            case "/v1/releases":
                release = {"model": CANARY.model, "version": CANARY.version, "role": "canary"}
                said = {"reasons": ["worse"], "samples": 9, "rollback": ""}
                status = "fail" if failed else "insufficient"
                body: object = {"releases": [{**release, **said, "status": status}]}
            case "/pages":
                body = {"pages": [], "refused": 0}
            case "/state":
                body = {"running": []}
            case _:
                done = {"at_ms": 1, "outcome": "executed", "detail": "taken out"}
                body = {"requests": [done] if failed else []}
        return httpx2.Response(200, content=json.dumps(body))

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        seen = look(client, ADDRESSES, Snapshot(), with_store=False)
    assert [request.outcome for request in seen.requests] == ["executed"]
    assert seen.releases[CANARY].status == "fail"
