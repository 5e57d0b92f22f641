"""Compiled kernels and plain ones give the same summaries, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.fixed_point import Grid
from detectors.kernels import Codes, Rows, Workshop, summarize
from detectors.layout import HEADERS, ColumnSpec, Kind, Layout
from detectors.sketch import bucket_floor, bucket_of
from detectors.summary import Summaries
from streams.codecs.speculative.loading import load

EDGES = (-1.5, 0.0, 5e-324, 1.0, 1.0000001, 2.5, 1e300)
LAYOUT = Layout.of(
    "r",
    (
        ColumnSpec("x", Kind.NUMERIC, EDGES, Grid(0.3, 0.5)),
        ColumnSpec("y", Kind.NUMERIC, EDGES, Grid(-1e150, 3.0), sketch=False),
        ColumnSpec("z", Kind.NUMERIC, (), Grid(0.0, 2.0**-500)),
        ColumnSpec("none", Kind.NUMERIC, (1.0,)),
        ColumnSpec("t", Kind.CATEGORICAL, categories=("b", "unseen")),
        ColumnSpec("u", Kind.CATEGORICAL),
    ),
)
NAMES = ("a", "b", "c")
LARGEST = 1.7976931348623157e308
SPECIAL = [0.0, -0.0, 5e-324, -5e-324, 1e300, -1e300, LARGEST, -LARGEST, math.nan, math.inf]
numbers = st.one_of(
    st.sampled_from([*SPECIAL, -math.inf, *EDGES, *(-edge for edge in EDGES)]),
    st.floats(),
    st.floats(-4.0, 4.0),
)


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    kernels = load()
    assert kernels is not None, "numba is part of the extra 'dev': pip install -e '.[dev]'"
    return Workshop(kernels.columns)


def bits(found: list[Summaries]) -> object:
    """Everything that is in summaries, doubles as their bits."""
    return [
        (
            each.vector.tolist(),
            each.extremes.view(np.int64).tolist(),
            {name: (s.keys.tolist(), s.counts.tolist()) for name, s in each.sketches.items()},
            dict(each.categories),
        )
        for each in found
    ]


def rows_of(
    values: NDArray[np.float64],
    codes: NDArray[np.int32],
    starts: NDArray[np.int64],
    order: NDArray[np.int64] | None,
) -> Rows:
    headers = np.zeros((len(starts) - 1, len(HEADERS)), np.int64)
    texts = {"t": Codes(codes, NAMES), "u": Codes(codes[::-1].copy(), NAMES)}
    columns = {"x": values, "y": values[::-1], "z": values * 0.5}
    return Rows(starts, headers, columns, texts, {}, order)


def assert_alike(rows: Rows, workshop: Workshop) -> None:
    with np.errstate(all="ignore"):
        assert bits(summarize(rows, LAYOUT, workshop)) == bits(summarize(rows, LAYOUT))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_rows_in_any_groups_and_order_are_counted_alike(
    workshop: Workshop, data: st.DataObject
) -> None:
    values = np.array(data.draw(st.lists(numbers, max_size=60)))
    codes = np.array(
        data.draw(st.lists(st.integers(-1, 2), min_size=len(values), max_size=len(values))),
        np.int32,
    )
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=6))
    starts = np.array([0, *sorted(cuts), len(values)], np.int64)
    order = None
    if data.draw(st.booleans()):
        order = np.array(data.draw(st.permutations(range(len(values)))), np.int64)
    assert_alike(rows_of(values, codes, starts, order), workshop)


@pytest.mark.parametrize("seed", range(6))
def test_many_rows_of_all_magnitudes_are_counted_alike(workshop: Workshop, seed: int) -> None:
    random = np.random.default_rng(seed)
    n = 5_000 + seed
    values = random.standard_normal(n) * 10.0 ** random.integers(-seed * 50, seed * 50 + 2, n)
    values[random.random(n) < 0.1] = math.nan
    codes = random.integers(-1, 3, n).astype(np.int32)
    starts = np.unique([0, *random.integers(0, n, 3 * seed), n])
    order = random.permutation(n) if seed % 2 else None
    assert_alike(rows_of(values, codes, starts, order), workshop)


def test_values_on_both_sides_of_every_edge_of_a_bucket_are_counted_alike(
    workshop: Workshop,
) -> None:
    floors = bucket_floor(np.arange(-64, 65, dtype=np.int32) * 1_900)
    floors = floors[np.isfinite(floors)]
    values = np.concatenate((floors, np.nextafter(floors, -np.inf), np.nextafter(floors, np.inf)))
    codes = np.zeros(len(values), np.int32)
    assert len(np.unique(bucket_of(values))) > 200
    assert_alike(rows_of(values, codes, np.array([0, len(values)]), None), workshop)


def test_the_room_is_left_as_it_was_found(workshop: Workshop) -> None:
    values = np.array([1.0, -2.0, 1e-300, 1e300, 0.0, math.nan])
    codes = np.zeros(6, np.int32)
    summarize(rows_of(values, codes, np.array([0, 6]), None), LAYOUT, workshop)
    scratch = workshop.scratch
    assert not scratch.table.any()
    assert not scratch.coarse.any()
    assert not scratch.edged.any()


def test_more_values_beyond_the_grid_than_one_word_holds_are_counted_alike(
    workshop: Workshop,
) -> None:
    values = np.full((1 << 19) + 5, 1e300)
    codes = np.full(len(values), -1, np.int32)
    assert_alike(rows_of(values, codes, np.array([0, len(values)]), None), workshop)
