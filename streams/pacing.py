"""How fast each receiver is called: not faster than it can take, and not while it is down.

What is held back stays in the outbox and is due still; nothing is lost or reordered by it.
Rollbacks are never held back, neither by the rate nor by pages that are on their way: each has a
wait of its own between tries already (`streams.outbox`), and there is one per version.

* At most ``in_flight`` pages to a receiver at a time, and ``per_minute`` with bursts of ``burst``.
* After ``break_after`` failures in a row the receiver is left alone for ``break_ms``; then one page
  is tried, and its outcome decides about the rest.

The state is that of one process: a restart begins with a full burst and all circuits closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """The limits for each receiver. Slack takes about one message a second in a channel."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    in_flight: int = 4
    per_minute: int = 60
    burst: int = 10
    break_after: int = 5
    break_ms: int = 30_000

    def __post_init__(self) -> None:
        for name in ("in_flight", "per_minute", "burst", "break_after", "break_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"pace: {name} must be at least 1")


@dataclass(slots=True)
class _Lane:
    """What is known of one receiver. ``tokens`` are pages that may start now."""

    tokens: float
    at_ms: int
    in_flight: int = 0
    failures: int = 0
    closed_until_ms: int | None = None


class Pacer:
    """Decides what may start. Time is an argument; it must not run backwards by much."""

    def __init__(self, settings: PaceSettings) -> None:
        self._settings = settings
        self._lanes: dict[str, _Lane] = {}

    def start(self, receiver: str, now_ms: int, *, urgent: bool) -> bool:
        """True if a try may start now; `end` must follow when it is over."""
        if urgent:
            return True
        settings = self._settings
        lane = self._lanes.setdefault(receiver, _Lane(settings.burst, now_ms))
        passed_ms = max(0, now_ms - lane.at_ms)
        lane.tokens = min(settings.burst, lane.tokens + passed_ms * settings.per_minute / 60_000)
        lane.at_ms = now_ms
        probing = lane.closed_until_ms is not None
        if lane.closed_until_ms is not None and now_ms < lane.closed_until_ms:
            return False
        if lane.in_flight >= (1 if probing else settings.in_flight) or lane.tokens < 1:
            return False
        lane.tokens -= 1
        lane.in_flight += 1
        return True

    def end(self, receiver: str, now_ms: int, *, urgent: bool, answered: bool) -> None:
        """Note that a try is over. ``answered``: the receiver took or refused it; False if it did
        not answer, or asked to be called later."""
        if urgent:
            return
        lane = self._lanes[receiver]
        lane.in_flight -= 1
        if answered:
            lane.failures, lane.closed_until_ms = 0, None
            return
        lane.failures += 1
        if lane.failures >= self._settings.break_after:
            lane.closed_until_ms = now_ms + self._settings.break_ms
