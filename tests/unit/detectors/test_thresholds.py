"""Limits: what exceeds one fails; no answer is never a pass."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.finding import Finding, Outcome
from detectors.layout import Layout
from detectors.reference import reference_from_table
from detectors.release import Release, Role
from detectors.summary import Summaries
from detectors.table import reference_of, summarize_table
from detectors.thresholds import (
    Against,
    Asked,
    Comparison,
    Detector,
    Limit,
    Place,
    ThresholdSettings,
    judge_all,
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


def test_comparisons_of_all_kinds_are_judged_together_as_they_are_one_by_one() -> None:
    def rows(n: int, mean: float) -> Any:
        topics = RNG.choice(
            ["a", "b", "c", "new"], n, p=[0.5, 0.3, 0.1 + mean / 10, 0.1 - mean / 10]
        )
        scores = RNG.normal(mean, 1, n)
        return pa.table({"scores.quality": scores, "features.topic": topics})

    reference = reference_from_table("m", rows(4_000, 0.0).slice(0, 3_900), "some")
    production, *canaries = (summarize_table(rows(500, mean), reference) for mean in (0, 0.5, -0.5))
    narrow = summarize_table(rows(500, 0.5).drop_columns(["features.topic"]), reference)
    unbinned = [summarize_table(rows(500, mean)) for mean in (0.0, 1.0)]
    against = reference.summaries
    limits = (worse(), Limit(Detector.PSI, 0.01, "*", Against.REFERENCE))
    settings = ThresholdSettings(limits=limits)
    comparisons = [
        Comparison(production, against, "reference:r", Against.REFERENCE),
        Comparison(unbinned[1], unbinned[0], "production:1", Against.PRODUCTION),
        Comparison(narrow, production, "production:1", Against.PRODUCTION),
        *(Comparison(one, against, "reference:r", Against.REFERENCE) for one in canaries),
        *(Comparison(one, production, "production:1", Against.PRODUCTION) for one in canaries),
    ]
    together = judge_all(settings, [Asked(comparison, PLACE) for comparison in comparisons])
    alone = [judge_columns(settings, comparison, PLACE) for comparison in comparisons]
    assert [list(map(repr, found)) for found in together] == [
        list(map(repr, found)) for found in alone
    ]
    assert {finding.outcome for found in together for finding in found} == set(Outcome)


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


def columns(names: list[str], n: int, seed: int, move: float = 0.0) -> Any:
    """Numbers and text, some with nulls, constant, tiny or huge."""
    found: dict[str, Any] = {}
    for name in names:
        rng = np.random.default_rng([seed, *name.encode()])
        values = rng.normal(move, 1, n)
        shape = {"c": np.full(n, 5.0 + round(move)), "h": values * 1e300, "t": values * 1e-12}
        if name.startswith("features.text"):
            found[name] = pa.array(rng.choice(["a", "b", "c", "d"], n))
        else:
            values = shape.get(name[-1], values)
            values[rng.random(n) < 0.1] = nan
            found[name] = pa.array(values, from_pandas=True)
    return pa.table(found)


NAMES = [
    "features.a",
    "features.b",
    "features.c",
    "features.h",
    "features.t",
    "features.text1",
    "features.text2",
    "latency_ms",
    "scores.quality",
]


@pytest.mark.parametrize("referenced", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_a_columns_findings_do_not_depend_on_its_neighbours_to_the_last_bit(
    seed: int, *, referenced: bool
) -> None:
    """Which columns share a flush, and so a layout, is chance: a replay must find the same."""
    limits = tuple(Limit(detector, 0.01, "*", Against.PRODUCTION) for detector in Detector)
    settings = ThresholdSettings(limits=limits)
    now, usual = columns(NAMES, 400, seed, 0.3), columns(NAMES, 900, seed + 10)
    reference = reference_of(usual) if referenced else None

    def found(names: list[str]) -> dict[tuple[str, str], Finding]:
        sides = [summarize_table(table.select(names), reference) for table in (now, usual)]
        comparison = Comparison(sides[0], sides[1], "production:1", Against.PRODUCTION)
        judged_now = judge_columns(settings, comparison, PLACE)
        return {(finding.column, finding.detector): finding for finding in judged_now}

    whole = found(NAMES)
    assert len(whole) > 80
    for part in (NAMES[:1], NAMES[3:5], NAMES[5:6], NAMES[::2]):
        for key, finding in found(part).items():
            assert finding == whole[key]


def test_a_column_that_only_one_side_knows_is_compared_as_if_it_were_empty_there() -> None:
    usual = columns(NAMES, 900, 1)
    reference = reference_of(usual)
    less = summarize_table(columns(NAMES[2:], 400, 2), reference)
    more = summarize_table(columns([*NAMES, "features.new"], 400, 2), reference)
    for side in (less, more):
        comparison = Comparison(side, reference.summaries, "reference:1", Against.REFERENCE)
        found = judge_columns(ThresholdSettings(), comparison, PLACE)
        missing = {f.column: f.statistic for f in found if f.detector == "missing_rate"}
        assert missing["features.a"] == pytest.approx(1 - 0.1 if side is less else 0.0, abs=0.05)
        assert ("features.new" in missing) == (side is more)
        unseen = [f for f in found if f.column == "features.new" and f.detector != "missing_rate"]
        assert {f.outcome for f in unseen} <= {Outcome.INSUFFICIENT}


def test_a_reference_of_one_row_and_empty_sides_are_no_answer() -> None:
    table_of_one = columns(NAMES, 1, 3)
    reference = reference_of(table_of_one)
    full = summarize_table(columns(NAMES, 400, 4), reference)
    empty = Summaries.empty(full.layout)
    for current in (full, empty):
        comparison = Comparison(current, reference.summaries, "reference:1", Against.REFERENCE)
        found = judge_columns(ThresholdSettings(), comparison, PLACE)
        assert {finding.outcome for finding in found} == {Outcome.INSUFFICIENT}
        assert all(finding.reason for finding in found)


def test_only_deciding_findings_are_told_in_words() -> None:
    limit = Limit(Detector.MISSING_RATE, 0.5, "features.a", Against.PRODUCTION)
    found = judged(columns(NAMES, 400, 5), columns(NAMES, 400, 6), limit)
    assert "missing, was" in found["features.a", "missing_rate"].reason
    assert found["features.a", "psi"].reason == "no limit set"


def test_a_column_mostly_text_before_is_judged_as_text_and_its_numbers_are_missing() -> None:
    reference = None
    before = summarize_table(pa.table({"features.x": ["a", "b"] * 250}), reference)
    numbers = summarize_table(pa.table({"features.x": [1.0] * 500}), reference)
    comparison = Comparison(numbers, before, "production:1", Against.PRODUCTION)
    found = judge_columns(ThresholdSettings(), comparison, PLACE)
    mine = {f.detector: f for f in found if f.column == "features.x"}
    assert "wasserstein" not in mine
    assert mine["psi"].outcome is Outcome.INSUFFICIENT
    assert (mine["psi"].n, mine["psi"].n_against) == (0, 500)
