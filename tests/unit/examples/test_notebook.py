"""The example without Kafka finds what is known of its data."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from detectors.bets import Move
from detectors.drift_settings import DAY_MS, DriftSettings, FalseAlarms
from detectors.frames import follow_drift, panes
from detectors.table import reference_of
from examples import notebook


def test_the_example_finds_the_change_and_the_bad_release(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notebook.main()
    said = capsys.readouterr().out
    # The applicants change on 31 March: nothing is said before, and all is said within two weeks.
    days = [line.split()[0] for line in said.splitlines() if line.startswith("  2019-")]
    assert days
    assert all("2019-03-31" <= day <= "2019-04-14" for day in days)
    assert "features.car_value: up" in said
    assert "fail, roll back: True" in said
    assert "scores.answer_format: values go down beyond the margin" in said


def test_the_words_of_an_alarm_never_contradict_its_numbers() -> None:
    """Of the probabilities, a bet on heavier tails wins although fewer lie in the tails now."""
    before = pq.read_table(notebook.HERE / "car_loan_reference.parquet")
    later = pq.read_table(notebook.HERE / "car_loan_analysis.parquet")
    column = "prediction.probabilities.repaid"
    normal = reference_of(before.select([column]))
    stream = panes(
        later.select([notebook.TIME, column]), normal, time=notebook.TIME, pane_ms=DAY_MS
    )
    found = follow_drift(normal, stream, DriftSettings(FalseAlarms(1, 100 * DAY_MS)))
    rises = {Move.UP, Move.WIDER, Move.HEAVIER_TAILS, Move.HEAVIER_UPPER_TAIL}
    falls = {Move.DOWN, Move.NARROWER, Move.LIGHTER_TAILS, Move.LIGHTER_UPPER_TAIL}
    assert found.alarms
    for alarm in found.state.alarms:
        assert alarm.move not in rises or alarm.after >= alarm.before
        assert alarm.move not in falls or alarm.after <= alarm.before
    assert {alarm.direction for alarm in found.alarms} & {"another shape"}
