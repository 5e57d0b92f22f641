"""The judge of one model: windows, corrections, and when it says what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Message

from detectors.canary_rules import CanarySettings, Measure, Rule
from detectors.drift_settings import DriftSettings, FalseAlarms
from detectors.finding import Finding, Outcome
from detectors.pairs import HalfCounts, PairCounts
from detectors.reference import Reference, reference_from_table
from detectors.release import OTHER, Role
from detectors.sample_ratio import SplitSettings
from detectors.thresholds import Against, Detector, Limit, ThresholdSettings
from detectors.upstream import Direction
from detectors.verdict import Status, Verdict
from streams.cardinality import Limits
from streams.evidence import EvidenceSettings
from streams.inputs import InputSettings
from streams.internal_topics import SUMMARIES
from streams.judge import MAX_RELEASES, ModelJudge, ModelSettings
from streams.learning import LEARNING_MS
from streams.model_state import (
    ModelState,
    decode_interval,
    decode_state,
    encode_interval,
    encode_state,
)
from streams.outputs import Outputs
from streams.pair_delta import PairDelta, pair_deltas
from streams.sampling import SampleSettings
from streams.standing import JudgeSettings
from streams.summarizer import Summarizer, SummarizeSettings
from streams.timeline import NEVER, PartitionTime, TimeSettings, aligned
from streams.wire import Delta, Progress, Row, decode

TIME = TimeSettings(
    pane_ms=1_000, windows_ms=(5_000, 20_000), out_of_orderness_ms=0, allowed_lateness_ms=10_000
)
QUALITY = Limit(Detector.MEAN_WORSE, 0.2, "scores.*", Against.PRODUCTION, critical=True)
DRIFT = Limit(Detector.PSI, 0.25, "features.*")
THRESHOLDS = ThresholdSettings(min_events=20, limits=(QUALITY, DRIFT))
SETTINGS = JudgeSettings(
    blind_after_ms=60_000, retire_after_ms=600_000, confirm_fails=2, confirm_of=3, learn_events=0
)
LIMITS_ALONE = EvidenceSettings(DriftSettings(enabled=False), CanarySettings(enabled=False))
WALL_MS = 1_700_000_000_000


Event = dict[str, object]


def events(
    at_ms: int, n: int = 50, role: str = "production", quality: float = 1.0, x: float = 0.0
) -> list[Event]:
    """Events of the second from ``at_ms`` on."""
    rng = np.random.default_rng(at_ms)
    return [
        {
            "ts": WALL_MS + at_ms + i * 1_000 // n,
            "model": "m",
            "version": "1" if role == "production" else "2",
            "role": role,
            "scores": {"quality": quality + float(rng.normal(0, 0.1))},
            "features": {"x": x + float(rng.normal())},
        }
        for i in range(n)
    ]


class Bench:
    """A judge and the worker before it. ``wall_ms`` is the clock that is in the records."""

    def __init__(
        self,
        judge: JudgeSettings = SETTINGS,
        reference: Reference | None = None,
        thresholds: ThresholdSettings = THRESHOLDS,
        evidence: EvidenceSettings = LIMITS_ALONE,
    ) -> None:
        self.reference = reference
        self.known = {reference.id: reference} if reference else {}
        self.settings = ModelSettings(TIME, thresholds, judge, evidence)
        self.judge = ModelJudge(ModelState("m"), {}, self.settings, self.known.get, {})
        self.offset = 0
        self.wall_ms = WALL_MS
        self.newest_ms = NEVER
        self.windows: list[Row] = []
        self.findings: list[Finding] = []
        self.verdicts: list[Verdict] = []

    def give(self, some: Sequence[Event]) -> Outputs:
        """A delta of these events; no clock."""
        worker = Summarizer(
            (InputSettings("t"),),
            TIME,
            SummarizeSettings(),
            Limits(),
            SampleSettings(),
            lambda _: self.reference,
            1,
            "w",
        )
        worker.intake.assign(("t", 0), 1, NEVER, WALL_MS)
        lines = [json.dumps(event).encode() for event in some]
        messages = [Message("t", 0, i, value=line) for i, line in enumerate(lines)]
        worker.take(messages, WALL_MS)
        self.newest_ms = max(self.newest_ms, *(cast("int", event["ts"]) for event in some))
        outputs = Outputs()
        for record in worker.flush(self.wall_ms, {}):
            if record.topic == SUMMARIES and isinstance(delta := decode(record.value), Delta):
                self._begin()
                outputs = self.judge.delta(delta, self.offset)
        return outputs

    def clock(self, at_ms: int | None = None, **other: bool) -> Outputs:
        """The worker's clock: by default the newest event time; or ``at_ms``."""
        newest = self.newest_ms if at_ms is None else WALL_MS + at_ms
        times = {("t", 0): PartitionTime(newest, other.get("idle", False), 1)}
        if other.get("unheard"):
            times["t", 0] = PartitionTime(newest, False, 2)
        self._begin()
        outputs = self.judge.progress(Progress("w", self.wall_ms, ()), times, self.offset)
        self.windows += outputs.windows
        self.verdicts += outputs.verdicts
        return outputs

    def _begin(self) -> None:
        self.offset += 1
        self.judge.begin()

    def window(self, canary: float | None, at_ms: int, n: int = 50) -> None:
        """One window of production and canary, closed."""
        self.give(events(at_ms))
        if canary is not None:
            self.give(events(at_ms, n, "canary", canary))
        self.clock(at_ms + 5_000)

    def status(self, role: Role = Role.CANARY) -> Status:
        return next(v for v in reversed(self.verdicts) if v.release.role is role).status


def total(rows: Sequence[Row], length: int = 5_000) -> int:
    """Events in the store's windows: of each row the highest revision."""
    kept: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if (row["column"], row["segment"], row["window_ms"]) == ("error", "all", length):
            key = (row["version"], row["role"], row["window_start"], row["reference"])
            kept[key] = row
    return sum(row["events"] for row in kept.values())


def reference(x: float = 0.0) -> Reference:
    values = np.random.default_rng(0).normal(x, 1, 2_000)
    return reference_from_table("m", pa.table({"features.x": values}), "a test")


# --- windows -------------------------------------------------------------------------------------


def test_a_window_closes_when_the_watermark_passes_its_end_and_not_before() -> None:
    bench = Bench()
    bench.give(events(0))
    assert bench.clock(4_999).windows == []
    assert total(bench.clock(5_000).windows) == 50
    assert bench.clock(6_000).windows == []


def test_a_longer_window_is_a_merge_of_the_same_panes() -> None:
    bench = Bench()
    for at in range(0, 20_000, 1_000):
        bench.give(events(at, 10))
        bench.clock()
    bench.clock(20_000)
    assert total(bench.windows) == total(bench.windows, 20_000) == 200


def test_a_partition_never_heard_of_closes_nothing() -> None:
    bench = Bench()
    bench.give(events(0))
    assert bench.clock(9_000, unheard=True).windows == []


def test_late_rows_correct_a_closed_window() -> None:
    bench = Bench()
    bench.give(events(0))
    bench.clock(6_000)
    bench.give(events(1_000, 7))
    bench.clock(7_000)
    rows = [row for row in bench.windows if row["column"] == "error"]
    assert [(row["events"], row["revision"]) for row in rows] == [(50, 0), (57, 1)]
    assert rows[0]["window_start"] == rows[1]["window_start"]


def test_rows_later_than_the_allowed_lateness_are_counted_as_late() -> None:
    bench = Bench()
    bench.give(events(0))
    bench.clock(15_000)
    late = bench.give(events(0, 7)).late
    bench.clock(20_000)
    assert (late, bench.judge.state.late) == (7, 7)
    assert total(bench.windows) == 50


def test_a_change_of_reference_in_mid_window_loses_no_count() -> None:
    bench = Bench()
    bench.give(events(0))
    bench.reference = reference()
    bench.known[bench.reference.id] = bench.reference
    bench.give(events(1_000, 30))
    bench.clock(5_000)
    assert {row["reference"] for row in bench.windows} == {"", bench.reference.id}
    assert total(bench.windows) == 80


def test_finished_intervals_are_forgotten() -> None:
    bench = Bench()
    for at in range(0, 200_000, 5_000):
        bench.window(None, at)
    assert len(bench.judge.intervals.held) < 20


# --- verdicts ------------------------------------------------------------------------------------


def test_a_bad_canary_fails_when_confirmed_and_not_at_once() -> None:
    bench = Bench()
    bench.window(0.0, 0)
    assert bench.status() is Status.INSUFFICIENT
    assert "not confirmed yet" in bench.verdicts[-1].reason
    bench.window(0.0, 5_000)
    assert bench.status() is Status.FAIL
    assert bench.verdicts[-1].baseline_version == "1"


def test_a_good_canary_passes_and_a_better_one_too() -> None:
    for quality in (1.0, 2.0):
        bench = Bench()
        bench.window(quality, 0)
        assert bench.status() is Status.PASS


def test_too_few_events_are_no_pass() -> None:
    bench = Bench()
    bench.window(1.0, 0, n=19)
    assert bench.status() is Status.INSUFFICIENT


def test_too_few_events_after_a_fail_are_neither_fail_nor_pass() -> None:
    bench = Bench(replace(SETTINGS, confirm_fails=1, confirm_of=1))
    bench.window(0.0, 0)
    assert bench.status() is Status.FAIL
    bench.window(0.0, 5_000, n=5)
    assert bench.status() is Status.INSUFFICIENT
    assert "exceeded its limit before" in bench.verdicts[-1].reason


def test_without_production_a_canary_has_no_answer() -> None:
    bench = Bench(reference=reference())
    bench.give(events(0, role="canary"))
    bench.clock(5_000)
    assert bench.status() is Status.INSUFFICIENT
    assert "compare with production" in bench.verdicts[-1].reason


def test_scores_that_are_no_numbers_are_no_answer() -> None:
    bench = Bench()
    bench.give(events(0))
    bench.give([{**e, "scores": {"quality": None}} for e in events(0, role="canary")])
    bench.clock(5_000)
    assert bench.status() is Status.INSUFFICIENT


def test_production_that_drifts_from_its_reference_fails() -> None:
    bench = Bench(reference=reference(x=9.0))
    for at in (0, 5_000):
        bench.give(events(at, 400))
        bench.clock(at + 5_000)
    assert bench.status(Role.PRODUCTION) is Status.FAIL


def test_a_correction_counts_for_its_own_window_and_shifts_nothing() -> None:
    bench = Bench()
    bench.window(0.0, 0)
    bench.give(events(0, 30, "canary", 0.0))
    bench.clock(6_000)
    bench.give(events(1_000, 30, "canary", 0.0))
    bench.clock(7_000)
    assert bench.judge.state.revisions
    assert bench.status() is Status.INSUFFICIENT  # one window, however often it was corrected


# --- silence -------------------------------------------------------------------------------------


def test_a_release_that_is_silent_on_the_wall_is_blind() -> None:
    bench = Bench()
    bench.window(1.0, 0)
    bench.wall_ms += 59_999
    assert bench.clock().verdicts == []
    bench.wall_ms += 1
    assert {verdict.status for verdict in bench.clock().verdicts} == {Status.BLIND}


def test_a_release_that_falls_behind_the_others_in_event_time_is_blind() -> None:
    bench = Bench()
    bench.window(1.0, 0)
    for at in range(5_000, 70_000, 5_000):
        bench.window(None, at)
    assert bench.status() is Status.BLIND
    assert bench.status(Role.PRODUCTION) is not Status.BLIND


def test_a_watermark_that_does_not_move_is_blind_although_events_come() -> None:
    bench = Bench()
    bench.window(1.0, 0)
    assert bench.status() is Status.PASS
    for second in range(5, 70):
        bench.wall_ms += 1_000
        bench.give(events(second * 1_000, 20))
        bench.give(events(second * 1_000, 20, "canary"))
        bench.clock(5_000)
    assert bench.status() is Status.BLIND
    assert "no window could close" in bench.verdicts[-1].reason


def test_a_model_whose_windows_never_close_is_blind_and_not_unheard() -> None:
    bench = Bench()
    for second in range(70):
        bench.give(events(second * 1_000, 5))
        bench.clock(unheard=True)
        bench.wall_ms += 1_000
    assert [verdict.status for verdict in bench.verdicts] == [Status.BLIND]


def test_a_release_that_is_silent_for_long_is_forgotten() -> None:
    bench = Bench()
    bench.window(1.0, 0)
    bench.wall_ms += 600_000
    bench.clock()
    assert bench.judge.state.releases == {}
    assert bench.judge.state.standings == {}
    assert bench.judge.touched


# --- shares --------------------------------------------------------------------------------------


def split(share: float) -> EvidenceSettings:
    shares = SplitSettings({Role.CANARY: share})
    return EvidenceSettings(DriftSettings(), CanarySettings(split=shares))


def test_a_split_that_is_off_is_a_hold_and_no_fail() -> None:
    bench = Bench(evidence=split(0.1))
    for at in range(0, 65_000, 5_000):
        bench.window(0.0, at)
    assert bench.status() is Status.HOLD
    assert bench.status(Role.PRODUCTION) is not Status.HOLD


def test_traffic_before_the_canary_began_is_no_broken_split() -> None:
    bench = Bench(evidence=split(0.5))
    for at in range(0, 60_000, 5_000):
        bench.window(None, at)
    for at in range(60_000, 90_000, 5_000):
        bench.window(1.0, at)
    assert bench.status() is not Status.HOLD


# --- references ----------------------------------------------------------------------------------


def test_a_reference_is_learnt_from_the_first_production_events() -> None:
    bench = Bench(replace(SETTINGS, learn_events=100))
    learnt: list[Reference] = []
    for at in range(0, 30_000, 5_000):
        bench.give(events(at, 40))
        bench.give(events(at, 40, "canary", x=5.0))
        learnt += bench.clock(at + 5_000).learnt
    assert len(learnt) == 1
    assert learnt[0].summaries.events == 120
    assert "first 120 events" in learnt[0].origin
    column = learnt[0].summaries.numeric("features.x")
    assert column is not None
    assert abs(column.mean) < 0.5  # nothing of the canary


def test_events_without_any_column_teach_nothing_and_stop_nothing() -> None:
    bench = Bench(replace(SETTINGS, learn_events=100))
    learnt: list[Reference] = []
    for at in range(0, 30_000, 5_000):
        bare = [{key: e[key] for key in ("ts", "model", "version", "role")} for e in events(at, 40)]
        bench.give(bare)
        learnt += bench.clock(at + 5_000).learnt
    assert learnt == []
    assert sum(row["events"] for row in bench.windows if row["window_ms"] == 5_000) == 240


def test_many_windows_show_whether_rows_depend_on_one_another() -> None:
    bench = Bench(replace(SETTINGS, learn_events=45 * 40))
    learnt: list[Reference] = []
    for at in range(0, 50 * 5_000, 5_000):
        bench.give(events(at, 40))
        learnt += bench.clock(at + 5_000).learnt
    (reference,) = learnt
    assert reference.learnt is not None
    assert reference.learnt.panes == 45
    assert not any(key.length_ms == LEARNING_MS for key in bench.judge.intervals.held)


def test_a_canary_alone_teaches_nothing() -> None:
    bench = Bench(replace(SETTINGS, learn_events=10))
    bench.give(events(0, 50, "canary"))
    assert bench.clock(5_000).learnt == []


# --- state ---------------------------------------------------------------------------------------


def test_state_and_intervals_survive_being_written_down() -> None:
    bench = Bench()
    bench.window(0.0, 0)
    bench.give(events(1_000, 7))
    bench.window(0.0, 5_000)
    written = encode_state(bench.judge.state)
    assert encode_state(decode_state(written)) == written
    assert decode_state(written).standings.keys() == bench.judge.state.standings.keys()
    for interval in bench.judge.intervals.held.values():
        blob = encode_interval(interval)
        (block,) = interval.blocks.values()
        assert encode_interval(decode_interval(blob, lambda *_, of=block: of.layout)) == blob


def test_releases_beyond_the_cap_are_kept_under_the_name_they_were_admitted_by() -> None:
    bench = Bench()
    for number in range(MAX_RELEASES + 3):
        some = events(0, 1)
        some[0]["version"] = f"v{number}"
        bench.give(some)
        assert (bench.judge.kept is None) == bench.judge.touched
    assert bench.judge.kept is not None
    assert [group.version for group in bench.judge.kept.groups] == [OTHER]
    bench.clock(5_000)
    assert total(bench.windows) == MAX_RELEASES + 3
    others = [r for r in bench.windows if r["version"] == OTHER and r["column"] == "error"]
    assert [row["events"] for row in others] == [3]


def test_a_delta_of_open_panes_is_kept_as_it_came_and_leaves_the_state_to_the_next_pane() -> None:
    bench = Bench()
    bench.give(events(0))
    kept = bench.judge.kept
    assert kept is not None
    assert not bench.judge.touched
    again = ModelJudge(ModelState("m"), {}, bench.settings, bench.known.get, {})
    again.restore(kept, bench.offset)
    assert encode_state(again.state) == encode_state(
        replace_applied(bench.judge.state, bench.offset)
    )
    bench.clock(5_000)
    again.begin()
    times = {("t", 0): PartitionTime(WALL_MS + 5_000, False, 1)}
    outputs = again.progress(Progress("w", WALL_MS, ()), times, bench.offset)
    assert outputs.windows == bench.windows
    again.begin()
    assert again.intervals.finished == [1]


def replace_applied(state: ModelState, offset: int) -> ModelState:
    return msgspec.structs.replace(state, applied=offset)


def test_every_finding_of_a_window_without_limits_decides_nothing() -> None:
    bench = Bench(thresholds=ThresholdSettings(min_events=20, limits=()))
    bench.give(events(0))
    bench.give(events(0, role="canary", quality=0.0))
    outputs = bench.clock(5_000)
    assert outputs.findings
    assert not any(f.decides or f.outcome is Outcome.FAIL for f in outputs.findings)
    assert {v.status for v in outputs.verdicts} == {Status.INSUFFICIENT}


# --- evidence ------------------------------------------------------------------------------------

EVIDENCE = EvidenceSettings(DriftSettings(FalseAlarms(1, 86_400_000)), CanarySettings())
NO_LIMITS = ThresholdSettings(min_events=20)


def judged_by_evidence(
    known: Reference | None = None, evidence: EvidenceSettings = EVIDENCE
) -> Bench:
    return Bench(reference=known, thresholds=NO_LIMITS, evidence=evidence)


def scored_reference(quality: float = 1.0) -> Reference:
    rng = np.random.default_rng(0)
    columns = {
        "features.x": rng.normal(0, 1, 20_000),
        "scores.quality": rng.normal(quality, 0.1, 20_000),
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
