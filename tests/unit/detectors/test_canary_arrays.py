"""What is settled for all columns at once is what would be settled one by one."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.canary_bets import (
    SHIFTS,
    TAIL_LEVELS,
    EndBet,
    RangeBet,
    ShiftBet,
    category_bets,
    level_bets,
    normal_scores,
    rate_bets,
    tail_bets,
)
from detectors.canary_book import Book, write_book
from detectors.canary_cast import RATE, Basis, Part, cast_of
from detectors.canary_counts import reader_of
from detectors.canary_evidence import log_e_values, running
from detectors.canary_rules import Judged, Measure
from detectors.canary_sequences import PaneValues, Sequences, events_until, half_widths
from detectors.canary_wealth import Wealth
from detectors.conditional import log_e_values as plain_log_e_values
from detectors.confidence_sequence import Arm, DifferenceSequence, half_width
from detectors.dispersion import differences
from detectors.e_process import EProcess
from detectors.fixed_point import Grid
from detectors.kernels import Rows, summarize
from detectors.layout import HEADERS, ColumnSpec, Header, Kind, Layout
from detectors.upstream import Direction

Floats = NDArray[np.float64]
HOST = 0.1
RATE_ODDS = 1.3


def held(column: str, measure: Measure, harm: Direction, margin: float) -> Judged:
    return Judged(column, measure, 0, harm, margin, 0.0, True)


def scene(seed: int) -> tuple[Book, list[Basis]]:
    generator = np.random.default_rng(seed)
    many = tuple(generator.dirichlet(np.full(21, 2.0)).tolist())
    few = tuple(generator.dirichlet(np.full(3, 2.0)).tolist())
    tail = Basis(tuple(np.diff((0.0, *TAIL_LEVELS, 1.0)).tolist()), shrink=1.1)
    parts = [
        (held("a", Measure.LEVEL, Direction.BOTH, 0.2), Basis(many)),
        (held("b", Measure.LEVEL, Direction.DOWN, 0.0), Basis(few)),
        (held("c", Measure.CATEGORIES, Direction.BOTH, 0.2), Basis(few)),
        (held("d", Measure.MISSING, Direction.UP, 0.2), RATE),
        (held("e", Measure.TAIL, Direction.UP, 0.1), tail),
        (held("f", Measure.LEVEL, Direction.UP, 0.05), Basis(many)),
    ]
    cast = cast_of(tuple(Part(what.column, what.measure, 0.01, basis) for what, basis in parts))
    return write_book(cast, [what for what, _ in parts], HOST), [basis for _, basis in parts]


def matrices(book: Book, at: int, basis: Basis) -> tuple[Floats, Floats]:
    """ln rho and ln g of each bet and cell, written out: [J, K] each."""
    what = book.what[at]
    assert what is not None
    cells = len(basis.shares)
    place = np.arange(cells)
    bets: list[RangeBet | ShiftBet | EndBet]
    match what.measure:
        case Measure.LEVEL:
            bets = list(level_bets(what.harm, basis.shares))
        case Measure.CATEGORIES:
            bets = list(category_bets(basis.shares, what, HOST))
        case Measure.TAIL:
            bets = list(tail_bets(what.harm))
        case _:
            bets = list(rate_bets(what.harm))
    scores = normal_scores(np.array(basis.shares))
    # Of a tail the values are shrunk by it.
    tolerated = 0.0 if what.measure is Measure.TAIL else max(what.margin, HOST)
    ratios, tilts = [], []
    for bet in bets:
        match bet:
            case RangeBet():
                inside = (place >= bet.first) & (place < bet.stop)
                tilt = math.log(RATE_ODDS) if what.measure is Measure.MISSING else bet.tilt
                ratios.append(bet.sign * math.log(bet.factor) * inside)
                tilts.append(bet.sign * tilt * inside)
            case ShiftBet():
                ratios.append(bet.sign * SHIFTS[bet.shift] * scores)
                tilts.append(bet.sign * tolerated * scores)
            case EndBet():
                inside = (place >= bet.first) & (place < bet.stop)
                ratios.append(math.log(bet.factor) * inside)
                tilts.append(bet.sign * tolerated * scores)
    return np.array(ratios), np.array(tilts)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "m"), [(200, 9800), (40, 60), (5000, 5000), (3, 10**6)])
def test_evidence_of_all_columns_at_once_is_that_of_each_alone(seed: int, n: int, m: int) -> None:
    book, bases = scene(seed)
    generator = np.random.default_rng(seed)
    canary = np.concatenate([generator.multinomial(n, basis.shares) for basis in bases])
    production = np.concatenate([generator.multinomial(m, basis.shares) for basis in bases])
    arms = np.stack((canary, production))
    pane = differences(arms, book.values, book.cast.starts, book.cast.owner)
    first = np.add.reduceat(arms[0] * book.scores, book.cast.starts)
    got = log_e_values(book, arms, running(arms), pane.n, pane.m, first, np.log([RATE_ODDS]))
    for at, basis in enumerate(bases):
        cells = slice(int(book.cast.starts[at]), int(book.cast.starts[at]) + len(basis.shares))
        ratio, tilt = matrices(book, at, basis)
        wanted = plain_log_e_values(canary[cells], production[cells], ratio, tilt)
        mine = got[book.owner == at]
        tight = n > 0.1 * (n + m)
        for value, other, row in zip(mine, wanted, ratio, strict=True):
            scores = normal_scores(np.array(basis.shares))
            end = book.what[at].measure is Measure.LEVEL and not np.allclose(  # type: ignore[union-attr]
                np.abs(np.corrcoef(row, scores)[0, 1]), 1.0
            )
            if tight and end:
                assert value <= other + 1e-9
            else:
                assert value == pytest.approx(other, rel=1e-6, abs=2e-3 if tight else 1e-8)


def test_wealth_of_all_columns_at_once_is_that_of_each_alone() -> None:
    book, bases = scene(1)
    generator = np.random.default_rng(2)
    parts = len(bases)
    none = np.zeros(parts)
    wealth = Wealth(
        np.full(len(book.owner), -np.inf),
        np.zeros(len(book.owner), np.int64),
        np.zeros(parts, np.int64),
        none - np.inf,
        none - np.inf,
        np.zeros(parts, np.int64),
    )
    alone = [EProcess.start(np.exp(book.log_part[book.owner == at])) for at in range(parts)]
    for t in range(12):
        log_e = generator.normal(0.1, 1.0, len(book.owner))
        log_e[generator.integers(len(log_e))] = np.nan
        on = generator.random(parts) < 0.8
        log_e[generator.integers(len(log_e))] += 5.0
        wealth = wealth.step(book, log_e, on, t * 10, np.full(parts, 0.5))
        alone = [
            one.step(log_e[book.owner == at], t * 10, 0.5) if on[at] else one
            for at, one in enumerate(alone)
        ]
    for at, one in enumerate(alone):
        assert wealth.panes[at] == one.panes
        assert wealth.evidence[at] == pytest.approx(one.evidence, rel=1e-12)
        assert wealth.peak[at] == pytest.approx(one.peak, rel=1e-12)
        assert wealth.peak_onset_ms[at] == one.peak_onset_ms
        assert wealth.onset_ms[book.owner == at].tolist() == one.onset_ms.tolist()


def test_sequences_at_once_are_those_of_each_alone() -> None:
    generator = np.random.default_rng(3)
    zeros, none = np.zeros(4, np.int64), np.zeros(4)
    sequences = Sequences(zeros, zeros, none, none, none, none, zeros)
    alone = [DifferenceSequence()] * 4
    for t in range(30):
        n = generator.integers(0 if t % 2 else 2, 4, (2, 4))
        mean, sd = generator.normal(0, 1, (2, 4)), generator.exponential(1, (2, 4))
        mean[0, 3] = generator.choice([1.0, np.inf])
        with np.errstate(invalid="ignore"):
            sequences = sequences.step(PaneValues(n, mean, sd), np.full(4, True), 0.05, 500)
        alone = [
            one.step(
                Arm(int(n[0, i]), mean[0, i], sd[0, i]), Arm(int(n[1, i]), mean[1, i], sd[1, i]),
                0.05, 500,
            )
            for i, one in enumerate(alone)
        ]  # fmt: skip
    for one, other in zip(sequences.each(), alone, strict=True):
        assert (one.n, one.n_against, one.skipped) == (other.n, other.n_against, other.skipped)
        found = one.total, one.variance, one.within, one.r2
        wanted = other.total, other.variance, other.within, other.r2
        assert found == pytest.approx(wanted, rel=1e-12)


def some_sequences() -> tuple[list[DifferenceSequence], Sequences]:
    """One that knows nothing, one without variation, and some that differ in every respect."""
    generator = np.random.default_rng(8)
    found = [DifferenceSequence(), DifferenceSequence(5, 50)]
    for _ in range(40):
        n = int(generator.integers(1, 10**6))
        total, variance, r2 = n * generator.normal(0, 0.1), n * generator.exponential(), 5000.0
        found.append(DifferenceSequence(n, 9 * n, total, variance, 9.0 * n, r2))
    columns = [np.array(column) for column in zip(*map(astuple, found), strict=True)]
    return found, Sequences(*columns)


def test_intervals_at_once_are_those_of_each_alone() -> None:
    alone, at_once = some_sequences()
    factor = np.linspace(1.0, 5.0, len(alone))
    with np.errstate(all="ignore"):
        found = half_widths(at_once.variance, at_once.r2, at_once.n, 0.05, factor)
    wanted = [half_width(one, one.n, 0.05, by) for one, by in zip(alone, factor, strict=True)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-12, nan_ok=True)
    assert np.isnan(found[:2]).all()
    assert not np.isnan(found[2:]).any()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 1.5])
def test_the_further_events_are_those_that_make_each_interval_short_enough(part: float) -> None:
    alone, at_once = some_sequences()
    factor = np.linspace(1.0, 5.0, len(alone))

    def until(rows: slice, rooms: Floats) -> list[float]:
        variance, r2, n = at_once.variance[rows], at_once.r2[rows], at_once.n[rows]
        found = events_until(variance, r2, n, rooms[rows], 0.05, factor[rows])
        return list(found.tolist())

    with np.errstate(all="ignore"):
        half = half_widths(at_once.variance, at_once.r2, at_once.n, 0.05, factor)
        more = until(slice(None), half * part)
        one_by_one = [until(slice(at, at + 1), half * part)[0] for at in range(len(alone))]
        assert np.isnan(until(slice(None), -half)).all()
    assert np.array_equal(more, one_by_one, equal_nan=True)
    assert np.isnan(more[:2]).all()
    for one, by, events, width in zip(
        alone[2:], factor[2:].tolist(), more[2:], half[2:].tolist(), strict=True
    ):
        if part > 1:
            assert events == 0
        else:
            assert half_width(one, one.n + events, 0.05, by) < width * part
            assert half_width(one, (one.n + events) * 0.99, 0.05, by) > width * part


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e6, -1e9])
@pytest.mark.parametrize("sketch", [True, False])
def test_means_of_all_columns_at_once_are_those_of_each_alone(offset: float, sketch: bool) -> None:
    specs = [
        ColumnSpec(f"features.f{i}", Kind.NUMERIC, (offset,), Grid(offset + i, 2.0**i), sketch)
        for i in range(4)
    ]
    layout = Layout.of("r", specs)
    generator = np.random.default_rng(4)
    values = {
        spec.name: offset + generator.normal(0, 1, 50) * generator.choice([0.0, 1e-9, 1.0, 1e9])
        for spec in specs
    }
    headers = np.zeros((1, len(HEADERS)), np.int64)
    headers[0, HEADERS.index(Header.PREDICTIONS)] = 50
    found = summarize(Rows(np.array([0, 50]), headers, values, {}, {}), layout)[0]
    parts = [Part(spec.name, Measure.LEVEL, 0.01, Basis((0.5, 0.5), spec.edges)) for spec in specs]
    arms = reader_of(cast_of(tuple(parts)), layout).read(found, found)
    for i, spec in enumerate(specs):
        column = found.numeric(spec.name)
        assert column is not None
        assert arms.mean[:, i].tolist() == pytest.approx([column.mean] * 2, rel=1e-9, abs=1e-9)
        assert arms.sd[:, i].tolist() == pytest.approx([column.sd] * 2, rel=1e-6)
        assert arms.cells[0, 2 * i : 2 * i + 2].tolist() == column.bins.tolist()
