"""The rows of a model that wait for the next flush, and their columns put together.

Rows come in batches of some thousand, each with columns of its own; here one column is made of all
of them, with one dictionary for texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import Codes
from detectors.release import ALL, OTHER, Role
from streams.cardinality import Limits, Names
from streams.event import Categorical, EventBatch


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


def releases_of(rows: ModelRows) -> tuple[NDArray[np.int64], tuple[tuple[str, Role], ...]]:
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


def segments_of(rows: ModelRows) -> dict[str, Codes]:
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


def texts_of(rows: ModelRows) -> dict[str, Codes]:
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


class NumericColumns(Mapping[str, NDArray[np.float64]]):
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


def errors_of(rows: ModelRows) -> dict[str, NDArray[np.int64]]:
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
