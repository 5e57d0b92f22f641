"""The rows of a batch, one at a time: what tests compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from detectors.release import Release
from streams.event import Categorical, EventBatch, EventKind


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event: its cells that have a value, and the columns that it has errors in."""

    source: int
    ts_ms: int
    release: Release
    kind: EventKind
    failed: bool
    segments: Mapping[str, str]
    numbers: Mapping[str, float]
    texts: Mapping[str, str]
    errors: frozenset[str]
    request_id: str | None


def event_rows(batch: EventBatch) -> Iterator[EventRow]:
    """The events of a batch in its order. Slow: about 10 µs a row."""
    for row in range(batch.rows):
        version, role = batch.releases[batch.release[row]]
        numbers = {name: float(values[row]) for name, values in batch.numeric.items()}
        yield EventRow(
            source=int(batch.source[row]),
            ts_ms=int(batch.ts_ms[row]),
            release=Release(batch.model, version, role),
            kind=batch.kind,
            failed=bool(batch.failed[row]),
            segments=_texts(batch.segments, row),
            numbers={name: value for name, value in numbers.items() if not np.isnan(value)},
            texts=_texts(batch.categorical, row),
            errors=frozenset(name for name, at in batch.errors.items() if row in at),
            request_id=None if batch.request_ids is None else batch.request_ids[row],
        )


def _texts(columns: Mapping[str, Categorical], row: int) -> dict[str, str]:
    return {
        name: column.categories[column.codes[row]]
        for name, column in columns.items()
        if column.codes[row] >= 0
    }
