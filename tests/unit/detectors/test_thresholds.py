"""Limits: what exceeds one fails; no answer is never a pass."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.finding import Finding, Outcome
from detectors.layout import Layout
from detectors.release import Release, Role
from detectors.summary import Summaries
from detectors.table import summarize_table
from detectors.thresholds import (
    Against,
    Comparison,
    Detector,
    Limit,
    Place,
    ThresholdSettings,
    judge_columns,
)

PLACE = Place(Release("m", "2", Role.CANARY), "all", 60_000, 0, 0)
RNG = np.random.default_rng(1)


def judged(
    current: Any, usual: Any, limit: Limit | None = None, **settings: Any
) -> dict[tuple[str, str], Finding]:
    sides = (summarize_table(current), summarize_table(usual))
    comparison = Comparison(*sides, "production:1", Against.PRODUCTION)
    limits = (limit,) if limit else ()
    found = judge_columns(ThresholdSettings(limits=limits, **settings), comparison, PLACE)
    return {(finding.column, finding.detector): finding for finding in found}


def table(n: int, mean: float = 0.0, column: str = "scores.quality") -> Any:
    return pa.table({column: RNG.normal(mean, 1, n)})


def worse(above: float = 0.2) -> Limit:
    return Limit(Detector.MEAN_WORSE, above, "scores.*", Against.PRODUCTION, critical=True)


KEY = ("scores.quality", "mean_worse")


def test_a_score_that_falls_beyond_its_limit_fails() -> None:
    finding = judged(table(500, -1.0), table(500), worse())[KEY]
    assert finding.outcome is Outcome.FAIL
    assert finding.critical
    assert finding.decides
    assert finding.statistic == pytest.approx(1, abs=0.2)


def test_a_score_that_rises_does_not_fail() -> None:
    finding = judged(table(500, 1.0), table(500), worse())[KEY]
    assert finding.outcome is Outcome.PASS
    assert finding.statistic < 0


def test_a_score_whose_rise_is_bad_fails_when_it_rises() -> None:
    found = judged(table(500, 1.0, "scores.toxicity"), table(500, 0.0, "scores.toxicity"), worse())
    assert found["scores.toxicity", "mean_worse"].outcome is Outcome.FAIL


@pytest.mark.parametrize(("n", "usual"), [(199, 500), (500, 199), (3, 3)])
def test_too_few_events_are_no_answer(n: int, usual: int) -> None:
    finding = judged(table(n, -9.0), table(usual), worse())[KEY]
    assert finding.outcome is Outcome.INSUFFICIENT
    assert "200 needed" in finding.reason


def test_what_cannot_be_computed_is_no_answer() -> None:
    with_text = pa.table({"scores.quality": ["good"] * 500})
    found = judged(with_text, table(500), worse())
    assert {finding.outcome for finding in found.values() if finding.decides} == {
        Outcome.INSUFFICIENT
    }


def test_nothing_against_nothing_is_no_answer_and_no_pass() -> None:
    empty = Summaries.empty(Layout.of(""))
    comparison = Comparison(empty, empty, "production:1", Against.PRODUCTION)
    assert judge_columns(ThresholdSettings(), comparison, PLACE) == []


def test_a_difference_that_may_be_chance_is_no_answer() -> None:
    limit = Limit(Detector.MEAN_WORSE, 0.0, "scores.*", Against.PRODUCTION, z=4.0)
    finding = judged(table(500, -0.1), table(500), limit)[KEY]
    assert finding.outcome is Outcome.INSUFFICIENT
    assert "4 needed" in finding.reason


def test_two_constants_that_differ_fail_and_equal_ones_pass() -> None:
    def constant(value: float) -> Any:
        return pa.table({"scores.quality": [value] * 500})

    assert judged(constant(0.0), constant(1.0), worse())[KEY].outcome is Outcome.FAIL
    assert judged(constant(1.0), constant(1.0), worse())[KEY].outcome is Outcome.PASS


def test_a_feature_that_vanished_is_missing_in_every_event() -> None:
    limit = Limit(Detector.MISSING_RATE, 0.05, "features.*", Against.PRODUCTION)
    usual = pa.table({"features.x": [1.0, 2.0] * 250, "latency_ms": [1.0] * 500})
    finding = judged(pa.table({"latency_ms": [1.0] * 500}), usual, limit)[
        "features.x", "missing_rate"
    ]
    assert finding.outcome is Outcome.FAIL
    assert (finding.statistic, finding.n, finding.n_against) == (1.0, 500, 500)


def test_a_slow_tail_fails_and_a_fast_one_does_not() -> None:
    limit = Limit(Detector.P95_RATIO, 1.25, "latency_ms", Against.PRODUCTION)

    def slow(factor: float) -> Any:
        return pa.table({"latency_ms": RNG.lognormal(4, 0.3, 2_000) * factor})

    key = ("latency_ms", "p95_ratio")
    assert judged(slow(2.0), slow(1.0), limit)[key].outcome is Outcome.FAIL
    assert judged(slow(0.5), slow(1.0), limit)[key].outcome is Outcome.PASS


def test_a_limit_on_the_other_side_decides_nothing() -> None:
    limit = Limit(Detector.MEAN_WORSE, 0.2, "scores.*", Against.REFERENCE)
    finding = judged(table(500, -1.0), table(500), limit)[KEY]
    assert not finding.decides
    assert finding.outcome is Outcome.PASS


def test_a_statistic_that_cannot_be_computed_is_still_said() -> None:
    """Else a correction could not replace the one that was computed before it."""
    usual = pa.table({"features.t": ["a"] * 500})
    assert ("features.t", "chi_square") in judged(usual, usual)


@pytest.mark.parametrize("wrong", [nan, inf, -0.1])
def test_limits_that_cannot_be_meant_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="limit"):
        Limit(Detector.PSI, wrong)
    with pytest.raises(ValueError, match="z must"):
        Limit(Detector.PSI, 0.2, z=wrong)
