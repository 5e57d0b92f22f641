"""The bets: what they pay, for every kind of law a reference may show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from detectors.bets import (
    CELL_MOVES,
    SMALLEST_EFFECT,
    Move,
    cell_shapes,
    log_payoffs,
    ordered_moves,
    ordered_shapes,
    share_bounds,
    smallest_bet,
    tolerance,
)

LAWS = {
    "even": np.full(20, 0.05),
    "two cells": np.array([0.999, 0.001]),
    "constant": np.array([1e-9, 1 - 2e-9, 1e-9]),
    "steep": np.array([0.5**k for k in range(1, 19)] + [0.5**18]),
}


@pytest.mark.parametrize("tailed", [False, True])
@pytest.mark.parametrize("name", LAWS)
def test_ordered_shapes_are_changed_laws_of_the_reference(name: str, tailed: bool) -> None:
    law = LAWS[name]
    shapes = ordered_shapes(law[None, :], np.array([SMALLEST_EFFECT]), tailed)
    assert shapes.ratio.shape[1] == len(shapes.moves) == len(ordered_moves(tailed))
    assert np.isfinite(shapes.ratio).all()
    assert (shapes.ratio >= 0).all()
    assert np.allclose((shapes.ratio * law).sum(axis=2), 1, atol=1e-12)
    assert shapes.prior.sum() == pytest.approx(1)


def test_padding_is_bet_on_by_nobody() -> None:
    law = np.array([[0.25, 0.25, 0.5, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]])
    shapes = ordered_shapes(law, np.full(2, 0.05), tailed=True)
    assert (shapes.ratio[0, :, 3:] == 1).all()
    alone = ordered_shapes(law[:1, :3], np.full(1, 0.05), tailed=True)
    assert np.allclose(shapes.ratio[0, :, :3], alone.ratio[0])


def test_a_shift_up_pays_above_and_costs_below() -> None:
    law = LAWS["even"]
    shapes = ordered_shapes(law[None, :], np.array([0.0125]), tailed=False)
    up = shapes.ratio[0, shapes.moves.index(Move.UP)]
    assert (np.diff(up) > 0).all()
    down = shapes.ratio[0, shapes.moves.index(Move.DOWN)]
    assert np.allclose(up, down[::-1])


def test_cells_rise_and_fall_within_what_shares_allow() -> None:
    share = np.array([1e-9, 0.001, 0.3, 0.9, 0.999])
    shapes = cell_shapes(share, np.full(5, 0.0125), share * 1.1)
    each = np.repeat(share, len(CELL_MOVES))
    assert np.allclose(each * shapes.hit + (1 - each) * shapes.miss, 1)
    assert (shapes.hit >= 0).all()
    assert (shapes.miss >= 0).all()
    assert (shapes.hit * each <= np.maximum(each, 0.91)).all()
    assert (np.sign(shapes.hit - 1)[:7] >= 0).all()


def test_a_cell_that_was_never_seen_is_bounded_by_the_rows_that_did_not_show_it() -> None:
    low, high = share_bounds(np.array([0.0]), np.array([1e5]), 3.0)
    assert low[0] == 0
    assert high[0] == pytest.approx(6.6e-5, rel=0.01)


def test_bounds_are_the_exact_binomial_ones() -> None:
    low, high = share_bounds(np.array([0.1]), np.array([1000.0]), -stats.norm.ppf(0.05))
    exact = stats.binomtest(100, 1000).proportion_ci(0.9, method="exact")
    assert (low[0], high[0]) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_tolerance_shrinks_with_the_reference_and_grows_with_the_effect() -> None:
    one = np.array(1.0)
    few, many = (tolerance(0.0, 9.0, np.array(rows), one, one) for rows in (1e3, 1e6))
    assert few > many > 0.003
    assert tolerance(0.05, 9.0, np.array(1e6), one, one) == pytest.approx(many + 0.05)


def test_payoffs_never_lose_everything() -> None:
    ratio = np.array([0.0, 1.0, 50.0])
    for allowed in (0.0, 0.5, 100.0):
        logs = log_payoffs(ratio, np.array(0.0), np.array(allowed))
        assert np.isfinite(logs).all()
        assert logs.min() >= np.log(0.02) - 1e-9


def test_small_references_get_no_small_bets() -> None:
    rows = np.array([1e2, 1e4, 1e6])
    found = smallest_bet(0.0, 3.0, rows)
    assert found[0] > found[1] > found[2] == SMALLEST_EFFECT
    assert (smallest_bet(0.05, 3.0, rows) <= found).all()
