"""The classical statistics against scipy on raw data, against hand-computed values, and at their
limits; and what a comparison of two columns says."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as scipy_stats
from scipy.spatial import distance as scipy_distance

from detectors import statistics as stats

Counts = NDArray[np.int64]

DISTANCES: dict[str, Callable[[Counts, Counts], float]] = {
    "psi": stats.psi,
    "jensen_shannon": stats.jensen_shannon,
    "hellinger": stats.hellinger,
    "kolmogorov_smirnov": stats.kolmogorov_smirnov,
    "total_variation": stats.total_variation,
    "l_infinity": stats.l_infinity,
    "wasserstein": lambda p, q: stats.wasserstein(p, q, np.arange(len(p), dtype=np.float64), 1.0),
    "chi_square": lambda p, q: stats.chi_square(p, q).statistic,
}

cells = st.integers(2, 8)


def counts(n: int, low: int = 0) -> st.SearchStrategy[Counts]:
    return st.lists(st.integers(low, 500), min_size=n, max_size=n).map(
        lambda x: np.array(x, np.int64)
    )


pairs = cells.flatmap(lambda n: st.tuples(counts(n), counts(n))).filter(
    lambda pair: bool(pair[0].any() and pair[1].any())
)
full_pairs = cells.flatmap(lambda n: st.tuples(counts(n, 40), counts(n, 40)))


@given(pairs)
def test_jensen_shannon_is_scipys_in_base_two(pair: tuple[Counts, Counts]) -> None:
    got = stats.jensen_shannon(*pair)
    assert got == pytest.approx(float(scipy_distance.jensenshannon(*pair, base=2)), abs=1e-7)


@given(full_pairs)
def test_chi_square_is_scipys_where_no_cell_is_sparse(pair: tuple[Counts, Counts]) -> None:
    got = stats.chi_square(*pair)
    want = scipy_stats.chi2_contingency(np.stack(pair), correction=False)
    assert (got.statistic, got.p_value) == pytest.approx((want.statistic, want.pvalue), abs=1e-9)
    assert got.dof == want.dof


@given(pairs)
def test_kolmogorov_smirnov_and_wasserstein_are_scipys_on_discrete_values(
    pair: tuple[Counts, Counts],
) -> None:
    p, q = pair
    positions = np.cumsum(np.arange(len(p), dtype=np.float64) + 1)
    raw, raw_now = np.repeat(positions, p), np.repeat(positions, q)
    ks = scipy_stats.ks_2samp(raw, raw_now, method="asymp").statistic
    assert stats.kolmogorov_smirnov(p, q) == pytest.approx(float(ks), abs=1e-12)
    moved = scipy_stats.wasserstein_distance(raw, raw_now)
    assert stats.wasserstein(p, q, positions, 2.0) == pytest.approx(moved / 2, abs=1e-9)


@pytest.mark.parametrize("size", [50, 20_000])
def test_kolmogorov_smirnov_of_bins_is_a_lower_bound_of_that_of_the_values(size: int) -> None:
    random = np.random.default_rng(4)
    a, b = random.standard_normal(size), random.standard_normal(size) * 1.3 + 0.4
    edges = np.quantile(a, np.linspace(0.05, 0.95, 19))
    p = np.bincount(np.searchsorted(edges, a, side="right"), minlength=20)
    q = np.bincount(np.searchsorted(edges, b, side="right"), minlength=20)
    true = float(scipy_stats.ks_2samp(a, b).statistic)
    got = stats.kolmogorov_smirnov(p, q)
    assert true - 0.05 <= got <= true + 1e-12


def test_psi_is_the_textbook_sum_where_no_cell_is_empty() -> None:
    p, q = np.array([100, 200, 700]), np.array([200, 300, 500])
    by_hand = 0.1 * math.log(2) + 0.1 * math.log(1.5) - 0.2 * math.log(5 / 7)
    assert stats.psi(p, q) == pytest.approx(by_hand, rel=1e-12)


def test_psi_adds_half_an_event_to_every_cell_where_one_is_empty() -> None:
    p, q = np.array([50, 50, 0]), np.array([50, 0, 0])
    a, b = np.array([50.5, 50.5]) / 101, np.array([50.5, 0.5]) / 51
    by_hand = float(((b - a) * np.log(b / a)).sum())
    assert stats.psi(p, q) == pytest.approx(by_hand, rel=1e-12)


def test_psi_without_a_change_is_about_its_stated_noise() -> None:
    random = np.random.default_rng(5)
    shares = np.full(10, 0.1)
    looks = [
        stats.psi(random.multinomial(2000, shares), random.multinomial(500, shares))
        for _ in range(400)
    ]
    assert float(np.mean(looks)) == pytest.approx(9 * (1 / 2000 + 1 / 500), rel=0.1)


@given(pairs)
def test_the_distances_keep_their_ranges_and_their_inequalities(
    pair: tuple[Counts, Counts],
) -> None:
    found = {name: distance(*pair) for name, distance in DISTANCES.items()}
    for name in ("jensen_shannon", "hellinger", "kolmogorov_smirnov", "total_variation"):
        assert 0 <= found[name] <= 1
    tv, h = found["total_variation"], found["hellinger"]
    assert found["kolmogorov_smirnov"] <= tv + 1e-12
    assert found["l_infinity"] <= tv + 1e-12
    assert h * h - 1e-9 <= tv <= math.sqrt(2) * h + 1e-9


@pytest.mark.parametrize("name", DISTANCES)
def test_like_samples_are_at_distance_zero(name: str) -> None:
    p = np.array([10, 20, 30])
    assert DISTANCES[name](p, 3 * p) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([], []),
        ([0, 0], [1, 2]),
        ([1, 2], [0, 0]),
        ([1, 2], [1, 2, 3]),
        ([1, -2], [1, 2]),
        ([[1, 2]], [[1, 2]]),
    ],
)
def test_no_answer_is_nan_never_zero_and_never_an_exception(
    name: str, p: list[int], q: list[int]
) -> None:
    assert math.isnan(DISTANCES[name](np.array(p, np.int64), np.array(q, np.int64)))


@pytest.mark.parametrize("name", DISTANCES)
def test_counts_near_the_end_of_int64_do_not_wrap_round(name: str) -> None:
    p = np.array([2**62, 2**62, 2**62], np.int64)
    assert DISTANCES[name](p, np.array([5, 5, 5])) == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("unit", [0.0, -1.0, math.nan, math.inf])
def test_wasserstein_without_a_unit_is_nan(unit: float) -> None:
    p, positions = np.array([1, 2]), np.array([0.0, 1.0])
    assert math.isnan(stats.wasserstein(p, p, positions, unit))


def test_chi_square_pools_sparse_cells() -> None:
    got = stats.chi_square(np.array([50, 50, 1, 2, 3]), np.array([50, 50, 3, 2, 1]))
    want = scipy_stats.chi2_contingency([[50, 50, 6], [50, 50, 6]], correction=False)
    assert (got.statistic, got.dof, got.p_value) == (want.statistic, 2, want.pvalue)


def test_chi_square_of_too_few_events_has_no_answer() -> None:
    assert math.isnan(stats.chi_square(np.array([2, 1]), np.array([1, 2])).p_value)


def test_chi_square_of_one_same_cell_says_no_difference() -> None:
    assert stats.chi_square(np.array([9, 0]), np.array([7, 0])) == stats.ChiSquare(0.0, 0, 1.0)


def test_chi_square_alarms_at_its_level_when_nothing_has_changed() -> None:
    random = np.random.default_rng(6)
    shares = np.array([0.6, 0.3, 0.08, 0.01, 0.01])
    p_values = [
        stats.chi_square(random.multinomial(900, shares), random.multinomial(300, shares)).p_value
        for _ in range(2000)
    ]
    # 100 expected; six binomial standard deviations are 59.
    assert 41 <= sum(p < 0.05 for p in p_values) <= 159


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_test_is_chi_square_of_the_two_by_two_table(
    n: int, m: int, share: float, share_now: float
) -> None:
    a, b = round(n * share), round(m * share_now)
    got = stats.rate_difference(a, n, b, m)
    if 0 < a + b < n + m:
        table = [[a, n - a], [b, m - b]]
        want = scipy_stats.chi2_contingency(table, correction=False)
        assert got.z**2 == pytest.approx(want.statistic, rel=1e-6, abs=1e-9)
        assert got.p_value == pytest.approx(want.pvalue, rel=1e-6, abs=1e-12)
        assert math.copysign(1, got.z) == math.copysign(1, b / m - a / n)
    else:
        assert (got.z, got.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("sides", [(0, 0, 1, 2), (1, 2, 0, 0), (3, 2, 1, 2), (-1, 2, 1, 2)])
def test_a_rate_of_nothing_has_no_answer(sides: tuple[int, int, int, int]) -> None:
    assert math.isnan(stats.rate_difference(*sides).p_value)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 300), (400, 80)])
@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
def test_the_mean_test_is_welchs(n: int, m: int, unit: float) -> None:
    random = np.random.default_rng(n + m)
    a, b = random.standard_normal(n), random.standard_normal(m) * 3 + 0.5
    want = scipy_stats.ttest_ind(b, a, equal_var=False)
    got = stats.mean_difference(
        (n, float(a.mean()) * unit, float(a.std()) * unit),
        (m, float(b.mean()) * unit, float(b.std()) * unit),
    )
    assert (got.t, got.p_value, got.dof) == pytest.approx((want.statistic, want.pvalue, want.df))
    assert got.standard_error == pytest.approx(got.difference / got.t)


def test_two_unlike_constants_differ_beyond_doubt() -> None:
    got = stats.mean_difference((10, 1.0, 0.0), (10, 0.5, 0.0))
    assert (got.t, got.p_value) == (-math.inf, 0.0)


@pytest.mark.parametrize(
    "side", [(0, math.nan, math.nan), (1, 1.0, 0.0), (9, math.inf, 1.0), (9, 1.0, math.nan)]
)
def test_a_mean_that_is_none_has_no_answer(side: tuple[int, float, float]) -> None:
    good = (10, 1.0, 1.0)
    assert math.isnan(stats.mean_difference(good, side).p_value)
    assert math.isnan(stats.mean_difference(side, good).p_value)
