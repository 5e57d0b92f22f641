"""How soon drift is found, over Lorden's bound. Seeded; the benchmark has the whole table."""

from __future__ import annotations

import numpy as np
import pytest

from bench.drift_streams import Change, Watching, changes, panes_of
from detectors.drift_settings import BurstBound

PANES = 1.73e6
CHANGES = {change.name: change for change in changes()}


def ratio(change: Change, rows: int, reference: int, streams: int = 16) -> float:
    rng = np.random.default_rng(3)
    watching = Watching(change.law, streams, reference, PANES, 0.0, rng, BurstBound.NEVER)
    for pane in panes_of(change.law.mass, rows, streams, 10, rng):
        assert not watching.see(pane)
    bound = max(1.0, float(np.log(PANES)) / (change.divergence * rows))
    found = np.full(streams, 12 * bound)
    for at, pane in enumerate(panes_of(change.after, rows, streams, int(12 * bound), rng), start=1):
        for alarm in watching.see(pane):
            found[alarm.watch] = min(found[alarm.watch], at)
        if (found < 12 * bound).all():
            break
    return float(found.mean() / bound)


def test_delays_at_a_thousand_rows_a_pane_reach_the_goal() -> None:
    ratios = {name: ratio(change, 1_000, 10**6) for name, change in CHANGES.items()}
    assert np.median(list(ratios.values())) <= 1.5
    assert max(ratios.values()) <= 2.2, ratios


@pytest.mark.parametrize("name", ["mean 0.5 sd", "sd x1.25", "20% bump", "new category 1%"])
def test_delays_at_a_hundred_rows_a_pane_reach_the_goal(name: str) -> None:
    assert ratio(CHANGES[name], 100, 10**6) <= 2.6


def test_a_change_near_the_error_of_the_reference_is_found() -> None:
    assert ratio(CHANGES["nulls 1 to 1.2%"], 1_000, 10**5, streams=8) < 8
