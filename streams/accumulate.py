"""From decoded columns to deltas: rows wait here until the next flush, then each model's rows are
sorted by (release, segment, pane) and summarised at once.

Sorting by group makes every group a slice, so the numeric work is a handful of array operations a
column, however many releases and panes there are; with compiled kernels it is one pass a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import Codes, Rows, Workshop, summarize
from detectors.layout import HEADERS, Header, Kind, Layout
from detectors.reference import Reference, layout_for
from detectors.release import ALL, OTHER, Role
from streams.cardinality import Limits, Names
from streams.codecs.speculative.loading import Kernels, ready
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

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def pick(self) -> slice | NDArray[np.int64]:
        """What to index the batch's columns with; mostly all rows are counted."""
        return slice(None) if len(self.rows) == self.batch.rows else self.rows


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
        return sum(map(len, self.parts))


class Accumulator:
    """Buffers rows by model; :meth:`drain` turns them into deltas."""

    def __init__(
        self,
        time: TimeSettings,
        limits: Limits,
        reference_of: Callable[[str], Reference | None],
        kernels: Callable[[], Kernels | None] = ready,
    ) -> None:
        """``kernels``: asked at every flush; without them the deltas are the same."""
        self._kernels = kernels
        self._workshop: Workshop | None = None
        self._time = time
        self._limits = limits
        self._reference_of = reference_of
        self._models = Names(limits.models, limits.always_models)
        self._rows: dict[str, ModelRows] = {}
        self.buffered = 0
        self.columns = 0
        """Columns of all batches that wait, once for each key of segments as well: what draining
        costs where names are many."""

    def add(self, kept: Kept) -> NDArray[np.bool_] | None:
        """Keep rows until the next flush. Returns which of them are beyond the cap on models or
        versions (they are still counted, under ``__other__``), None if no row is."""
        model = kept.batch.model
        if not self._models.admit(model) and self._reference_of(model) is None:
            model = OTHER
        rows = self._rows.get(model)
        if rows is None:
            rows = self._rows[model] = ModelRows(model, self._limits)
        rows.parts.append(kept)
        self.buffered += len(kept)
        columns = len(kept.batch.numeric) + len(kept.batch.categorical)
        keys = min(len(kept.batch.segments), self._limits.segments_per_model)
        self.columns += columns * (1 + keys)
        if model == OTHER:
            return np.ones(len(kept), np.bool_)
        folded = [
            index
            for index, (version, _) in enumerate(kept.batch.releases)
            if not rows.versions.admit(version)
        ]
        if not folded:
            return None
        beyond: NDArray[np.bool_] = np.isin(kept.batch.release[kept.pick], folded)
        return beyond

    def turned_away(self) -> dict[str, int]:
        """How often a name was beyond its cap since the start, by what it is a name of."""
        rows = self._rows.values()
        return {
            "model": self._models.turned_away,
            "version": sum(each.versions.turned_away for each in rows),
            "segment": sum(each.segments.turned_away for each in rows),
            "column": sum(each.columns.turned_away for each in rows),
        }

    def waiting(self) -> Iterator[tuple[str, ModelRows]]:
        """The models with rows that wait for :meth:`drain`, and these rows."""
        return ((model, rows) for model, rows in self._rows.items() if rows.parts)

    def drain(self, worker: str, wall_ms: int) -> Iterator[Delta]:
        """One delta a model (several if it is large) for all rows added since the last call."""
        kernels = self._kernels()
        if kernels is not None and self._workshop is None:
            self._workshop = Workshop(kernels.columns)
        for model, rows in self._rows.items():
            if rows.parts:
                yield from self._deltas(model, rows, worker, wall_ms)
                rows.parts = []
        self.buffered = 0
        self.columns = 0

    def _deltas(self, model: str, rows: ModelRows, worker: str, wall_ms: int) -> Iterator[Delta]:
        reference = None if model == OTHER else self._reference_of(model)
        table = _Table.of(rows, self._time.pane_ms)
        layout = layout_for(reference, table.keys())
        topics = tuple(sorted({part.topic for part in rows.parts}))
        groups: list[Group] = []
        size = 0
        for group in table.groups(layout, self._workshop):
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
    numeric: Mapping[str, NDArray[np.float64]]
    texts: dict[str, Codes]
    errors: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, rows: ModelRows, pane_ms: int) -> _Table:
        parts = rows.parts
        only_counts = rows.model == OTHER
        release, releases = _releases(rows)
        ts = np.concatenate([part.batch.ts_ms[part.pick] for part in parts])
        return cls(
            pane_ms=ts - ts % pane_ms,
            release=release,
            releases=releases,
            header=np.repeat(
                [_HEADER_OF[part.batch.kind] for part in parts], [len(part) for part in parts]
            ),
            failed=np.concatenate([part.batch.failed[part.pick] for part in parts]),
            segments={} if only_counts else _segments(rows),
            numeric={} if only_counts else _Numeric(rows),
            texts={} if only_counts else _texts(rows),
            errors={} if only_counts else _errors(rows),
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


def _releases(rows: ModelRows) -> tuple[NDArray[np.int64], tuple[tuple[str, Role], ...]]:
    """Release of each row, as an index into the distinct ones; versions beyond the cap folded."""
    index: dict[tuple[str, Role], int] = {}
    # By one text (no role ends with another): an enum's hash is slow, and parts are many.
    code_of: dict[str, int] = {}
    columns = []
    for part in rows.parts:
        codes = []
        for version, role in part.batch.releases:
            code = code_of.get(version + role)
            if code is None:
                folded = (OTHER if rows.model == OTHER else rows.versions.fold(version), role)
                code = code_of[version + role] = index.setdefault(folded, len(index))
            codes.append(code)
        columns.append(np.array(codes, np.int64)[part.batch.release[part.pick]])
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
    return _coded(
        rows.parts, lambda batch: batch.categorical, lambda _, value: value, rows.columns.admit
    )


def _coded(
    parts: Sequence[Kept],
    columns_of: Callable[[EventBatch], Mapping[str, Categorical]],
    rename: Callable[[str, str], str | None],
    admit: Callable[[str], bool] | None = None,
) -> dict[str, Codes]:
    """Dictionary-coded columns of all parts, one dictionary a column. Columns that ``admit`` turns
    away are left out; without it, those of whose values none is kept. Producers choose how many
    columns there are, so neither may cost an entry for each row."""
    total = sum(map(len, parts))
    out: dict[str, _Recoded] = {}
    at = 0
    for part in parts:
        stop = at + len(part)
        pick = part.pick
        for name, column in columns_of(part.batch).items():
            known = out.get(name)
            if known is None:
                if admit is not None and not admit(name):
                    continue
                known = out[name] = _Recoded(0 if admit is None else total)
            lookup = known.lookup(name, column.categories, rename)
            if not len(known.codes):
                if lookup.max() < 0:
                    continue
                known.codes = np.full(total, -1, np.int32)
            np.take(lookup, column.codes[pick], out=known.codes[at:stop], mode="wrap")
        at = stop
    return {
        name: Codes(found.codes, tuple(found.index))
        for name, found in out.items()
        if len(found.codes)
    }


class _Recoded:
    """A text column of all parts. Most have the same categories: those are looked up once."""

    def __init__(self, rows: int) -> None:
        self.codes = np.full(rows, -1, np.int32)
        self.index: dict[str, int] = {}
        self._lookups: dict[tuple[str, ...], NDArray[np.int32]] = {}

    def lookup(
        self,
        name: str,
        categories: tuple[str, ...],
        rename: Callable[[str, str], str | None],
    ) -> NDArray[np.int32]:
        """The code here of each code there; the last one is for code -1, which wraps around."""
        known = self._lookups.get(categories)
        if known is None:
            renamed = []
            for value in categories:
                kept = rename(name, value)
                renamed.append(-1 if kept is None else self.index.setdefault(kept, len(self.index)))
            known = self._lookups[categories] = np.array([*renamed, -1], np.int32)
        return known


class _Numeric(Mapping[str, NDArray[np.float64]]):
    """Numeric columns of all parts, put together when asked for, and then in one place: a column is
    valid until the next one is asked for. So a flush needs the memory of one column, which stays in
    a near cache until it is counted."""

    def __init__(self, rows: ModelRows) -> None:
        self._parts = rows.parts
        names = dict.fromkeys(name for part in rows.parts for name in part.batch.numeric)
        self._names = [name for name in names if rows.columns.admit(name)]
        self._known = frozenset(self._names)
        self._column = np.empty(len(rows))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        at = 0
        for part in self._parts:
            stop = at + len(part)
            values = part.batch.numeric.get(name)
            self._column[at:stop] = np.nan if values is None else values[part.pick]
            at = stop
        return self._column


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
            out[name][at : at + len(part)] = marks[part.pick]
        at += len(part)
    return out
