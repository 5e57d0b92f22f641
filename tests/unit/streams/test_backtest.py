"""Backtests: on recorded answers of GPT-4 and car loans, and on small made-up recordings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow.parquet
import pytest

from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.finding import Finding, Outcome
from detectors.policy import Automation, PolicySettings
from detectors.reference import Reference, reference_from_table
from detectors.release import ALL, Release, Role
from detectors.thresholds import Against, Detector, Limit, ThresholdSettings
from detectors.verdict import Status, Verdict
from streams.backtest import MOST_WAITING, Line, Policy, backtest
from streams.backtest_outcome import (
    Alarm,
    AlarmKind,
    BacktestOutcome,
    Budget,
    Counted,
    EndedBy,
    PolicyOutcome,
    Truth,
)
from streams.backtest_score import Scorer
from streams.config import Config, load_config
from streams.demo_traffic import CANARY, LOAN_MODEL, SHADOW, drift_at_ms, traffic
from streams.pair_settings import Enabled, PairSettings
from streams.recorded import Columns, in_order, open_files
from streams.recorded_lines import LINES_AT_ONCE
from streams.standing import JudgeSettings
from streams.timeline import DAY, MINUTE, TimeSettings

EXAMPLES = Path(__file__).parents[3] / "examples"
START_MS = 1_699_999_200_000
DRIFT_MS = START_MS + drift_at_ms()
LATEST_MS = START_MS + 30 * DAY
BUDGET = Budget(1, 30 * DAY)
REAL_TRUTH = Truth(
    {"car_loan": DRIFT_MS},
    frozenset({("gpt-4", CANARY.version), ("gpt-4", SHADOW.version)}),
)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five hours of the demo, as lines of JSON."""
    file = tmp_path_factory.mktemp("recorded") / "events.ndjson"
    file.write_bytes(b"\n".join(message.value for message in traffic(EXAMPLES, START_MS)))
    return file


@pytest.fixture(scope="module")
def loan_reference() -> Reference:
    table = pyarrow.parquet.read_table(EXAMPLES / "car_loan_reference.parquet")
    return reference_from_table("car_loan", table.drop_columns(["recorded_at"]), "the sample")


@pytest.fixture(scope="module")
def real_outcome(real: Path, loan_reference: Reference) -> BacktestOutcome:
    config = load_config(EXAMPLES / "demo.yaml", {})
    quick = config.model_copy(update={"time": replace(config.time, windows_ms=(30 * MINUTE,))})
    policies = [Policy("as shipped", config), Policy("short windows", quick)]
    recording = open_files(real, Columns(), LATEST_MS)
    return backtest(recording, policies, [loan_reference], REAL_TRUTH, BUDGET)


def of(outcome: PolicyOutcome, release: Release) -> list[Alarm]:
    return [alarm for alarm in outcome.alarms if alarm.release == release]


def test_the_bad_canary_is_detected_and_rolled_back_with_its_delay(
    real_outcome: BacktestOutcome,
) -> None:
    for policy in real_outcome.policies:
        (alarm,) = of(policy, CANARY)
        assert alarm.kind is AlarmKind.DETECTION
        assert alarm.delay_ms is not None
        assert alarm.delay_events is not None
        # It answers a question every 9 s from the first hour on, and a window lasts 30 minutes.
        assert 30 * MINUTE <= alarm.delay_ms <= 61 * MINUTE
        assert alarm.delay_events == alarm.delay_ms // 9_000
        (exposure,) = [e for e in policy.exposures if e.release == CANARY]
        assert exposure.ended_by is EndedBy.ROLLBACK
        assert exposure.until_ms == alarm.at_ms
        assert exposure.events == alarm.delay_events
        assert exposure.share == pytest.approx(0.5, abs=0.01)
        assert policy.rollbacks == 1


def test_the_drift_of_the_loans_is_detected_and_nothing_before_it(
    real_outcome: BacktestOutcome,
) -> None:
    for policy in real_outcome.policies:
        first = of(policy, LOAN_MODEL)[0]
        assert first.kind is AlarmKind.DETECTION
        assert first.at_ms > DRIFT_MS
        (score,) = [score for score in policy.scores if score.model == "car_loan"]
        assert score.false_alarms == 0
        assert score.missed == ()
        assert score.healthy_ms == pytest.approx(drift_at_ms(), abs=MINUTE)
        (exposure,) = [e for e in policy.exposures if e.release == LOAN_MODEL]
        assert exposure.ended_by is EndedBy.PAGE
        assert exposure.events == exposure.model_events


def test_every_real_event_is_counted_under_each_policy(
    real_outcome: BacktestOutcome, real: Path
) -> None:
    lines = real.read_bytes().count(b"\n") + 1
    for policy in real_outcome.policies:
        counted = policy.counted
        assert counted.events + counted.dead + counted.late == lines
        assert counted.late == 0
        assert sum(course.events for course in policy.courses) == lines - counted.withheld
        assert counted.withheld > 0


# --- made-up recordings --------------------------------------------------------------------------

PANE_MS = 10_000
SECOND_MS = 1_000
GOOD, BAD = Release("m", "1", Role.PRODUCTION), Release("m", "2", Role.CANARY)
CONFIG = Config(
    time=TimeSettings(pane_ms=PANE_MS, windows_ms=(MINUTE,)),
    drift=DriftSettings(enabled=False),
    canary=CanarySettings(enabled=False),
    judge=JudgeSettings(confirm_fails=1, confirm_of=1, learn_events=100),
    detect=ThresholdSettings(
        min_events=20,
        limits=(
            Limit(Detector.MEAN_WORSE, 0.5, "scores.*", Against.PRODUCTION, critical=True),
            Limit(Detector.MEAN_WORSE, 0.5, "scores.*"),
        ),
    ),
)


def event(at_ms: int, release: Release, score: float) -> dict[str, object]:
    return {
        "ts": START_MS + at_ms,
        "model": release.model,
        "version": release.version,
        "role": release.role.value,
        "prediction": {"label": "yes"},
        "scores": {"s": score},
    }


def noise(at_ms: int) -> float:
    return 0.9 + 0.01 * (at_ms // SECOND_MS * 7 % 11)


def minutes(
    release: Release, first: int, last: int, bad_from: int | None = None
) -> Iterator[dict[str, object]]:
    """An event every second; from minute ``bad_from`` on with low scores."""
    for at_ms in range(first * MINUTE, last * MINUTE, SECOND_MS):
        low = bad_from is not None and at_ms >= bad_from * MINUTE
        yield event(at_ms, release, noise(at_ms) - (0.8 if low else 0.0))


def in_time(*streams: Iterable[Mapping[str, object]]) -> list[Mapping[str, object]]:
    merged = [each for stream in streams for each in stream]
    return sorted(merged, key=lambda each: (str(each["ts"]), str(each["version"])))


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


def write(path: Path, events: Iterable[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    return path


def replay(path: Path, truth: Truth, *configs: Config) -> Sequence[PolicyOutcome]:
    policies = [Policy(str(i), config) for i, config in enumerate(configs or (CONFIG,))]
    recording = open_files(path, Columns(), LATEST_MS)
    return backtest(recording, policies, [], truth, BUDGET).policies


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Production for ten minutes, and from the third on a canary with low scores."""
    return write(tmp_path / "e.ndjson", in_time(minutes(GOOD, 0, 10), minutes(BAD, 3, 10, 0)))


def test_what_is_served_after_the_rollback_is_withheld_and_not_exposure(canary: Path) -> None:
    (outcome,) = replay(canary, Truth(bad=frozenset({("m", "2")})))
    (exposure,) = outcome.exposures
    # The window of minute 3 closes when the watermark, 2 s behind, passes its end.
    assert exposure.until_ms == START_MS + 4 * MINUTE + 2 * SECOND_MS
    assert exposure.events == 62
    assert (
        exposure.model_events == 125
    )  # production's event of that second comes first, and leads to it
    assert outcome.counted.withheld == 7 * 60 - exposure.events
    assert outcome.rollbacks == 1
    assert [(a.kind, a.delay_events) for a in outcome.alarms] == [(AlarmKind.DETECTION, 62)]


def test_a_dry_run_rolls_nothing_back_so_the_exposure_lasts_to_the_end(canary: Path) -> None:
    dry = CONFIG.model_copy(update={"policy": PolicySettings(automation=Automation.DRY_RUN)})
    (outcome,) = replay(canary, Truth(bad=frozenset({("m", "2")})), dry)
    (exposure,) = outcome.exposures
    assert exposure.ended_by is EndedBy.END
    assert exposure.events == 7 * 60
    assert (outcome.rollbacks, outcome.counted.withheld) == (0, 0)


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


@pytest.mark.parametrize("with_answer", [True, False])
def test_a_shadow_is_held_against_production_request_by_request(
    tmp_path: Path, *, with_answer: bool
) -> None:
    """Each answer of the shadow is a little worse than production's to the same request. Questions
    differ far more than that, so it takes pairs to see it, be the scores in the answers or in
    events of their own that come later."""
    shadow = Release("m", "2", Role.SHADOW)

    def asked(release: Release, less: float) -> Iterator[dict[str, object]]:
        for number, at_ms in enumerate(range(0, 10 * MINUTE, SECOND_MS)):
            score = 0.1 + 0.8 * (number * 37 % 100) / 100 - less
            answered = event(at_ms, release, score) | {"request_id": f"r{number}"}
            if with_answer:
                yield answered
                continue
            later = answered | {"ts": START_MS + at_ms + 700}
            del answered["scores"], later["prediction"]
            yield from (answered, later)

    recorded = write(tmp_path / "e.ndjson", in_time(asked(GOOD, 0.0), asked(shadow, 0.02)))
    paired = CONFIG.model_copy(
        update={
            "detect": ThresholdSettings(min_events=20, limits=()),
        }
    )
    alone = paired.model_copy(update={"pairing": PairSettings(enabled=Enabled.OFF)})
    with_pairs, without = replay(recorded, Truth(), paired, alone)
    (alarm,) = with_pairs.alarms
    assert alarm.release == shadow
    assert alarm.reason.startswith("scores.s: worse in ")
    assert without.alarms == ()


def test_two_policies_see_the_same_events_and_do_not_touch_each_other(canary: Path) -> None:
    truth = Truth(bad=frozenset({("m", "2")}))
    off = CONFIG.model_copy(update={"policy": PolicySettings(automation=Automation.OFF)})
    together = replay(canary, truth, CONFIG, off)
    alone = [*replay(canary, truth, CONFIG), *replay(canary, truth, off)]
    assert [replace(each, name="") for each in together] == [
        replace(each, name="") for each in alone
    ]
    assert [each.rollbacks for each in together] == [1, 0]


def test_a_replay_of_a_replay_is_the_same_and_so_is_one_from_many_files(
    canary: Path, tmp_path: Path
) -> None:
    """The outcome follows from the events, not from how they lie in files."""
    lines = canary.read_bytes().splitlines(keepends=True)
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "b-first.ndjson").write_bytes(b"".join(lines[:300]))
    (folder / "a-second.ndjson").write_bytes(b"".join(lines[300:]))
    truth = Truth(bad=frozenset({("m", "2")}))
    once = replay(canary, truth)
    assert replay(canary, truth) == once
    assert replay(folder, truth) == once
    table = tmp_path / "e.parquet"
    rows = [json.loads(line) for line in lines]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), table, row_group_size=97)
    assert replay(table, truth) == once


def test_late_events_are_left_out_and_counted(tmp_path: Path) -> None:
    late = [event(at_ms, GOOD, 0.0) for at_ms in range(0, 30_000, SECOND_MS)]
    recorded = write(tmp_path / "e.ndjson", [*minutes(GOOD, 0, 30), *late])
    (outcome,) = replay(recorded, Truth())
    assert outcome.counted.late == len(late)
    assert outcome.counted.events == 30 * 60
    assert [c.events for c in outcome.courses] == [30 * 60]


def test_unreadable_lines_are_counted_with_their_reason_and_never_pile_up(tmp_path: Path) -> None:
    recorded = tmp_path / "e.ndjson"
    rows = MOST_WAITING + 3 * LINES_AT_ONCE
    recorded.write_text("".join(f'{{"n": {i}}}\n' for i in range(rows)))
    recording = open_files(recorded, Columns(), LATEST_MS)
    line = Line(Policy("p", CONFIG), recording.input, [], Truth(), BUDGET)
    waiting = []
    for block in in_order(recording, PANE_MS):
        line.take(block)
        waiting.append(len(line._summarizer._outgoing))
    assert max(waiting) < MOST_WAITING
    outcome = line.finish()
    assert (outcome.counted.events, outcome.counted.dead) == (0, rows)
    assert outcome.counted.reasons == (("model is missing or not a readable name", rows),)
    assert outcome.courses == ()


def test_one_absurd_clock_does_not_make_the_rest_late(tmp_path: Path) -> None:
    events = list(minutes(GOOD, 0, 20))
    events.insert(100, {**event(0, GOOD, 0.9), "ts": LATEST_MS + DAY})
    (outcome,) = replay(write(tmp_path / "e.ndjson", events), Truth())
    assert (outcome.counted.late, outcome.counted.dead) == (0, 1)
    assert outcome.counted.events == 20 * 60


def test_the_course_of_a_release_holds_each_change_of_status_once(canary: Path) -> None:
    (outcome,) = replay(canary, Truth())
    (course,) = [c for c in outcome.courses if c.release == BAD]
    assert [status for _, status in course.statuses] == [Status.FAIL, Status.INSUFFICIENT]
    assert course.statuses[0][0] == START_MS + 4 * MINUTE + 2 * SECOND_MS
