"""Arrow IPC streams, one or several record batches a message."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.codecs.arrow_alike import AlikeStreams
from streams.codecs.arrow_rows import BatchRows, gather, read_batch
from streams.codecs.arrow_runs import Part, joined, runs
from streams.codecs.arrow_whole import whole_batch
from streams.codecs.columns import Gathered
from streams.codecs.messages import refuse_message
from streams.codecs.reasons import Reason, Unreadable
from streams.event import Bounds, Decoded, EventBatch, EventKind, Reject

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
        self._streams = AlikeStreams()

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        """See ``streams.event.Codec``."""
        seen = np.ones(len(values), dtype=np.int64)
        rejects: list[Reject] = []
        fitting: dict[int, bytes] = {}
        for source, value in enumerate(values):
            reject = refuse_message(source, value, bounds)
            if reject is not None:
                rejects.append(reject)
            elif value is not None:
                fitting[source] = value
        messages: list[tuple[int, list[Any]]] = []
        opened = self._streams.read(list(fitting.values()), bounds)
        for (source, value), batches in zip(fitting.items(), opened, strict=True):
            if isinstance(batches, Unreadable):
                rejects.append(Reject(source, -1, batches.reason, value))
            else:
                messages.append((source, batches))
        times = bounds.fallback_times(kafka_ts_ms)
        try:
            parts = list(_parts(messages))
            read = [self._read(run, times, bounds) for run in runs(parts)]
        except (Unreadable, *_BROKEN):  # for the sake of one message, each by itself
            unread: dict[int, Reason] = {}
            for message in messages:
                try:
                    for part in _parts([message]):
                        self._read([part], times, bounds)
                except Unreadable as unreadable:
                    unread[message[0]] = unreadable.reason
                except (
                    _BROKEN
                ):  # a type that Arrow can send and not convert, a name that is no text
                    unread[message[0]] = Reason.NOT_ARROW
            rejects += [Reject(at, -1, why, values[at] or b"") for at, why in unread.items()]
            messages = [message for message in messages if message[0] not in unread]
            parts = list(_parts(messages))
            read = [self._read([part], times, bounds) for part in parts]
        for source, batches in messages:
            seen[source] = sum(batch.num_rows for batch in batches)
        rejects += _refused(read)
        rejects.sort(key=lambda reject: (reject.source, reject.row))
        source_of = np.repeat(
            [part.message for part in parts], [part.batch.num_rows for part in parts]
        )
        return Decoded(tuple(self._batches(read, source_of, bounds)), tuple(rejects), seen)

    def _read(
        self, run: list[Part], times: NDArray[np.int64] | None, bounds: Bounds
    ) -> tuple[list[Part], BatchRows]:
        by_row = None
        if times is not None:
            by_row = np.repeat(
                times[[part.message for part in run]], [part.batch.num_rows for part in run]
            )
        rows = read_batch(joined(run), by_row, bounds, request_ids=self._keep_request_ids)
        return run, rows

    def _batches(
        self,
        read: list[tuple[list[Part], BatchRows]],
        source_of: NDArray[np.int64],
        bounds: Bounds,
    ) -> list[EventBatch]:
        if len(read) == 1 and not self._keep_request_ids:
            batch = whole_batch(read[0][1], source_of, bounds)
            if batch is not None:
                return [batch]
        gathered: dict[tuple[str, EventKind], Gathered] = {}
        for run, rows in read:
            positions = [np.arange(part.batch.num_rows) + part.position for part in run]
            gather(rows, np.concatenate(positions), gathered, bounds)
        return [
            batch
            for (model, kind), rows_of in sorted(gathered.items())
            for batch in rows_of.batches(model, kind, source_of, request_ids=self._keep_request_ids)
        ]


def _parts(messages: Sequence[tuple[int, list[Any]]]) -> Iterator[Part]:
    position = 0
    for message, batches in messages:
        row = 0
        for batch in batches:
            if batch.num_rows:
                yield Part(batch, message, row, position)
            row += batch.num_rows
            position += batch.num_rows


def _refused(read: list[tuple[list[Part], BatchRows]]) -> list[Reject]:
    refused = []
    for run, rows in read:
        at = 0
        for part in run:
            stop = at + part.batch.num_rows
            refused += [
                (part, row - at, rows.reason_of(row))
                for row in (np.flatnonzero(rows.reason[at:stop] >= 0) + at).tolist()
            ]
            at = stop
    refused.sort(key=lambda each: (each[0].message, each[0].row, each[1]))
    shown: Counter[int] = Counter()
    rejects = []
    for part, row, reason in refused:
        shown[part.message] += 1
        show = shown[part.message] <= _SHOWN_ROWS
        raw = _shown(part.batch, row) if show else b""
        rejects.append(Reject(part.message, part.row + row, reason, raw))
    return rejects


def _shown(batch: Any, row: int) -> bytes:
    """A row as JSON; empty if Python cannot express it, such as a time in the year 300000."""
    try:
        values = batch.slice(row, 1).to_pylist()[0]
        return json.dumps(values, default=str).encode()[:_SHOWN_BYTES]
    except (pa.ArrowException, ValueError, OverflowError, TypeError, RecursionError):
        return b""
