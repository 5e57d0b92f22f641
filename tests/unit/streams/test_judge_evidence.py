"""Verdicts by evidence: canaries, drift, what is upstream, and the pairs of a shadow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from detectors.canary_rules import CanarySettings, Measure, Rule
from detectors.drift_settings import DriftSettings, FalseAlarms
from detectors.finding import Outcome
from detectors.pairs import HalfCounts, PairCounts
from detectors.reference import Reference, reference_from_table
from detectors.release import Role
from detectors.thresholds import ThresholdSettings
from detectors.upstream import Direction
from detectors.verdict import Status, Verdict
from streams.evidence import EvidenceSettings
from streams.judge import ModelJudge, ModelSettings
from streams.model_state import (
    decode_state,
    encode_state,
)
from streams.pair_delta import PairDelta, pair_deltas
from streams.timeline import aligned
from tests.unit.streams.judge_bench import SETTINGS, TIME, WALL_MS, Bench, events

# --- evidence ------------------------------------------------------------------------------------

EVIDENCE = EvidenceSettings(DriftSettings(FalseAlarms(1, 86_400_000)), CanarySettings())
NO_LIMITS = ThresholdSettings(min_events=20)


def judged_by_evidence(
    known: Reference | None = None, evidence: EvidenceSettings = EVIDENCE
) -> Bench:
    return Bench(reference=known, thresholds=NO_LIMITS, evidence=evidence)


def scored_reference() -> Reference:
    rng = np.random.default_rng(0)
    columns = {
        "features.x": rng.normal(0, 1, 20_000),
        "scores.quality": rng.normal(1.0, 0.1, 20_000),
    }
    return reference_from_table("m", pa.table(columns), "a test")


def seconds(
    bench: Bench, first: int, last: int, production: float, n: int = 50, **canary: float
) -> None:
    """From second ``first`` to ``last`` ``n`` events of each, and the clock behind them."""
    for at_ms in range(first * 1_000, last * 1_000, 1_000):
        bench.give(events(at_ms, n, quality=production))
        if canary:
            x, quality = canary.get("x", 0.0), canary.get("quality", 1.0)
            # One less: the same seed would make both arms equal, value by value.
            bench.give(events(at_ms, n - 1, "canary", quality, x))
        bench.clock(at_ms + 1_000)


def newest(bench: Bench, role: Role = Role.CANARY) -> Verdict:
    return next(v for v in reversed(bench.verdicts) if v.release.role is role)


def test_a_canary_worse_in_a_critical_measure_fails_before_its_window_ends() -> None:
    bench = judged_by_evidence()
    seconds(bench, 0, 14, 1.0, quality=0.7)
    verdict = newest(bench)
    assert verdict.status is Status.FAIL
    failing = verdict.findings[0]
    assert (failing.column, failing.detector) == ("scores.quality", "canary_level")
    assert failing.effect_low < failing.effect < failing.effect_high < 0
    assert failing.effect == pytest.approx(-0.3, abs=0.02)
    assert failing.onset_ms > 0
    first = next(v for v in bench.verdicts if v.status is Status.FAIL)
    assert first.as_of_ms < WALL_MS + 14_000


def test_a_canary_passes_only_with_evidence_and_says_before_how_much_is_missing() -> None:
    bench = judged_by_evidence()
    seconds(bench, 0, 10, 1.0, n=150, quality=1.0)
    early = newest(bench)
    assert early.status is Status.INSUFFICIENT
    assert early.further_events is not None
    assert early.further_events > 0
    assert early.further_ms is not None
    seconds(bench, 10, 160, 1.0, n=150, quality=1.0)
    assert newest(bench).status is Status.PASS
    assert newest(bench).further_events is None


def test_a_canary_worse_in_nothing_critical_is_held_for_a_person() -> None:
    bench = judged_by_evidence()
    seconds(bench, 0, 30, 1.0, quality=1.0, x=1.0)
    assert newest(bench).status is Status.HOLD
    assert "nothing critical: features.x" in newest(bench).reason
    assert "worse" not in newest(bench).reason  # it may have gone either way


def test_where_production_moves_the_same_way_the_cause_is_upstream_and_nothing_fails() -> None:
    bench = judged_by_evidence(scored_reference())
    seconds(bench, 0, 10, 1.0, quality=1.0)
    seconds(bench, 10, 40, 0.8, quality=0.6)
    verdict = newest(bench)
    assert verdict.status is Status.HOLD
    assert verdict.upstream == ("scores.quality",)
    assert "upstream" in verdict.reason
    production = newest(bench, Role.PRODUCTION)
    assert production.status is Status.FAIL
    drifting = production.findings[0]
    assert (drifting.column, drifting.direction) == ("scores.quality", "down")
    assert drifting.effect < -1
    assert WALL_MS + 8_000 <= drifting.onset_ms <= WALL_MS + 13_000


def test_that_production_lacks_values_is_no_cause_of_worse_values() -> None:
    rule = Rule(Measure.LEVEL, "features.x", Direction.UP, critical=True)
    settings = replace(EVIDENCE, canary=CanarySettings(rules=(rule,)))
    bench = judged_by_evidence(scored_reference(), settings)
    for at_ms in range(0, 40_000, 1_000):
        production = events(at_ms, 100)
        for event in production[::2]:
            event["features"] = {}
        bench.give(production)
        bench.give(events(at_ms, 49, "canary", x=1.0))
        bench.clock(at_ms + 1_000)
    lacking = newest(bench, Role.PRODUCTION)
    assert lacking.status is Status.FAIL
    assert {(f.column, f.detector) for f in lacking.findings if f.outcome is Outcome.FAIL} == {
        ("features.x", "drift_missing")
    }
    assert newest(bench).status is Status.FAIL
    assert newest(bench).upstream == ()


def test_drift_of_what_is_not_production_is_shown_and_decides_nothing() -> None:
    both = DriftSettings(FalseAlarms(1, 86_400_000), roles=(Role.PRODUCTION, Role.CANARY))
    bench = judged_by_evidence(scored_reference(), replace(EVIDENCE, drift=both))
    shown = []
    for at_ms in range(0, 20_000, 1_000):
        bench.give(events(at_ms))
        bench.give(events(at_ms, 50, "canary", x=3.0))
        shown += [f for f in bench.clock(at_ms + 1_000).findings if f.detector == "drift"]
    failing = [f for f in shown if f.outcome is Outcome.FAIL]
    assert {f.release.role for f in failing} == {Role.CANARY}
    assert not any(f.decides for f in failing)
    assert any(f.decides for f in shown if f.release.role is Role.PRODUCTION)


def test_evidence_of_a_forgotten_release_is_removed() -> None:
    bench = judged_by_evidence(scored_reference())
    seconds(bench, 0, 12, 1.0, quality=1.0)
    entries, _ = bench.judge.evidence.checkpoint()
    assert {key.version for key in entries} == {"", "1", "2"}
    bench.wall_ms += 600_001
    bench.clock()
    assert bench.judge.state.releases == {}
    assert bench.judge.evidence.due()
    entries, removed = bench.judge.evidence.checkpoint()
    assert {key.version for key in removed} == {"1", "2"}
    assert {key.version for key in entries} == {""}


def test_panes_are_kept_until_a_checkpoint_has_taken_them_in() -> None:
    bench = judged_by_evidence(scored_reference())
    seconds(bench, 0, 12, 1.0)
    kept = [key for key in bench.judge.intervals.held if key.length_ms == TIME.pane_ms]
    assert len(kept) == 12
    bench.judge.evidence.checkpoint()
    bench.judge.begin()
    left = [key for key in bench.judge.intervals.held if key.length_ms == TIME.pane_ms]
    assert [key.start_ms - WALL_MS for key in left] == [10_000, 11_000]  # their window is open
    bench.clock(15_000)
    bench.judge.evidence.checkpoint()
    bench.judge.begin()
    assert not any(key.length_ms == TIME.pane_ms for key in bench.judge.intervals.held)


# --- pairs ---------------------------------------------------------------------------------------


def pairs_at(at_ms: int, worse: int, better: int) -> PairDelta:
    """Pairs of one pane: the shadow fails in ``worse`` of them where production does not."""
    pane = aligned(WALL_MS + at_ms, TIME.pane_ms)
    counts = PairCounts(pairs=100, shadow_failed=worse, production_failed=better)
    halves = HalfCounts(halves=110)
    (delta,) = pair_deltas(
        "w",
        "m",
        WALL_MS,
        {("2", "1", pane): counts},
        {(("2", Role.SHADOW), pane, ""): halves, (("1", Role.PRODUCTION), pane, ""): halves},
    )
    return delta


def shadowed(worse: int, better: int) -> Bench:
    bench = judged_by_evidence()
    for at_ms in range(0, 20_000, 1_000):
        bench.give(events(at_ms))
        bench.give(events(at_ms, 49, "shadow"))
        bench.offset += 1
        bench.judge.begin()
        bench.judge.pairs(pairs_at(at_ms, worse, better))
        bench.findings += bench.clock(at_ms + 1_000).findings
    return bench


def test_a_shadow_that_fails_where_production_answers_is_failed_by_its_pairs() -> None:
    bench = shadowed(worse=8, better=1)
    verdict = newest(bench, Role.SHADOW)
    assert verdict.status is Status.FAIL
    failing = verdict.findings[0]
    assert (failing.detector, failing.against) == ("paired_failures", "production:1")
    assert "unpaired" in failing.reason
    alike = shadowed(worse=4, better=4)
    assert newest(alike, Role.SHADOW).status is not Status.FAIL
    assert any(f.detector == "paired_failures" for f in alike.findings)


def test_pairs_survive_being_written_down() -> None:
    bench = shadowed(worse=8, better=1)
    state = decode_state(encode_state(bench.judge.state))
    assert state.paired == bench.judge.state.paired != b""
    settings = ModelSettings(TIME, NO_LIMITS, SETTINGS, EVIDENCE)
    entries, _ = bench.judge.evidence.checkpoint()
    again = ModelJudge(state, dict(bench.judge.intervals.held), settings, bench.known.get, entries)
    for judge in (bench.judge, again):
        judge.begin()
        judge.pairs(pairs_at(20_000, 8, 1))
    assert again.state.paired == bench.judge.state.paired
