"""Who asks too often has to wait."""

from __future__ import annotations

from sinks.rate_limit import RateLimiter
from tests.unit.sinks.operations_scene import (
    READER,
    api,
)


def test_who_asks_too_often_has_to_wait_and_others_do_not() -> None:
    client, _ = api(limiter=RateLimiter(per_second=1, burst=20))
    replies = [client.get("/v1/automation") for _ in range(40)]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert 15 <= len(refused) <= 20
    assert int(refused[0].headers["retry-after"]) >= 1
    other = client.get("/v1/automation", headers={"authorization": f"Bearer {READER}"})
    assert other.status_code == 200
    assert client.get("/healthz").status_code == 200


def test_a_bucket_fills_again_and_memory_is_bounded() -> None:
    limiter = RateLimiter(per_second=2, burst=2)
    waits = [limiter.wait_s("a", at) for at in (0.0, 0.0, 0.0, 0.25, 0.5)]
    assert waits == [0.0, 0.0, 0.5, 0.25, 0.0]
    for number in range(20_000):
        limiter.wait_s(f"c{number}", 1.0)
    assert len(limiter._buckets) == 10_000
