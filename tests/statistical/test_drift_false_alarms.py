"""False alarms of drift stay within the budget, for every reference drawn. Seeded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.drift_streams import LAWS, NORMAL, PANE_MS, Law, Watching, panes_of, shifted, watched
from detectors.drift import step
from detectors.drift_settings import BurstBound
from detectors.drift_state import empty_state
from detectors.payoffs import normal_without_panes, payoffs

BUDGET = 100.0
PANES = 500


def alarms_of(
    law: Law, rows: int, reference: int, streams: int, effect: float, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    rng = np.random.default_rng(seed)
    watching = Watching(law, streams, reference, BUDGET, effect, rng, BurstBound.NEVER)
    found = np.zeros(streams, np.int64)
    for pane in panes_of(law.mass, rows, streams, PANES, rng):
        for alarm in watching.see(pane):
            found[alarm.watch] += 1
    return found


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize(("rows", "reference"), [(100, 10**4), (10_000, 10**4), (1_000, 10**6)])
def test_alarms_without_a_change_stay_within_the_budget(
    law: Law, rows: int, reference: int
) -> None:
    streams = 30
    found = alarms_of(law, rows, reference, streams, 0.0, seed=rows + reference)
    allowed = PANES / BUDGET
    # In all: the upper end of the Poisson interval (99.9%) lies below the budget.
    assert stats.chi2.ppf(0.999, 2 * found.sum() + 2) / 2 < streams * allowed
    # For each reference drawn: no more than a stream that uses its whole budget may show by luck.
    assert found.max() <= stats.poisson.ppf(1 - 1e-4 / streams, allowed)


def test_the_budget_is_shared_by_all_streams_together() -> None:
    streams, rng = 100, np.random.default_rng(7)
    watching = Watching(NORMAL, streams, 10**5, BUDGET * streams, 0.05, rng, BurstBound.NEVER)
    alarms = sum(
        len(watching.see(pane)) for pane in panes_of(NORMAL.mass, 500, streams, PANES, rng)
    )
    assert alarms <= stats.poisson.ppf(0.999, PANES / BUDGET)


def test_a_change_of_exactly_the_minimum_effect_is_within_the_budget() -> None:
    streams, rng = 40, np.random.default_rng(8)
    watching = Watching(NORMAL, streams, 10**5, BUDGET, 0.05, rng, BurstBound.NEVER)
    at_the_edge = shifted(0.05, 1.0)
    alarms = sum(
        len(watching.see(pane)) for pane in panes_of(at_the_edge, 2_000, streams, PANES, rng)
    )
    assert stats.chi2.ppf(0.999, 2 * alarms + 2) / 2 < streams * PANES / BUDGET


def test_without_a_tolerance_the_budget_would_be_broken() -> None:
    """The guard removed: this is what the tolerance for a finite reference is for."""
    streams, rng = 20, np.random.default_rng(9)
    guarded = Watching(NORMAL, streams, 10**4, BUDGET, 0.0, rng, BurstBound.NEVER)
    trusting = replace(guarded.settings, tolerance=0.0)
    normal = normal_without_panes(
        watched(NORMAL, streams), guarded.counts.astype(np.float64).ravel()
    )
    paid, state, alarms = payoffs(normal, 0, trusting), empty_state(normal.dictionary), 0
    for at, pane in enumerate(panes_of(NORMAL.mass, 10_000, streams, 100, rng)):
        flat = pane.astype(np.float64).ravel()
        took = step(state, paid, flat, 1.0, at * PANE_MS, PANE_MS, trusting)
        state, alarms = took.state, alarms + len(took.alarms)
    assert alarms > 5 * streams * 100 / BUDGET
