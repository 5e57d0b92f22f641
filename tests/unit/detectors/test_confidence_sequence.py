"""Intervals of a difference: they hold the truth at all times together, and give up where nothing
is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.confidence_sequence import Arm, DifferenceSequence

ALPHA = 0.05


def after(panes: list[tuple[Arm, Arm]]) -> DifferenceSequence:
    sequence = DifferenceSequence()
    for canary, production in panes:
        sequence = sequence.step(canary, production, ALPHA, 5000)
    return sequence


def test_the_interval_is_the_formula_by_hand() -> None:
    sequence = after([(Arm(100, 2.0, 1.0), Arm(400, 1.5, 2.0))] * 3)
    variance = 3 * 100**2 * (1.0 * 100 / 99 / 100 + 4.0 * 400 / 399 / 400)
    twice = 2 * math.log(20)
    r2 = variance / 300 * 5000 / (twice + math.log1p(twice))
    half = math.sqrt((variance + r2) * (math.log((variance + r2) / r2) + twice)) / 300
    found = sequence.interval(ALPHA)
    assert found.estimate == pytest.approx(0.5)
    assert found.high - found.estimate == pytest.approx(half)
    assert found.estimate - found.low == pytest.approx(half)


def test_the_true_difference_is_inside_at_every_peek_in_nearly_all_runs() -> None:
    """400 runs of 200 panes: at alpha .05 up to 34 misses are within the 99.9% binomial bound."""
    generator = np.random.default_rng(11)
    missed = 0
    for _ in range(400):
        means = generator.normal(0.3, 1 / math.sqrt(50), 200)
        usual = generator.normal(0.0, 1 / math.sqrt(500), 200)
        sequence, out = DifferenceSequence(), False
        for mean, against in zip(means, usual, strict=True):
            sequence = sequence.step(Arm(50, mean, 1.0), Arm(500, against, 1.0), ALPHA, 2000)
            interval = sequence.interval(ALPHA)
            out = out or not interval.low <= 0.3 <= interval.high
        missed += out
    assert missed <= 34


def test_a_season_that_moves_both_arms_does_not_move_the_difference() -> None:
    panes = [(Arm(50, 10.0 * t + 1, 1.0), Arm(500, 10.0 * t, 1.0)) for t in range(20)]
    assert after(panes).interval(ALPHA).estimate == pytest.approx(1.0)


def test_without_variation_there_is_no_interval() -> None:
    found = after([(Arm(50, 1.0, 0.0), Arm(500, 1.0, 0.0))] * 5).interval(ALPHA)
    assert found.estimate == 0.0
    assert not found.known


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e308])
def test_numbers_that_cannot_be_added_are_skipped_and_counted(bad: float) -> None:
    good = (Arm(50, 1.0, 1.0), Arm(500, 1.0, 1.0))
    sequence = after([good, (Arm(50, bad, abs(bad)), Arm(500, -bad, 1.0)), good])
    assert sequence.skipped == 1
    assert sequence.interval(ALPHA).known


def test_panes_with_one_arm_or_a_single_value_each_say_nothing() -> None:
    start = DifferenceSequence()
    for pane in (
        (Arm(0, math.nan, math.nan), Arm(5, 1.0, 1.0)),
        (Arm(5, 1.0, 1.0), Arm(0, math.nan, math.nan)),
        (Arm(1, 1.0, 0.0), Arm(1, 1.0, 0.0)),
    ):
        assert start.step(*pane, ALPHA, 5000) is start


def test_dispersion_widens_the_interval() -> None:
    sequence = after([(Arm(50, 0.0, 1.0), Arm(500, 0.0, 1.0))] * 10)
    plain, wide = sequence.interval(ALPHA), sequence.interval(ALPHA, 4.0)
    assert wide.high > 1.5 * plain.high
