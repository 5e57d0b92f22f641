"""References that learn from their panes: dependence, seasons, and how that is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from detectors.arm_variance import ArmVariance, Excess
from detectors.canary_rules import Measure
from detectors.drift_settings import DriftSettings
from detectors.learning import MOST_PANES, series_of_table, taught
from detectors.learnt import description
from detectors.payoffs import Basis
from detectors.reference import Reference, from_json, reference_from_table, to_json
from detectors.reference_file import InvalidReference
from detectors.release import ALL
from detectors.season import Season
from detectors.watching import watching

PANE_MS, HOUR_MS = 10_000, 3_600_000
SETTINGS = DriftSettings()
Floats = NDArray[np.float64]


def times(panes: int, rows: int, pane_ms: int = PANE_MS) -> NDArray[np.int64]:
    return np.repeat(np.arange(panes) * pane_ms, rows) + np.tile(np.arange(rows), panes)


def reference_of(
    values: Floats, ts_ms: NDArray[np.int64], settings: DriftSettings = SETTINGS
) -> Reference:
    table = pa.table({"features.x": values})
    reference = reference_from_table("m", table, "a test")
    return taught(reference, series_of_table(reference, table, ts_ms, PANE_MS), settings)


def independent(panes: int = 100, rows: int = 50) -> Reference:
    rng = np.random.default_rng(1)
    return reference_of(rng.normal(size=panes * rows), times(panes, rows))


def basis_of(reference: Reference, settings: DriftSettings = SETTINGS) -> dict[str, Basis]:
    watched = watching(reference, ALL, settings)
    assert watched is not None
    names = [f"{watch.column} {watch.aspect}" for watch in watched.cells.watches]
    return dict(zip(names, watched.normal.basis, strict=True))


def test_independent_rows_make_the_promise_a_theorem() -> None:
    reference = independent()
    assert basis_of(reference)["features.x values"] is Basis.THEOREM
    assert reference.learnt is not None
    assert "100 panes" in description(reference.learnt)


def test_panes_that_lean_together_are_deflated_and_say_so() -> None:
    rng = np.random.default_rng(2)
    lean = np.repeat(rng.normal(0, 0.4, 100), 50)
    reference = reference_of(rng.normal(size=5_000) + lean, times(100, 50))
    assert basis_of(reference)["features.x values"] is Basis.REPLAY
    assert reference.learnt is not None
    assert reference.learnt.inflation.max() > 2


def test_canaries_learn_by_how_much_like_arms_differ() -> None:
    rng = np.random.default_rng(2)
    lean = np.repeat(rng.normal(0, 0.4, 200), 50)
    reference = reference_of(rng.normal(size=10_000) + lean, times(200, 50))
    assert reference.learnt is not None
    excess = reference.learnt.arms.learnt["features.x", Measure.LEVEL]
    assert excess.factor > 2
    again = from_json(to_json(reference))
    assert again.learnt is not None
    assert again.learnt.arms == reference.learnt.arms
    calm = independent()
    assert calm.learnt is not None
    assert not calm.learnt.arms.learnt


def test_few_panes_change_nothing() -> None:
    values = np.random.default_rng(3).normal(size=500)
    plain = reference_from_table("m", pa.table({"features.x": values}), "a test")
    reference = reference_of(values, times(10, 50))
    assert reference.id == plain.id
    assert basis_of(reference)["features.x values"] is Basis.UNCHECKED


def test_what_was_learnt_is_in_the_file_and_in_the_id() -> None:
    reference = independent()
    again = from_json(to_json(reference))
    assert again.id == reference.id
    assert to_json(again) == to_json(reference)
    assert basis_of(again) == basis_of(reference)
    values = np.random.default_rng(1).normal(size=5_000)
    plain = reference_from_table("m", pa.table({"features.x": values}), "a test")
    assert plain.id != reference.id


def test_other_settings_take_the_reference_as_one_lump() -> None:
    other = DriftSettings(minimum_effect=0.1)
    assert basis_of(independent(), other)["features.x values"] is Basis.UNCHECKED
    wider = DriftSettings(hold_ms=1)  # which has nothing to do with what is normal
    assert basis_of(independent(), wider)["features.x values"] is Basis.THEOREM


def test_a_season_has_a_slot_for_each_hour() -> None:
    settings = DriftSettings(season=Season.HOUR_OF_DAY)
    rng = np.random.default_rng(4)
    ts_ms = times(480, 20, pane_ms=HOUR_MS // 4)
    hour = ts_ms // HOUR_MS % 24
    reference = reference_of(rng.normal(size=len(ts_ms)) + hour / 4.0, ts_ms, settings)
    watched = watching(reference, ALL, settings)
    assert watched is not None
    assert watched.normal.counts.shape[0] == 24
    night, noon = (watched.payoffs(at * HOUR_MS, settings).law for at in (0, 12))
    assert np.abs(night - noon).sum() > 0.5


def test_panes_are_lengthened_until_there_are_not_too_many() -> None:
    ts_ms = np.arange(0, 10 * MOST_PANES * PANE_MS, PANE_MS)
    table = pa.table({"features.x": np.zeros(len(ts_ms))})
    reference = reference_from_table("m", table, "a test")
    series = series_of_table(reference, table, ts_ms, PANE_MS)
    assert len(series.panes) <= MOST_PANES
    assert series.length_ms % PANE_MS == 0
    assert sum(pane.events for pane in series.panes) == len(ts_ms)


def test_rows_without_a_time_are_in_no_pane() -> None:
    ts_ms = np.array([-1, 5, -1, 20_005, 7])
    table = pa.table({"features.x": [1.0, 2.0, 3.0, 4.0, 5.0]})
    reference = reference_from_table("m", table, "a test")
    series = series_of_table(reference, table, ts_ms, PANE_MS)
    assert (series.starts_ms, [p.events for p in series.panes]) == ((0, 20_000), [2, 1])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("inflation", [0.5]),
        ("counts", [[1], [1, 2]]),
        ("counts", []),
        ("pane_rows", [-1.0]),
        ("basis", ["trust me"]),
        ("unarmed", []),
        ("arms", [["features.x", "level", 0.5, 1.0, 50]]),
    ],
)
def test_a_file_with_something_impossible_in_it_is_refused(part: str, value: object) -> None:
    content = json.loads(to_json(independent()))
    content["learnt"][part] = value
    with pytest.raises(InvalidReference):
        from_json(json.dumps(content).encode())


def test_a_file_whose_inflation_was_lowered_by_hand_is_refused() -> None:
    content = json.loads(to_json(independent()))
    content["learnt"]["inflation"][0] += 1.0
    with pytest.raises(InvalidReference, match="changed after it was written"):
        from_json(json.dumps(content).encode())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["x"], "; canaries: 1 measure varies more than chance"),
        (["x", "y"], "; canaries: 2 measures vary more than chance"),
    ],
)
def test_a_single_measure_is_said_in_the_singular(names: list[str], said: str) -> None:
    learnt = independent().learnt
    assert learnt is not None
    arms = ArmVariance({(name, Measure.LEVEL): Excess(1.5, 1.0, 200) for name in names})
    assert description(replace(learnt, arms=arms)).endswith(said)
