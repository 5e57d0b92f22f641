"""What the judge says of a release, and when: verdicts, silence, shares and what it learns."""

from __future__ import annotations

from dataclasses import replace

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.reference import Reference
from detectors.release import Role
from detectors.sample_ratio import SplitSettings
from detectors.verdict import Status
from streams.evidence import EvidenceSettings
from streams.learning import LEARNING_MS
from tests.unit.streams.judge_bench import SETTINGS, Bench, events, reference

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
