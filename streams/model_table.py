"""The rows of one model as one table, sliced into groups by (release, segment, pane).

Sorting by group makes every group a slice, so the numeric work is a handful of array operations a
column, however many releases and panes there are; with compiled kernels it is one pass a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import Codes, Rows, Workshop, summarize
from detectors.layout import HEADERS, Header, Kind, Layout
from detectors.release import ALL, OTHER, Role
from streams.event import EventKind
from streams.kept_rows import (
    ModelRows,
    NumericColumns,
    errors_of,
    releases_of,
    segments_of,
    texts_of,
)
from streams.wire import Group, pack

_HEADER_OF = {
    EventKind.PREDICTION: HEADERS.index(Header.PREDICTIONS),
    EventKind.LABEL: HEADERS.index(Header.LABELS),
    EventKind.SCORE: HEADERS.index(Header.SCORES),
    EventKind.OUTCOME: HEADERS.index(Header.OUTCOMES),
}
_FAILED = HEADERS.index(Header.FAILED)


@dataclass(frozen=True, slots=True, eq=False)
class ModelTable:
    """All rows of one model since the last flush, as columns of one length."""

    pane_ms: NDArray[np.int64]
    release: NDArray[np.int64]
    releases: tuple[tuple[str, Role], ...]
    header: NDArray[np.int64]
    failed: NDArray[np.bool_]
    segments: dict[str, Codes]
    numeric: Mapping[str, NDArray[np.float64]]
    texts: dict[str, Codes]
    errors: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, rows: ModelRows, pane_ms: int) -> ModelTable:
        parts = rows.parts
        only_counts = rows.model == OTHER
        release, releases = releases_of(rows)
        ts = np.concatenate([part.batch.ts_ms[part.pick] for part in parts])
        return cls(
            pane_ms=ts - ts % pane_ms,
            release=release,
            releases=releases,
            header=np.repeat(
                [_HEADER_OF[part.batch.kind] for part in parts], [len(part) for part in parts]
            ),
            failed=np.concatenate([part.batch.failed[part.pick] for part in parts]),
            segments={} if only_counts else segments_of(rows),
            numeric={} if only_counts else NumericColumns(rows),
            texts={} if only_counts else texts_of(rows),
            errors={} if only_counts else errors_of(rows),
        )

    def keys(self) -> list[tuple[str, Kind]]:
        """The columns that occur. One with nothing but unreadable values counts as numeric."""
        keys = [(name, Kind.NUMERIC) for name in self.numeric]
        keys += [(name, Kind.CATEGORICAL) for name in self.texts]
        known = {name for name, _ in keys}
        return keys + [(name, Kind.NUMERIC) for name in self.errors if name not in known]

    def groups(self, layout: Layout, workshop: Workshop | None) -> Iterator[Group]:
        yield from self._sliced(layout, None, Codes(np.zeros(0, np.int32), ()), workshop)
        for codes in self.segments.values():
            rows = np.flatnonzero(codes.codes >= 0)
            if len(rows):
                yield from self._sliced(layout, rows, codes, workshop)

    def _sliced(
        self,
        layout: Layout,
        rows: NDArray[np.int64] | None,
        segment: Codes,
        workshop: Workshop | None,
    ) -> Iterator[Group]:
        """Groups of ``rows`` (None: of all) by pane, release and segment."""
        pick: slice | NDArray[np.int64] = slice(None) if rows is None else rows
        panes, releases = self.pane_ms[pick], self.release[pick]
        codes = segment.codes[pick] if segment.names else np.zeros(len(panes), np.int32)
        order, starts = _sorted((panes, releases, codes))
        picked = rows if order is None else order if rows is None else rows[order]
        summaries = summarize(self._rows(picked, starts), layout, workshop)
        firsts = starts[:-1] if order is None else order[starts[:-1]]
        for at, summary in zip(firsts.tolist(), summaries, strict=True):
            version, role = self.releases[int(releases[at])]
            name = segment.names[int(codes[at])] if segment.names else ALL
            yield Group(version, role, name, int(panes[at]), pack(summary))

    def _rows(self, picked: NDArray[np.int64] | None, starts: NDArray[np.int64]) -> Rows:
        groups = len(starts) - 1
        sizes = np.diff(starts)
        pick: slice | NDArray[np.int64] = slice(None) if picked is None else picked
        header, failed = self.header[pick], self.failed[pick]
        headers = np.zeros((groups, len(HEADERS)), np.int64)
        group_of = np.repeat(np.arange(groups), sizes)
        if (header == header[0]).all():
            headers[:, int(header[0])] = sizes
        else:
            cells = np.bincount(group_of * len(HEADERS) + header, minlength=headers.size)
            headers += cells.reshape(headers.shape)
        if failed.any():
            headers[:, _FAILED] = np.bincount(group_of[failed], minlength=groups)
        return Rows(
            starts,
            headers,
            self.numeric,
            self.texts,
            {
                name: np.bincount(group_of, weights=marks[pick], minlength=groups).astype(np.int64)
                for name, marks in self.errors.items()
            },
            picked,
        )


def _sorted(
    keys: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]],
) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
    """The order that sorts rows by several keys, the first one first (None: they stand so), and
    where each combination starts in it, with the end of the last one; at least one row."""
    key = np.zeros(len(keys[0]), np.int64)
    width = 1
    for values in keys:
        low = int(values.min())
        more = int(values.max()) - low + 1
        if more > 1:
            width *= more
            if width >= 2**62:
                return _sorted_apart(keys)
            key = key * more + (values - low)
    order: NDArray[np.int64] | None = None
    if (key[1:] < key[:-1]).any():
        # Numbers of 16 bits are sorted in linear time.
        narrow = key.astype(np.uint16) if width <= 2**16 else key
        order = np.argsort(narrow, kind="stable")
        key = key[order]
    return order, _starts(key[1:] != key[:-1])


def _sorted_apart(
    keys: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same for keys too far apart for one number: panes of 100 ms over thousands of years."""
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order) - 1, np.bool_)
    for values in keys:
        placed = values[order]
        new |= placed[1:] != placed[:-1]
    return order, _starts(new)


def _starts(new: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.flatnonzero(new) + 1, [len(new) + 1]))
