"""The figures of a window as rows of the table ``windows``: one row a column."""

from __future__ import annotations

import functools

import numpy as np

from detectors.column_figures import Figures, figures_of, quantiles_of
from detectors.layout import ColumnSpec, Header, Kind, Layout
from detectors.release import Release
from detectors.summary import Summaries
from detectors.thresholds import ERROR
from streams.model_state import IntervalKey
from streams.wire import Row, release_row

MOST_CATEGORIES = 50
"""Of one column in one row: the most frequent."""
_FIGURES = ("mean", "sd", "min", "max", "p50", "p95", "p99", "p999")
_NOTHING: Row = dict.fromkeys(_FIGURES)


def window_rows(
    release: Release, key: IntervalKey, summaries: Summaries, revision: int, offset: int
) -> list[Row]:
    """One row for each column that occurred, and one for the errors of the model itself.

    Workers send the columns of a whole flush for each of its panes. Which panes share a flush is
    chance, so a column without a value here has no row: else a replay would give other rows.
    """
    predictions = summaries.header(Header.PREDICTIONS)
    failed = summaries.header(Header.FAILED)
    place = {
        **release_row(release),
        "segment": key.segment,
        "window_ms": key.length_ms,
        "window_start": key.start_ms,
        "window_end": key.end_ms,
        "reference": summaries.layout.reference,
        "revision": revision,
        "events": summaries.events,
        "offset": offset,
    }
    rows: list[Row] = [
        {
            **place,
            **_NOTHING,
            "column": ERROR,
            "kind": "rate",
            "n": predictions,
            "nulls": 0,
            "errors": failed,
            "mean": failed / predictions if predictions else None,
            "histogram": [],
            "categories": {},
        }
    ]
    # Rows are many, and to copy one with all keys takes half as long as to put them together.
    blank: Row = {
        **place,
        **dict.fromkeys(("column", "kind", "n", "nulls", "errors", "histogram")),
        **_NOTHING,
        "categories": None,
    }
    figures = figures_of(summaries)
    layout, vector = summaries.layout, summaries.vector.tolist()
    counts = figures.counts.T.tolist()
    values = _numbers(summaries, figures)
    for (name, kind, spec, first, last), (n, _, errors, nulls), shown in zip(
        _columns(layout), counts, values, strict=True
    ):
        if not (n or errors):
            continue
        row = blank.copy()
        row["column"], row["kind"] = name, kind
        row["n"], row["nulls"], row["errors"] = n, nulls, errors
        row["histogram"] = histogram = vector[first:last]
        if spec is None:
            row["mean"], row["sd"], row["min"], row["max"] = shown[:4]
            row["p50"], row["p95"], row["p99"], row["p999"] = shown[4:]
        row["categories"] = _most_frequent(summaries, spec, histogram) if spec is not None else {}
        rows.append(row)
    return rows


@functools.lru_cache(maxsize=1_024)
def _columns(layout: Layout) -> list[tuple[str, str, ColumnSpec | None, int, int]]:
    """By column its name, its kind, its specification if it has categories, and where its bins
    stand in the vector."""
    found: list[tuple[str, str, ColumnSpec | None, int, int]] = []
    for spec in layout.columns:
        first = layout.starts[spec.key] + spec.first_bin
        text = spec if spec.kind is Kind.CATEGORICAL else None
        found.append((spec.name, spec.kind.value, text, first, first + spec.bins))
    return found


def _numbers(summaries: Summaries, figures: Figures) -> list[list[float | None]]:
    """What :data:`_FIGURES` names, for each column; None where it is not a number."""
    found = np.concatenate((figures.values[:2], summaries.extremes, quantiles_of(summaries))).T
    boxed = found.astype(object)
    boxed[~np.isfinite(found)] = None
    shown: list[list[float | None]] = boxed.tolist()
    return shown


def _most_frequent(summaries: Summaries, spec: ColumnSpec, bins: list[int]) -> dict[str, int]:
    """The most frequent first, and equal ones by name."""
    ranked = [(-n, name) for name, n in zip(spec.categories, bins, strict=True) if n]
    rest = summaries.categories.get(spec.name)
    if rest is not None:
        ranked += [(-n, name) for name, n in rest.counts.items()]
    ranked.sort()
    return {name: -n for n, name in ranked[:MOST_CATEGORIES]}
