"""NDJSON: many lines a message, each one event."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.codecs.json_rows import JsonRows, JsonTexts
from streams.codecs.messages import MAX_ROWS, refuse_message
from streams.codecs.reasons import Reason
from streams.event import Bounds, Decoded, Reject


class Ndjson:
    """One JSON object a line; a line that cannot be read is rejected alone.

    Rows are the lines that are not blank, numbered from 0. Lines end with LF or CRLF. A message
    is rejected as a whole (row -1, one row seen) if it is empty, too large, or has too many lines.
    """

    name = "ndjson"

    def __init__(self, *, keep_request_ids: bool = False) -> None:
        self._rows = JsonRows(keep_request_ids=keep_request_ids)

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """See ``streams.event.Codec``."""
        texts = JsonTexts()
        rows: NDArray[np.int64] = np.ones(len(values), dtype=np.int64)
        rejects: list[Reject] = []
        for source, value in enumerate(values):
            reject = refuse_message(source, value, bounds)
            if reject is None and value is not None:
                reject = _add_lines(texts, source, value)
            if reject is not None:
                rejects.append(reject)
            else:
                rows[source] = texts.row[-1] + 1
        batches, unread = self._rows.read(texts, kafka_ts_ms, bounds)
        rejects = sorted(rejects + unread, key=lambda reject: (reject.source, reject.row))
        return Decoded(tuple(batches), tuple(rejects), rows)


def _add_lines(texts: JsonTexts, source: int, value: bytes) -> Reject | None:
    lines = [line for line in value.split(b"\n") if line and not line.isspace()]
    if b"\r" in value:  # without it, a line that is cut off would be told otherwise than alone
        lines = [line.removesuffix(b"\r") for line in lines]
    if not lines:
        return Reject(source, -1, Reason.EMPTY, value)
    if len(lines) > MAX_ROWS:
        return Reject(source, -1, Reason.TOO_MANY_ROWS, value)
    texts.raw += lines
    texts.source += [source] * len(lines)
    texts.row += range(len(lines))
    return None
