"""Streams that begin alike, read as one stream.

A producer sends the same schema and mostly the same dictionaries with every message. Where the
bytes before the first record batch are those of a message that was read before, only the record
batches are new: those of several messages are put behind one beginning and Arrow opens one stream.
What the batches claim is looked at first, as in every stream, and each is validated in full. Where
anything is out of the ordinary (a dictionary that changes, compression, a claim that cannot be),
the message is read by itself, and that decides.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from streams.codecs.arrow_stream import (
    BROKEN,
    beginning_of,
    open_batches,
    plain_batch_at,
    read_batches,
    too_much,
)
from streams.codecs.reasons import Reason, Unreadable
from streams.event import Bounds

_LONGEST = 1 << 20
"""A longer beginning is not remembered: to compare it would cost more than it saves."""


class AlikeStreams:
    """Remembers how the last stream that was read by itself began."""

    def __init__(self) -> None:
        self._beginning = b""
        self._claimed = 0

    def read(self, values: Sequence[bytes], bounds: Bounds) -> list[list[Any] | Unreadable]:
        """The record batches of each message, validated, or why there are none."""
        found: list[list[Any] | Unreadable | None] = self._together(values, bounds)
        results: list[list[Any] | Unreadable] = []
        for value, known in zip(values, found, strict=True):
            result = known
            if result is None:
                try:
                    result = read_batches(value, bounds)
                except Unreadable as unreadable:
                    result = unreadable
                else:
                    self._remember(value)
            results.append(result)
        return results

    def _remember(self, value: bytes) -> None:
        beginning, claimed = beginning_of(value)
        if len(beginning) <= _LONGEST and len(beginning) % 8 == 0:
            self._beginning, self._claimed = beginning, claimed

    def _together(
        self, values: Sequence[bytes], bounds: Bounds
    ) -> list[list[Any] | Unreadable | None]:
        """None for those that are not like the others."""
        found: list[list[Any] | Unreadable | None] = [None] * len(values)
        if not self._beginning:
            return found
        counts: dict[int, int] = {}
        pieces: list[bytes | memoryview] = [self._beginning]
        for i, value in enumerate(values):
            if value.startswith(self._beginning):
                stop, counts[i] = self._plain_end(value, bounds)
                pieces.append(memoryview(value)[len(self._beginning) : stop])
        if len(counts) < 2:
            return found
        try:
            batches = open_batches(b"".join(pieces))
        except BROKEN:  # one of them; each by itself will say which
            return found
        if len(batches) != sum(counts.values()):
            return found
        at = 0
        for i, count in counts.items():
            if count:
                mine = batches[at : at + count]
                at += count
                has_rows = any(batch.num_rows for batch in mine)
                found[i] = mine if has_rows else Unreadable(Reason.EMPTY)
        return found

    def _plain_end(self, value: bytes, bounds: Bounds) -> tuple[int, int]:
        """Where the last record batch ends, and how many there are; none if there is anything but
        plain record batches of a size that may be."""
        nothing = len(self._beginning), 0
        at, count = nothing
        rows, size = 0, self._claimed
        try:
            while (batch := plain_batch_at(value, at)) is not None:
                at, claims = batch
                count += 1
                rows += claims.rows
                size += claims.size
                if at % 8 or too_much(rows, size, bounds) is not None:
                    return nothing
        except (Unreadable, struct.error, IndexError):
            return nothing
        return at, count
