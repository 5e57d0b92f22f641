"""The figures of all columns at once are those of each column alone, to the last bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.column_figures import QUANTILES, figures_of, quantiles_of
from detectors.layout import ColumnSpec, Kind, Layout
from detectors.sketch import Sketch
from detectors.summary import NumericSummary, Summaries
from detectors.table import reference_of, summarize_table

RNG = np.random.default_rng(3)
VALUES = st.lists(st.floats(), max_size=12)


def check(summaries: Summaries) -> None:
    figures, quantiles = figures_of(summaries), quantiles_of(summaries)
    for at, column in enumerate(summaries.columns()):
        counts = int(figures.n[at]), int(figures.nulls[at]), int(figures.errors[at])
        assert counts == (column.n, column.nulls, column.errors)
        assert figures.rows[at] == column.n + column.nulls + column.errors
        if isinstance(column, NumericSummary):
            wanted = [column.mean, column.sd, *(column.quantile(q) for q in QUANTILES)]
        else:
            wanted = [math.nan] * 6
        np.testing.assert_array_equal([figures.mean[at], figures.sd[at], *quantiles[:, at]], wanted)


@given(VALUES, VALUES, st.lists(st.none() | st.sampled_from(["a", "b"]), max_size=12))
def test_figures_are_those_of_each_column(
    some: list[float], more: list[float], text: list[str | None]
) -> None:
    size = max(len(some), len(more), len(text))
    columns = {
        name: pa.array([*values, *[None] * (size - len(values))], kind)
        for name, values, kind in (
            ("features.x", some, pa.float64()),
            ("scores.y", more, pa.float64()),
            ("features.t", text, pa.string()),
        )
    }
    check(summarize_table(pa.table(columns)))


@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 30,
        [5.0] * 30,
        [1e308, -1e308, 1.0],
        RNG.normal(0, 1e-9, 500),
        RNG.normal(1e12, 1e-3, 500),
        RNG.lognormal(0, 9, 500),
    ],
)
@pytest.mark.parametrize("referenced", [True, False])
def test_values_that_the_grid_is_too_coarse_for_come_from_the_sketch(
    values: list[float], *, referenced: bool
) -> None:
    table = pa.table({"features.x": values})
    reference = reference_of(pa.table({"features.x": RNG.normal(0, 1, 500)}))
    check(summarize_table(table, reference if referenced else None))


def test_a_column_that_is_numbers_and_text_at_once_is_missing_where_it_is_neither() -> None:
    layout = Layout.of(
        "", [ColumnSpec("features.x", Kind.NUMERIC), ColumnSpec("features.x", Kind.CATEGORICAL)]
    )
    number = summarize_table(pa.table({"features.x": [1.0, 2.0, None]}))
    text = summarize_table(pa.table({"features.x": ["a", None]}))
    both = number.widen(layout).merge(text.widen(layout))
    check(both)
    assert figures_of(both).nulls.tolist() == [2, 2]


def test_figures_of_many_at_once_are_those_of_each() -> None:
    tables = [
        pa.table({"features.x": RNG.lognormal(0, 2, rows), "scores.y": [0.5, None] * (rows // 2)})
        for rows in (2, 40, 600)
    ]
    one = summarize_table(tables[0])
    alike = [summarize_table(table, one.layout) for table in tables]
    empty = Summaries.empty(one.layout)
    # Its values are more than can be counted together with those of others.
    counted = {"features.x": Sketch(np.array([3, 9], np.int32), np.array([2**62, 2**61]))}
    huge = replace(empty, sketches=counted)
    other = summarize_table(pa.table({"features.z": [1.0, 2.0]}))
    some = [*alike, empty, huge, other, alike[0]]
    for figures, quantiles, each in zip(
        figures_of.all(some), quantiles_of.all(some), some, strict=True
    ):
        alone = replace(each)
        np.testing.assert_array_equal(figures.counts, figures_of(alone).counts)
        np.testing.assert_array_equal(figures.values, figures_of(alone).values)
        np.testing.assert_array_equal(quantiles, quantiles_of(alone))
        check(each)


def test_figures_are_remembered_of_the_newest_only() -> None:
    first = Summaries.empty(Layout.of(""))
    known = figures_of(first)
    assert figures_of(first) is known
    figures_of.all([Summaries.empty(Layout.of("")) for _ in range(300)])
    assert figures_of(first) is not known


def test_nothing_has_no_figures() -> None:
    check(Summaries.empty(Layout.of("")))
    empty = Summaries.empty(Layout.of("", [ColumnSpec("features.x", Kind.NUMERIC)]))
    check(empty)
    assert math.isnan(figures_of(empty).missing[0])
