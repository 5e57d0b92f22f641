"""Compiled kernels compare windows as the plain form does, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.cell_statistics import Distances, Side, Slices, distances, quiet
from detectors.column_figures import figures_of
from detectors.fixed_point import Grid, split
from detectors.layout import ColumnSpec, Kind, Layout
from detectors.sketch import Sketch
from detectors.summary import Summaries, no_extremes
from detectors.window_kernels import WindowKernels, distances_by
from streams.evidence_kernels import EvidenceKernels, load, no_kernels
from streams.judge import ModelJudge
from streams.model_state import ModelState
from tests.unit.streams.judge_bench import Bench, events, reference

COUNTS = st.one_of(
    st.integers(0, 3),
    st.integers(0, 40),
    st.sampled_from([-1, 0, 4, 5, 10**6, 2**53 + 1, 2**62]),
)
COLUMNS = st.lists(
    st.lists(st.tuples(COUNTS, COUNTS), min_size=1, max_size=12), min_size=1, max_size=6
)
LAYOUT = Layout.of(
    "r",
    [
        ColumnSpec("features.a", Kind.NUMERIC),
        ColumnSpec("features.b", Kind.NUMERIC, grid=Grid(-7.5, 2.0**-30)),
        ColumnSpec("features.b", Kind.CATEGORICAL),
        ColumnSpec("label", Kind.NUMERIC, grid=Grid(1e9, 2.0**40)),
        ColumnSpec("scores.c", Kind.CATEGORICAL),
    ],
)
WORDS = st.one_of(
    st.integers(-1, 3),
    st.integers(0, 10**6),
    st.integers(-(2**40), 2**40),
    st.sampled_from([2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, -(2**63)]),
)
SKETCHES = st.dictionaries(
    st.sampled_from(["features.a", "features.b"]),
    st.lists(st.floats(-1e9, 1e9), max_size=4).map(lambda values: Sketch.of(np.array(values))),
)
BLOCKS = st.tuples(st.lists(WORDS, min_size=LAYOUT.width, max_size=LAYOUT.width), SKETCHES).map(
    lambda made: Summaries(
        LAYOUT, np.array(made[0], np.int64), no_extremes(len(LAYOUT.columns)), made[1]
    )
)
Columns = list[list[tuple[int, int]]]
Ready = Callable[[], EvidenceKernels | None]


@pytest.fixture(scope="module")
def kernels() -> WindowKernels:
    made = load()
    assert made is not None, "numba is part of the extra 'dev': pip install -e '.[dev]'"
    return made.windows


def told(values: NDArray[np.float64]) -> bytes:
    """NaN is no answer, whatever its own bits are."""
    return np.where(np.isnan(values), np.nan, values).tobytes()


def bits(found: Distances) -> list[bytes]:
    return [told(getattr(found, each.name)) for each in fields(Distances)]


def check(kernels: WindowKernels, slices: Slices, usual: Side, now: Side) -> None:
    with quiet():
        plain = distances(slices, usual, now)
        assert bits(distances_by(kernels, slices, usual, now)) == bits(plain)


@given(COLUMNS)
@example([[(0, 0)], [(7, 0)], [(0, 0), (0, 0)], [(3, 9)]])
@example([[(50, 1), (1, 0), (9, 9), (9, 9)], [(1, 1), (1, 2), (2, 1)]])
def test_columns_are_as_far_apart_with_the_kernels_as_without(
    kernels: WindowKernels, columns: Columns
) -> None:
    """Few counts too: pools of cells too small to stand alone, and cells that are empty."""
    slices = Slices.of_sizes([len(column) for column in columns])
    pairs = np.array([pair for column in columns for pair in column], np.int64)
    sides = [Side.of(pairs[:, side], slices) for side in (0, 1)]
    check(kernels, slices, *sides)
    check(kernels, slices, sides[0], sides[0])


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 60, 10**5]))
def test_columns_of_any_size_are_summed_in_the_same_order(
    kernels: WindowKernels, seed: int, most: int
) -> None:
    """Sums of more than 8, and of more than 128, are taken in parts."""
    rng = np.random.default_rng(seed)
    slices = Slices.of_sizes([1, 2, 9, 10, 30, 129, 130, 400])
    shape = len(slices.of)
    usual, now = (Side.of(rng.integers(0, most, shape), slices) for _ in range(2))
    check(kernels, slices, usual, now)


def test_no_columns_are_compared(kernels: WindowKernels) -> None:
    none = Slices.of_sizes([])
    side = Side.of(np.empty(0, np.int64), none)
    check(kernels, none, side, side)


@given(st.lists(BLOCKS, min_size=1, max_size=3))
def test_figures_are_the_same_with_the_kernel_as_without(
    kernels: WindowKernels, blocks: list[Summaries]
) -> None:
    """Whatever stands in the vectors: sums that no 64 bits hold, and counts that cannot be."""
    with quiet():
        plain = figures_of.all([replace(block) for block in blocks])
        found = figures_of.all([replace(block) for block in blocks], kernels)
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one.counts, other.counts)
        assert told(one.values) == told(other.values)


@given(st.integers(2, 10**6), st.floats(-3, 3), st.integers(0, 2**32 - 1))
def test_moments_are_rounded_with_the_kernel_as_whole_numbers_are(
    kernels: WindowKernels, n: int, mean: float, seed: int
) -> None:
    """Sums as they come of values, of which each bit counts."""
    rng = np.random.default_rng(seed)
    steps = (1 << 20) * n
    sums = [(int(m * steps), int((m * m + v) * steps)) for m, v in rng.random((3, 2)) + mean]
    whole = Summaries.empty(LAYOUT)
    for spec, (first, second) in zip(LAYOUT.columns[:3], sums, strict=True):
        start = LAYOUT.starts[spec.key]
        whole.vector[start] = n
        whole.vector[start + 4 : start + 8] = (*split(first), *split(second))
    (plain,), (found,) = figures_of.all([whole]), figures_of.all([replace(whole)], kernels)
    assert told(found.values) == told(plain.values)


def test_a_window_is_judged_with_the_kernels(kernels: WindowKernels) -> None:
    """Else equal bits would say nothing of it."""
    made = load()
    assert made is not None
    called = []

    def conclude(*given: object) -> None:
        called.append("conclude")
        kernels.conclude(*given)

    def figures(*given: object) -> None:
        called.append("figures")
        kernels.figures(*given)

    watched = replace(made, windows=replace(kernels, conclude=conclude, figures=figures))
    found = []
    each: tuple[Ready, ...] = (lambda: watched, no_kernels)
    for ready in each:
        bench = Bench(reference=reference())
        bench.judge = ModelJudge(ModelState("m"), {}, bench.settings, bench.known.get, {}, ready)
        bench.give(events(0, x=1.0))
        bench.give(events(0, role="canary", x=2.0))
        found.append(list(map(repr, bench.clock(5_000).findings)))
    assert set(called) == {"figures", "conclude"}
    assert found[0] == found[1]
    assert found[0]
