"""What an A/A period teaches: how much like arms differ, and that a canary is judged by it."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from detectors.arm_variance import ArmVariance, Excess
from detectors.canary import CanaryState, step, verdict
from detectors.canary_aa import FEWEST_PANES, learn, neighbours
from detectors.canary_bytes import from_bytes, to_bytes
from detectors.canary_cast import Part, cast_of
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import CanarySettings, Measure, Rule
from detectors.layout import HEADERS, Header
from detectors.reference import Reference
from detectors.summary import Summaries
from detectors.table import reference_of, summarize_table
from detectors.upstream import Direction

RULES = (
    Rule(Measure.LEVEL, "scores.*", Direction.DOWN, margin=0.0, critical=True),
    Rule(Measure.TAIL, "latency_ms", Direction.UP, margin=0.0, critical=True),
)
SETTINGS = CanarySettings(host_effect=0.0, rules=RULES)
SCORE, LATENCY = ("scores.q", Measure.LEVEL), ("latency_ms", Measure.TAIL)


def arm(generator: np.random.Generator, n: int, lean: float, known: Reference) -> Summaries:
    table = {
        "scores.q": generator.normal(lean, 1, n),
        "latency_ms": np.exp(generator.normal(5 + 0.5 * lean, 0.5, n)),
    }
    return summarize_table(pa.table(table), known)


REFERENCE = reference_of(
    pa.table(
        {
            "scores.q": np.random.default_rng(0).normal(0, 1, 20_000),
            "latency_ms": np.exp(np.random.default_rng(1).normal(5, 0.5, 20_000)),
        }
    )
)


def period(panes: int, lean: float, seed: int = 2, n: int = 200) -> list[ArmsPane]:
    """Both arms alike but for hosts that lean by an autoregression of correlation .8."""
    generator = np.random.default_rng(seed)
    host = generator.normal(0, lean) if lean else 0.0
    found = []
    for t in range(panes):
        host = 0.8 * host + 0.6 * (generator.normal(0, lean) if lean else 0.0)
        ours, theirs = (
            arm(generator, n, host, REFERENCE),
            arm(generator, 2000, 0.0, REFERENCE),
        )
        found.append(ArmsPane(t * 1000, 1000, ours, theirs, REFERENCE.summaries))
    return found


def test_arms_that_differ_by_chance_teach_that_nothing_is_to_be_divided() -> None:
    learnt = learn(period(120, 0.0), SETTINGS).learnt
    assert {key: one.factor for key, one in learnt.items()} == {SCORE: 1.0, LATENCY: 1.0}
    assert learnt[SCORE].panes == 120
    assert learnt[SCORE].weight == pytest.approx(1 / (1 / 200 + 1 / 2000))


def test_hosts_that_lean_are_learnt_with_how_long_they_do() -> None:
    """One pane: 1 + 182 x .2**2 = 8.3 for the score; batches of panes that hang together: up to
    (1 + .8) / (1 - .8) = 9 times the excess."""
    learnt = learn(period(240, 0.2), SETTINGS).learnt
    assert 15 < learnt[SCORE].factor < 90
    assert learnt[LATENCY].factor > 5


def test_too_few_panes_teach_nothing() -> None:
    assert learn(period(FEWEST_PANES - 1, 0.5), SETTINGS).learnt == {}


def test_what_was_learnt_keeps_leaning_hosts_from_failing_a_canary() -> None:
    """Without it the same panes fail the canary: the protection is what holds it."""
    learnt = learn(period(240, 0.3, seed=3), SETTINGS)

    def failed(variance: ArmVariance | None) -> bool:
        state = CanaryState()
        # The first panes: later ones are protected by their own dispersion.
        for pane in period(12, 0.3, seed=11):
            arms = ArmsPane(
                pane.start_ms, 1000, pane.canary, pane.production, pane.normal, variance
            )
            state = from_bytes(to_bytes(step(state, SETTINGS, arms)))
        return any(metric.failed for metric in state.metrics)

    assert failed(None)
    assert not failed(learnt)


def test_what_was_learnt_widens_intervals_too() -> None:
    pane = period(1, 0.0)[0]
    plain = step(CanaryState(), SETTINGS, pane)
    variance = ArmVariance({SCORE: Excess(9.0, 10.0, 50)})
    wide = step(
        CanaryState(),
        SETTINGS,
        ArmsPane(0, 1000, pane.canary, pane.production, pane.normal, variance),
    )
    lengths = []
    for state in (plain, wide):
        (one,) = [s for s in verdict(state, SETTINGS).standings if s.column == "scores.q"]
        lengths.append(one.difference.high - one.difference.low)
    assert lengths[1] > 2 * lengths[0]


def test_the_excess_grows_with_the_events_of_a_pane_and_never_shrinks() -> None:
    cast = cast_of((Part("scores.q", Measure.LEVEL, 0.01), Part("x", Measure.LEVEL, 0.01)))
    variance = ArmVariance({SCORE: Excess(3.0, 100.0, 50)})
    for weight, factor in ((10.0, 3.0), (100.0, 3.0), (400.0, 9.0), (math.inf, 3.0)):
        assert variance.factors(cast, np.array([weight, weight])).tolist() == [factor, 1.0]


def test_panes_of_one_arm_show_what_makes_events_of_a_pane_alike() -> None:
    generator = np.random.default_rng(5)

    def panes(storm: float) -> list[Summaries]:
        return [arm(generator, 300, generator.normal(0, storm), REFERENCE) for _ in range(240)]

    calm = learn(neighbours(panes(0.0), 1000, REFERENCE.summaries), SETTINGS).learnt
    stormy = learn(neighbours(panes(0.3), 1000, REFERENCE.summaries), SETTINGS).learnt
    assert calm[SCORE].factor == 1.0
    assert stormy[SCORE].factor > 5
    assert stormy[SCORE].panes == 80


def test_empty_panes_teach_nothing_and_do_no_harm() -> None:
    pane = period(1, 0.0)[0]
    nothing = Summaries.empty(pane.canary.layout)
    assert nothing.vector[HEADERS.index(Header.PREDICTIONS)] == 0
    assert learn([ArmsPane(0, 1000, nothing, pane.production)] * 50, SETTINGS).learnt == {}
