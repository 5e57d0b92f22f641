"""What is refused before a message is read at all."""

from __future__ import annotations

from streams.codecs.reasons import Reason
from streams.event import Bounds, Reject

MAX_ROWS = 200_000
"""Rows of one message. A message of two-byte lines must not become millions of dead letters."""


def refuse_message(source: int, value: bytes | None, bounds: Bounds) -> Reject | None:
    """The reject of a message without a value (a tombstone too), or of one that is too large."""
    if not value:
        return Reject(source, -1, Reason.EMPTY, b"")
    if len(value) > bounds.max_message_bytes:
        return Reject(source, -1, Reason.TOO_LARGE, value)
    return None
