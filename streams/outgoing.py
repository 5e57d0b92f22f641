"""A record that a worker is about to produce."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to produce; ``partition`` -1 leaves the choice to the producer."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
