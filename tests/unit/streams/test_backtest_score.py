"""What counts as detected, missed and false, on small made-up recordings."""

from __future__ import annotations

import math
from itertools import chain
from pathlib import Path

import pytest

from detectors.finding import Finding, Outcome
from detectors.policy import Automation, PolicySettings
from detectors.release import ALL, Release
from detectors.verdict import Status, Verdict
from streams.backtest import Policy, backtest
from streams.backtest_outcome import (
    AlarmKind,
    Counted,
    Truth,
)
from streams.backtest_score import Scorer
from streams.recorded import Columns, open_files
from streams.timeline import DAY, MINUTE
from tests.unit.streams.made_up_recordings import (
    BAD,
    BUDGET,
    CONFIG,
    GOOD,
    LATEST_MS,
    PANE_MS,
    START_MS,
    in_time,
    minutes,
    replay,
    with_a_bad_canary,
    write,
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return with_a_bad_canary(tmp_path)


def failing(release: Release, status: Status, window_ms: int, onset_ms: int) -> Verdict:
    """The verdict on the minute from ``window_ms`` on; a FAIL has a finding on a score."""
    found = Finding(
        release=release,
        segment=ALL,
        column="scores.s",
        window_ms=MINUTE,
        window_start_ms=window_ms,
        revision=0,
        detector="drift",
        against="reference:x",
        statistic=1.0,
        threshold=0.5,
        n=60,
        n_against=60,
        outcome=Outcome.FAIL,
        reason="why",
        decides=True,
        critical=False,
        onset_ms=onset_ms,
    )
    return Verdict(
        release=release,
        status=status,
        reason="why",
        sequence=window_ms // MINUTE,
        as_of_ms=found.window_end_ms,
        window_start_ms=window_ms,
        window_ms=MINUTE,
        baseline_version="",
        events=60,
        p95_latency_ms=math.nan,
        p99_latency_ms=math.nan,
        findings=(found,) if status is Status.FAIL else (),
        offset=0,
    )


def test_without_any_truth_a_fail_is_just_an_alarm(canary: Path) -> None:
    (outcome,) = replay(canary, Truth())
    assert [(a.kind, a.delay_ms) for a in outcome.alarms] == [(AlarmKind.ALARM, None)]
    (score,) = outcome.scores
    assert (score.known, score.detections, score.false_alarms, score.allowed) == (False, 0, 0, 0)
    assert [exposure.events for exposure in outcome.exposures] == [62]


def test_of_a_healthy_model_every_fail_is_a_false_alarm_held_against_the_budget(
    canary: Path,
) -> None:
    (outcome,) = replay(canary, Truth({"m": None}))
    (score,) = outcome.scores
    assert (score.false_alarms, score.detections, score.missed) == (1, 0, ())
    assert score.allowed == pytest.approx(10 * MINUTE / (30 * DAY))
    assert outcome.exposures == ()


def test_a_fail_on_windows_before_the_change_is_false_even_if_it_is_raised_after(
    tmp_path: Path,
) -> None:
    recorded = write(tmp_path / "e.ndjson", minutes(GOOD, 0, 9, 6))
    # The first bad window ends with minute 7 and closes 2 s later.
    for change_ms, kind in (
        (START_MS + 7 * MINUTE, AlarmKind.FALSE_ALARM),
        (START_MS + 7 * MINUTE - 1, AlarmKind.DETECTION),
    ):
        (outcome,) = replay(recorded, Truth({"m": change_ms}))
        assert [alarm.kind for alarm in outcome.alarms] == [kind]
        assert outcome.alarms[0].at_ms > change_ms
    (outcome,) = replay(recorded, Truth({"m": START_MS + 7 * MINUTE}))
    assert outcome.scores[0].missed == ("the change (it was failing already)",)


def test_a_release_that_fails_again_by_the_same_column_is_one_detection(tmp_path: Path) -> None:
    """Bad, good for two minutes, and bad again: nothing else was found the second time."""
    off = CONFIG.model_copy(update={"policy": PolicySettings(automation=Automation.OFF)})
    parts = (minutes(BAD, 3, 5, 0), minutes(BAD, 5, 8), minutes(BAD, 8, 11, 0))
    recorded = write(tmp_path / "e.ndjson", in_time(minutes(GOOD, 0, 11), *parts))
    (outcome,) = replay(recorded, Truth(bad=frozenset({("m", "2")})), off)
    assert [(a.kind, a.repeated) for a in outcome.alarms] == [
        (AlarmKind.DETECTION, False),
        (AlarmKind.DETECTION, True),
    ]
    (score,) = outcome.scores
    assert (score.alarms, score.detections, score.repeated) == (1, 1, 1)


def test_a_false_alarm_on_other_events_is_another_one(tmp_path: Path) -> None:
    """It woke somebody up again, and the budget pays for each."""
    times = ((0, 4, None), (4, 5, 4), (5, 8, None), (8, 9, 8), (9, 11, None))
    parts = (minutes(GOOD, first, last, bad_from) for first, last, bad_from in times)
    recorded = write(tmp_path / "e.ndjson", chain.from_iterable(parts))
    (outcome,) = replay(recorded, Truth({"m": None}))
    (score,) = outcome.scores
    assert (score.false_alarms, score.repeated) == (2, 0)


@pytest.mark.parametrize(("onset_ms", "repeated"), [(MINUTE, True), (3 * MINUTE, False)])
def test_a_false_alarm_on_the_evidence_of_the_one_before_repeats_it(
    onset_ms: int, repeated: bool
) -> None:
    scorer = Scorer(Truth({"m": None}), BUDGET, PANE_MS)
    for status, window, since_ms in (
        (Status.FAIL, 2, MINUTE),
        (Status.PASS, 3, 0),
        (Status.FAIL, 4, onset_ms),
    ):
        verdict = failing(GOOD, status, window * MINUTE, since_ms)
        scorer.judged(verdict, verdict.as_of_ms)
    (score,) = scorer.outcome("p", Counted(), 5 * MINUTE).scores
    assert (score.false_alarms, score.repeated) == ((1, 1) if repeated else (2, 0))


def test_what_is_not_detected_is_missed_and_names_nobody_sent_are_said(tmp_path: Path) -> None:
    recorded = write(tmp_path / "e.ndjson", minutes(GOOD, 0, 5))
    truth = Truth({"m": START_MS + 2 * MINUTE, "typo": None}, frozenset({("m", "9")}))
    recording = open_files(recorded, Columns(), LATEST_MS)
    outcome = backtest(recording, [Policy("p", CONFIG)], [], truth, BUDGET)
    assert outcome.unseen == ("typo",)
    assert outcome.policies[0].scores[0].missed == ("the change", "version 9 (no events of it)")
