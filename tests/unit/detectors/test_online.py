"""The online detectors over panes of a release: what they are given, what they say, how they are
written down."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.finding import Finding, Outcome
from detectors.online import OnlineState, findings_of, step
from detectors.online_bytes import UnreadableState, from_bytes, to_bytes
from detectors.online_feed import figures, followed, given
from detectors.online_rules import Feed, Method, OnlineSettings, OnlineWatch, Quantity
from detectors.reference import Reference
from detectors.release import ALL, Release, Role
from detectors.summary import Summaries
from detectors.table import reference_of, summarize_table
from detectors.thresholds import Place

PANE = 10_000
EVERY = OnlineSettings(
    (
        OnlineWatch(Method.ADWIN),
        OnlineWatch(Method.PAGE_HINKLEY, feed=Feed.SAMPLE),
        OnlineWatch(Method.KSWIN, Quantity.NULL_RATE),
        OnlineWatch(Method.KSWIN, Quantity.P95, "latency_ms"),
        OnlineWatch(Method.DDM, Quantity.ERROR_RATE),
        OnlineWatch(Method.EDDM, Quantity.NULL_RATE, feed=Feed.SAMPLE),
        OnlineWatch(Method.HDDM_A, Quantity.SHARE, category="pro"),
        OnlineWatch(Method.HDDM_W, Quantity.P95),
    )
)


def rows(rng: np.random.Generator, count: int, shift: float = 0.0, missing: float = 0.01) -> Any:
    gone = rng.random(count) < missing
    return pa.table(
        {
            "features.age": pa.array(rng.normal(40 + 10 * shift, 10, count), mask=gone),
            "features.plan": np.where(rng.random(count) < 0.2 + 0.1 * shift, "pro", "free"),
            "latency_ms": rng.lognormal(4 + shift, 0.5, count),
        }
    )


RNG = np.random.default_rng(1)
REFERENCE: Reference = reference_of(rows(RNG, 20_000))
NORMAL = REFERENCE.summaries


def pane(rng: np.random.Generator, count: int = 200, /, **change: float) -> Summaries:
    return summarize_table(rows(rng, count, **change), REFERENCE)


def played(
    settings: OnlineSettings,
    panes: int,
    start: int = 0,
    state: OnlineState | None = None,
    **change: float,
) -> OnlineState:
    state = state or OnlineState()
    for at in range(start, start + panes):
        # Each pane has a seed of its own, so that a stream can be played in parts.
        part = pane(np.random.default_rng((2, at)), 200, **change)
        state = step(state, part, NORMAL, at * PANE, PANE, settings)
    return state


def said(state: OnlineState, settings: OnlineSettings, window: Summaries) -> list[Finding]:
    place = Place(Release("m", "1", Role.PRODUCTION), ALL, PANE, state.upto_ms - PANE, 0)
    return findings_of(state, window, NORMAL, place, settings)


def test_nothing_is_followed_by_default() -> None:
    state = step(OnlineState(), pane(RNG), NORMAL, 0, PANE, OnlineSettings())
    assert state == OnlineState()
    assert said(state, OnlineSettings(), pane(RNG)) == []


def test_a_shift_is_found_shown_and_decides_nothing() -> None:
    settings = OnlineSettings((OnlineWatch(Method.ADWIN, columns="features.age"),))
    state = played(settings, 40)
    (quiet,) = said(state, settings, pane(RNG))
    assert quiet.outcome is Outcome.PASS
    assert quiet.statistic < 1
    state = played(settings, 10, 40, state, shift=0.5)
    (found,) = said(state, settings, pane(RNG))
    assert found.outcome is Outcome.FAIL
    assert found.detector == "adwin_mean"
    assert found.column == "features.age"
    assert found.direction == "up"
    assert 1 < found.effect < 8
    assert not found.decides
    assert not found.critical
    assert found.reason.startswith("mean up, 4")
    assert found.reason.endswith("without a false-alarm budget")


def test_an_alarm_stands_for_a_while_and_decides_where_it_was_told_to() -> None:
    watch = OnlineWatch(Method.PAGE_HINKLEY, columns="features.age", decides=True)
    settings = OnlineSettings((watch,), hold_ms=5 * PANE)
    state = played(settings, 60, shift=0.0)
    state = played(settings, 40, 60, state, shift=1.0)
    (alarm,) = [track.alarm for track in state.tracks]
    assert alarm is not None
    while state.upto_ms <= alarm.at_ms + settings.hold_ms:
        (found,) = said(state, settings, pane(RNG))
        assert (found.outcome, found.decides) == (Outcome.FAIL, True)
        state = played(settings, 1, state.upto_ms // PANE, state, shift=1.0)
    (found,) = said(state, settings, pane(RNG))
    assert found.outcome is not Outcome.FAIL


@pytest.mark.parametrize(
    ("watch", "change"),
    [
        (OnlineWatch(Method.KSWIN, Quantity.NULL_RATE, "features.age"), {"missing": 0.3}),
        (OnlineWatch(Method.DDM, Quantity.NULL_RATE, "features.age"), {"missing": 0.3}),
        (OnlineWatch(Method.HDDM_A, Quantity.P95, "latency_ms"), {"shift": 1.0}),
        (OnlineWatch(Method.ADWIN, Quantity.P95, "latency_ms"), {"shift": 1.0}),
        (OnlineWatch(Method.ADWIN, Quantity.SHARE, "features.plan"), {"shift": 1.0}),
        (
            OnlineWatch(Method.HDDM_W, Quantity.SHARE, category="pro", feed=Feed.SAMPLE),
            {"shift": 3.0},
        ),
        (
            OnlineWatch(Method.EDDM, Quantity.NULL_RATE, "features.age", Feed.SAMPLE),
            {"missing": 0.5},
        ),
        (OnlineWatch(Method.KSWIN, columns="features.age", feed=Feed.SAMPLE), {"shift": 1.0}),
    ],
    ids=lambda value: value.name if isinstance(value, OnlineWatch) else "",
)
def test_each_method_finds_a_large_change_of_what_it_watches(
    watch: OnlineWatch, change: dict[str, float]
) -> None:
    settings = OnlineSettings((watch,))
    before = played(settings, 110)
    after = played(settings, 60, 110, before, **change)
    (track,) = after.tracks
    assert track.alarm is not None
    assert track.alarm.at_ms > 110 * PANE


@pytest.mark.parametrize("role", [Role.CANARY, Role.SHADOW, Role.VARIANT])
def test_what_could_be_rolled_back_is_never_failed_by_them(role: Role) -> None:
    settings = OnlineSettings((OnlineWatch(Method.ADWIN, columns="features.age", decides=True),))
    state = played(settings, 10, 40, played(settings, 40), shift=0.5)
    place = Place(Release("m", "1", role), ALL, PANE, state.upto_ms - PANE, 0)
    (found,) = findings_of(state, pane(RNG), NORMAL, place, settings)
    assert (found.outcome, found.decides) == (Outcome.FAIL, False)
    (of_production,) = said(state, settings, pane(RNG))
    assert of_production.decides


def test_the_error_rate_is_that_of_the_model() -> None:
    watch = OnlineWatch(Method.DDM, Quantity.ERROR_RATE)
    assert followed(OnlineSettings((watch,)), NORMAL) == [(watch, "error")]
    seen = figures(watch, "error", pane(RNG), NORMAL)
    assert (seen.n, seen.rate, seen.level) == (200, 0.0, 0.0)


def test_of_watches_with_one_name_the_first_that_matches_has_the_column() -> None:
    first = OnlineWatch(Method.ADWIN, columns="latency_*", parameters={"delta": 0.1})
    rest = OnlineWatch(Method.ADWIN)
    found = followed(OnlineSettings((first, rest)), NORMAL)
    assert {column: watch for watch, column in found} == {
        "latency_ms": first,
        "features.age": rest,
    }


def test_drawn_values_are_the_same_again_and_follow_the_pane() -> None:
    watch = OnlineWatch(Method.PAGE_HINKLEY, feed=Feed.SAMPLE)
    part = pane(RNG, 5000, shift=1.0)
    seen = figures(watch, "features.age", part, NORMAL)
    values = given(watch, "features.age", seen, part, NORMAL, 7, 1000)
    assert values == given(watch, "features.age", seen, part, NORMAL, 7, 1000)
    assert values != given(watch, "features.age", seen, part, NORMAL, 8, 1000)
    assert np.mean(values) == pytest.approx(1.0, abs=0.15)
    errors = OnlineWatch(Method.EDDM, Quantity.NULL_RATE, feed=Feed.SAMPLE)
    seen = figures(errors, "features.age", part, NORMAL)
    bits = given(errors, "features.age", seen, part, NORMAL, 7, 1000)
    assert set(bits) == {0.0, 1.0}
    assert np.mean(bits) == pytest.approx(seen.rate, abs=0.01)


def test_a_column_that_disappeared_is_missing_in_every_event() -> None:
    watch = OnlineWatch(Method.KSWIN, Quantity.NULL_RATE)
    without = summarize_table(pa.table({"latency_ms": [1.0] * 50}), REFERENCE)
    assert figures(watch, "features.age", without, NORMAL).rate == 1.0
    assert figures(OnlineWatch(Method.ADWIN), "features.age", without, NORMAL).n == 0


def test_small_panes_old_panes_and_empty_windows_are_no_answer() -> None:
    settings = OnlineSettings((OnlineWatch(Method.ADWIN, columns="features.age"),))
    state = step(OnlineState(), pane(RNG, 5), NORMAL, 0, PANE, settings)
    (track,) = state.tracks
    assert (track.values, state.upto_ms) == (0, PANE)
    assert step(state, pane(RNG), NORMAL, 0, PANE, settings) is state
    (found,) = said(state, settings, pane(RNG))
    assert found.outcome is Outcome.INSUFFICIENT
    assert found.reason == "0 panes seen, 10 needed"
    (found,) = said(state, settings, Summaries.empty(NORMAL.layout))
    assert found.reason == "no events to judge in this window"


def test_constants_nulls_and_extremes_raise_nothing() -> None:
    odd = pa.table(
        {
            "features.age": pa.array([None, math.nan, 1e308, -1e308, math.inf] * 10, pa.float64()),
            "features.plan": ["never seen"] * 50,
            "latency_ms": [0.0] * 50,
        }
    )
    part = summarize_table(odd, REFERENCE)
    state = OnlineState()
    for at in range(130):
        state = step(state, part, NORMAL, at * PANE, PANE, EVERY)
    assert from_bytes(to_bytes(state)) == state
    assert len(said(state, EVERY, part)) == len(followed(EVERY, NORMAL))
    constant = reference_of(pa.table({"x": [1.0] * 500}))
    moved = summarize_table(pa.table({"x": [2.0] * 500}), constant)
    settings = OnlineSettings((OnlineWatch(Method.ADWIN),))
    state = step(OnlineState(), moved, constant.summaries, 0, PANE, settings)
    assert state.tracks[0].values == 1


def test_another_reference_or_other_settings_start_anew() -> None:
    settings = OnlineSettings((OnlineWatch(Method.ADWIN, columns="features.age"),))
    state = played(settings, 12)
    assert state.tracks[0].values == 12
    other = OnlineSettings(
        (OnlineWatch(Method.ADWIN, columns="features.age", parameters={"delta": 0.1}),)
    )
    changed = played(other, 1, 12, state)
    assert changed.tracks[0].values == 1
    another = reference_of(rows(RNG, 1000))
    part = summarize_table(rows(RNG, 100), another)
    assert step(state, part, another.summaries, 99 * PANE, PANE, settings).tracks[0].values == 1
    with pytest.raises(ValueError, match="stands on reference"):
        step(state, part, NORMAL, 99 * PANE, PANE, settings)


def test_a_state_goes_on_from_its_bytes_as_if_nothing_had_happened() -> None:
    half = played(EVERY, 70)
    again = from_bytes(to_bytes(half))
    assert again == half
    assert to_bytes(again) == to_bytes(half)
    whole = played(EVERY, 60, 70, half, shift=0.3)
    assert to_bytes(played(EVERY, 60, 70, again, shift=0.3)) == to_bytes(whole)


@pytest.mark.parametrize("damage", [b"", b"\x80", b"\x92\x01", b"\x93\x01\x02\x03"])
def test_bytes_that_are_no_state_are_refused(damage: bytes) -> None:
    with pytest.raises(UnreadableState):
        from_bytes(damage)


def test_a_state_with_an_impossible_memory_is_refused() -> None:
    state = played(EVERY, 15)
    data = to_bytes(state)
    with pytest.raises(UnreadableState, match="version"):
        from_bytes(data[:1] + b"\x07" + data[2:])
    for track in state.tracks:
        if track.memory:
            broken = (*track.memory, 1e9, 1e9, 1e9) * 400
            spoilt = OnlineState(0, "", (type(track)(track.name, track.column, "", broken),))
            with pytest.raises(UnreadableState, match="memory"):
                from_bytes(to_bytes(spoilt))


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        ({"method": Method.DDM}, "watches rates"),
        ({"method": Method.EDDM, "quantity": Quantity.NULL_RATE}, "feed: sample"),
        ({"method": Method.ADWIN, "category": "x"}, "only a share"),
        ({"method": Method.ADWIN, "parameters": {"lambda": 1.0}}, "no parameter 'lambda'"),
        ({"method": Method.ADWIN, "parameters": {"delta": 0.0}}, "delta cannot be 0"),
        ({"method": Method.ADWIN, "parameters": {"clock": 0.5}}, "clock cannot be 0.5"),
        ({"method": Method.ADWIN, "parameters": {"max_buckets": 500}}, "max_buckets"),
        ({"method": Method.KSWIN, "parameters": {"stat_size": 80}}, "half of window_size"),
        ({"method": Method.PAGE_HINKLEY, "parameters": {"threshold": math.nan}}, "threshold"),
    ],
)
def test_settings_that_cannot_work_are_refused(watch: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OnlineWatch(**watch)
