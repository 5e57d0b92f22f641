"""Compiled kernels bound what is owed for bets as the plain form does, to the last bit."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.canary_bets import TAIL_LEVELS
from detectors.canary_book import Book, write_book
from detectors.canary_bounds import BoundKernels
from detectors.canary_cast import RATE, Basis, Part, cast_of
from detectors.canary_evidence import ROWS, log_e_values, running
from detectors.canary_kernels import CanaryKernels, log_e_by
from detectors.canary_rules import Judged, Measure
from detectors.conditional import TIGHT_SHARE
from detectors.upstream import Direction
from streams.evidence_kernels import load

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

MARGINS, HOSTS = (0.0, 0.2, 3.0), (0.0, 0.1, 0.5)
MANY = tuple(np.random.default_rng(1).dirichlet(np.full(21, 2.0)).tolist())
FEW = (0.2, 0.5, 0.3)
TAIL = Basis(tuple(np.diff((0.0, *TAIL_LEVELS, 1.0)).tolist()), shrink=1.1)
KINDS = {
    "level": (Measure.LEVEL, Direction.BOTH, Basis(MANY)),
    "constant": (Measure.LEVEL, Direction.UP, Basis((1.0,))),
    "few": (Measure.LEVEL, Direction.DOWN, Basis(FEW)),
    "categories": (Measure.CATEGORIES, Direction.BOTH, Basis(FEW)),
    "missing": (Measure.MISSING, Direction.UP, RATE),
    "errors": (Measure.ERRORS, Direction.BOTH, RATE),
    "tail": (Measure.TAIL, Direction.UP, TAIL),
}
NUMBERS = st.one_of(
    st.integers(0, 3), st.integers(0, 60), st.integers(0, 10_000), st.integers(10**9, 10**12)
)


@pytest.fixture(scope="module")
def kernels() -> CanaryKernels:
    made = load()
    assert made is not None, "numba is part of the extra 'dev': pip install -e '.[dev]'"
    return made.canary


def book_on(kinds: tuple[str, ...], margin: float, host: float) -> Book:
    chosen = [KINDS[kind] for kind in kinds]
    cast = cast_of(
        tuple(
            Part(f"{place}", measure, 0.01, basis)
            for place, (measure, _, basis) in enumerate(chosen)
        )
    )
    held = [
        Judged(f"{place}", measure, 0, harm, margin, 0.0, True)
        for place, (measure, harm, _) in enumerate(chosen)
    ]
    return write_book(cast, held, host)


BOOKS = [
    book_on(kinds, margin, host)
    for margin, host in zip(MARGINS, HOSTS, strict=True)
    for kinds in (tuple(KINDS), ("missing", "errors"), ("level",), ("few", "tail"), ("constant",))
]


def pane(book: Book, totals: Counts, seed: int) -> tuple[Counts, Counts, Counts, Floats, Floats]:
    """Cells of so many events of both arms, [2, P, M], as :func:`log_e_values` takes them."""
    generator, cast = np.random.default_rng(seed), book.cast
    cells = np.zeros((*totals.shape[:2], cast.width), np.int64)
    for at, (start, width) in enumerate(zip(cast.starts, cast.cells, strict=True)):
        shares = generator.dirichlet(np.full(width, 0.5))
        cells[:, :, start : start + width] = generator.multinomial(totals[:, :, at], shares)
    counts = np.add.reduceat(cells, cast.starts, axis=-1)
    first = np.add.reduceat(cells[0] * book.scores, cast.starts, axis=-1)
    return cells, running(cells), counts, first, generator.normal(0, 1, (totals.shape[1], 2))


def assert_equal_bits(
    kernels: CanaryKernels, book: Book, totals: Counts, seed: int = 0
) -> tuple[Floats, Counts]:
    """Of all releases together; returns the logarithms of e-values, and the counts."""
    cells, upto, counts, first, drawn = pane(book, totals, seed)
    rate_tilt = np.ascontiguousarray(drawn[:, : len(book.cast.rates)])
    with np.errstate(all="ignore"):
        plain = log_e_values(book, cells, upto, counts[0], counts[1], first, rate_tilt)
        logs = np.empty(cells.shape[1] * 2 * ROWS * len(book.shifts.owner) + 1)
        compiled = log_e_by(kernels, book, cells, upto, counts, first, rate_tilt, logs)
    # Of parts without events of both arms nothing is meant, and no NaN is like another.
    meant = np.minimum(counts[0], counts[1])[:, book.owner] > 0
    assert np.where(meant, compiled, 0.0).tobytes() == np.where(meant, plain, 0.0).tobytes()
    assert np.array_equal(np.isnan(compiled), np.isnan(plain))
    return plain, counts


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(BOOKS),
    st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=7), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_whatever_canaries_have_of_a_pane_kernels_come_to_the_same_bits(
    kernels: CanaryKernels, book: Book, drawn: list[list[tuple[int, int]]], seed: int
) -> None:
    """Releases of unlike shares, and parts of one release too."""
    parts = len(book.cast.parts)
    totals = np.array([[some[at % len(some)] for at in range(parts)] for some in drawn])
    assert_equal_bits(kernels, book, np.moveaxis(totals, -1, 0).copy(), seed)


@pytest.mark.parametrize("book", BOOKS)
@pytest.mark.parametrize(
    ("n", "m"),
    [(1, 1), (2, 1), (1, 9), (5, 0), (16, 17), (33, 33), (600, 600), (10**6, 10**5), (10**12, 1)],
)
def test_even_splits_of_any_size_come_to_the_same_bits(
    kernels: CanaryKernels, book: Book, n: int, m: int
) -> None:
    """Also of one event each, where production has none, and with a release that has little."""
    totals = np.empty((2, 3, len(book.cast.parts)), np.int64)
    for arm, (much, little) in enumerate(((n, 10), (m, 10_000))):
        totals[arm] = much
        totals[arm, 1] = little
    assert_equal_bits(kernels, book, totals)


def counting(kernels: CanaryKernels) -> tuple[CanaryKernels, dict[str, int]]:
    """The same kernels, and how often those of bounds are called."""
    calls = {one.name: 0 for one in fields(BoundKernels)}

    def counted(name: str) -> object:
        kernel = getattr(kernels.bounds, name)

        def call(*given: object) -> object:
            calls[name] += 1
            return kernel(*given)

        return call

    watched = {name: counted(name) for name in calls}
    return replace(kernels, bounds=BoundKernels(**watched)), calls  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "called"), [(300, True), (30, False)])
def test_kernels_bound_what_is_owed_where_a_canary_has_much_of_the_pane(
    kernels: CanaryKernels, n: int, called: bool
) -> None:
    """Once for all releases; else equal bits would say nothing of these kernels."""
    watched, calls = counting(kernels)
    book = BOOKS[0]
    totals = np.full((2, 3, len(book.cast.parts)), 600)
    totals[0] = n
    plain, counts = assert_equal_bits(watched, book, totals)
    assert (counts[0] > TIGHT_SHARE * counts.sum(axis=0)).all() == called
    assert [calls[name] for name in ("split", "begin", "weigh", "bound")] == [int(called)] * 4
    assert (calls["approach"] > 3) == called
    assert np.isfinite(plain).all()


def test_bounds_are_smaller_than_what_they_bound(kernels: CanaryKernels) -> None:
    """Mostly: so it shows in the bits whether bounds are used, on ranges and on shifts."""
    book = BOOKS[0]
    totals = np.full((2, 1, len(book.cast.parts)), 600)
    cells, upto, counts, first, drawn = pane(book, totals, 1)
    logs = np.empty(2 * ROWS * len(book.shifts.owner))
    asked = book, cells, upto, counts, first, drawn, logs

    def earn(*args: object) -> None:
        *before, _, log_e = args
        kernels.earn(*before, np.zeros((0, 0)), log_e)

    with np.errstate(all="ignore"):
        (bound,) = log_e_by(kernels, *asked)
        (unbound,) = log_e_by(replace(kernels, earn=earn), *asked)
    ranges, shifts = len(book.ranges.owner), len(book.shifts.part)
    won = bound > unbound
    assert (bound >= unbound).all()
    assert won[book.order < ranges].mean() > 0.5
    assert won[(book.order >= ranges) & (book.order < ranges + shifts)].mean() > 0.5
