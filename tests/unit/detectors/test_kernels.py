"""The kernels against a reference that counts one value at a time, and at their limits."""

from __future__ import annotations

import math
import sys
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.fixed_point import MAX_BATCH, Grid
from detectors.kernels import Codes, Rows, histogram, summarize
from detectors.layout import HEADERS, ColumnSpec, Header, Kind, Layout
from detectors.release import OTHER
from detectors.summary import Summaries

EXTREME = [
    *(0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.0, -1.0, 1e308, -1e308),
    *(sys.float_info.max, -sys.float_info.max, math.nan, math.inf, -math.inf),
]


def rows(starts: list[int], **numeric: NDArray[np.float64]) -> Rows:
    bounds = np.array(starts, np.int64)
    headers = np.zeros((len(bounds) - 1, len(HEADERS)), np.int64)
    headers[:, HEADERS.index(Header.PREDICTIONS)] = np.diff(bounds)
    return Rows(bounds, headers, numeric, {}, {})


def one(values: list[float], spec: ColumnSpec) -> Summaries:
    layout = Layout.of("", [spec])
    return summarize(rows([0, len(values)], x=np.array(values, np.float64)), layout)[0]


@pytest.mark.parametrize("scale", [2.0**-500, 1.0, 2.0**500])
@pytest.mark.parametrize("center", [-1e150, 0.0, 1e150])
def test_no_double_makes_the_kernel_raise_or_warn(center: float, scale: float) -> None:
    spec = ColumnSpec("x", Kind.NUMERIC, (-1e300, 0.0, 1e300), Grid(center, scale))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = one(EXTREME, spec).numeric("x")
        assert found is not None
        figures = [found.mean, found.sd, found.quantile(0.5), found.quantile(0.999)]
    assert found.n == len(EXTREME) - 3
    assert found.nulls == 3
    assert found.bins.tolist() == [2, 2, 5, 2]
    assert not any(map(math.isnan, figures))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 3000])
def test_bins_are_half_open_in_both_ways_of_counting(size: int) -> None:
    edges = np.array([-1.0, 0.0, 0.5, 2.0])
    values = np.random.default_rng(size).choice([-2.0, -1.0, -0.5, 0.0, 0.4, 0.5, 2.0, 9.0], size)
    slow = [0] * 5
    for value in values.tolist():
        slow[sum(value >= edge for edge in edges.tolist())] += 1
    # As one group, and as the first of very many, which is counted the other way.
    assert histogram(values, np.array([0, size]), edges)[0].tolist() == slow
    starts = np.concatenate(([0], np.full(5000, size)))
    assert histogram(values, starts, edges)[0].tolist() == slow


def test_no_group_and_empty_groups_are_no_matter() -> None:
    layout = Layout.of(
        "", [ColumnSpec("x", Kind.NUMERIC, (0.0,)), ColumnSpec("t", Kind.CATEGORICAL)]
    )
    assert summarize(rows([0], x=np.empty(0)), layout) == []
    first, second, third = summarize(rows([0, 0, 2, 2], x=np.array([1.0, -1.0])), layout)
    assert [part.events for part in (first, second, third)] == [0, 2, 0]
    empty = first.numeric("x")
    assert empty is not None
    assert (empty.n, empty.minimum, empty.maximum) == (0, math.inf, -math.inf)
    assert math.isnan(empty.mean)
    assert math.isnan(empty.sd)


def test_a_negative_zero_is_an_ordinary_zero_whatever_the_order() -> None:
    spec = ColumnSpec("x", Kind.NUMERIC)
    a, b = one([0.0, -0.0], spec), one([-0.0, 0.0], spec)
    assert a.extremes.tobytes() == b.extremes.tobytes()
    assert not np.signbit(a.extremes).any()


def test_columns_that_the_layout_does_not_have_are_passed_over() -> None:
    (found,) = summarize(rows([0, 1], x=np.array([1.0]), y=np.array([2.0])), Layout.of("", []))
    assert found.events == 1
    assert found.numeric("x") is None


def test_small_figures_off_the_grid_are_taken_from_the_sketch() -> None:
    costs = np.random.default_rng(1).lognormal(math.log(2e-5), 0.5, 4000)
    found = one(costs.tolist(), ColumnSpec("x", Kind.NUMERIC)).numeric("x")
    assert found is not None
    assert found.mean == pytest.approx(float(costs.mean()), rel=0.01)
    assert found.sd == pytest.approx(float(costs.std()), rel=0.02)


def test_large_figures_off_the_grid_are_taken_from_the_sketch() -> None:
    tokens = np.random.default_rng(1).lognormal(math.log(1e7), 1.0, 4000)
    found = one(tokens.tolist(), ColumnSpec("x", Kind.NUMERIC)).numeric("x")
    assert found is not None
    assert found.mean == pytest.approx(float(tokens.mean()), rel=0.01)
    assert found.sd == pytest.approx(float(tokens.std()), rel=0.02)


def test_a_mean_near_zero_of_large_values_stays_exact() -> None:
    found = one([100.0, -100.7, 3.3, -2.60001], ColumnSpec("x", Kind.NUMERIC)).numeric("x")
    assert found is not None
    assert found.mean == pytest.approx(-0.0000025, abs=2.0**-20)


def test_sums_of_more_rows_than_one_word_holds_are_split_in_time() -> None:
    n = MAX_BATCH + 5
    spec = ColumnSpec("x", Kind.NUMERIC, grid=Grid(0.0, 1.0), sketch=False)
    found = one([1e300] * n, spec).numeric("x")
    assert found is not None
    assert found.mean == 2.0**23


def test_counts_of_two_to_the_53_merge_without_loss() -> None:
    spec = ColumnSpec("x", Kind.NUMERIC, (0.5,))
    part = one([0.0, 1.0, 1.0], spec)
    total = 3
    while total < 2**53:
        part, total = part.merge(part), 2 * total
    more = part.merge(one([1.0], spec)).numeric("x")
    assert more is not None
    assert more.n == total + 1
    assert more.bins.tolist() == [total // 3, 2 * total // 3 + 1]
    assert more.mean == pytest.approx(2 / 3, abs=1e-6)
    assert more.sketch.n == total + 1


def texts(
    codes: list[int], names: tuple[str, ...], starts: list[int], spec: ColumnSpec
) -> list[Summaries]:
    bounds = np.array(starts, np.int64)
    headers = np.zeros((len(bounds) - 1, len(HEADERS)), np.int64)
    coded = {"t": Codes(np.array(codes, np.int32), names)}
    return summarize(Rows(bounds, headers, {}, coded, {}), Layout.of("", [spec]))


def test_categories_with_bins_and_without_are_counted_apart() -> None:
    spec = ColumnSpec("t", Kind.CATEGORICAL, categories=("a", "b"))
    (first, second) = texts([0, 1, -1, 2, 3, 0], ("a", "x", OTHER, "b"), [0, 3, 6], spec)
    one_, two = first.categorical("t"), second.categorical("t")
    assert one_ is not None
    assert two is not None
    assert (one_.n, one_.bins.tolist(), one_.rest.counts) == (2, [1, 0], {"x": 1})
    assert (two.n, two.bins.tolist(), two.rest.other) == (3, [1, 1], 1)


def test_a_table_of_groups_and_names_too_large_to_count_densely_counts_the_same() -> None:
    names = tuple(str(i) for i in range(3000))
    codes = np.random.default_rng(3).integers(-1, 3000, 4000)
    spec = ColumnSpec("t", Kind.CATEGORICAL)
    whole = texts(codes.tolist(), names, [0, 4000], spec)[0]
    parts = texts(codes.tolist(), names, [*range(0, 4000, 2), 4000], spec)
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.vector.tolist() == whole.vector.tolist()
    assert dict(merged.categories) == dict(whole.categories)


def test_sketches_of_values_too_far_apart_to_count_densely_are_the_same() -> None:
    values = np.array([1e-300, 1e300, -1e300, 1.0] * 50)
    layout = Layout.of("", [ColumnSpec("x", Kind.NUMERIC)])
    whole = summarize(rows([0, 200], x=values), layout)[0].sketches["x"]
    parts = [part.sketches["x"] for part in summarize(rows([*range(0, 201, 4)], x=values), layout)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert merged.keys.tolist() == whole.keys.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()


def test_unreadable_values_are_counted_once_with_the_numeric_half() -> None:
    layout = Layout.of("", [ColumnSpec("x", Kind.NUMERIC), ColumnSpec("x", Kind.CATEGORICAL)])
    headers = np.zeros((1, len(HEADERS)), np.int64)
    headers[0, 0] = 3
    data = Rows(
        np.array([0, 3]),
        headers,
        {"x": np.array([1.0, math.nan, math.nan])},
        {"x": Codes(np.array([-1, 0, -1], np.int32), ("a",))},
        {"x": np.array([1])},
    )
    (found,) = summarize(data, layout)
    numeric, text = found.numeric("x"), found.categorical("x")
    assert numeric is not None
    assert text is not None
    assert (numeric.n, numeric.errors, numeric.nulls) == (1, 1, 0)
    assert (text.n, text.errors, text.nulls) == (1, 0, 0)
