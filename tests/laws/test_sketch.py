"""The sketch: merging is exact, and quantiles keep their stated error."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.sketch import RELATIVE_ERROR, Sketch, bucket_floor, bucket_middle, bucket_of

SMALLEST_PROMISED = 2.0**-1016
floats = st.floats(allow_nan=False, allow_infinity=False)
anything = st.lists(st.floats(), max_size=40).map(lambda x: np.array(x, np.float64))
promised = floats.filter(lambda x: abs(x) >= SMALLEST_PROMISED)


def same(a: Sketch, b: Sketch) -> bool:
    return (
        np.array_equal(a.keys, b.keys)
        and np.array_equal(a.counts, b.counts)
        and a.keys.dtype == b.keys.dtype == np.int32
        and a.counts.dtype == b.counts.dtype == np.int64
    )


@given(anything, anything, anything)
def test_merging_is_associative_and_commutative_with_an_identity(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> None:
    x, y, z = Sketch.of(a), Sketch.of(b), Sketch.of(c)
    assert same(x.merge(y).merge(z), x.merge(y.merge(z)))
    assert same(x.merge(y), y.merge(x))
    assert same(x.merge(Sketch.empty()), x)
    assert same(Sketch.empty().merge(x), x)


@given(anything, anything)
def test_merging_equals_sketching_at_once(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    assert same(Sketch.of(a).merge(Sketch.of(b)), Sketch.of(np.concatenate((a, b))))


@given(st.lists(promised, min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_within_the_relative_error_of_the_value_at_its_rank(
    values: list[float], q: float
) -> None:
    true = sorted(values)[int(q * (len(values) - 1))]
    got = Sketch.of(np.array(values)).quantile(q)
    assert abs(got - true) <= RELATIVE_ERROR * abs(true)


@given(promised)
def test_the_middle_of_a_bucket_is_within_the_relative_error_of_all_of_it(value: float) -> None:
    middle = float(bucket_middle(bucket_of(np.array([value])))[0])
    assert abs(middle - value) <= RELATIVE_ERROR * abs(value)


def test_the_relative_error_is_reached_so_it_is_not_stated_too_large() -> None:
    lowest_of_a_bucket = 1.0
    middle = float(bucket_middle(bucket_of(np.array([lowest_of_a_bucket])))[0])
    assert middle - lowest_of_a_bucket == pytest.approx(RELATIVE_ERROR, rel=1e-9)


@given(floats, floats)
def test_buckets_are_in_the_order_of_their_values(a: float, b: float) -> None:
    keys = bucket_of(np.array([min(a, b), max(a, b)]))
    assert keys[0] <= keys[1]


@given(floats)
def test_a_bucket_floor_is_the_smallest_double_of_its_bucket(value: float) -> None:
    key = bucket_of(np.array([value]))
    floor = bucket_floor(key)
    assert floor[0] <= value
    assert bucket_of(floor)[0] == key[0]
    if floor[0] > -sys.float_info.max:
        assert bucket_of(np.nextafter(floor, -np.inf))[0] < key[0]


def test_zero_and_the_tiniest_negative_numbers_share_a_bucket_whose_floor_is_negative() -> None:
    keys = bucket_of(np.array([0.0, -0.0, 5e-324, -5e-324]))
    assert keys.tolist() == [0, 0, 0, 0]
    assert bucket_floor(np.array([0], np.int32))[0] < -5e-324


def test_moments_of_the_largest_doubles_neither_overflow_nor_become_nan() -> None:
    big = sys.float_info.max
    sketch = Sketch.of(np.array([big, big, -big, -big]))
    assert sketch.moment(1) == 0.0
    assert sketch.deviation() == pytest.approx(big, rel=RELATIVE_ERROR)
    assert Sketch.of(np.array([big] * 4)).moment(1) == pytest.approx(big, rel=RELATIVE_ERROR)
    assert sketch.moment(2) == np.inf


@given(st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=50))
def test_the_mean_from_the_sketch_is_within_the_error_of_the_mean_magnitude(
    values: list[float],
) -> None:
    x = np.array(values)
    sketch = Sketch.of(x)
    slack = RELATIVE_ERROR * float(np.abs(x).mean()) * (1 + 1e-9) + 1e-300
    assert abs(sketch.moment(1) - float(x.mean())) <= slack


def test_an_empty_sketch_has_no_quantile_and_no_moment() -> None:
    empty = Sketch.empty()
    figures = [empty.quantile(0.5), empty.moment(1), empty.magnitude(), empty.deviation()]
    assert np.isnan(figures).all()


def test_the_tail_counts_whole_buckets_at_or_above_a_value() -> None:
    assert Sketch.of(np.array([1.0, 2.0, 3.0, 3.0])).tail(2.5) == 2
