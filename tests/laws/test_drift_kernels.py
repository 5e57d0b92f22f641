"""Compiled kernels settle drift as the plain form does, to the last bit."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.categories import CategoryCounts
from detectors.cells import Aspect, Cells, Family, Watch, cells_of, count
from detectors.drift import WaitingPane, step, steps
from detectors.drift_kernels import DriftKernels
from detectors.drift_settings import BurstBound, DriftSettings, FalseAlarms
from detectors.drift_state import DriftState, empty_state, to_bytes
from detectors.layout import ColumnSpec, Kind, Layout
from detectors.payoffs import Basis, Payoffs, dictionary_of, normal_without_panes, payoffs
from detectors.summary import Summaries, no_extremes
from streams.evidence_kernels import load

SIZES = {Family.ORDERED: (6, 31), Family.TAILED: (20,), Family.NAMED: (5,), Family.RATES: (3, 2)}
WATCHES = tuple(
    Watch(
        f"{family.value}{size}",
        Kind.NUMERIC,
        Aspect.VALUES,
        family,
        size,
        tuple(map(str, range(size))) if family in (Family.NAMED, Family.RATES) else (),
    )
    for family, sizes in SIZES.items()
    for size in sizes
)
CELLS = Cells.of("", WATCHES, ())
DICTIONARY = dictionary_of(CELLS)
SETTINGS = DriftSettings(FalseAlarms(1, 10**7), min_reference_rows=20)
BASES = (Basis.THEOREM, Basis.UNCHECKED)


@pytest.fixture(scope="module")
def kernels() -> DriftKernels:
    made = load()
    assert made is not None, "numba is part of the extra 'dev': pip install -e '.[dev]'"
    return made.drift


def paid_for(
    reference: NDArray[np.float64], bound: BurstBound, inflation: float, pane_rows: float
) -> Payoffs:
    normal = replace(
        normal_without_panes(DICTIONARY, reference),
        inflation=np.linspace(1.0, inflation, DICTIONARY.bets),
        pane_rows=np.full(len(WATCHES), pane_rows),
        basis=tuple(BASES[w % 2] for w in range(len(WATCHES))),
    )
    return payoffs(normal, 0, replace(SETTINGS, burst_bound=bound))


def settled(
    kernels: list[DriftKernels | None], paid: Payoffs, panes: list[NDArray[np.float64]]
) -> DriftState:
    """With each of these in turn."""
    state = empty_state(DICTIONARY)
    for at, (counts, used) in enumerate(zip(panes, cycle(kernels), strict=False)):
        state = step(state, paid, counts, 0.7, at * 10_000, 10_000, SETTINGS, used).state
    return state


def assert_alike(
    kernels: DriftKernels, paid: Payoffs, panes: list[NDArray[np.float64]]
) -> DriftState:
    with np.errstate(all="ignore"):
        plain = settled([None], paid, panes)
        assert to_bytes(settled([kernels], paid, panes), DICTIONARY) == to_bytes(plain, DICTIONARY)
        mixed = settled([kernels, None], paid, panes)
        for used in (kernels, None):
            together = settled_together(used, paid, panes)
            assert to_bytes(together, DICTIONARY) == to_bytes(plain, DICTIONARY)
    assert to_bytes(mixed, DICTIONARY) == to_bytes(plain, DICTIONARY)
    return plain


def settled_together(
    kernels: DriftKernels | None, paid: Payoffs, panes: list[NDArray[np.float64]]
) -> DriftState:
    """One, two, three, ... panes at a time, of which alarms are raised in any."""
    state, waiting = empty_state(DICTIONARY), waiting_of(panes)
    while waiting:
        taken = waiting[: 1 + len(panes) - len(waiting)]
        state = steps(state, paid, taken, 10_000, SETTINGS, kernels)
        waiting = waiting[len(taken) :]
    return state


def waiting_of(panes: list[NDArray[np.float64]]) -> list[WaitingPane]:
    return [WaitingPane(counts, 0.7, at * 10_000) for at, counts in enumerate(panes)]


@pytest.mark.parametrize("bound", BurstBound)
@pytest.mark.parametrize(("inflation", "pane_rows"), [(1.0, math.inf), (3.0, 150.0)])
def test_drift_comes_to_the_same_bits_with_kernels_and_without(
    kernels: DriftKernels, bound: BurstBound, inflation: float, pane_rows: float
) -> None:
    """Of panes without a change and with one, until alarms are raised and after."""
    generator = np.random.default_rng(7)
    laws = [generator.dirichlet(np.full(size, 5.0)) for sizes in SIZES.values() for size in sizes]
    moved = [np.roll(law, 1) for law in laws]

    def pane(shares: list[NDArray[np.float64]], rows: int) -> NDArray[np.float64]:
        return np.concatenate([generator.multinomial(rows, law) for law in shares]) * 1.0

    reference = pane(laws, 20_000)
    # One watch has too few rows to be judged.
    reference[CELLS.starts[2] : CELLS.starts[3]] = 0.5
    paid = paid_for(reference, bound, inflation, pane_rows)
    panes = [pane(laws if at < 8 else moved, 100 + 20 * at) for at in range(30)]
    found = assert_alike(kernels, paid, panes)
    assert found.alarms


def test_of_panes_together_those_that_are_not_newer_are_refused(kernels: DriftKernels) -> None:
    reference = np.full(CELLS.width, 500.0)
    paid = paid_for(reference, BurstBound.ALWAYS, 1.0, math.inf)
    panes = waiting_of([reference / 10, reference / 9, reference / 8])
    wanted = steps(empty_state(DICTIONARY), paid, panes, 10_000, SETTINGS)
    for again in ([panes[0], *panes[:2], panes[1], panes[2]], [*panes, panes[0]]):
        for used in (kernels, None):
            found = steps(empty_state(DICTIONARY), paid, again, 10_000, SETTINGS, used)
            found = steps(found, paid, again, 10_000, SETTINGS, used)
            assert to_bytes(found, DICTIONARY) == to_bytes(wanted, DICTIONARY)


COUNT = st.one_of(
    st.just(0.0),
    st.integers(0, 50).map(float),
    st.integers(0, 10**6).map(float),
    st.sampled_from([2.0**53, 1e11, 1e308, -1.0, math.nan, math.inf]),
)
COUNTS = st.lists(COUNT, min_size=CELLS.width, max_size=CELLS.width).map(np.array)
PLAIN = st.lists(st.integers(0, 10**5).map(float), min_size=CELLS.width, max_size=CELLS.width).map(
    np.array
)


@given(
    reference=PLAIN,
    panes=st.lists(COUNTS, max_size=4),
    bound=st.sampled_from(BurstBound),
    inflation=st.floats(1.0, 20.0),
    pane_rows=st.sampled_from([math.inf, 1.0, 1e4]),
)
@settings(max_examples=60, deadline=None)
def test_whatever_counts_hold_kernels_come_to_the_same_bits(
    kernels: DriftKernels,
    reference: NDArray[np.float64],
    panes: list[NDArray[np.float64]],
    bound: BurstBound,
    inflation: float,
    pane_rows: float,
) -> None:
    assert_alike(kernels, paid_for(reference, bound, inflation, pane_rows), panes)


COLUMNS = (
    ColumnSpec("x", Kind.NUMERIC, (0.0, 1.0)),
    ColumnSpec("x", Kind.CATEGORICAL, categories=("a",)),
    ColumnSpec("scores.a", Kind.NUMERIC, (0.5,)),
    ColumnSpec("t", Kind.CATEGORICAL, categories=("a", "b")),
    ColumnSpec("label", Kind.CATEGORICAL, categories=("a", "b")),
)
WIDEST = Layout.of("r", COLUMNS)
SUM = st.one_of(st.integers(0, 50), st.sampled_from([-1, 2**53 - 1, 2**53 + 1, 2**63 - 1]))


@given(
    sums=st.lists(SUM, min_size=WIDEST.width, max_size=WIDEST.width),
    kept=st.sets(st.sampled_from(COLUMNS)),
    rest=st.dictionaries(st.sampled_from(["t", "label"]), st.integers(1, 2**40)),
    read_only=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_summaries_hold_kernels_count_the_same(
    kernels: DriftKernels,
    sums: list[int],
    kept: set[ColumnSpec],
    rest: dict[str, int],
    read_only: bool,
) -> None:
    """Of some columns of the reference, in which everything was seen."""
    cells = cells_of(summaries_of(WIDEST, np.ones(WIDEST.width, np.int64), {}))
    layout = Layout.of("r", kept)
    vector = np.array(sums[: layout.width], np.int64)
    vector.flags.writeable = not read_only
    summaries = summaries_of(layout, vector, rest)
    plain = count(cells, summaries)
    assert count(cells, summaries, kernels.count).tobytes() == plain.tobytes()


def summaries_of(layout: Layout, vector: NDArray[np.int64], rest: dict[str, int]) -> Summaries:
    categories = {name: CategoryCounts.of({"z": n}) for name, n in rest.items()}
    return Summaries(layout, vector, no_extremes(len(layout.columns)), {}, categories)
