"""From decoded columns to deltas: rows wait here until the next flush, then each model's rows are
sorted by (release, segment, pane) and summarised at once.

Sorting by group makes every group a slice, so the numeric work is a handful of array operations a
column, however many releases and panes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import Codes, Rows, summarize
from detectors.layout import HEADERS, Header, Kind, Layout
from detectors.reference import Reference, layout_for
from detectors.release import ALL, OTHER, Role
from streams.cardinality import Limits, Names
from streams.event import Categorical, EventBatch, EventKind
from streams.timeline import TimeSettings
from streams.wire import Delta, Group, pack

MAX_DELTA_BYTES = 400_000
"""A delta is cut into several below this, so that no record nears the broker's limit of 1 MB."""

_HEADER_OF = {
    EventKind.PREDICTION: HEADERS.index(Header.PREDICTIONS),
    EventKind.LABEL: HEADERS.index(Header.LABELS),
    EventKind.SCORE: HEADERS.index(Header.SCORES),
    EventKind.OUTCOME: HEADERS.index(Header.OUTCOMES),
}
_FAILED = HEADERS.index(Header.FAILED)


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The rows of a batch that are counted: ``rows`` int64, indices, in order."""

    batch: EventBatch
    rows: NDArray[np.int64]
    topic: str


class ModelRows:
    """The rows of one model since the last flush, and the names it may use."""

    def __init__(self, model: str, limits: Limits) -> None:
        self.model = model
        self.versions = Names(limits.versions_per_model)
        self.segments = Names(limits.segments_per_model)
        self.folded = Names(limits.segments_per_model)
        self.columns = Names(limits.columns_per_model)
        self.parts: list[Kept] = []

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self.parts)


class Accumulator:
    """Buffers rows by model; :meth:`drain` turns them into deltas."""

    def __init__(
        self,
        time: TimeSettings,
        limits: Limits,
        reference_of: Callable[[str], Reference | None],
    ) -> None:
        self._time = time
        self._limits = limits
        self._reference_of = reference_of
        self._models = Names(limits.models)
        self._rows: dict[str, ModelRows] = {}
        self.buffered = 0

    def add(self, kept: Kept) -> int:
        """Keep rows until the next flush; returns how many of them are beyond the cap on models
        or versions (they are still counted, under ``__other__``)."""
        model = self._models.fold(kept.batch.model)
        rows = self._rows.get(model)
        if rows is None:
            rows = self._rows[model] = ModelRows(model, self._limits)
        rows.parts.append(kept)
        self.buffered += len(kept.rows)
        if model == OTHER:
            return len(kept.rows)
        folded = [
            index
            for index, (version, _) in enumerate(kept.batch.releases)
            if not rows.versions.admit(version)
        ]
        if not folded:
            return 0
        return int(np.isin(kept.batch.release[kept.rows], folded).sum())

    def drain(self, worker: str, wall_ms: int) -> Iterator[Delta]:
        """One delta a model (several if it is large) for all rows added since the last call."""
        for model, rows in self._rows.items():
            if rows.parts:
                yield from self._deltas(model, rows, worker, wall_ms)
                rows.parts = []
        self.buffered = 0

    def _deltas(self, model: str, rows: ModelRows, worker: str, wall_ms: int) -> Iterator[Delta]:
        reference = None if model == OTHER else self._reference_of(model)
        table = _Table.of(rows, self._time.pane_ms)
        layout = layout_for(reference, table.keys())
        topics = tuple(sorted({part.topic for part in rows.parts}))
        groups: list[Group] = []
        size = 0
        for group in table.groups(layout):
            packed = len(group.summaries.vector) + len(group.summaries.extremes)
            packed += sum(len(k) + len(c) for k, c in group.summaries.sketches.values())
            packed += sum(
                len(name) + 12 for c in group.summaries.categories.values() for name in c[0]
            )
            if groups and size + packed > MAX_DELTA_BYTES:
                yield self._delta(model, layout, topics, worker, wall_ms, groups)
                groups, size = [], 0
            groups.append(group)
            size += packed
        yield self._delta(model, layout, topics, worker, wall_ms, groups)

    @staticmethod
    def _delta(
        model: str,
        layout: Layout,
        topics: tuple[str, ...],
        worker: str,
        wall_ms: int,
        groups: Sequence[Group],
    ) -> Delta:
        columns = tuple(spec.key for spec in layout.columns)
        return Delta(worker, model, layout.reference, columns, topics, wall_ms, tuple(groups))


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """All rows of one model since the last flush, as columns of one length."""

    pane_ms: NDArray[np.int64]
    release: NDArray[np.int64]
    releases: tuple[tuple[str, Role], ...]
    header: NDArray[np.int64]
    failed: NDArray[np.bool_]
    segments: dict[str, Codes]
    numeric: dict[str, NDArray[np.float64]]
    texts: dict[str, Codes]
    errors: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, rows: ModelRows, pane_ms: int) -> _Table:
        parts = rows.parts
        only_counts = rows.model == OTHER
        release, releases = _releases(rows)
        ts = np.concatenate([part.batch.ts_ms[part.rows] for part in parts])
        return cls(
            pane_ms=ts - ts % pane_ms,
            release=release,
            releases=releases,
            header=np.concatenate(
                [np.full(len(part.rows), _HEADER_OF[part.batch.kind]) for part in parts]
            ),
            failed=np.concatenate([part.batch.failed[part.rows] for part in parts]),
            segments={} if only_counts else _segments(rows),
            numeric={} if only_counts else _numeric(rows),
            texts={} if only_counts else _texts(rows),
            errors={} if only_counts else _errors(rows),
        )

    def keys(self) -> list[tuple[str, Kind]]:
        """The columns that occur. One with nothing but unreadable values counts as numeric."""
        keys = [(name, Kind.NUMERIC) for name in self.numeric]
        keys += [(name, Kind.CATEGORICAL) for name in self.texts]
        known = {name for name, _ in keys}
        return keys + [(name, Kind.NUMERIC) for name in self.errors if name not in known]

    def groups(self, layout: Layout) -> Iterator[Group]:
        everything = np.arange(len(self.pane_ms))
        yield from self._sliced(layout, everything, Codes(np.zeros(0, np.int32), ()))
        for codes in self.segments.values():
            yield from self._sliced(layout, np.flatnonzero(codes.codes >= 0), codes)

    def _sliced(self, layout: Layout, rows: NDArray[np.int64], segment: Codes) -> Iterator[Group]:
        if not len(rows):
            return
        codes = segment.codes[rows].astype(np.int64) if segment.names else np.zeros(len(rows))
        order = np.lexsort((codes, self.release[rows], self.pane_ms[rows]))
        sorted_keys = np.stack((self.pane_ms[rows], self.release[rows], codes.astype(np.int64)))
        sorted_keys = sorted_keys[:, order]
        new = np.any(sorted_keys[:, 1:] != sorted_keys[:, :-1], axis=0)
        starts = np.concatenate(([0], np.flatnonzero(new) + 1, [len(rows)]))
        picked = rows[order]
        summaries = summarize(self._rows(picked, starts), layout)
        for at, summary in zip(starts[:-1].tolist(), summaries, strict=True):
            pane_ms, release, code = sorted_keys[:, at].tolist()
            version, role = self.releases[release]
            name = segment.names[code] if segment.names else ALL
            yield Group(version, role, name, pane_ms, pack(summary))

    def _rows(self, picked: NDArray[np.int64], starts: NDArray[np.int64]) -> Rows:
        groups = len(starts) - 1
        group_of = np.repeat(np.arange(groups), np.diff(starts))
        cells = group_of * len(HEADERS) + self.header[picked]
        headers = np.bincount(cells, minlength=groups * len(HEADERS)).reshape(groups, -1)
        headers[:, _FAILED] = np.bincount(group_of[self.failed[picked]], minlength=groups)
        whole = len(picked) == len(self.pane_ms) and bool((np.diff(picked) == 1).all())
        pick: slice | NDArray[np.int64] = slice(None) if whole else picked
        return Rows(
            starts,
            headers,
            {name: values[pick] for name, values in self.numeric.items()},
            {name: Codes(codes.codes[pick], codes.names) for name, codes in self.texts.items()},
            {
                name: np.bincount(group_of, weights=marks[pick], minlength=groups).astype(np.int64)
                for name, marks in self.errors.items()
            },
        )


def _releases(rows: ModelRows) -> tuple[NDArray[np.int64], tuple[tuple[str, Role], ...]]:
    """Release of each row, as an index into the distinct ones; versions beyond the cap folded."""
    index: dict[tuple[str, Role], int] = {}
    columns = []
    for part in rows.parts:
        codes = []
        for version, role in part.batch.releases:
            folded = (OTHER if rows.model == OTHER else rows.versions.fold(version), role)
            codes.append(index.setdefault(folded, len(index)))
        columns.append(np.array(codes, np.int64)[part.batch.release[part.rows]])
    return np.concatenate(columns), tuple(index)


def _segments(rows: ModelRows) -> dict[str, Codes]:
    """For each segment key, the segment (``key=value``) of each row, -1 where it has none."""

    def rename(key: str, value: str) -> str | None:
        name = f"{key}={value}"
        if rows.segments.admit(name):
            return name
        # Producers choose the keys too: beyond the cap on these, a row is in "all" only.
        folded = f"{key}={OTHER}"
        return folded if rows.folded.admit(folded) else None

    if not rows.segments.admit(ALL):  # a cap of 0 turns segments off
        return {}
    return _coded(rows.parts, lambda batch: batch.segments, rename)


def _texts(rows: ModelRows) -> dict[str, Codes]:
    coded = _coded(rows.parts, lambda batch: batch.categorical, lambda _, value: value)
    return {name: codes for name, codes in coded.items() if rows.columns.admit(name)}


def _coded(
    parts: Sequence[Kept],
    columns_of: Callable[[EventBatch], object],
    rename: Callable[[str, str], str | None],
) -> dict[str, Codes]:
    """Dictionary-coded columns of all parts, one dictionary a column."""
    total = sum(len(part.rows) for part in parts)
    out: dict[str, tuple[NDArray[np.int32], dict[str, int]]] = {}
    at = 0
    for part in parts:
        columns: dict[str, Categorical] = columns_of(part.batch)  # type: ignore[assignment]
        for name, column in columns.items():
            if name not in out:
                out[name] = (np.full(total, -1, np.int32), {})
            codes, index = out[name]
            renamed = []
            for value in column.categories:
                kept = rename(name, value)
                renamed.append(-1 if kept is None else index.setdefault(kept, len(index)))
            lookup = np.array([*renamed, -1], np.int32)  # code -1 finds the last: no value
            codes[at : at + len(part.rows)] = lookup[column.codes[part.rows]]
        at += len(part.rows)
    return {name: Codes(codes, tuple(index)) for name, (codes, index) in out.items()}


def _numeric(rows: ModelRows) -> dict[str, NDArray[np.float64]]:
    total = len(rows)
    out: dict[str, NDArray[np.float64]] = {}
    at = 0
    for part in rows.parts:
        for name, values in part.batch.numeric.items():
            if name not in out:
                if not rows.columns.admit(name):
                    continue
                out[name] = np.full(total, np.nan)
            out[name][at : at + len(part.rows)] = values[part.rows]
        at += len(part.rows)
    return out


def _errors(rows: ModelRows) -> dict[str, NDArray[np.int64]]:
    """How many unreadable values of a column each row had, int64 [rows]."""
    total = len(rows)
    out: dict[str, NDArray[np.int64]] = {}
    at = 0
    for part in rows.parts:
        for name, indices in part.batch.errors.items():
            if name not in out:
                if not rows.columns.admit(name):
                    continue
                out[name] = np.zeros(total, np.int64)
            marks = np.bincount(indices, minlength=part.batch.rows)
            out[name][at : at + len(part.rows)] = marks[part.rows]
        at += len(part.rows)
    return out
