"""Arrow IPC streams, one or several record batches a message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from streams.codecs.arrow_rows import BatchRows, gather, read_batch
from streams.codecs.arrow_stream import read_batches
from streams.codecs.columns import Gathered
from streams.codecs.messages import refuse_message
from streams.codecs.reasons import Reason, Unreadable
from streams.event import Bounds, Decoded, EventKind, Reject

_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError)
_SHOWN_BYTES = 4096
_SHOWN_ROWS = 100
"""A rejected row is shown as JSON in its dead letter, cut at 4 kB, for the first 100 of a message:
the offset and the row number find the others."""


class ArrowBatch:
    """One Arrow IPC stream a message, flat (``features.x``) or nested (structs, maps) columns.

    Rows that cannot be events are rejected one by one; a stream that is broken, claims to be
    larger than 8 times the largest message, or names a column twice is rejected as a whole. A NaN
    is a null. A ``features`` object counts as present in a row in which one of its fields is.
    """

    name = "arrow"

    def __init__(self, *, keep_request_ids: bool = False) -> None:
        self._keep_request_ids = keep_request_ids

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """See ``streams.event.Codec``."""
        seen = np.ones(len(values), dtype=np.int64)
        gathered: dict[tuple[str, EventKind], Gathered] = {}
        rejects: list[Reject] = []
        sources: list[int] = []
        counts: list[int] = []
        position = 0
        keep_ids = self._keep_request_ids
        for source, value in enumerate(values):
            reject = refuse_message(source, value, bounds)
            if reject is not None or value is None:
                rejects += [reject] if reject is not None else []
                continue
            kafka_ts = None if kafka_ts_ms is None else kafka_ts_ms[source]
            try:
                read = [
                    (batch, read_batch(batch, kafka_ts, bounds, request_ids=keep_ids))
                    for batch in read_batches(value, bounds)
                ]
            except Unreadable as unreadable:
                rejects.append(Reject(source, -1, unreadable.reason, value))
                continue
            except _BROKEN:  # a type that Arrow can send and not convert, a name that is no text
                rejects.append(Reject(source, -1, Reason.NOT_ARROW, value))
                continue
            row = shown = 0
            for batch, rows in read:
                gather(rows, position, gathered, bounds)
                refused = _refused(source, row, batch, rows, _SHOWN_ROWS - shown)
                shown += len(refused)
                rejects += refused
                row += batch.num_rows
                position += batch.num_rows
            seen[source] = row
            sources.append(source)
            counts.append(row)
        source_of = np.repeat(np.array(sources, dtype=np.int64), np.array(counts, dtype=np.int64))
        batches = [
            batch
            for (model, kind), rows_of in sorted(gathered.items())
            for batch in rows_of.batches(model, kind, source_of, request_ids=keep_ids)
        ]
        return Decoded(tuple(batches), tuple(rejects), seen)


def _refused(source: int, first: int, batch: Any, rows: BatchRows, show: int) -> list[Reject]:
    return [
        Reject(source, first + row, rows.reason_of(row), _shown(batch, row) if i < show else b"")
        for i, row in enumerate(np.flatnonzero(rows.reason >= 0).tolist())
    ]


def _shown(batch: Any, row: int) -> bytes:
    """A row as JSON; empty if Python cannot express it, such as a time in the year 300000."""
    try:
        values = batch.slice(row, 1).to_pylist()[0]
        return json.dumps(values, default=str).encode()[:_SHOWN_BYTES]
    except (pa.ArrowException, ValueError, OverflowError, TypeError, RecursionError):
        return b""
