"""Among the bets on a tail is one for every kind of slowness: none is found much too late."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from detectors.canary_bets import SHIFTS, TAIL_LEVELS, RangeBet, normal_scores, tail_bets
from detectors.canary_book import write_book
from detectors.canary_cast import Basis, Part, cast_of
from detectors.canary_rules import Judged, Measure
from detectors.e_process import AT_ONCE
from detectors.upstream import Direction

Floats = NDArray[np.float64]
LEVELS = np.array(TAIL_LEVELS)
USUAL = np.diff(np.concatenate(([0.0], LEVELS, [1.0])))
NEEDED = -math.log(0.05)


def slower_by(shift: float) -> Floats:
    """The shares of the cells where all latencies have risen by so many standard deviations."""
    beyond = special.ndtr(special.ndtri(LEVELS) - shift)
    shares: Floats = np.diff(np.concatenate(([0.0], beyond, [1.0])))
    return shares


def slow_more_often(level: float, factor: float) -> Floats:
    """Where the odds of exceeding this quantile are multiplied."""
    share: Floats = USUAL * np.where(np.arange(len(USUAL)) > TAIL_LEVELS.index(level), factor, 1.0)
    share /= share.sum()
    return share


def of_cells(law: Floats) -> float:
    """The Kullback-Leibler divergence of these shares from the usual ones."""
    return float((law * np.log(law / USUAL)).sum())


def events_over_the_bound(law: Floats, divergence: float) -> float:
    """How many events the best of the bets needs for its own part of the money to prove harm, over
    ln(1/alpha)/KL: by the rates at which logarithms grow, without the chance of single runs."""
    scores, cells = normal_scores(USUAL), np.arange(len(USUAL))
    fewest = math.inf
    for bet in tail_bets(Direction.UP):
        if isinstance(bet, RangeBet):
            ratio = math.log(bet.factor) * ((cells >= bet.first) & (cells < bet.stop))
        else:
            ratio = SHIFTS[bet.shift] * scores
        growth = float(law @ ratio) - math.log(float(USUAL @ np.exp(ratio)))
        if growth > 0:
            fewest = min(fewest, (NEEDED - math.log(AT_ONCE * bet.part)) / growth)
    return fewest * divergence / NEEDED


@pytest.mark.parametrize("shift", [0.05, 0.07, 0.1, 0.14, 0.2])
def test_a_canary_that_is_slower_in_all_it_does_is_found_by_most_of_what_it_says(
    shift: float,
) -> None:
    of_values = shift * shift / 2.0
    assert events_over_the_bound(slower_by(shift), of_values) < 2.45
    # Counting cells in place of values loses little.
    assert of_cells(slower_by(shift)) > 0.9 * of_values


@pytest.mark.parametrize(
    ("level", "factor"),
    [
        *((0.5, factor) for factor in (1.1, 1.2, 1.5)),
        *((0.9, factor) for factor in (1.2, 1.5)),
        *((0.95, factor) for factor in (1.2, 1.5, 2.0, 4.0)),
        *((0.99, factor) for factor in (1.2, 1.5, 2.0, 4.0)),
        *((0.998, factor) for factor in (1.5, 2.0, 4.0)),
    ],
)
def test_a_canary_that_is_slow_more_often_is_found_at_every_quantile(
    level: float, factor: float
) -> None:
    law = slow_more_often(level, factor)
    assert events_over_the_bound(law, of_cells(law)) < 2.5


def test_the_money_on_a_tail_is_shared_out_and_no_more() -> None:
    for harm in Direction:
        assert sum(bet.part for bet in tail_bets(harm)) == pytest.approx(1.0)


def test_dispersion_of_a_tail_is_measured_between_the_quantiles_whose_odds_are_bet_on() -> None:
    """Evidence of slow events would else be divided by what hosts do to the faster half."""
    slower = Judged("latency_ms", Measure.TAIL, 0, Direction.UP, 0.1, 0.0, True)
    cast = cast_of((Part("latency_ms", Measure.TAIL, 0.01, Basis(tuple(USUAL.tolist()))),))
    book = write_book(cast, [slower], 0.1)
    assert len(set(book.scores.tolist())) == len(USUAL)
    below_the_median, to_p90 = book.values[:2], book.values[2:4]
    assert len(set(below_the_median.tolist())) == len(set(to_p90.tolist())) == 1
    assert (np.diff(book.values[[0, 2, 4, 5, 6, 7]]) > 0).all()
