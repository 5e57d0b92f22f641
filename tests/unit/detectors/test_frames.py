"""Streams of panes from data frames, through the functions that judge live traffic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import polars as pl
import pyarrow as pa
import pytest

from detectors.arrow_rows import UnusableColumn
from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.finding import Outcome
from detectors.frames import Pane, follow_canary, follow_drift, follow_online, panes
from detectors.online_rules import Method, OnlineSettings, OnlineWatch
from detectors.payoffs import Basis
from detectors.reference import Reference
from detectors.table import reference_of, summarize_table
from detectors.verdict import Status

START = 1_700_000_000_000 // 60_000 * 60_000


def rows(seed: int, count: int, shift: float = 0.0, start_ms: int = START) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "ts": pd.to_datetime(start_ms + np.arange(count) * 100, unit="ms", utc=True),
            "scores.quality": rng.normal(0.7 + shift, 0.1, count),
            "features.plan": np.where(rng.random(count) < 0.2, "pro", "free"),
        }
    )


NORMAL: Reference = reference_of(rows(1, 20_000))


def same(first: list[Pane], second: list[Pane]) -> bool:
    return [(p.start_ms, p.summaries.vector.tolist()) for p in first] == [
        (p.start_ms, p.summaries.vector.tolist()) for p in second
    ]


def test_frames_of_every_library_give_the_same_panes() -> None:
    frame = rows(2, 3_000)
    expected = panes(frame, NORMAL, pane_ms=60_000)
    assert [pane.summaries.events for pane in expected] == [600] * 5
    assert expected[0].start_ms == START
    assert same(panes(pl.from_pandas(frame), NORMAL, pane_ms=60_000), expected)
    assert same(panes(pa.Table.from_pandas(frame), NORMAL, pane_ms=60_000), expected)
    seconds = frame.assign(ts=frame["ts"].astype("datetime64[us, UTC]"))
    assert same(panes(seconds, NORMAL, pane_ms=60_000), expected)
    whole = frame.assign(ts=START + np.arange(3_000) * 100)
    assert same(panes(whole, NORMAL, pane_ms=60_000), expected)


def test_panes_need_no_order_and_add_up_to_the_table() -> None:
    frame = rows(3, 3_000)
    cut = panes(frame.sample(frac=1.0, random_state=1), NORMAL, pane_ms=60_000)
    assert same(cut, panes(frame, NORMAL, pane_ms=60_000))
    merged = cut[0].summaries
    for pane in cut[1:]:
        merged = merged.merge(pane.summaries)
    whole = summarize_table(frame.drop(columns="ts"), NORMAL)
    assert merged.vector.tolist() == whole.vector.tolist()


def test_a_table_without_rows_has_no_panes() -> None:
    assert panes(rows(4, 0), NORMAL) == []


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (None, "no column 'ts'"),
        (pa.array([None, 1], pa.timestamp("ms")), "1 rows without a time"),
        (pa.array([0.5, 1.5]), "neither a timestamp nor whole milliseconds"),
    ],
)
def test_a_table_that_cannot_be_cut_says_why(times: Any, words: str) -> None:
    columns = {"scores.quality": [0.5, 0.6]} | ({} if times is None else {"ts": times})
    with pytest.raises(UnusableColumn, match=words):
        panes(pa.table(columns), NORMAL)


def test_times_that_are_a_feature_of_the_reference_are_refused() -> None:
    table = pa.table({"ts": list(range(1_000)), "x": [0.5] * 1_000})
    with pytest.raises(UnusableColumn, match="time always drifts"):
        panes(table, reference_of(table))
    with pytest.raises(ValueError, match="pane_ms"):
        panes(rows(1, 5), NORMAL, pane_ms=0)


def test_drift_is_followed_from_frame_to_words() -> None:
    quiet = panes(rows(5, 60_000), NORMAL, pane_ms=60_000)
    calm = follow_drift(NORMAL, quiet)
    assert calm.alarms == ()
    assert {reading.outcome for reading in calm.readings} == {Outcome.PASS}
    worse = panes(rows(6, 12_000, -0.05, quiet[-1].start_ms + 60_000), NORMAL, pane_ms=60_000)
    found = follow_drift(NORMAL, worse, state=calm.state)
    first = found.alarms[0]
    assert (first.column, first.direction) == ("scores.quality", "down")
    assert first.size.startswith("shifted by -0.")
    assert first.onset_ms >= quiet[-1].start_ms
    assert found.readings[0].outcome is Outcome.FAIL
    assert follow_drift(NORMAL, [*quiet, *worse]).alarms == found.alarms


def test_a_history_teaches_whether_rows_are_independent() -> None:
    past = panes(rows(1, 20_000), NORMAL, pane_ms=20_000)
    found = follow_drift(NORMAL, panes(rows(7, 6_000), NORMAL), DriftSettings(), past)
    assert found.alarms == ()
    assert "theorem" in found.readings[0].reason
    late = panes(rows(8, 9_000, -0.1), NORMAL)
    assert follow_drift(NORMAL, late, history=past).alarms[0].basis is Basis.THEOREM


def test_a_canary_is_judged_from_two_frames() -> None:
    production = panes(rows(9, 60_000), NORMAL)
    settings = CanarySettings()
    worse = follow_canary(panes(rows(10, 60_000, -0.05), NORMAL), production, settings, NORMAL)
    assert worse.status is Status.FAIL
    assert worse.roll_back
    assert "scores.quality" in worse.reason
    alone = follow_canary(panes(rows(10, 600, start_ms=0), NORMAL), production)
    assert alone.status is Status.INSUFFICIENT


def test_online_detectors_follow_the_same_panes() -> None:
    settings = OnlineSettings((OnlineWatch(Method.PAGE_HINKLEY, columns="scores.*"),))
    quiet = panes(rows(11, 12_000), NORMAL)
    worse = panes(rows(12, 6_000, -0.05, quiet[-1].start_ms + 10_000), NORMAL)
    found = follow_online(NORMAL, [*quiet, *worse], settings)
    when, detector, column = found.alarms[0]
    assert (detector, column) == ("page_hinkley_mean", "scores.quality")
    assert when > worse[0].start_ms
    assert found.findings[0].outcome is Outcome.FAIL
    at = datetime.fromtimestamp(when / 1000, UTC)
    assert at - datetime.fromtimestamp(START / 1000, UTC) < timedelta(hours=1)
    first = follow_online(NORMAL, quiet, settings)
    assert follow_online(NORMAL, worse, settings, first.state).state == found.state


@pytest.mark.parametrize(
    ("column", "moves"), [("features.tokens", "values move"), ("scores.s", "values go down")]
)
@pytest.mark.parametrize("tails", [True, False])
def test_harm_at_the_ends_of_a_scale_is_not_said_to_be_of_the_mean(
    column: str, moves: str, tails: bool
) -> None:
    """Both ends grow and the mean stays; against it, a mean that falls."""
    rng = np.random.default_rng(5)

    def arm(rows: int, every_ms: int, *, bad: bool = False) -> pa.Table:
        values = rng.normal(-0.5 if bad and not tails else 0.0, 1.0, rows)
        if bad and tails:
            out = rng.random(rows) < 0.04
            values[out] = np.where(rng.random(int(out.sum())) < 0.5, -4.0, 4.0)
        at = pa.array(np.arange(rows) * every_ms, pa.timestamp("ms"))
        return pa.table({"ts": at, column: values})

    before = reference_of(arm(20_000, 50))
    found = follow_canary(panes(arm(6_000, 500, bad=True), before), panes(arm(60_000, 50), before))
    (level,) = [each for each in found.standings if each.column == column and each.evidence > 9]
    zero_is_inside = level.difference.low <= 0 <= level.difference.high
    assert zero_is_inside == tails
    assert ("the interval of their mean holds 0" in level.reason) == tails
    assert level.reason.startswith(moves if tails else "values go down beyond the margin")
