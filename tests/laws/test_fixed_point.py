"""Sums on a grid: exact in any order, close to the true mean and deviation, never overflowing."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.fixed_point import (
    LIMIT,
    MAX_BATCH,
    STEPS,
    Grid,
    grid_for,
    join,
    mean,
    split,
    standard_deviation,
)

floats = st.floats(allow_nan=False, allow_infinity=False)


@given(st.integers(-(2**94), 2**94))
def test_two_words_hold_a_sum_exactly(total: int) -> None:
    high, low = split(total)
    assert join(high, low) == total
    assert 0 <= low < 2**32


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.floats(-1e3, 1e3))
def test_mean_and_deviation_are_as_close_to_the_exact_ones_as_promised(
    values: list[float], center: float
) -> None:
    grid = grid_for(center, 1e4)
    first, second, clipped_first, clipped_second = grid.steps(np.array(values))
    assert clipped_first == clipped_second == 0
    exact = [Fraction(value) for value in values]
    n = len(values)
    true_mean = sum(exact, Fraction(0)) / n
    true_variance = sum(((x - true_mean) ** 2 for x in exact), Fraction(0)) / n
    step = grid.scale / STEPS
    got_mean = mean(int(first.sum()), n, grid)
    assert abs(got_mean - float(true_mean)) <= step / 2 * (1 + 1e-9) + 1e-9
    got = standard_deviation(int(first.sum()), int(second.sum()), n, grid)
    # Half a step of z**2, and what rounding the mean adds: twice |mean| times half a step.
    reach = abs(got_mean - grid.center) + step
    slack = grid.scale * step / 2 + reach * step + 1e-9
    assert abs(got * got - float(true_variance)) <= slack * (1 + 1e-6) + 1e-9 * got * got


@given(st.lists(floats, max_size=40), floats, st.floats(allow_nan=True))
def test_no_value_on_no_grid_overflows_warns_or_raises(
    values: list[float], center: float, spread: float
) -> None:
    grid = grid_for(center, spread)
    assert math.isfinite(grid.center)
    assert 0 < grid.scale < math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second, clipped_first, clipped_second = grid.steps(np.array(values))
    assert (np.abs(first) <= int(LIMIT)).all()
    assert ((second >= 0) & (second <= int(LIMIT))).all()
    assert clipped_first <= clipped_second <= len(values)


@given(st.floats(2.0**-490, 1e140))
def test_the_scale_is_a_power_of_two_next_to_the_spread(spread: float) -> None:
    scale = grid_for(0.0, spread).scale
    assert math.frexp(scale)[0] == 0.5
    assert spread <= scale <= 2 * spread


def test_a_full_batch_of_the_largest_steps_fits_in_one_word() -> None:
    assert int(LIMIT) * MAX_BATCH < 2**63


def test_nothing_has_no_mean() -> None:
    assert math.isnan(mean(0, 0, Grid()))
    assert math.isnan(standard_deviation(0, 0, 0, Grid()))


def test_a_small_spread_far_from_zero_is_not_cancelled_away() -> None:
    values = np.array([1e9, 1e9 + 1, 1e9 + 2])
    grid = grid_for(1e9, 1.0)
    first, second, *_ = grid.steps(values)
    got = standard_deviation(int(first.sum()), int(second.sum()), 3, grid)
    assert got == pytest.approx(math.sqrt(2 / 3), rel=1e-5)
