"""References: identity by content, reading back bit for bit, learning that recounts exactly."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.arrow_rows import read_columns
from detectors.binning import MOST_DISTINCT, numeric_spec
from detectors.kernels import histogram, summarize
from detectors.layout import Kind
from detectors.reference import (
    Reference,
    from_json,
    layout_for,
    reference_from_summaries,
    reference_from_table,
    to_json,
)
from detectors.summary import Summaries

special = [0.0, -0.0, 1.0, math.nan, math.inf, 1.7e308, -1.7e308, 5e-324, -5e-324, -2.0]
numbers = st.lists(
    st.one_of(st.sampled_from(special), st.floats(), st.integers(-50, 50).map(float)),
    min_size=1,
    max_size=120,
)
words = st.one_of(
    st.none(), st.sampled_from(["a", "b", "", "é\n", "__other__"]), st.text(max_size=5)
)


def table_of(values: list[float], texts: list[str | None]) -> pa.Table:
    return pa.table(
        {
            "features.x": pa.array(values, pa.float64()),
            "scores.s": pa.array(values[::-1], pa.float64()),
            "features.t": pa.array(texts, pa.string()),
        }
    )


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    values = draw(numbers)
    texts = draw(st.lists(words, min_size=len(values), max_size=len(values)))
    return table_of(values, texts)


def unreferenced(table: pa.Table) -> Summaries:
    found = read_columns(table)
    keys = [(name, Kind.NUMERIC) for name in found.numeric]
    layout = layout_for(None, [*keys, *((name, Kind.CATEGORICAL) for name in found.texts)])
    return summarize(found.rows_of(), layout)[0]


def same(a: Summaries, b: Summaries) -> bool:
    return (
        a.layout.same_as(b.layout)
        and np.array_equal(a.vector, b.vector)
        and np.array_equal(a.extremes, b.extremes)
        and a.sketches.keys() == b.sketches.keys()
        and all(
            np.array_equal(a.sketches[k].keys, b.sketches[k].keys)
            and np.array_equal(a.sketches[k].counts, b.sketches[k].counts)
            for k in a.sketches
        )
        and dict(a.categories) == dict(b.categories)
    )


@given(tables())
def test_a_reference_is_read_back_bit_for_bit(table: pa.Table) -> None:
    written = reference_from_table("m", table, "test", ["features.t"])
    read = from_json(to_json(written))
    assert (read.id, read.model, read.origin) == (written.id, "m", "test")
    assert read.layout.reference == read.id
    assert same(read.summaries, written.summaries)
    assert read.segments.keys() == written.segments.keys()
    assert all(same(read.segments[name], written.segments[name]) for name in read.segments)
    assert to_json(read) == to_json(written)


@given(tables(), st.permutations(["features.x", "scores.s", "features.t"]), st.randoms())
def test_the_id_depends_neither_on_the_order_of_columns_nor_of_rows(
    table: pa.Table, order: list[str], random: object
) -> None:
    shuffled = list(range(table.num_rows))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = table.select(order).take(pa.array(shuffled))
    first = reference_from_table("m", table, "o")
    assert reference_from_table("m", again, "o").id == first.id


@given(tables(), tables())
def test_unlike_data_have_unlike_ids(a: pa.Table, b: pa.Table) -> None:
    x, y = reference_from_table("m", a, "o"), reference_from_table("m", b, "o")
    assert (x.id == y.id) == (same(x.summaries, y.summaries))


@given(tables())
def test_bins_learnt_from_sketches_count_exactly_what_counting_the_events_again_gives(
    table: pa.Table,
) -> None:
    learnt = reference_from_summaries("m", unreferenced(table), "learnt")
    (again,) = summarize(read_columns(table).rows_of(), learnt.layout)
    for spec in learnt.layout.columns:
        if spec.kind is Kind.NUMERIC:
            was, now = learnt.summaries.numeric(spec.name), again.numeric(spec.name)
            assert was is not None
            assert now is not None
            assert was.bins.tolist() == now.bins.tolist()
            assert (was.n, was.nulls, was.errors) == (now.n, now.nulls, now.errors)
            assert (was.minimum, was.maximum) == (now.minimum, now.maximum)
        else:
            text, text_now = learnt.summaries.categorical(spec.name), again.categorical(spec.name)
            assert text is not None
            assert text_now is not None
            assert text.bins.tolist() == text_now.bins.tolist()
            assert text.rest == text_now.rest


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=80), st.floats(-1e6, 1e6))
def test_learning_carries_mean_and_deviation_over(values: list[float], offset: float) -> None:
    table = pa.table({"features.x": np.array(values) + offset})
    plain = unreferenced(table)
    learnt = reference_from_summaries("m", plain, "learnt").summaries.numeric("features.x")
    before = plain.numeric("features.x")
    assert learnt is not None
    assert before is not None
    grid = learnt.spec.grid
    assert learnt.mean == pytest.approx(before.mean, rel=1e-12, abs=grid.scale * 2.0**-20)
    assert learnt.sd == pytest.approx(before.sd, rel=1e-3, abs=grid.scale * 2.0**-9)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=300))
def test_there_are_at_most_twenty_bins_and_the_reference_fills_each_but_the_margins(
    values: list[float],
) -> None:
    x = np.array(values)
    edges = np.array(numeric_spec("features.x", x).edges)
    counts = histogram(x, np.array([0, len(x)]), edges)[0]
    assert len(counts) <= MOST_DISTINCT
    assert (np.diff(edges) > 0).all()
    distinct = len(np.unique(x))
    if distinct > 1:
        assert counts.all()
    if 1 < distinct <= MOST_DISTINCT:
        assert len(counts) == distinct


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([100, 1000, 5000]))
def test_bins_hold_the_shares_that_their_quantiles_say(seed: int, n: int) -> None:
    x: NDArray[np.float64] = np.random.default_rng(seed).standard_normal(n)
    spec = numeric_spec("features.x", x)
    counts = histogram(x, np.array([0, n]), np.array(spec.edges))[0]
    upto = np.cumsum(counts)[:-1] / n
    for q in (0.1, 0.5, 0.9):
        assert np.abs(upto - q).min() <= 1 / n


def test_every_segment_stands_in_the_layout_of_all() -> None:
    table = table_of([float(i) for i in range(60)], ["a", "b", None] * 20)
    reference: Reference = reference_from_table("m", table, "o", ["features.t"])
    parts = reference.segments
    assert sorted(parts) == ["features.t=a", "features.t=b"]
    assert all(part.layout.same_as(reference.layout) for part in parts.values())
    assert [part.events for part in parts.values()] == [20, 20]
    a = parts["features.t=a"].numeric("features.x")
    assert a is not None
    assert (a.minimum, a.maximum) == (0.0, 57.0)
