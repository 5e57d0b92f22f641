"""A sample of the events themselves, for the table ``events``: off unless configured.

Which events are in the sample depends only on their address (topic, partition, offset, row), so a
replay picks the same ones. Only the configured columns are kept.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import numpy as np

from streams.event import Decoded, EventBatch
from streams.intake import Chunk

ROWS_PER_MESSAGE = 200
"""A chunk may hold many thousand rows, and a broker takes 1 MB a message."""
_SCRAMBLE = np.uint64(0x9E37_79B9_7F4A_7C15)


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """``ratio`` of events kept (0 keeps none); ``columns``: patterns of column names to keep."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    ratio: float = 0.0
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.ratio <= 1:
            raise ValueError("events.ratio must be between 0 and 1")


class EventSample:
    """Picks rows for the table ``events``."""

    def __init__(self, settings: SampleSettings) -> None:
        self._settings = settings
        # The product rounds to 2**64 at a ratio of 1.
        self._below = np.uint64(min(int(settings.ratio * 2**64), 2**64 - 1))

    def pick(self, decoded: Decoded, chunk: Chunk) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of records for ``driftline.events``."""
        if self._settings.ratio == 0:
            return
        for batch in decoded.batches:
            offsets = chunk.offset[batch.source]
            row = _row_in_message(batch)
            address = offsets.astype(np.uint64) * np.uint64(4096) + row.astype(np.uint64)
            with np.errstate(over="ignore"):
                scrambled = (address + np.uint64(1)) * _SCRAMBLE
                scrambled = (scrambled ^ (scrambled >> np.uint64(29))) * _SCRAMBLE
            picked = np.flatnonzero(scrambled <= self._below)
            if not len(picked):
                continue
            for at in range(0, len(picked), ROWS_PER_MESSAGE):
                some = picked[at : at + ROWS_PER_MESSAGE]
                rows = [self._row(batch, int(i), chunk, int(row[i])) for i in some]
                yield batch.model.encode(), msgspec.json.encode({"rows": rows})

    def _row(self, batch: EventBatch, i: int, chunk: Chunk, row: int) -> dict[str, Any]:
        version, role = batch.releases[batch.release[i]]
        source = batch.source[i]
        topic, partition = chunk.places[chunk.place[source]]
        numbers = {
            name: float(values[i])
            for name, values in batch.numeric.items()
            if self._kept(name) and np.isfinite(values[i])
        }
        texts = {
            name: column.categories[column.codes[i]]
            for name, column in batch.categorical.items()
            if self._kept(name) and column.codes[i] >= 0
        }
        return {
            "model": batch.model,
            "version": version,
            "role": role.value,
            "kind": batch.kind.value,
            "ts": int(batch.ts_ms[i]),
            "topic": topic,
            "partition": partition,
            "offset": int(chunk.offset[source]),
            "row": row,
            "numbers": numbers,
            "texts": texts,
        }

    def _kept(self, column: str) -> bool:
        return any(fnmatch.fnmatchcase(column, pattern) for pattern in self._settings.columns)


def _row_in_message(batch: EventBatch) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The number of each row among this batch's rows of the same message."""
    if not batch.rows:
        return np.zeros(0, np.int64)
    new = np.concatenate(([True], batch.source[1:] != batch.source[:-1]))
    first = np.maximum.accumulate(np.where(new, np.arange(batch.rows), 0))
    return np.arange(batch.rows) - first
