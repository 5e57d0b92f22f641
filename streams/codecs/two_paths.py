"""JSON rows by the speculative path where it fits, and by the exact one for all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streams.codecs.columns import MAX_CELLS, Gathered
from streams.codecs.json_rows import JsonRows, JsonTexts
from streams.codecs.speculative.loading import Kernels
from streams.codecs.speculative.reader import Found, SpeculativeReader
from streams.event import Bounds, EventBatch, EventKind, Reject

Read = tuple[list[EventBatch], list[Reject]]


@dataclass(frozen=True, slots=True, eq=False)
class LinesRead:
    """``rows`` int64: lines that are not blank, of every message."""

    batches: list[EventBatch]
    rejects: list[Reject]
    rows: NDArray[np.int64]


class TwoPaths:
    """Keeps what both paths learnt, and nothing else."""

    def __init__(self, kernels: Callable[[], Kernels | None], *, keep_request_ids: bool) -> None:
        self._exact = JsonRows(keep_request_ids=keep_request_ids)
        self._speculative = SpeculativeReader(kernels, keep_request_ids=keep_request_ids)
        self._keep_ids = keep_request_ids

    def read_messages(
        self,
        raw: Sequence[bytes],
        source: NDArray[np.int64],
        kafka_ts_ms: Sequence[int] | None,
        bounds: Bounds,
    ) -> Read:
        """Messages of one event each. ``source``: their numbers, which ``kafka_ts_ms`` goes by."""
        times = bounds.fallback_times(kafka_ts_ms)
        by_row = None if times is None else times[source]
        found = self._speculative.messages(raw, by_row, bounds)
        if found is None:
            texts = JsonTexts(list(raw), source.tolist(), [-1] * len(raw))
            return self._exact.read(texts, kafka_ts_ms, bounds)
        row = np.full(len(raw), -1, dtype=np.int64)
        return self._with_exact(replace(found, source=source), row, times, bounds)

    def read_lines(
        self,
        values: Sequence[bytes],
        most_rows: int,
        kafka_ts_ms: Sequence[int] | None,
        bounds: Bounds,
    ) -> LinesRead | None:
        """The lines of messages; there are at most ``most_rows``. ``kafka_ts_ms``: by message.

        None if only the exact path is there; it takes lines that are cut apart.
        """
        times = bounds.fallback_times(kafka_ts_ms)
        found = self._speculative.lines(values, most_rows, times, bounds)
        if found is None:
            return None
        row = np.arange(len(found.source)) - (np.cumsum(found.rows) - found.rows)[found.source]
        batches, rejects = self._with_exact(found, row, times, bounds)
        return LinesRead(batches, rejects, found.rows)

    def read_cut_lines(
        self, texts: JsonTexts, kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Read:
        """Lines that are cut apart, by the exact path."""
        return self._exact.read(texts, kafka_ts_ms, bounds)

    def _with_exact(
        self,
        found: Found,
        row: NDArray[np.int64],
        times: NDArray[np.int64] | None,
        bounds: Bounds,
    ) -> Read:
        """``row``: number of every row in its message. ``times``: by message."""
        batches = list(found.batches)
        rejects: list[Reject] = []
        if len(found.unread):
            # In place of the message, each row carries its position: so batches can be merged.
            positions = found.unread.tolist()
            texts = JsonTexts(
                [found.raw(at) for at in positions], positions, row[positions].tolist()
            )
            by_row = None if times is None else times[found.source].tolist()
            exact, rejects = self._exact.read(texts, by_row, bounds)
            rejects = [replace(r, source=int(found.source[r.source])) for r in rejects]
            batches += exact
        return self._merged(batches, found.source, bounds), rejects

    def _merged(
        self, batches: list[EventBatch], source: NDArray[np.int64], bounds: Bounds
    ) -> list[EventBatch]:
        by_key: dict[tuple[str, EventKind], list[EventBatch]] = {}
        for batch in batches:
            by_key.setdefault((batch.model, batch.kind), []).append(batch)
        merged: list[EventBatch] = []
        for (model, kind), parts in sorted(by_key.items(), key=lambda item: item[0]):
            if len(parts) == 1 and _is_final(parts[0], bounds):
                merged.append(replace(parts[0], source=source[parts[0].source]))
                continue
            gathered = Gathered(bounds)
            for part in parts:
                gathered.batch(part)
            merged += gathered.batches(model, kind, source, request_ids=self._keep_ids)
        return merged


def _is_final(batch: EventBatch, bounds: Bounds) -> bool:
    """Whether ``Gathered`` would not split the batch."""
    width = len(batch.numeric) + len(batch.categorical) + len(batch.segments)
    return width <= bounds.max_columns and width * batch.rows <= MAX_CELLS
