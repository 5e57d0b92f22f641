"""When panes are settled in the evidence of drift, and that nobody can tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from detectors.budget import Stream
from detectors.drift_settings import DriftSettings, FalseAlarms
from detectors.reference import Reference, reference_from_table
from detectors.release import ALL, Release, Role
from detectors.summary import Summaries
from detectors.table import summarize_table
from detectors.thresholds import Place
from streams.evidence_drift import MOST_WAITING, Drifts

PANE_MS = 10_000
PANES = 2 * MOST_WAITING + 3
STREAM = Stream("1", Role.PRODUCTION, ALL)
PLACE = Place(Release("m", "1", Role.PRODUCTION), ALL, 6 * PANE_MS, 0, 0)


def table(seed: int, rows: int, shift: float) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"features.x": rng.normal(shift, 1, rows)})


REFERENCE: Reference = reference_from_table("m", table(0, 20_000, 0.0), "a test")


def pane(number: int) -> Summaries:
    """From the tenth on production has moved."""
    return summarize_table(table(number + 1, 200, 0.5 * (number >= 10)), REFERENCE)


def drifts() -> Drifts:
    settings = DriftSettings(FalseAlarms(1, 86_400_000))
    return Drifts(settings, {REFERENCE.id: REFERENCE}.get, PANE_MS, {})


def fold(into: Drifts, number: int) -> None:
    assert into.fold(STREAM, pane(number), 1.0, number * PANE_MS)


def test_panes_that_waited_give_the_same_bits_as_panes_that_were_asked_for_one_by_one() -> None:
    asked, waited = drifts(), drifts()
    for number in range(PANES):
        fold(asked, number)
        asked.entry(STREAM)
        fold(waited, number)
    assert waited.entry(STREAM) == asked.entry(STREAM)
    assert waited.entry(STREAM).upto_ms == PANES * PANE_MS


def shares(of: Drifts) -> list[float]:
    return [finding.statistic for finding in of.findings(STREAM, pane(0), PLACE)]


def moved(of: Drifts) -> list[str]:
    return [movement.column for movement in of.movements("1")]


@pytest.mark.parametrize("ask", [shares, moved])
def test_whoever_asks_is_told_of_the_panes_that_wait_too(
    ask: Callable[[Drifts], list[float] | list[str]],
) -> None:
    asked, waited = drifts(), drifts()
    for number in range(15):
        fold(asked, number)
        asked.entry(STREAM)
        fold(waited, number)
    assert ask(waited) == ask(asked)
    assert ask(waited)


def test_panes_of_a_stream_wait_only_up_to_a_bound() -> None:
    some = drifts()
    for number in range(PANES):
        fold(some, number)
        assert len(some._states[STREAM].waiting) < MOST_WAITING
