"""Many columns at once: the same as plain code says of each, and independent of its neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from detectors.cell_statistics import (
    Distances,
    Side,
    Slices,
    chi_square_p_values,
    distances,
    ordered_distances,
    quiet,
    running_shares,
    steps_between,
)

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
NAMES = (
    "psi",
    "jensen_shannon",
    "hellinger",
    "chi_square",
    "dof",
    "total_variation",
    "l_infinity",
    "kolmogorov_smirnov",
    "wasserstein",
)


@dataclass(frozen=True)
class Column:
    expected: list[int]
    observed: list[int]
    positions: list[float]
    unit: float


@st.composite
def columns(draw: st.DrawFn) -> Column:
    size = draw(st.integers(1, 9))
    counts = st.lists(st.one_of(st.just(0), st.integers(0, 400)), min_size=size, max_size=size)
    places = st.lists(st.floats(-9, 9), min_size=size, max_size=size)
    return Column(
        draw(counts), draw(counts), sorted(draw(places)), draw(st.sampled_from([0.0, 0.5, 2.0]))
    )


def at_once(together: list[Column]) -> dict[str, Floats]:
    slices = Slices.of_sizes([len(column.expected) for column in together])
    with quiet():
        usual, now = (
            Side.of(np.array([n for side in sides for n in side], np.int64), slices)
            for sides in ([c.expected for c in together], [c.observed for c in together])
        )
        found: Distances = distances(slices, usual, now)
        positions = np.array([at for column in together for at in column.positions])
        steps = steps_between(slices, positions, np.array([c.unit for c in together]))
        greatest, moved = ordered_distances(
            slices, running_shares(slices, usual.counts), running_shares(slices, now.counts), steps
        )
    figures = {name: getattr(found, name) for name in NAMES[:7]}
    return {**figures, "kolmogorov_smirnov": greatest, "wasserstein": moved}


def plainly(column: Column) -> dict[str, float]:
    """The definitions, word for word, a cell at a time."""
    a, b = column.expected, column.observed
    n, m = sum(a), sum(b)
    if not n or not m:
        return dict.fromkeys(NAMES, math.nan) | {"dof": 0.0}
    p, q = [x / n for x in a], [x / m for x in b]
    pairs = list(zip(p, q, strict=True))
    middles = [(x + y) / 2 for x, y in pairs]
    entropy = sum(
        x * math.log2(x / middle)
        for side in (p, q)
        for x, middle in zip(side, middles, strict=True)
        if x
    )
    gaps = [abs(sum(p[: i + 1]) - sum(q[: i + 1])) for i in range(len(a) - 1)]
    steps = [y - x for x, y in zip(column.positions, column.positions[1:], strict=False)]
    moved = sum(gap * step for gap, step in zip(gaps, steps, strict=True))
    statistic, dof = plain_chi_square(a, b)
    return {
        "psi": plain_psi(a, b),
        "jensen_shannon": math.sqrt(max(entropy / 2, 0.0)),
        "hellinger": math.sqrt(sum((math.sqrt(x) - math.sqrt(y)) ** 2 for x, y in pairs) / 2),
        "chi_square": statistic,
        "dof": float(dof),
        "total_variation": sum(abs(x - y) for x, y in pairs) / 2,
        "l_infinity": max(abs(x - y) for x, y in pairs),
        "kolmogorov_smirnov": max(gaps, default=0.0),
        "wasserstein": moved / column.unit if column.unit else math.nan,
    }


def plain_psi(a: list[int], b: list[int]) -> float:
    seen = [(float(x), float(y)) for x, y in zip(a, b, strict=True) if x or y]
    if any(not x or not y for x, y in seen):
        seen = [(x + 0.5, y + 0.5) for x, y in seen]
    n, m = sum(x for x, _ in seen), sum(y for _, y in seen)
    return sum((y / m - x / n) * math.log((y / m) / (x / n)) for x, y in seen)


def plain_chi_square(a: list[int], b: list[int]) -> tuple[float, int]:
    cells = sorted(((x, y) for x, y in zip(a, b, strict=True) if x or y), key=sum)
    if len(cells) == 1:
        return 0.0, 0
    n, m = sum(x for x, _ in cells), sum(y for _, y in cells)
    needed = 5 * (n + m) / min(n, m)
    pool: list[tuple[int, int]] = []
    while cells and (sum(cells[0]) < needed or (pool and sum(x + y for x, y in pool) < needed)):
        pool.append(cells.pop(0))
    if pool:
        cells.append((sum(x for x, _ in pool), sum(y for _, y in pool)))
    if len(cells) < 2:
        return math.nan, 0
    statistic = 0.0
    for x, y in cells:
        due, due_now = n * (x + y) / (n + m), m * (x + y) / (n + m)
        statistic += (x - due) ** 2 / due + (y - due_now) ** 2 / due_now
    return statistic, len(cells) - 1


@given(st.lists(columns(), min_size=1, max_size=6))
def test_many_columns_at_once_are_what_plain_code_says_of_each(together: list[Column]) -> None:
    found = at_once(together)
    for at, column in enumerate(together):
        for name, wanted in plainly(column).items():
            # A divergence is a difference of like terms: its root keeps half of the digits.
            loss = 2e-8 if name in ("jensen_shannon", "hellinger") else 1e-11
            assert found[name][at] == pytest.approx(wanted, rel=1e-12, abs=loss, nan_ok=True), name


@given(st.lists(columns(), min_size=1, max_size=6), st.data())
def test_a_column_does_not_depend_on_its_neighbours_to_the_last_bit(
    together: list[Column], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(together))))[: data.draw(st.integers(1, 6))]
    whole, some = at_once(together), at_once([together[at] for at in order])
    for name in NAMES:
        np.testing.assert_array_equal(some[name], whole[name][order])


def test_a_column_beside_one_with_counts_beyond_exact_sums_keeps_its_bits() -> None:
    small = Column([3, 5, 9], [2, 2, 7], [0.0, 1.0, 2.0], 1.0)
    large = Column([2**62, 2**62, 5], [2**53 + 1, 1, 2**62], [0.0, 1.0, 2.0], 1.0)
    alone, beside = at_once([small]), at_once([large, small])
    for name in NAMES:
        np.testing.assert_array_equal(beside[name][1], alone[name][0])
    assert beside["kolmogorov_smirnov"][0] == pytest.approx(0.998, abs=0.001)


def test_a_count_below_zero_leaves_its_column_without_an_answer_and_no_other() -> None:
    good = Column([10, 20], [20, 10], [0.0, 1.0], 1.0)
    found = at_once([Column([5, -1], [1, 2], [0.0, 1.0], 1.0), good])
    for name in NAMES:
        if name != "dof":
            assert math.isnan(found[name][0])
        np.testing.assert_array_equal(found[name][1], at_once([good])[name][0])


def test_positions_too_far_apart_for_a_double_have_no_distance() -> None:
    found = at_once([Column([1, 1], [2, 1], [-1e308, 1e308], 1e-9)])
    assert math.isnan(found["wasserstein"][0])


@given(st.floats(0, 90), st.integers(1, 40))
def test_the_p_value_is_the_upper_tail_of_chi_square(statistic: float, dof: int) -> None:
    (got,) = chi_square_p_values(np.array([statistic]), np.array([float(dof)]))
    assert got == pytest.approx(float(special.gammaincc(dof / 2, statistic / 2)), rel=1e-9)


def test_no_cells_are_no_columns() -> None:
    none = Slices.of_sizes([])
    side = Side.of(np.empty(0, np.int64), none)
    assert len(distances(none, side, side).psi) == 0
    assert len(running_shares(none, side.counts)) == 0
