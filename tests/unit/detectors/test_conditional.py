"""Conditional e-values: their expectation, by counting every possible draw, is at most 1."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.conditional import TIGHT_SHARE, log_e_values

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
NONE = np.zeros((1, 2))


def draws(pooled: Counts, n: int) -> Counter[tuple[int, ...]]:
    """Every way to draw n events from a pooled pane, as counts of cells."""
    items = np.repeat(np.arange(len(pooled)), pooled)
    cells = len(pooled)
    return Counter(
        tuple(np.bincount(items[list(chosen)], minlength=cells).tolist())
        for chosen in combinations(range(len(items)), n)
    )


def expectation(pooled: Counts, n: int, ratio: Floats, tilt: Floats, law: Floats) -> float:
    """Of the e-value over all draws, if each event's odds to be the canary's are e**law."""
    total = weight = 0.0
    for counts, ways in draws(pooled, n).items():
        drawn = np.array(counts)
        part = ways * float(np.exp(drawn @ law))
        e_value = np.exp(log_e_values(drawn, pooled - drawn, ratio[None], tilt[None])[0])
        total, weight = total + part * float(e_value), weight + part
    return total / weight


@pytest.mark.parametrize("seed", range(40))
def test_the_expectation_is_at_most_one_for_any_canary_within_the_tolerance(seed: int) -> None:
    generator = np.random.default_rng(seed)
    cells = int(generator.integers(2, 5))
    pooled = generator.integers(0, 5, cells)
    pooled[generator.integers(cells)] += 2
    n = int(generator.integers(1, pooled.sum()))
    ratio = np.sort(generator.normal(0, 1, cells))
    tilt = np.sort(generator.normal(0, generator.choice([0.0, 0.5]), cells))
    # A law that rises along the cells, but nowhere faster than what is tolerated.
    slower = tilt - np.sort(generator.exponential(0.3, cells)) * generator.integers(0, 2)
    for sign in (1, -1):
        for law in (tilt, slower):
            found = expectation(pooled, n, sign * ratio, sign * tilt, sign * law)
            assert found <= 1 + 1e-12


def test_an_expectation_above_one_shows_where_the_tolerance_is_left_out() -> None:
    """The test above can fail: without its tilt the bet earns from a tolerated difference."""
    pooled, law = np.array([8, 4]), np.array([0.0, 1.0])
    ratio = np.array([0.0, 0.5])
    assert expectation(pooled, 4, ratio, np.zeros(2), law) > 1.1
    assert expectation(pooled, 4, ratio, law, law) <= 1


def test_an_even_split_earns_nearly_what_is_in_it() -> None:
    """Ten thousand events in each arm, a shift of .1 sd between them: the exact evidence is about
    n/2 d**2/2; the bound for small canaries alone would find half of it."""
    scores = np.linspace(-1.6, 1.6, 20)
    scores = scores / scores.std()
    share = np.exp(0.05 * scores)
    canary = np.rint(10_000 * share / share.sum()).astype(np.int64)
    production = canary[::-1].copy()
    ratio = (0.1 * scores)[None]
    got = float(log_e_values(canary, production, ratio, np.zeros_like(ratio))[0])
    assert got == pytest.approx(10_000 / 2 * 0.1**2 / 2, rel=0.05)


def test_both_bounds_meet_where_one_takes_over() -> None:
    """Just above TIGHT_SHARE nothing is lost against just below."""
    ratio, tilt = np.array([[0.0, 0.7]]), np.array([[0.0, 0.2]])
    n = 1000
    rest = round(n / TIGHT_SHARE) - n
    below = log_e_values(np.array([n - 60, 60]), np.array([rest + 40 - 300, 300]), ratio, tilt)
    above = log_e_values(np.array([n - 60, 60]), np.array([rest - 40 - 300, 300]), ratio, tilt)
    assert above[0] > below[0] - 0.5


@pytest.mark.parametrize(
    ("canary", "production"),
    [([0, 0], [5, 5]), ([5, 5], [0, 0]), ([0, 0], [0, 0])],
)
def test_a_pane_with_one_arm_earns_nothing(canary: list[int], production: list[int]) -> None:
    ratio = np.array([[0.0, 1.0], [0.0, -1.0]])
    got = log_e_values(np.array(canary), np.array(production), ratio, np.zeros_like(ratio))
    assert got.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n", [10**6, 2**40, 2**53])
@pytest.mark.parametrize("even", [True, False])
def test_rounding_never_makes_evidence_from_equal_arms(n: int, even: bool) -> None:
    canary = np.array([n, n // 3])
    production = canary if even else canary * 64
    ratio = np.array([[0.0, 1e-9], [0.0, 0.1], [0.0, 2.0]])
    got = log_e_values(canary, production, ratio, np.zeros_like(ratio))
    assert np.isfinite(got).all()
    assert (got <= 0).all()
