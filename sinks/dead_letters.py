"""Dead letters: messages and rows that could not be read, kept for whoever has to find out why.

Only the topic ``driftline.deadletters`` holds the bytes themselves, cut at 64 kB. Reasons, logs and
the table ``dead_letters`` say where and why, and never quote them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be read. ``row`` is -1 for a whole message."""

    topic: str
    partition: int
    offset: int
    row: int
    reason: str
    raw: bytes
    seen_at_ms: int

    @property
    def key(self) -> bytes:
        """The address of the message: the same letter written twice has the same key."""
        return f"{self.topic}/{self.partition}/{self.offset}/{self.row}".encode()

    def encode(self) -> bytes:
        """JSON: ``rows`` for the store, and ``bytes`` (base64, cut at 64 kB) for people."""
        row: dict[str, Any] = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "row": self.row,
            "reason": self.reason,
            "bytes": len(self.raw),
            "seen_at": self.seen_at_ms,
        }
        return msgspec.json.encode({"bytes": self.raw[:MAX_BYTES], "rows": [row]})
