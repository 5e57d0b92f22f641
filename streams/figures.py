"""The figures of a window as rows of the table ``windows``: one row a column."""

from __future__ import annotations

from detectors.layout import Header
from detectors.release import Release
from detectors.summary import NumericSummary, Summaries
from detectors.thresholds import ERROR
from streams.model_state import IntervalKey
from streams.wire import Row, nullable, release_row

MOST_CATEGORIES = 50
"""Of one column in one row: the most frequent."""


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
    empty: Row = dict.fromkeys(("mean", "sd", "min", "max", "p50", "p95", "p99", "p999"))
    rows: list[Row] = [
        {
            **place,
            **empty,
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
    for column in summaries.columns():
        if not column.n + column.errors:
            continue
        row = {
            **place,
            **empty,
            "column": column.spec.name,
            "kind": column.spec.kind.value,
            "n": column.n,
            "nulls": column.nulls,
            "errors": column.errors,
            "histogram": column.bins.tolist(),
            "categories": {},
        }
        if isinstance(column, NumericSummary):
            row |= {
                "mean": nullable(column.mean),
                "sd": nullable(column.sd),
                "min": nullable(column.minimum),
                "max": nullable(column.maximum),
                "p50": nullable(column.quantile(0.5)),
                "p95": nullable(column.quantile(0.95)),
                "p99": nullable(column.quantile(0.99)),
                "p999": nullable(column.quantile(0.999)),
            }
        else:
            counts = column.counts()
            most = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_CATEGORIES]
            row["categories"] = {name: counts[name] for name in most}
        rows.append(row)
    return rows
