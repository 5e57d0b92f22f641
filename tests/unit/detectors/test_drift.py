"""Drift of a release against a reference, from tables to words."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.cells import Aspect, Cells, cells_of, count, rows_of
from detectors.drift import Step, step
from detectors.drift_evidence import Reading, finding_of, ranked, readings
from detectors.drift_settings import BurstBound, DriftSettings, FalseAlarms
from detectors.drift_state import DriftState, UnreadableState, empty_state, from_bytes, to_bytes
from detectors.finding import Outcome
from detectors.payoffs import Payoffs, dictionary_of, normal_without_panes, payoffs
from detectors.reference import Reference
from detectors.release import ALL, Release, Role
from detectors.table import reference_of, summarize_table
from detectors.thresholds import Place

PANE = 10_000
SETTINGS = DriftSettings()


def people(rng: np.random.Generator, rows: int, **change: float) -> Any:
    age = rng.normal(40 + 10 * change.get("shift", 0.0), 10 * change.get("spread", 1.0), rows)
    plan = np.where(rng.random(rows) < change.get("pro", 0.2), "pro", "free").astype(object)
    plan[rng.random(rows) < change.get("trial", 0.0)] = "trial"
    latency = rng.lognormal(4, 0.5, rows)
    latency = np.where(rng.random(rows) < change.get("slow", 0.0), latency * 10, latency)
    gone = rng.random(rows) < change.get("missing", 0.01)
    return pa.table(
        {
            "features.age": pa.array(age, mask=gone),
            "features.plan": pa.array(plan.tolist()),
            "latency_ms": latency,
        }
    )


class Watched:
    """A reference, what it lets us watch, and the state after the panes seen so far."""

    def __init__(self, reference: Reference, settings: DriftSettings = SETTINGS) -> None:
        self.reference = reference
        self.settings = settings
        self.cells: Cells = cells_of(reference.summaries)
        counts = count(self.cells, reference.summaries)
        normal = normal_without_panes(dictionary_of(self.cells), counts)
        self.paid: Payoffs = payoffs(normal, 0, settings)
        self.state: DriftState = empty_state(normal.dictionary)
        self.at = 0
        self.rows = rows_of(self.cells, counts) * 0

    def see(self, table: Any) -> Step:
        counts = count(self.cells, summarize_table(table, self.reference))
        self.rows = rows_of(self.cells, counts)
        took = step(self.state, self.paid, counts, 1.0, self.at, PANE, self.settings)
        self.state = took.state
        self.at += PANE
        return took

    def readings(self) -> list[Reading]:
        return ranked(readings(self.state, self.paid, self.rows, self.at, self.settings))

    def of(self, column: str, aspect: Aspect = Aspect.VALUES) -> Reading:
        (found,) = (r for r in self.readings() if (r.column, r.aspect) == (column, aspect))
        return found


def watched(settings: DriftSettings = SETTINGS) -> Watched:
    return Watched(reference_of(people(np.random.default_rng(1), 50_000)), settings)


def until_alarm(drift: Watched, **change: float) -> Reading:
    rng = np.random.default_rng(2)
    for _ in range(20):
        assert not drift.see(people(rng, 500)).alarms
    for _ in range(60):
        if drift.see(people(rng, 500, **change)).alarms:
            return drift.readings()[0]
    raise AssertionError(f"no alarm after 60 panes of {change}")


@pytest.mark.parametrize(
    ("change", "column", "words"),
    [
        ({"shift": 0.4}, "features.age", "up"),
        ({"shift": -0.4}, "features.age", "down"),
        ({"spread": 1.5}, "features.age", "wider"),
        ({"spread": 0.6}, "features.age", "narrower"),
        ({"slow": 0.05}, "latency_ms", "heavier upper tail"),
        ({"pro": 0.35}, "features.plan", "pro up"),
        ({"trial": 0.03}, "features.plan", "new or other categories up"),
        ({"missing": 0.05}, "features.age", "missing up"),
    ],
)
def test_an_alarm_names_column_direction_size_and_beginning(
    change: dict[str, float], column: str, words: str
) -> None:
    drift = watched()
    first = until_alarm(drift, **change)
    assert (first.column, first.outcome) == (column, Outcome.FAIL)
    if words in ("pro up", "new or other categories up"):
        assert first.direction in (words, "free down")
    else:
        assert first.direction == words
    assert first.size
    assert abs(first.onset_ms - 20 * PANE) <= 3 * PANE
    assert first.share >= 1
    assert first.direction in first.reason
    assert "could not be checked" in first.reason


def test_sizes_are_in_units_people_know() -> None:
    shift = until_alarm(watched(), shift=0.5).size
    assert shift.startswith("shifted by +0.")
    amount = float(shift.split()[2])
    assert 0.4 < amount < 0.6
    missing = until_alarm(watched(), missing=0.08).size
    assert re.fullmatch(r"[67]\.\d+% of events, was 0\.893% \(\d\.\d+ times\)", missing)


def test_without_a_change_columns_pass_and_say_on_what_promise() -> None:
    drift = watched()
    rng = np.random.default_rng(3)
    for _ in range(100):
        assert not drift.see(people(rng, 300)).alarms
    for reading in drift.readings():
        assert reading.outcome is Outcome.PASS
        assert "false-alarm budget; theorem for independent rows" in reading.reason
    assert sum(r.contribution for r in drift.readings()) == pytest.approx(1)


def test_changes_below_the_minimum_effect_are_no_drift() -> None:
    drift = watched()
    rng = np.random.default_rng(4)
    for _ in range(60):
        assert not drift.see(people(rng, 5_000, shift=0.03)).alarms


def test_a_column_that_disappears_is_missing() -> None:
    drift = watched()
    rng = np.random.default_rng(5)
    for _ in range(5):
        drift.see(people(rng, 300).drop_columns(["features.plan"]))
    reading = drift.of("features.plan", Aspect.PRESENCE)
    assert (reading.outcome, reading.direction) == (Outcome.FAIL, "missing up")
    values = drift.of("features.plan")
    assert values.outcome is Outcome.INSUFFICIENT
    assert values.reason == "no events to judge in this window"


def test_an_alarm_stands_while_the_change_lasts_and_ends_after_it() -> None:
    drift = watched(replace(SETTINGS, hold_ms=0))
    until_alarm(drift, shift=0.4)
    rng = np.random.default_rng(6)
    for _ in range(30):
        drift.see(people(rng, 500, shift=0.4))
        assert drift.of("features.age").outcome is Outcome.FAIL
    for _ in range(30):
        drift.see(people(rng, 500))
    assert drift.of("features.age").outcome is Outcome.PASS


def test_no_single_pane_can_alarm_where_rows_may_depend_on_each_other() -> None:
    burst = people(np.random.default_rng(7), 5_000, shift=5.0)
    bounded = watched()
    assert not bounded.see(burst).alarms
    free = watched(replace(SETTINGS, burst_bound=BurstBound.NEVER))
    assert free.see(burst).alarms


def test_a_pane_is_settled_once_and_time_does_not_run_backwards() -> None:
    drift = watched()
    rng = np.random.default_rng(8)
    drift.see(people(rng, 500))
    before = drift.state
    drift.at -= PANE
    took = drift.see(people(rng, 500, shift=1.0))
    assert took.state is before
    assert took.refused == "the pane is not newer than the last one settled"


def test_empty_panes_change_no_mass() -> None:
    drift = watched()
    rng = np.random.default_rng(9)
    drift.see(people(rng, 500))
    before = drift.state.mass
    drift.see(people(rng, 0))
    assert np.array_equal(drift.state.mass, before)
    assert drift.of("features.age").outcome is Outcome.INSUFFICIENT


def test_few_events_are_insufficient() -> None:
    drift = watched()
    drift.see(people(np.random.default_rng(10), 50))
    reading = drift.of("latency_ms")
    assert reading.outcome is Outcome.INSUFFICIENT
    assert reading.reason == "50 events seen so far, 200 needed"


@pytest.mark.parametrize("rows", [1, 5])
def test_a_reference_of_a_few_rows_judges_nothing(rows: int) -> None:
    drift = Watched(reference_of(people(np.random.default_rng(11), rows, missing=0.0)))
    for _ in range(10):
        assert not drift.see(people(np.random.default_rng(12), 1000, shift=3.0)).alarms
    for reading in drift.readings():
        assert reading.outcome is Outcome.INSUFFICIENT
        assert f"the reference has {rows} rows" in reading.reason


def test_hostile_values_give_a_status_and_never_raise() -> None:
    wild = [0.0, 1e308, -1e308, math.inf, -math.inf, math.nan, 5e-324]
    rows = 300
    table = pa.table(
        {
            "constant": [7.0] * rows,
            "huge": [wild[i % len(wild)] for i in range(rows)],
            "empty": pa.array([None] * rows, pa.float64()),
            "text": pa.array([None] * rows, pa.string()),
            "same": ["x"] * rows,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drift = Watched(reference_of(table))
        for _ in range(20):
            drift.see(table)
        found = {(r.column, r.aspect): r for r in drift.readings()}
        assert found["empty", Aspect.VALUES].outcome is Outcome.INSUFFICIENT
        assert "holds no value" in found["empty", Aspect.VALUES].reason
        assert found["constant", Aspect.VALUES].outcome is Outcome.PASS
        changed = table.set_column(0, "constant", pa.array([8.0] * rows))
        changed = changed.set_column(4, "same", pa.array(["never seen"] * rows))
        for _ in range(10):
            drift.see(changed)
        assert drift.of("constant").outcome is Outcome.FAIL
        assert drift.of("same").outcome is Outcome.FAIL


def test_counts_of_any_size_keep_masses_finite() -> None:
    drift = watched()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (2.0**53, 0.0, 1.0, math.nan, math.inf, -1.0):
            counts = np.full(drift.cells.width, value)
            took = step(drift.state, drift.paid, counts, 1.0, drift.at, PANE, SETTINGS)
            drift.state, drift.at = took.state, drift.at + PANE
            assert np.isfinite(took.state.mass).all()
            assert np.isfinite(took.state.onset).all()


def test_summaries_of_another_reference_are_refused() -> None:
    drift = watched()
    other = reference_of(people(np.random.default_rng(13), 1000))
    with pytest.raises(ValueError, match="summaries stand on reference"):
        count(drift.cells, summarize_table(people(np.random.default_rng(1), 10), other))


def test_state_survives_a_restart_bit_for_bit() -> None:
    drift = watched()
    until_alarm(drift, shift=0.4)
    dictionary = drift.paid.normal.dictionary
    data = to_bytes(drift.state, dictionary)
    back = from_bytes(data, dictionary)
    assert to_bytes(back, dictionary) == data
    assert back.alarms == drift.state.alarms
    with pytest.raises(UnreadableState, match="cut off"):
        from_bytes(data[:-8], dictionary)
    with pytest.raises(UnreadableState, match="version 9"):
        from_bytes(b"\x09" + data[1:], dictionary)
    other = dictionary_of(cells_of(reference_of(pa.table({"x": [1.0, 2.0]})).summaries))
    with pytest.raises(UnreadableState, match="another reference"):
        from_bytes(data, other)


def test_a_reading_becomes_a_finding_with_its_share_of_the_budget() -> None:
    reading = until_alarm(watched(), shift=0.4)
    place = Place(Release("m", "1", Role.PRODUCTION), ALL, 60_000, 0, 0)
    finding = finding_of(reading, place, "reference:abc")
    assert (finding.detector, finding.outcome, finding.threshold) == ("drift", Outcome.FAIL, 1.0)
    assert finding.statistic >= 1
    assert finding.decides


@pytest.mark.parametrize(("count_", "period"), [(0.0, 1), (math.nan, 1), (1.0, 0), (1e-300, 10)])
def test_budgets_that_mean_nothing_are_refused(count_: float, period: int) -> None:
    with pytest.raises(ValueError, match="false_alarms"):
        FalseAlarms(count_, period)
