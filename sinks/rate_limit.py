"""How often a client may ask: a bucket of requests that fills again, for each of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_CLIENTS: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class RateLimiter:
    """``per_second`` requests, with bursts of ``burst``. Memory is bounded: of clients beyond
    `MAX_CLIENTS`, the one not heard of for longest begins with a full bucket again."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """0.0 if the client may ask now, else how long to wait."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(self._burst, now_s)
            if len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        passed_s = max(0.0, now_s - bucket.at_s)
        bucket.left = min(self._burst, bucket.left + passed_s * self._per_second)
        bucket.at_s = now_s
        if bucket.left < 1:
            return (1 - bucket.left) / self._per_second
        bucket.left -= 1
        return 0.0
