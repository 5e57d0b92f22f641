"""A canary's laws: replay gives the same bytes, nothing raises, and no PASS without evidence."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.canary import CanaryState, step, step_all, verdict, verdict_all
from detectors.canary_bytes import from_bytes, to_bytes
from detectors.canary_cells import tail_cells
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import CanarySettings, Measure, first_alphas, judged, later_alpha
from detectors.categories import CategoryCounts
from detectors.fixed_point import Grid
from detectors.kernels import Codes, Rows, summarize
from detectors.layout import HEADERS, ColumnSpec, Header, Kind, Layout
from detectors.sketch import Sketch, bucket_floor
from detectors.summary import Summaries
from detectors.verdict import Status

SETTINGS = CanarySettings(min_events=50, fix_events=2)
EDGED = Layout.of(
    "r",
    [
        ColumnSpec("scores.a", Kind.NUMERIC, (-1.0, 0.0, 1.0), Grid(0.0, 1.0)),
        ColumnSpec("features.t", Kind.CATEGORICAL, categories=("x", "y")),
        ColumnSpec("latency_ms", Kind.NUMERIC),
    ],
)
FREE = Layout.of(
    "",
    [
        ColumnSpec("scores.a", Kind.NUMERIC),
        ColumnSpec("features.t", Kind.CATEGORICAL),
        ColumnSpec("latency_ms", Kind.NUMERIC),
    ],
)
numbers = st.one_of(
    st.floats(),
    st.sampled_from([0.0, 1.0, 1e308, -1e308, 5e-324, math.nan, math.inf]),
    st.floats(-3, 3),
)
columns = st.integers(0, 60).flatmap(
    lambda n: st.tuples(
        st.lists(numbers, min_size=n, max_size=n),
        st.lists(numbers, min_size=n, max_size=n),
        st.lists(st.integers(-1, 3), min_size=n, max_size=n),
        st.integers(0, n + 2),
    )
)


def arm(drawn: tuple[list[float], list[float], list[int], int], layout: Layout) -> Summaries:
    scores, latencies, codes, failed = drawn
    n = len(scores)
    headers = np.zeros((1, len(HEADERS)), np.int64)
    headers[0, HEADERS.index(Header.PREDICTIONS)] = n
    headers[0, HEADERS.index(Header.FAILED)] = failed

    def finite(values: list[float]) -> NDArray[np.float64]:
        found = np.array(values, np.float64)
        return np.where(np.isfinite(found), found, np.nan)

    rows = Rows(
        np.array([0, n]),
        headers,
        {"scores.a": finite(scores), "latency_ms": finite(latencies)},
        {"features.t": Codes(np.array(codes, np.int32), ["x", "y", "z", "w"])},
        {},
    )
    return summarize(rows, layout)[0]


panes = st.lists(st.tuples(columns, columns, st.booleans()), max_size=6)


def run(drawn: list[tuple[object, object, bool]], again: bool = False) -> CanaryState:
    state = CanaryState()
    for t, (ours, theirs, edged) in enumerate(drawn):
        layout = EDGED if edged else FREE
        pane = ArmsPane(t * 1000, 1000, arm(ours, layout), arm(theirs, layout))  # type: ignore[arg-type]
        state = step(state, SETTINGS, pane)
        if again:
            state = from_bytes(to_bytes(state))
    return state


@settings(max_examples=25, deadline=None)
@given(panes)
def test_replay_and_restart_after_every_pane_give_the_same_bytes(
    drawn: list[tuple[object, object, bool]],
) -> None:
    live = to_bytes(run(drawn))
    assert to_bytes(run(drawn)) == live
    assert to_bytes(run(drawn, again=True)) == live


several = st.lists(
    st.lists(st.tuples(columns, st.sampled_from(["edged", "free", "silent"])), max_size=4),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40, deadline=None)
@given(several)
def test_releases_come_to_the_same_bits_whichever_others_are_judged_with_them(
    drawn: list[list[tuple[tuple[list[float], list[float], list[int], int], str]]],
) -> None:
    """Each pane has a production and some releases: of the same columns or of others, with events
    or without. Also where a canary has so much of the pane that bounds are iterated."""
    alone = [CanaryState()] * 4
    at_once = list(alone)
    for t, releases in enumerate(drawn * 3):
        layouts = {"edged": EDGED, "free": FREE, "silent": EDGED}
        found: dict[int, ArmsPane] = {}
        for number, (ours, kind) in enumerate(releases):
            mine = arm(ours, layouts[kind]) if kind != "silent" else Summaries.empty(EDGED)
            theirs = arm(releases[0][0], layouts[kind])
            found[number] = ArmsPane(t * 1000, 1000, mine, theirs.merge(theirs))
        for number, pane in found.items():
            alone[number] = step(alone[number], SETTINGS, pane)
        together = step_all([at_once[i] for i in found], SETTINGS, list(found.values()))
        for number, state in zip(found, together, strict=True):
            at_once[number] = state
    for one, other in zip(alone, at_once, strict=True):
        assert to_bytes(one) == to_bytes(other)
    said = verdict_all(at_once, SETTINGS, [()] * 4)
    for state, found_at_once in zip(alone, said, strict=True):
        assert repr(found_at_once.standings) == repr(verdict(state, SETTINGS).standings)
        assert found_at_once.reason == verdict(state, SETTINGS).reason


@settings(max_examples=40, deadline=None)
@given(panes)
def test_whatever_panes_hold_there_is_a_verdict_with_a_reason_and_no_easy_pass(
    drawn: list[tuple[object, object, bool]],
) -> None:
    state = run(drawn)
    found = verdict(state, SETTINGS)
    assert found.reason
    seen = max((metric.tally.n for metric in state.metrics), default=0)
    if seen < SETTINGS.min_events:
        assert found.status is not Status.PASS
    assert found.roll_back <= (found.status is Status.FAIL)
    for one in found.standings:
        assert one.reason
        assert not math.isnan(one.evidence)


@given(st.integers(0, 2**53), st.integers(0, 2**53), st.integers(0, 2**53), st.integers(0, 2**53))
@settings(max_examples=60, deadline=None)
def test_counts_up_to_the_largest_exact_double_never_raise(a: int, b: int, c: int, d: int) -> None:
    def huge(n: int, failed: int) -> Summaries:
        one = Summaries.empty(FREE)
        one.vector[HEADERS.index(Header.PREDICTIONS)] = max(n, failed)
        one.vector[HEADERS.index(Header.FAILED)] = min(n, failed)
        counts = CategoryCounts({"x": n, "y": failed})
        start = FREE.starts["features.t", Kind.CATEGORICAL]
        one.vector[start] = n + failed
        sketch = Sketch(np.array([100, 70000], np.int32), np.array([n + 1, failed + 1]))
        return Summaries(
            one.layout, one.vector, one.extremes, {"latency_ms": sketch}, {"features.t": counts}
        )

    state = CanaryState()
    for t in range(3):
        state = step(state, SETTINGS, ArmsPane(t * 1000, 1000, huge(a, b), huge(c, d)))
    assert verdict(state, SETTINGS).reason
    assert to_bytes(from_bytes(to_bytes(state))) == to_bytes(state)


@given(
    st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=50),
    st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=50),
    st.floats(1.0, 3.0),
)
def test_tail_cells_count_everything_once_and_never_make_a_canary_slower(
    ours: list[float], theirs: list[float], shrink: float
) -> None:
    canary, production = Sketch.of(np.array(ours)), Sketch.of(np.array(theirs))

    def cells(slow: Sketch, usual: Sketch, by: float) -> NDArray[np.int64]:
        return tail_cells([slow], [usual], by)[:, 0]

    plain, shrunk = cells(canary, production, 1.0), cells(canary, production, shrink)
    for found in (plain, shrunk):
        assert found.sum(axis=1).tolist() == [len(ours), len(theirs)]
    # Equal arms fall into equal cells.
    same = cells(canary, canary, 1.0)
    assert same[0].tolist() == same[1].tolist()
    far = cells(canary, production, 1e6)
    floor = bucket_floor(canary.keys).max()
    if floor / 1e6 < min(theirs) / 2 and len(theirs) >= len(ours):
        assert far[0, 1:].sum() <= plain[0, 1:].sum()


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-1e6, 1e6), max_size=30), st.lists(st.floats(-1e6, 1e6), max_size=30)
        ),
        min_size=1,
        max_size=5,
    ),
    st.floats(1.0, 3.0),
)
def test_tail_cells_of_panes_at_once_are_those_of_each_alone(
    drawn: list[tuple[list[float], list[float]]], shrink: float
) -> None:
    ours, theirs = ([Sketch.of(np.array(arm)) for arm in arms] for arms in zip(*drawn, strict=True))
    at_once = tail_cells(ours, theirs, shrink)
    assert at_once.sum(axis=2).tolist() == [[s.n for s in ours], [s.n for s in theirs]]
    for at, (slow, usual) in enumerate(zip(ours, theirs, strict=True)):
        assert at_once[:, at].tolist() == tail_cells([slow], [usual], shrink)[:, 0].tolist()


@given(st.integers(1, 300), st.integers(0, 2000))
def test_parts_of_alpha_add_up_to_at_most_alpha(first: int, later: int) -> None:
    found = [
        what
        for i in range(first)
        for measure in (Measure.LEVEL, Measure.MISSING)
        if (what := judged(SETTINGS, f"features.f{i}", measure)) is not None
    ]
    total = sum(first_alphas(SETTINGS, found))
    total += sum(later_alpha(SETTINGS, i) for i in range(later))
    assert total <= SETTINGS.alpha * (1 + 1e-9)
