"""NDJSON: many lines a message, each one event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streams.codecs.json_rows import JsonTexts
from streams.codecs.messages import MAX_ROWS, refuse_message
from streams.codecs.reasons import Reason
from streams.codecs.speculative.loading import Kernels, ready
from streams.codecs.two_paths import TwoPaths
from streams.event import Bounds, Decoded, EventBatch, Reject


class Ndjson:
    """One JSON object a line; a line that cannot be read is rejected alone.

    Rows are the lines that are not blank, numbered from 0. Lines end with LF or CRLF. A message
    is rejected as a whole (row -1, one row seen) if it is empty, too large, or has too many lines.
    """

    name = "ndjson"

    def __init__(
        self,
        *,
        keep_request_ids: bool = False,
        kernels: Callable[[], Kernels | None] = ready,
    ) -> None:
        """``kernels``: asked at every call; without them the columns are the same."""
        self._rows = TwoPaths(kernels, keep_request_ids=keep_request_ids)

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """See ``streams.event.Codec``."""
        rows: NDArray[np.int64] = np.ones(len(values), dtype=np.int64)
        rejects: list[Reject] = []
        texts: list[bytes] = []
        source: list[int] = []
        most_rows = 0
        for at, value in enumerate(values):
            reject = refuse_message(at, value, bounds)
            if reject is None and value is not None:
                lines = value.count(b"\n") + 1
                if lines > MAX_ROWS:  # perhaps: blank lines do not count
                    lines, reject = _count_lines(at, value)
                most_rows += lines
            if reject is not None:
                rejects.append(reject)
            elif value is not None:
                texts.append(value)
                source.append(at)
        batches, unread = self._read(texts, source, most_rows, rows, kafka_ts_ms, bounds)
        rejects = sorted(rejects + unread, key=lambda reject: (reject.source, reject.row))
        return Decoded(tuple(batches), tuple(rejects), rows)

    def _read(
        self,
        values: Sequence[bytes],
        source: Sequence[int],
        most_rows: int,
        rows: NDArray[np.int64],
        kafka_ts_ms: Sequence[int] | None,
        bounds: Bounds,
    ) -> tuple[list[EventBatch], list[Reject]]:
        """``source``: numbers of these messages; fills ``rows`` for them."""
        times = None if kafka_ts_ms is None else [kafka_ts_ms[at] for at in source]
        found = self._rows.read_lines(values, most_rows, times, bounds)
        if found is None:
            texts = JsonTexts()
            rejects = []
            for at, value in zip(source, values, strict=True):
                rows[at] = _cut_lines(texts, at, value)
                if not rows[at]:
                    rejects.append(_empty(rows, at, value))
            batches, unread = self._rows.read_cut_lines(texts, kafka_ts_ms, bounds)
            return batches, rejects + unread
        place = np.array(source, dtype=np.int64)
        rows[place] = found.rows
        rejects = [
            _empty(rows, source[i], values[i]) for i in np.flatnonzero(found.rows == 0).tolist()
        ]
        if len(source) == len(rows):
            return found.batches, rejects + found.rejects
        batches = [replace(batch, source=place[batch.source]) for batch in found.batches]
        return batches, rejects + [replace(r, source=source[r.source]) for r in found.rejects]


def _empty(rows: NDArray[np.int64], source: int, value: bytes) -> Reject:
    rows[source] = 1
    return Reject(source, -1, Reason.EMPTY, value)


def _count_lines(source: int, value: bytes) -> tuple[int, Reject | None]:
    """How many lines the kernels may make rows of, and the reject if there are too many."""
    lines = sum(not line.isspace() for line in value.split(b"\n") if line)
    too_many = Reject(source, -1, Reason.TOO_MANY_ROWS, value) if lines > MAX_ROWS else None
    return (0 if too_many else lines), too_many


def _cut_lines(texts: JsonTexts, source: int, value: bytes) -> int:
    """Add the lines of a message; returns how many there are."""
    lines = [line for line in value.split(b"\n") if line and not line.isspace()]
    if b"\r" in value:  # without it, a line that is cut off would be told otherwise than alone
        lines = [line.removesuffix(b"\r") for line in lines]
    texts.raw += lines
    texts.source += [source] * len(lines)
    texts.row += range(len(lines))
    return len(lines)
