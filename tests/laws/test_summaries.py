"""Summaries: any way of splitting rows over batches, groups and panes gives the same integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.categories import Unmergeable
from detectors.fixed_point import Grid
from detectors.kernels import Codes, Rows, summarize
from detectors.layout import HEADERS, ColumnSpec, Header, Kind, Layout
from detectors.merging import merge_alike, merge_runs
from detectors.summary import Summaries
from streams.wire import pack, unpack_all

NAMES = tuple(f"c{i}" for i in range(90))
LAYOUT = Layout.of(
    "r",
    (
        ColumnSpec("x", Kind.NUMERIC, (-1.0, 0.0, 2.5), Grid(0.5, 2.0)),
        ColumnSpec("y", Kind.NUMERIC, sketch=True),
        ColumnSpec("z", Kind.NUMERIC, (1e-300, 1e300), Grid(0.0, 2.0**-500), sketch=False),
        ColumnSpec("t", Kind.CATEGORICAL, categories=("c1", "c2")),
        ColumnSpec("u", Kind.CATEGORICAL),
        ColumnSpec("x", Kind.CATEGORICAL),
    ),
)
special = [0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -5e-324, 2.5, -1.0]
values = st.one_of(st.sampled_from(special), st.floats())


def rows(numbers: NDArray[np.float64], codes: NDArray[np.int32], starts: Sequence[int]) -> Rows:
    """Rows whose three numeric columns are rotations of one, cut into groups at ``starts``."""
    bounds = np.array(starts, np.int64)
    headers = np.zeros((len(bounds) - 1, len(HEADERS)), np.int64)
    headers[:, HEADERS.index(Header.PREDICTIONS)] = np.diff(bounds)
    errors = np.diff(np.concatenate(([0], np.cumsum(np.isinf(numbers))))[bounds])
    return Rows(
        bounds,
        headers,
        {"x": numbers, "y": -numbers, "z": numbers * 0.5},
        {"t": Codes(codes, NAMES), "u": Codes(codes, NAMES), "x": Codes(codes % 3 - 1, NAMES)},
        {"x": errors},
    )


def at_once(numbers: NDArray[np.float64], codes: NDArray[np.int32]) -> Summaries:
    return summarize(rows(numbers, codes, [0, len(numbers)]), LAYOUT)[0]


def bits(summaries: Summaries) -> object:
    """Everything that is in summaries, doubles as their bits."""
    return (
        summaries.layout.reference,
        summaries.layout.columns,
        summaries.vector.tolist(),
        summaries.extremes.view(np.int64).tolist(),
        {k: (s.keys.tolist(), s.counts.tolist()) for k, s in summaries.sketches.items()},
        dict(summaries.categories),
    )


def total(parts: Sequence[Summaries]) -> Summaries:
    merged = Summaries.empty(LAYOUT)
    for part in parts:
        merged = merged.merge(part)
    return merged


def some_rows(seed: int, n: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    random = np.random.default_rng(seed)
    numbers = random.standard_normal(n) * 10.0 ** random.integers(-3, 4, n)
    numbers[random.random(n) < 0.05] = math.nan
    numbers[random.random(n) < 0.02] = math.inf
    return numbers, random.integers(-1, len(NAMES), n).astype(np.int32)


@st.composite
def tables(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    numbers = np.array(draw(st.lists(values, max_size=30)), np.float64)
    code = st.integers(-1, len(NAMES) - 1)
    codes = draw(st.lists(code, min_size=len(numbers), max_size=len(numbers)))
    return numbers, np.array(codes, np.int32)


@given(tables(), st.lists(st.integers(0, 30), max_size=6))
def test_any_partition_into_groups_merges_to_the_whole(
    table: tuple[NDArray[np.float64], NDArray[np.int32]], cuts: list[int]
) -> None:
    numbers, codes = table
    starts = [*sorted({0, *(min(cut, len(numbers)) for cut in cuts)}), len(numbers)]
    groups = summarize(rows(numbers, codes, starts), LAYOUT)
    assert bits(total(groups)) == bits(at_once(numbers, codes))
    assert bits(total(groups[::-1])) == bits(at_once(numbers, codes))


@given(tables(), st.permutations(range(30)))
def test_the_order_of_rows_does_not_matter(
    table: tuple[NDArray[np.float64], NDArray[np.int32]], order: list[int]
) -> None:
    numbers, codes = table
    places = np.array([i for i in order if i < len(numbers)], np.int64)
    assert bits(at_once(numbers[places], codes[places])) == bits(at_once(numbers, codes))


@given(tables(), tables(), tables())
def test_merging_is_associative_and_commutative_with_an_identity(
    a: tuple[NDArray[np.float64], NDArray[np.int32]],
    b: tuple[NDArray[np.float64], NDArray[np.int32]],
    c: tuple[NDArray[np.float64], NDArray[np.int32]],
) -> None:
    x, y, z = at_once(*a), at_once(*b), at_once(*c)
    before = bits(x)
    assert bits(x.merge(y).merge(z)) == bits(x.merge(y.merge(z)))
    assert bits(x.merge(y)) == bits(y.merge(x))
    assert bits(x.merge(Summaries.empty(LAYOUT))) == bits(x)
    assert bits(Summaries.empty(LAYOUT).merge(x)) == bits(x)
    assert bits(x) == before


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.lists(st.sampled_from([0, 1, 511, 512, 513, 700]), max_size=5))
def test_groups_around_the_size_where_the_method_changes_merge_to_the_whole(
    seed: int, sizes: list[int]
) -> None:
    numbers, codes = some_rows(seed, sum(sizes))
    starts = [0, *np.cumsum(sizes).tolist()]
    parts = summarize(rows(numbers, codes, starts), LAYOUT)
    assert len(parts) == len(sizes)
    assert bits(total(parts)) == bits(at_once(numbers, codes))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_batches_of_any_size_add_up_to_the_same(seed: int, batch: int) -> None:
    numbers, codes = some_rows(seed, 300)
    cuts = range(0, 300, batch)
    parts = [at_once(numbers[at : at + batch], codes[at : at + batch]) for at in cuts]
    assert bits(total(parts)) == bits(at_once(numbers, codes))


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_many_runs_merged_at_once_are_what_merging_one_by_one_gives(
    seed: int, sizes: list[int]
) -> None:
    numbers, codes = some_rows(seed, 40 * sum(sizes))
    starts = range(0, len(numbers) + 1, 40)
    parts = summarize(rows(numbers, codes, list(starts)), LAYOUT)
    ends = np.cumsum(sizes).tolist()
    runs = [parts[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    expected = [bits(total(run)) for run in runs]
    assert [bits(merged) for merged in merge_alike(runs)] == expected
    packed = unpack_all([pack(part) for part in parts], LAYOUT)
    assert [bits(merged) for merged in merge_runs(packed, sizes)] == expected


@settings(max_examples=50)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.5, 300.0]),
)
def test_sketches_near_together_and_far_apart_are_merged_alike(
    seed: int, sizes: list[int], decades: float
) -> None:
    layout = Layout.of("r", (ColumnSpec("x", Kind.NUMERIC, sketch=True),))
    random = np.random.default_rng(seed)
    numbers = 10.0 ** random.uniform(-decades, decades, 40 * sum(sizes))
    codes = np.zeros(len(numbers), np.int32)
    starts = range(0, len(numbers) + 1, 40)
    parts = summarize(rows(numbers, codes, list(starts)), layout)
    ends = np.cumsum(sizes).tolist()
    runs = [parts[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    whole = [reduce(Summaries.merge, run) for run in runs]
    assert [bits(merged) for merged in merge_alike(runs)] == [bits(each) for each in whole]
    assert all(len(each.sketches) == 1 for each in whole)


def test_merging_at_once_takes_unlike_layouts_and_empty_summaries() -> None:
    numbers, codes = some_rows(1, 50)
    whole = at_once(numbers, codes)
    bare = Summaries.empty(Layout.of("r"))
    (merged,) = merge_alike([[bare, whole, Summaries.empty(LAYOUT)]])
    assert bits(merged) == bits(whole)
    assert [bits(each) for each in merge_alike([[bare, bare], [whole]])] == [
        bits(bare),
        bits(whole),
    ]


@given(tables())
def test_columns_known_to_one_side_only_are_kept(
    table: tuple[NDArray[np.float64], NDArray[np.int32]],
) -> None:
    numbers, codes = table
    narrow = Layout.of("r", [spec for spec in LAYOUT.columns if spec.name != "x"])
    wide = Layout.of("r", [spec for spec in LAYOUT.columns if spec.name != "y"])
    data = rows(numbers, codes, [0, len(numbers)])
    (a,), (b,) = summarize(data, narrow), summarize(data, wide)
    assert bits(a.merge(b)) == bits(b.merge(a))
    merged = a.merge(b)
    assert merged.layout.columns == LAYOUT.columns
    x, y = merged.numeric("x"), merged.numeric("y")
    assert x is not None
    assert y is not None
    assert x.n == y.n == int(np.isfinite(numbers).sum())


def test_summaries_on_unlike_references_are_refused() -> None:
    other = Layout.of("another", LAYOUT.columns)
    with pytest.raises(Unmergeable, match="different references: r and another"):
        Summaries.empty(LAYOUT).merge(Summaries.empty(other))


def test_columns_summarised_in_two_ways_are_refused() -> None:
    other = Layout.of("r", [ColumnSpec("y", Kind.NUMERIC, (0.0,))])
    with pytest.raises(Unmergeable, match="'y'"):
        Summaries.empty(LAYOUT).merge(Summaries.empty(other))
