"""A backtest on recorded answers of GPT-4 and on car loans: the five hours of the demo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from detectors.reference import Reference, reference_from_table
from detectors.release import Release
from streams.backtest import Policy, backtest
from streams.backtest_outcome import (
    Alarm,
    AlarmKind,
    BacktestOutcome,
    EndedBy,
    PolicyOutcome,
    Truth,
)
from streams.config import load_config
from streams.demo_traffic import CANARY, LOAN_MODEL, SHADOW, drift_at_ms, traffic
from streams.recorded import Columns, open_files
from streams.timeline import MINUTE
from tests.unit.streams.made_up_recordings import (
    BUDGET,
    LATEST_MS,
    START_MS,
)

EXAMPLES = Path(__file__).parents[3] / "examples"
DRIFT_MS = START_MS + drift_at_ms()
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
