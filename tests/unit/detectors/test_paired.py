"""Shadow against production on the same requests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.confidence_sequence import DifferenceSequence
from detectors.paired import Disagreements, PairedRate, paired_step


def run(worse_share: float, panes: int, seed: int, odds: float = 1.0) -> PairedRate:
    generator = np.random.default_rng(seed)
    state = PairedRate.start()
    for t in range(panes):
        n = int(generator.binomial(100, 0.1))
        worse = int(generator.binomial(n, worse_share))
        state = state.step(Disagreements(100, worse, n - worse), odds, t)
    return state


def test_even_disagreement_is_rarely_held_against_the_shadow() -> None:
    """300 runs at alpha .05: 29 is the 99.9% binomial bound."""
    assert sum(run(0.5, 100, seed).log_evidence >= math.log(20) for seed in range(300)) <= 29


def test_disagreement_within_the_tolerated_odds_is_let_pass() -> None:
    tolerated = 1.5
    share = tolerated / (1 + tolerated)
    found = sum(run(share, 100, s, tolerated).log_evidence >= math.log(20) for s in range(200))
    assert found <= 22


def test_a_worse_shadow_is_found_on_a_few_hundred_pairs() -> None:
    state = run(0.8, 10, 1)
    assert state.pairs == 1000
    assert state.log_evidence >= math.log(20)
    assert state.difference == (state.worse - state.better) / 1000


def test_panes_without_disagreement_add_nothing() -> None:
    state = PairedRate.start().step(Disagreements(100, 0, 0), 1.0, 0)
    assert state.pairs == 100
    assert state.log_evidence == -math.inf


def test_the_mean_difference_of_pairs_has_an_interval() -> None:
    generator = np.random.default_rng(5)
    sequence = DifferenceSequence()
    for _ in range(50):
        values = generator.normal(0.2, 1.0, 100)
        total, squares = float(values.sum()), float((values**2).sum())
        sequence = paired_step(sequence, 100, total, squares, 0.05, 2000)
    found = sequence.interval(0.05)
    assert found.low <= 0.2 <= found.high
    assert found.high - found.low == pytest.approx(0.11, abs=0.03)


def test_sums_that_are_not_numbers_are_left_out() -> None:
    start = DifferenceSequence()
    assert paired_step(start, 10, math.nan, 1.0, 0.05, 2000) is start
    assert paired_step(start, 10, 1.0, math.inf, 0.05, 2000) is start
