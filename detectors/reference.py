"""A reference: what is normal for a model, fixed once and named by the hash of its content.

It is a layout (where the bins lie) and the summaries of the reference data in that layout, so to
compare with it is to compare two summaries of the same layout. Nothing changes a reference; a
better one is another one, with another id.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import fixed_point, reference_file
from detectors.arrow_rows import TableColumns, codes_of, kind_of, read_columns
from detectors.binning import categorical_spec, numeric_spec, recount, sketched_spec
from detectors.categories import CategoryCounts
from detectors.fixed_point import Grid
from detectors.kernels import summarize
from detectors.layout import (
    CLIPPED_FIRST,
    ERRORS,
    HEADERS,
    ColumnSpec,
    Kind,
    Layout,
    N,
)
from detectors.learnt import Learnt
from detectors.sketch import Sketch
from detectors.summary import CategoricalSummary, NumericSummary, Summaries

MOST_SEGMENT_VALUES = 100
"""Segments kept per segment column: its most frequent values."""


class EmptyReference(ValueError):
    """There is nothing to make a reference of: no rows, or no column that can be summarised."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """``id``: hash of the content (32 hexadecimal digits), also in ``layout.reference``;
    ``origin``: where it came from, for people; ``segments``: the same for slices of the data, as
    far as known (``country=DE``), all in the one layout; ``learnt``: what its panes taught."""

    id: str
    model: str
    origin: str
    layout: Layout
    summaries: Summaries
    segments: Mapping[str, Summaries] = field(default_factory=dict)
    learnt: Learnt | None = None


def reference_from_table(
    model: str, columns: Any, origin: str, segments: Sequence[str] = ()
) -> Reference:
    """A reference from an Arrow table whose columns have their names in events.

    ``segments`` names columns of the table whose values are slices of their own: the most frequent
    hundred of each. Slices are named ``column=value``, without a leading ``segments.``; the columns
    themselves are not summarised.
    Raises :class:`EmptyReference`, ``arrow_rows.UnusableColumn`` for a segment column or a name
    that stands twice, ``reference_file.InvalidReference`` for too many columns or segments.
    """
    table = columns
    names = [
        column.name
        for column in table.schema
        if column.name not in segments and kind_of(column.type) is not None
    ]
    if not table.num_rows or not names:
        raise EmptyReference("the table has no rows" if names else "the table has no usable column")
    found = read_columns(table, names)
    layout = Layout.of("", [_spec_of(found, name) for name in names])
    (summaries,) = summarize(found.rows_of(), layout)
    slices: dict[str, Summaries] = {}
    for name in segments:
        slices |= _segments(table, name, found, layout)
    return named(model, origin, summaries, slices)


def reference_from_summaries(
    model: str, summaries: Summaries, origin: str, segments: Mapping[str, Summaries] | None = None
) -> Reference:
    """A reference learnt from summaries that stand on none: they have sketches.

    Edges are put where buckets begin, so that each bin's count is exactly what counting the events
    again would give. Means and deviations go over to the new grids, rounded once.
    """
    specs = [_learnt_spec(column) for column in summaries.columns()]
    if not summaries.events or not specs:
        raise EmptyReference("no event has been summarised yet, so there is nothing to learn from")
    layout = Layout.of("", specs)
    slices = {name: moved(part, layout) for name, part in (segments or {}).items()}
    return named(model, origin, moved(summaries, layout), slices)


def to_json(reference: Reference) -> bytes:
    """The reference as a file; :func:`from_json` reads it back, bit for bit."""
    return reference_file.write(
        reference_file.content_of(
            reference.model,
            reference.origin,
            reference.summaries,
            reference.segments,
            reference.learnt,
        ),
        reference.id,
    )


def from_json(data: bytes) -> Reference:
    """The reference in a file; ``reference_file.InvalidReference`` says why it cannot be used."""
    id_, model, origin, summaries, segments, learnt = reference_file.read(data)
    return Reference(id_, model, origin, summaries.layout, summaries, segments, learnt)


def spec_for(reference: Reference | None, name: str, kind: Kind) -> ColumnSpec:
    """How a column is summarised: as the reference says, or else without bins."""
    if reference is not None:
        index = reference.layout.index.get((name, kind))
        if index is not None:
            return reference.layout.columns[index]
    return ColumnSpec(name, kind)


def layout_for(reference: Reference | None, keys: Iterable[tuple[str, Kind]]) -> Layout:
    """The layout of the named columns. Both ends of the wire build it from names alone.

    Equal names give the same object as long as it is remembered: a model's columns hardly ever
    change, and thousands of summaries then hold one layout, which they recognise by identity.
    """
    return _layout(reference, tuple(keys))


@functools.lru_cache(maxsize=2_048)
def _layout(reference: Reference | None, keys: tuple[tuple[str, Kind], ...]) -> Layout:
    specs = (spec_for(reference, name, kind) for name, kind in keys)
    return Layout.of(reference.id if reference is not None else "", specs)


def named(
    model: str,
    origin: str,
    summaries: Summaries,
    segments: Mapping[str, Summaries],
    learnt: Learnt | None = None,
) -> Reference:
    """A reference under the id that its content has."""
    content = reference_file.content_of(model, origin, summaries, segments, learnt)
    id_ = reference_file.content_id(content)
    layout = replace(summaries.layout, reference=id_)
    return Reference(
        id_,
        model,
        origin,
        layout,
        replace(summaries, layout=layout),
        {name: replace(part, layout=layout) for name, part in segments.items()},
        learnt,
    )


def _spec_of(found: TableColumns, name: str) -> ColumnSpec:
    values = found.numeric.get(name)
    if values is not None:
        return numeric_spec(name, values)
    text = found.texts[name]
    counts = np.bincount(text.codes[text.codes >= 0], minlength=len(text.names)).tolist()
    by_name: dict[str, int] = {}
    for category, count in zip(text.names, counts, strict=True):
        if count:
            by_name[category] = by_name.get(category, 0) + count
    return categorical_spec(name, by_name)


def _segments(table: Any, name: str, found: TableColumns, layout: Layout) -> dict[str, Summaries]:
    codes, names = _segment_codes(table, name)
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    ranked = sorted(
        (code for code, count in enumerate(counts) if count),
        key=lambda code: (-counts[code], names[code]),
    )[:MOST_SEGMENT_VALUES]
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    label = name.removeprefix("segments.")
    slices: dict[str, Summaries] = {}
    for code in ranked:
        low, high = np.searchsorted(ordered, [code, code + 1])
        rows = found.rows_of(np.array([0, high - low]), order[low:high])
        (slices[f"{label}={names[code]}"],) = summarize(rows, layout)
    return slices


def _segment_codes(table: Any, name: str) -> tuple[NDArray[np.int64], Sequence[str]]:
    """A segment column as codes, -1 where a row is in none, and the values by code."""
    column = read_columns(table, [name])
    if name in column.texts:
        text = column.texts[name]
    else:
        text, _ = codes_of(table.column(name).cast("string"))
    return text.codes.astype(np.int64), text.names


def _learnt_spec(column: NumericSummary | CategoricalSummary) -> ColumnSpec:
    name = column.spec.name
    if isinstance(column, CategoricalSummary):
        return categorical_spec(name, column.counts())
    return sketched_spec(name, column.sketch, column.mean, column.sd)


def moved(summaries: Summaries, layout: Layout) -> Summaries:
    """Sketched summaries in a layout that was learnt from them, or from others with them."""
    empty = Summaries.empty(layout)
    vector, extremes = empty.vector, empty.extremes
    vector[: len(HEADERS)] = summaries.vector[: len(HEADERS)]
    sketches: dict[str, Sketch] = {}
    categories: dict[str, CategoryCounts] = {}
    for index, spec in enumerate(layout.columns):
        slots = vector[layout.starts[spec.key] :][: spec.width]
        if spec.kind is Kind.CATEGORICAL:
            text = summaries.categorical(spec.name)
            if text is not None:
                _move_text(text, spec, slots, categories)
            continue
        column = summaries.numeric(spec.name)
        if column is None:
            continue
        slots[N], slots[ERRORS] = column.n, column.errors
        if column.n:
            extremes[:, index] = column.minimum, column.maximum
            slots[CLIPPED_FIRST : spec.first_bin] = _moments(column, spec.grid)
        slots[spec.first_bin :] = recount(column.sketch, spec.edges)
        if spec.sketch and len(column.sketch.keys):
            sketches[spec.name] = column.sketch
    return Summaries(layout, vector, extremes, sketches, categories)


def _move_text(
    column: CategoricalSummary,
    spec: ColumnSpec,
    slots: NDArray[np.int64],
    categories: dict[str, CategoryCounts],
) -> None:
    counts = column.counts()
    slots[N], slots[ERRORS] = column.n, column.errors
    slots[spec.first_bin :] = [counts.pop(name, 0) for name in spec.categories]
    rest = column.rest
    if counts or rest.other:
        kept = CategoryCounts.of(counts, rest.cap)
        categories[spec.name] = replace(kept, other=kept.other + rest.other)


def _moments(column: NumericSummary, grid: Grid) -> tuple[int, ...]:
    """The six slots of moments that give a column's mean and standard deviation on ``grid``."""
    mean, sd = column.mean, column.sd
    if not math.isfinite(mean) or not math.isfinite(sd):
        return (column.n, column.n, 0, 0, 0, 0)
    scale, steps = Fraction(grid.scale), int(fixed_point.STEPS)
    z = (Fraction(mean) - Fraction(grid.center)) / scale
    first, second = z * steps, ((Fraction(sd) / scale) ** 2 + z * z) * steps
    # What a value's own rounding would have clipped is clipped here too, and said to be.
    limit = Fraction(fixed_point.LIMIT)
    far, wide = abs(first) > limit, second > limit
    if far:
        first = limit if first > 0 else -limit
    if wide:
        second = limit
    n = column.n
    words = (*fixed_point.split(round(first * n)), *fixed_point.split(round(second * n)))
    return (n if far else 0, n if wide else 0, *words)
