"""Online detectors' laws: bytes from outside are refused or go on, and nothing raises."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.online import OnlineState, Track, step
from detectors.online_adwin import Memory
from detectors.online_bytes import UnreadableState, from_bytes, to_bytes
from detectors.online_rules import ALGORITHMS, Feed, Method, OnlineSettings, OnlineWatch, Quantity
from detectors.table import reference_of, summarize_table

REFERENCE = reference_of(pa.table({"x": [0.1 * i for i in range(100)], "t": ["a", "b"] * 50}))
SETTINGS = OnlineSettings(
    (
        OnlineWatch(Method.ADWIN),
        OnlineWatch(Method.PAGE_HINKLEY, feed=Feed.SAMPLE),
        OnlineWatch(Method.KSWIN, feed=Feed.SAMPLE),
        OnlineWatch(Method.DDM, Quantity.NULL_RATE),
        OnlineWatch(Method.EDDM, Quantity.ERROR_RATE, feed=Feed.SAMPLE),
        OnlineWatch(Method.HDDM_A, Quantity.SHARE),
        OnlineWatch(Method.HDDM_W, Quantity.SHARE, feed=Feed.SAMPLE),
    ),
    sample=5,
    min_events=1,
)
values = st.one_of(
    st.none(), st.floats(), st.sampled_from([0.0, 1e308, -1e308, 5e-324, math.nan, math.inf])
)
tables = st.lists(st.tuples(values, st.sampled_from(["a", "b", "new", None])), max_size=8).map(
    lambda rows: pa.table(
        {
            "x": pa.array([x for x, _ in rows], pa.float64()),
            "t": pa.array([t for _, t in rows], pa.string()),
        }
    )
)


@settings(max_examples=60)
@given(st.lists(tables, max_size=12), st.integers(0, 12))
def test_a_state_read_back_anywhere_changes_nothing(parts: list[pa.Table], at: int) -> None:
    straight = stopped = OnlineState()
    for i, part in enumerate(parts):
        pane = summarize_table(part, REFERENCE)
        straight = step(straight, pane, REFERENCE.summaries, i * 10, 10, SETTINGS)
        if i == at:
            stopped = from_bytes(to_bytes(stopped))
        stopped = step(stopped, pane, REFERENCE.summaries, i * 10, 10, SETTINGS)
    assert to_bytes(straight) == to_bytes(stopped)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_state_or_refused(data: bytes) -> None:
    try:
        found = from_bytes(data)
    except UnreadableState:
        return
    assert from_bytes(to_bytes(found)) == found


@settings(max_examples=600)
@given(
    st.sampled_from(list(Method)),
    st.integers(1, 120),
    st.lists(
        st.tuples(
            st.integers(0, 200), st.one_of(st.integers(-2, 40).map(float), st.floats(), values)
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.sampled_from([0.0, 1.0, 0.5]), max_size=40),
)
def test_a_memory_from_outside_is_refused_or_goes_on(
    method: Method, before: int, changes: list[tuple[int, float | None]], after: list[float]
) -> None:
    algorithm = ALGORITHMS[method]
    memory: Memory = ()
    for at in range(before):
        memory, _, _ = algorithm.update(memory, float(at % 3 == 0), algorithm.defaults)
    changed = list(memory)
    for at, value in changes:
        if changed and value is not None:
            changed[at % len(changed)] = value
    memory = tuple(changed)
    if not algorithm.readable(memory):
        state = OnlineState(0, "", (Track(f"{method}_mean", "x", "", memory),))
        with pytest.raises(UnreadableState):
            from_bytes(to_bytes(state))
        return
    for value in after:
        memory, raised, _ = algorithm.update(memory, value, algorithm.defaults)
        assert not raised or memory == ()
    assert len(memory) <= 1100
