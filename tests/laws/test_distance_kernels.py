"""Compiled kernels compare windows as the plain form does, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detectors.cell_statistics import Distances, Side, Slices, distances, quiet
from detectors.distance_kernels import DistanceKernels, distances_by
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
Columns = list[list[tuple[int, int]]]
Ready = Callable[[], EvidenceKernels | None]


@pytest.fixture(scope="module")
def kernels() -> DistanceKernels:
    made = load()
    assert made is not None, "numba is part of the extra 'dev': pip install -e '.[dev]'"
    return made.distances


def bits(found: Distances) -> list[bytes]:
    """NaN is no answer, whatever its own bits are."""
    values = (getattr(found, each.name) for each in fields(Distances))
    return [np.where(np.isnan(value), np.nan, value).tobytes() for value in values]


def check(kernels: DistanceKernels, slices: Slices, usual: Side, now: Side) -> None:
    with quiet():
        plain = distances(slices, usual, now)
        assert bits(distances_by(kernels, slices, usual, now)) == bits(plain)


@given(COLUMNS)
@example([[(0, 0)], [(7, 0)], [(0, 0), (0, 0)], [(3, 9)]])
@example([[(50, 1), (1, 0), (9, 9), (9, 9)], [(1, 1), (1, 2), (2, 1)]])
def test_columns_are_as_far_apart_with_the_kernels_as_without(
    kernels: DistanceKernels, columns: Columns
) -> None:
    """Few counts too: pools of cells too small to stand alone, and cells that are empty."""
    slices = Slices.of_sizes([len(column) for column in columns])
    pairs = np.array([pair for column in columns for pair in column], np.int64)
    sides = [Side.of(pairs[:, side], slices) for side in (0, 1)]
    check(kernels, slices, *sides)
    check(kernels, slices, sides[0], sides[0])


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 60, 10**5]))
def test_columns_of_any_size_are_summed_in_the_same_order(
    kernels: DistanceKernels, seed: int, most: int
) -> None:
    """Sums of more than 8, and of more than 128, are taken in parts."""
    rng = np.random.default_rng(seed)
    slices = Slices.of_sizes([1, 2, 9, 10, 30, 129, 130, 400])
    shape = len(slices.of)
    usual, now = (Side.of(rng.integers(0, most, shape), slices) for _ in range(2))
    check(kernels, slices, usual, now)


def test_no_columns_are_compared(kernels: DistanceKernels) -> None:
    none = Slices.of_sizes([])
    side = Side.of(np.empty(0, np.int64), none)
    check(kernels, none, side, side)


def test_a_window_is_judged_with_the_kernels(kernels: DistanceKernels) -> None:
    """Else equal bits would say nothing of it."""
    made = load()
    assert made is not None
    called = []

    def conclude(*given: object) -> None:
        called.append(given)
        kernels.conclude(*given)

    watched = replace(made, distances=replace(kernels, conclude=conclude))
    found = []
    each: tuple[Ready, ...] = (lambda: watched, no_kernels)
    for ready in each:
        bench = Bench(reference=reference())
        bench.judge = ModelJudge(ModelState("m"), {}, bench.settings, bench.known.get, {}, ready)
        bench.give(events(0, x=1.0))
        bench.give(events(0, role="canary", x=2.0))
        found.append(list(map(repr, bench.clock(5_000).findings)))
    assert called
    assert found[0] == found[1]
    assert found[0]
