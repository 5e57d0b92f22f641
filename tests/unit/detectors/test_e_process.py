"""Wealth of bets: what it starts from, what a pane may add, and that nothing is made of nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.dispersion import FEWEST_PANES, Dispersion, differences
from detectors.e_process import AT_ONCE, EProcess

HALVES = np.array([0.5, 0.5])


def test_panes_that_say_nothing_never_add_up_to_more_than_the_money_put_in() -> None:
    wealth = EProcess.start(HALVES)
    for t in range(500):
        wealth = wealth.step(np.zeros(2), t)
    assert math.exp(wealth.evidence) == pytest.approx(1.0, abs=1e-3)
    assert wealth.peak <= 0.0


def test_the_first_pane_bets_most_of_the_money() -> None:
    wealth = EProcess.start(HALVES).step(np.log([3.0, 1.0]), 7)
    assert math.exp(wealth.evidence) == pytest.approx(AT_ONCE * 2.0)
    assert wealth.peak_onset_ms == 7


def test_a_late_change_is_found_although_the_bet_has_lost_for_a_month() -> None:
    wealth = EProcess.start(HALVES)
    for t in range(10_000):
        wealth = wealth.step(np.array([-1.0, -1.0]), t)
    for t in range(10_000, 10_040):
        wealth = wealth.step(np.array([1.0, -1.0]), t)
    assert wealth.evidence > math.log(20)
    assert wealth.peak_onset_ms >= 10_000


def test_no_single_pane_adds_more_than_the_cap() -> None:
    wealth = EProcess.start(HALVES).step(np.array([1e300, math.inf]), 0, cap=2.0)
    assert wealth.evidence == pytest.approx(math.log(AT_ONCE) + 2.0)


def test_what_a_pane_may_add_does_not_depend_on_how_many_bets_share_the_money() -> None:
    """One bet of twenty wins, and first has to win back what the others had."""
    log_e = np.full(20, -1.0)
    log_e[3] = 5.0
    wealth = EProcess.start(np.full(20, 0.05)).step(log_e, 0, cap=1.0)
    assert wealth.evidence == wealth.peak == pytest.approx(math.log(AT_ONCE) + 1.0)
    assert np.exp(wealth.log_wealth).sum() == pytest.approx(math.exp(wealth.evidence))


def test_one_strange_pane_does_not_leave_the_other_bets_with_nothing() -> None:
    wealth = EProcess.start(HALVES).step(np.array([1e6, 0.0]), 0, cap=2.0)
    lost = math.log(AT_ONCE * 0.5) - wealth.log_wealth[1]
    assert 0.0 < lost < math.log(2.0)


@pytest.mark.parametrize("cap", [0.5, 1.5, 4.0])
def test_a_cap_never_gives_any_bet_more_money_than_it_has_without(cap: float) -> None:
    generator = np.random.default_rng(4)
    capped = free = EProcess.start(np.full(6, 1 / 6))
    for t in range(200):
        log_e = generator.normal(-0.1, 1.5, 6)
        before = math.log(math.exp(capped.evidence) + (AT_ONCE if t == 0 else 0.1 / t / (t + 1)))
        capped, free = capped.step(log_e, t, cap), free.step(log_e, t)
        assert (capped.log_wealth <= free.log_wealth + 1e-9).all()
        assert capped.evidence <= before + cap + 1e-9


def test_a_pane_that_is_not_a_number_adds_nothing() -> None:
    wealth = EProcess.start(HALVES).step(np.array([math.nan, 0.0]), 0)
    assert wealth.evidence == pytest.approx(math.log(AT_ONCE))


def test_money_moved_to_other_bets_stays_the_same() -> None:
    wealth = EProcess.start(HALVES).step(np.log([3.0, 1.0]), 7)
    moved = wealth.moved(np.full(5, 0.2))
    assert np.exp(moved.log_wealth).sum() == pytest.approx(math.exp(wealth.evidence))
    assert moved.peak == wealth.peak


def after(found: Dispersion, ours: list[int], theirs: list[int]) -> Dispersion:
    """One measure of two cells, after a pane."""
    pane = differences(
        np.array([ours, theirs]), np.array([0.0, 1.0]), np.array([0]), np.array([0, 0])
    )
    return found.step(pane, np.array([True]))


def panes(lean: float, together: float, count: int, seed: int = 3) -> Dispersion:
    """Panes of 200 canary and 9,800 production events of a rate of 1/2, the canary leaning by a
    first-order autoregression of that standard deviation."""
    generator = np.random.default_rng(seed)
    found, a = Dispersion.start(1), generator.normal(0, lean) if lean else 0.0
    for _ in range(count):
        a = together * a + math.sqrt(1 - together**2) * generator.normal(0, lean)
        ours = int(generator.binomial(200, min(max(0.5 + a, 0), 1)))
        theirs = int(generator.binomial(9800, 0.5))
        found = after(found, [200 - ours, ours], [9800 - theirs, theirs])
    return found


def test_panes_that_vary_as_chance_has_it_are_not_deflated_by_much() -> None:
    assert panes(0.0, 0.0, 400).factor < 1.2


def test_a_steady_difference_is_not_taken_for_dispersion() -> None:
    found = Dispersion.start(1)
    generator = np.random.default_rng(1)
    for _ in range(300):
        ours = int(generator.binomial(200, 0.7))
        found = after(found, [200 - ours, ours], [4900, 4900])
    assert found.factor < 1.2


def test_panes_that_lean_are_deflated_and_more_so_if_they_hang_together() -> None:
    # 1 + 200 x .05**2 / .25 = 3 in variance; times (1 + r)/(1 - r) if together.
    loose, tied = panes(0.05, 0.0, 400).factor, panes(0.05, 0.8, 400).factor
    assert 2.0 < loose < 4.0
    assert tied > 2 * loose


def test_few_panes_are_not_judged() -> None:
    assert panes(0.2, 0.9, FEWEST_PANES - 1).factor == 1.0


def test_panes_without_variation_or_with_one_arm_change_nothing() -> None:
    one = Dispersion.start(1)
    for ours, theirs in (([5, 0], [50, 0]), ([0, 0], [50, 5])):
        same = after(one, ours, theirs)
        assert (same.panes.tolist(), same.weight.tolist()) == ([0], [0.0])
