"""A canary against production: what fails it, what passes it, what leaves the question open."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.canary import CanaryState, step, verdict
from detectors.canary_book import write_book
from detectors.canary_bytes import UnreadableState, from_bytes, to_bytes
from detectors.canary_cast import Basis, Part, cast_of
from detectors.canary_ledger import BLANK, fitted
from detectors.canary_metric import ArmsPane
from detectors.canary_rows import Row
from detectors.canary_rules import CanarySettings, Measure, Rule
from detectors.canary_verdict import CanaryVerdict, findings_of
from detectors.cells import Aspect
from detectors.finding import Outcome
from detectors.layout import HEADERS, Header
from detectors.reference import Reference
from detectors.release import Release, Role
from detectors.sample_ratio import SplitSettings
from detectors.summary import Summaries
from detectors.table import reference_of, summarize_table
from detectors.thresholds import Place
from detectors.upstream import Direction, Movement, common_cause
from detectors.verdict import Status

PANE_MS = 10_000
SETTINGS = CanarySettings()
Values = dict[str, Any]


def values(generator: np.random.Generator, n: int, **changed: float) -> Values:
    slower, lower, nulls = (
        changed.get("slower", 1.0),
        changed.get("lower", 0.0),
        changed.get("nulls"),
    )
    missing = generator.random(n) < (0.01 if nulls is None else nulls)
    return {
        "features.size": pa.array(generator.normal(0, 1, n), mask=missing),
        "features.topic": pa.array(generator.choice(["a", "b", "c"], n)),
        "latency_ms": np.exp(generator.normal(5, 0.5, n)) * slower,
        "scores.quality": generator.normal(0, 1, n) - lower,
        "scores.toxicity": generator.normal(0, 1, n) + changed.get("toxic", 0.0),
    }


def summaries(table: Values, errors: int = 0, reference: Reference | None = None) -> Summaries:
    found = summarize_table(pa.table(table), reference)
    vector = found.vector.copy()
    vector[HEADERS.index(Header.FAILED)] = errors
    return replace(found, vector=vector)


def run(
    panes: int,
    settings: CanarySettings = SETTINGS,
    n: int = 300,
    n_against: int = 3000,
    errors: float = 0.01,
    reference: Reference | None = None,
    seed: int = 1,
    **changed: float,
) -> tuple[CanaryState, CanaryVerdict]:
    """Panes until something is decided."""
    generator = np.random.default_rng(seed)
    state = CanaryState()
    found = verdict(state, settings)
    for t in range(panes):
        ours = summaries(
            values(generator, n, **changed), int(generator.binomial(n, errors)), reference
        )
        theirs = summaries(
            values(generator, n_against), int(generator.binomial(n_against, 0.01)), reference
        )
        normal = reference.summaries if reference is not None else None
        state = step(state, settings, ArmsPane(t * PANE_MS, PANE_MS, ours, theirs, normal))
        found = verdict(state, settings)
        if found.status is not Status.INSUFFICIENT:
            break
    return state, found


def the(found: CanaryVerdict, column: str, measure: Measure) -> Any:
    (one,) = [s for s in found.standings if (s.column, s.measure) == (column, measure)]
    return one


@pytest.mark.parametrize(
    ("changed", "column", "measure"),
    [
        ({"errors": 0.04}, "error", Measure.ERRORS),
        ({"slower": 1.5}, "latency_ms", Measure.TAIL),
        ({"lower": 0.4}, "scores.quality", Measure.LEVEL),
        ({"toxic": 0.4}, "scores.toxicity", Measure.LEVEL),
        ({"nulls": 0.06}, "features.size", Measure.MISSING),
    ],
)
def test_harm_beyond_the_margin_fails_and_rolls_back(
    changed: dict[str, float], column: str, measure: Measure
) -> None:
    state, found = run(30, **changed)  # type: ignore[arg-type]
    assert found.status is Status.FAIL
    assert found.roll_back
    assert state.failed
    assert the(found, column, measure).outcome is Outcome.FAIL
    assert column in found.reason
    # The first pane fixed the cells and no single pane decides.
    assert 2 <= state.panes <= 12


@pytest.mark.parametrize("changed", [{"errors": 0.0}, {"slower": 0.7}, {"lower": -0.4}])
def test_a_change_for_the_better_is_never_rolled_back(changed: dict[str, float]) -> None:
    _, found = run(12, **changed)  # type: ignore[arg-type]
    assert not found.roll_back
    assert [one for one in found.standings if one.critical and one.outcome is Outcome.FAIL] == []


def test_a_change_within_the_margins_does_not_fail() -> None:
    state, found = run(60, errors=0.011, slower=1.04, lower=0.04)
    assert found.status is not Status.FAIL
    assert not state.failed


def test_a_sound_canary_passes_once_every_interval_lies_inside_its_margin() -> None:
    settings = replace(SETTINGS, rules=tuple(replace(r, margin=0.5) for r in SETTINGS.rules))
    state, found = run(60, settings)
    assert found.status is Status.PASS
    critical = [one for one in found.standings if one.critical]
    assert {one.outcome for one in critical} == {Outcome.PASS}
    assert state.panes * 300 >= settings.min_events
    score = the(found, "scores.quality", Measure.LEVEL)
    assert -score.margin < score.difference.low < score.difference.high


def test_too_few_events_are_insufficient_and_say_how_many_more() -> None:
    state, found = run(3, n=20)
    assert found.status is Status.INSUFFICIENT
    assert "needed" in found.reason
    assert found.further_events is not None
    assert found.further_events >= SETTINGS.min_events - state.panes * 20
    assert found.further_ms is not None
    assert found.further_ms == pytest.approx(found.further_events / 20 * PANE_MS, rel=0.1)


def test_without_production_nothing_is_judged() -> None:
    generator = np.random.default_rng(1)
    ours = summaries(values(generator, 500), 400)
    nothing = Summaries.empty(ours.layout)
    state = step(CanaryState(), SETTINGS, ArmsPane(0, PANE_MS, ours, nothing))
    assert (state.panes, state.one_sided) == (0, 1)
    found = verdict(state, SETTINGS)
    assert (found.status, found.roll_back) == (Status.INSUFFICIENT, False)


def test_a_column_that_the_canary_never_fills_blocks_the_pass() -> None:
    rules = (Rule(Measure.LEVEL, "scores.*", Direction.DOWN, margin=1.0, critical=True),)
    settings = replace(SETTINGS, rules=rules, min_events=100)
    generator = np.random.default_rng(1)
    state = CanaryState()
    for t in range(20):
        theirs = summaries({k: generator.normal(0, 1, 500) for k in ("scores.a", "scores.b")})
        ours = summaries({"scores.a": generator.normal(0, 1, 500)})
        state = step(state, settings, ArmsPane(t * PANE_MS, PANE_MS, ours, theirs))
    found = verdict(state, settings)
    assert the(found, "scores.a", Measure.LEVEL).outcome is Outcome.PASS
    assert the(found, "scores.b", Measure.LEVEL).outcome is Outcome.INSUFFICIENT
    assert found.status is Status.INSUFFICIENT
    assert "scores.b" in found.reason


def test_constants_in_both_arms_are_silent_and_alone_never_pass() -> None:
    rules = (Rule(Measure.LEVEL, "scores.*", Direction.DOWN, critical=True),)
    settings = replace(SETTINGS, rules=rules)
    one = summaries({"scores.a": np.ones(5000)})
    state = CanaryState()
    for t in range(5):
        state = step(state, settings, ArmsPane(t * PANE_MS, PANE_MS, one, one))
    found = verdict(state, settings)
    assert the(found, "scores.a", Measure.LEVEL).silent
    assert found.status is Status.INSUFFICIENT


def test_the_cells_of_a_reference_are_bet_on_from_the_first_pane() -> None:
    reference = reference_of(pa.table(values(np.random.default_rng(9), 20_000)))
    learnt, _ = run(1, reference=reference)
    alone, _ = run(1)
    name = ("scores.quality", Measure.LEVEL)
    (with_one,) = [m for m in learnt.metrics if (m.column, m.measure) == name]
    (without,) = [m for m in alone.metrics if (m.column, m.measure) == name]
    assert (with_one.wealth.panes, without.wealth.panes) == (1, 0)
    assert without.basis is not None


def test_a_reference_learnt_on_the_way_keeps_what_was_won() -> None:
    generator = np.random.default_rng(2)
    reference = reference_of(pa.table(values(generator, 20_000)))
    state = CanaryState()
    for t in range(8):
        known = reference if t >= 4 else None
        ours = summaries(values(generator, 300, lower=0.15), 3, known)
        theirs = summaries(values(generator, 3000), 30, known)
        before = state
        state = step(state, SETTINGS, ArmsPane(t * PANE_MS, PANE_MS, ours, theirs))
        if t == 4:
            for old, new in zip(before.metrics, state.metrics, strict=True):
                if (new.column, new.measure) == ("features.size", Measure.LEVEL):
                    assert new.basis != old.basis
                    assert new.wealth.evidence == old.wealth.evidence
                    assert new.alpha == old.alpha
    assert all(m.tally.n >= 2000 for m in state.metrics if m.column.startswith("scores."))


def test_a_broken_split_holds_and_nothing_is_learnt_from_it() -> None:
    settings = replace(SETTINGS, split=SplitSettings(shares={Role.CANARY: 0.5}))
    generator = np.random.default_rng(1)
    state = CanaryState()
    for t in range(10):
        ours = summaries(values(generator, 300, lower=1.0), 100)
        theirs = summaries(values(generator, 3000), 30)
        counts = {Role.CANARY: 300, Role.PRODUCTION: 3000}
        state = step(state, settings, ArmsPane(t * PANE_MS, PANE_MS, ours, theirs), counts)
    found = verdict(state, settings)
    assert (found.status, found.roll_back) == (Status.HOLD, False)
    assert state.metrics == ()


def test_what_production_does_too_is_upstream_and_not_rolled_back() -> None:
    state, found = run(30, lower=0.4)
    assert found.roll_back
    drift = [Movement("scores.quality", Aspect.VALUES, Direction.DOWN, 0.8)]
    again = verdict(state, SETTINGS, drift)
    assert (again.status, again.roll_back) == (Status.FAIL, False)
    assert again.upstream is not None
    assert "upstream" in again.reason
    for other in (
        Movement("scores.quality", Aspect.VALUES, Direction.UP, 0.8),
        Movement("scores.quality", Aspect.PRESENCE, Direction.DOWN, 0.8),
        Movement("scores.quality", Aspect.VALUES, Direction.DOWN, 0.1),
        Movement("latency_ms", Aspect.VALUES, Direction.DOWN, 0.8),
    ):
        assert verdict(state, SETTINGS, [other]).roll_back


def test_a_cause_is_that_of_what_moved_and_not_of_the_whole_column() -> None:
    worse = Movement("features.size", Aspect.VALUES, Direction.UP, 1.0)
    lacking = Movement("features.size", Aspect.PRESENCE, Direction.UP, 1.0)
    assert common_cause([worse], [lacking]) is None
    both = common_cause([worse, lacking], [lacking])
    assert both is not None
    assert (both.columns, both.all_of_it) == (("features.size",), False)
    alone = common_cause([lacking], [worse, lacking])
    assert alone is not None
    assert alone.all_of_it


def test_alphas_add_up_to_at_most_that_of_the_release_however_many_columns_come() -> None:
    generator = np.random.default_rng(4)
    state = CanaryState()
    for t in range(30):
        table = {f"features.f{i}": generator.normal(0, 1, 50) for i in range(t + 1)}
        pane = summaries(table)
        state = step(state, SETTINGS, ArmsPane(t * PANE_MS, PANE_MS, pane, pane))
    assert len(state.metrics) == 61
    assert 0.9 * SETTINGS.alpha < sum(m.alpha for m in state.metrics) <= SETTINGS.alpha


def test_an_arm_without_the_column_or_with_other_layouts_is_read_as_it_is() -> None:
    generator = np.random.default_rng(1)
    state = CanaryState()
    for t in range(4):
        ours = summaries({"latency_ms": np.exp(generator.normal(5, 0.5, 300))})
        theirs = summaries(values(generator, 3000))
        assert ours.layout is not theirs.layout
        state = step(state, SETTINGS, ArmsPane(t * PANE_MS, PANE_MS, ours, theirs))
    found = verdict(state, SETTINGS)
    # All events of the canary lack the features.
    assert the(found, "features.size", Measure.MISSING).outcome is Outcome.FAIL
    assert the(found, "features.size", Measure.LEVEL).n == 0
    assert the(found, "latency_ms", Measure.TAIL).n > 0


def test_rules_that_change_on_the_way_keep_what_was_won() -> None:
    state, _ = run(6, lower=0.3)
    before = {(m.column, m.measure): m for m in state.metrics}
    changed = replace(
        SETTINGS,
        rules=tuple(
            replace(rule, harm=Direction.UP) if rule.measure is Measure.LEVEL else rule
            for rule in SETTINGS.rules
        ),
    )
    generator = np.random.default_rng(3)
    ours, theirs = summaries(values(generator, 300), 3), summaries(values(generator, 3000), 30)
    state = step(state, changed, ArmsPane(90 * PANE_MS, PANE_MS, ours, theirs))
    for after in state.metrics:
        old = before[after.column, after.measure]
        assert (after.alpha, after.tally.n > old.tally.n) == (old.alpha, True)
        assert after.wealth.peak >= old.wealth.peak
        # One pane earns so much at most.
        assert after.wealth.evidence <= old.wealth.evidence + after.needed


def test_findings_carry_evidence_and_what_is_needed() -> None:
    _, found = run(30, errors=0.05)
    place = Place(Release("m", "2", Role.CANARY), "all", PANE_MS, 0, 0)
    findings = findings_of(found, place, "production:1")
    (error,) = [f for f in findings if f.detector == "canary_errors"]
    assert (error.outcome, error.critical, error.decides) == (Outcome.FAIL, True, True)
    assert error.statistic >= error.threshold > 0
    assert len(findings) == len(found.standings)


def test_damaged_bytes_are_refused() -> None:
    state, _ = run(2)
    data = to_bytes(state)
    assert to_bytes(from_bytes(data)) == data
    for bad in (b"", data[:-3], b"\x91\x01", data.replace(b"level", b"lever")):
        with pytest.raises(UnreadableState):
            from_bytes(bad)


def test_a_tail_that_was_counted_in_other_cells_is_refused() -> None:
    """Otherwise what is counted now would be entered in the cells of another measure."""
    other = Part("latency_ms", Measure.TAIL, 0.01, Basis((0.25,) * 4))
    cast = cast_of((other,))
    book = write_book(cast, [None], SETTINGS.host_effect)
    state = CanaryState(Row(fitted(BLANK, book)))
    with pytest.raises(UnreadableState, match="cells"):
        from_bytes(to_bytes(state))


@pytest.mark.parametrize(
    "bad",
    [
        {"alpha": 0.0},
        {"alpha": math.nan},
        {"host_effect": -0.1},
        {"inflation": 0.5},
        {"burst": 0.0},
        {"min_events": 1},
    ],
)
def test_settings_that_cannot_be_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"canary\."):
        CanarySettings(**bad)  # type: ignore[arg-type]


def test_rules_against_the_nature_of_a_measure_are_refused() -> None:
    with pytest.raises(ValueError, match="harm: up"):
        Rule(Measure.ERRORS, "error", Direction.DOWN)
    with pytest.raises(ValueError, match="harm: both"):
        Rule(Measure.CATEGORIES, "*", Direction.UP)
    with pytest.raises(ValueError, match="margin"):
        Rule(Measure.LEVEL, margin=math.nan)
