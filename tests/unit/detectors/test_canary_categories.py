"""Shares of categories of a canary: what passes them, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from detectors.canary import CanaryState, step, verdict
from detectors.canary_bytes import from_bytes, to_bytes
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import Measure, Rule
from detectors.canary_verdict import CanaryVerdict
from detectors.finding import Outcome
from detectors.verdict import Status
from tests.unit.detectors.test_canary import PANE_MS, SETTINGS, summaries, the

CATEGORIES = replace(
    SETTINGS,
    rules=(Rule(Measure.CATEGORIES, "features.topic", margin=0.5, critical=True),),
    host_effect=0.0,
)


def topics(shares: dict[str, float], panes: int = 40, n: int = 500) -> CanaryVerdict:
    """A canary with these shares beside production with a third of each topic."""
    generator = np.random.default_rng(8)
    state = CanaryState()
    for t in range(panes):
        ours = generator.choice(list(shares), n, p=list(shares.values()))
        theirs = generator.choice(["a", "b", "c"], 4000)
        canary, production = (
            summaries({"features.topic": pa.array(names)}) for names in (ours, theirs)
        )
        state = step(state, CATEGORIES, ArmsPane(t * PANE_MS, PANE_MS, canary, production))
        state = from_bytes(to_bytes(state))
    return verdict(state, CATEGORIES)


def test_categories_pass_once_every_share_lies_inside_its_margin() -> None:
    found = topics({"a": 0.35, "b": 0.33, "c": 0.32})
    one = the(found, "features.topic", Measure.CATEGORIES)
    assert (found.status, one.outcome) == (Status.PASS, Outcome.PASS)
    assert one.difference.low < one.difference.estimate < one.difference.high
    assert abs(one.difference.estimate) < one.margin < 0.5


def test_few_events_of_like_categories_are_insufficient_and_say_how_many_more() -> None:
    found = topics({"a": 0.34, "b": 0.33, "c": 0.33}, panes=3, n=400)
    one = the(found, "features.topic", Measure.CATEGORIES)
    assert (found.status, one.outcome) == (Status.INSUFFICIENT, Outcome.INSUFFICIENT)
    assert one.outlook.to_pass is not None
    assert one.outlook.to_pass > 0


@pytest.mark.parametrize(
    "shares",
    [
        # A third less its margin is .25, and more is .43.
        {"a": 0.42, "b": 0.33, "c": 0.25},
        # One in a hundred is a topic that production does not know.
        {"a": 0.33, "b": 0.33, "c": 0.33, "new": 0.01},
    ],
)
def test_one_category_at_or_beyond_its_margin_blocks_the_pass(shares: dict[str, float]) -> None:
    one = the(topics(shares), "features.topic", Measure.CATEGORIES)
    assert one.outcome is not Outcome.PASS


def test_a_category_that_doubles_fails() -> None:
    found = topics({"a": 0.6, "b": 0.2, "c": 0.2})
    assert the(found, "features.topic", Measure.CATEGORIES).outcome is Outcome.FAIL
    assert found.roll_back
