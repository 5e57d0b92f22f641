"""Classical statistics of every column, and plain limits on them for those who want some.

Every statistic of every column becomes a finding; those that a :class:`Limit` names decide, beside
the evidence (:mod:`detectors.drift`, :mod:`detectors.canary`), and by default none is named. A
limit fails only if the statistic is above it *and* the difference is beyond chance for this one
look (``z`` standard errors, default 4). That keeps small samples from failing, but it is not a
budget: looking at 25 columns every minute for a month is not one look, and these findings do not
claim otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat

import numpy as np
from numpy.typing import NDArray

from detectors.cell_statistics import quiet
from detectors.column_figures import QUANTILES, figures_of, quantiles_of
from detectors.compared import Many, Pair, compare_many, directions
from detectors.differences import differences
from detectors.finding import Finding, Outcome
from detectors.judged_columns import OF_COLUMNS, TAILS, Measure, Rules, rules_of
from detectors.layout import HEADERS, Header, Kind
from detectors.limit_outcome import (
    NO_LIMIT,
    AskedOfColumn,
    AskedOfFailures,
    AskedOfTails,
    outcome_of,
)
from detectors.limits import (
    ERROR,
    LATENCY,
    Against,
    Detector,
    Limit,
    ThresholdSettings,
)
from detectors.release import Release
from detectors.summary import Summaries
from detectors.window_kernels import WindowKernels

__all__ = [
    "ERROR",
    "LATENCY",
    "Against",
    "Asked",
    "Comparison",
    "Detector",
    "Limit",
    "Place",
    "ThresholdSettings",
    "judge_all",
    "judge_columns",
]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with what: ``name`` as in :attr:`Finding.against`."""

    current: Summaries
    against: Summaries
    name: str
    kind: Against


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comparison was made: it goes into every finding."""

    release: Release
    segment: str
    window_ms: int
    window_start_ms: int
    revision: int


@dataclass(frozen=True, slots=True)
class Asked:
    """One comparison, and where it was made."""

    comparison: Comparison
    place: Place


def judge_columns(
    settings: ThresholdSettings, comparison: Comparison, place: Place
) -> list[Finding]:
    """A finding for every statistic of every column that either side has.

    A column that is numbers in some events and text in others is judged as what it mostly is on
    the other side; there its other half is missing.
    """
    (findings,) = judge_all(settings, [Asked(comparison, place)])
    return findings


def judge_all(
    settings: ThresholdSettings, asked: Sequence[Asked], kernels: WindowKernels | None = None
) -> list[list[Finding]]:
    """As :func:`judge_columns` for each: the same findings, at a fraction of the cost where many
    comparisons have their columns in common. ``kernels``: they are the same without."""
    pairs = [
        Pair(each.against, each.current, lasting=each.kind is Against.REFERENCE)
        for each in (one.comparison for one in asked)
    ]
    found: list[list[Finding]] = [[] for _ in asked]
    # All at once: those of a window are asked for one by one below, and by what shows it.
    sides = dict.fromkeys(side for pair in pairs for side in pair[:2])
    figures_of.all(sides, kernels)
    quantiles_of.all(sides)
    latencies = {side: _latencies(side) for side in sides}
    with quiet():
        for many in compare_many(pairs, kernels):
            kinds = [asked[at].comparison.kind for at in many.places]
            rules = {kind: rules_of(settings, kind, many.plan) for kind in dict.fromkeys(kinds)}
            told = _told(settings, many, rules[kinds[0]])
            for one, at in enumerate(many.places):
                ruled = rules[kinds[one]]
                _judge(settings, asked[at], many, one, ruled, told, latencies, found[at])
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Of comparisons with the same plan, an entry each: ``values``, one of each measure of
    :class:`Listed`; what both sides are a share of (``sizes`` and ``usual_sizes``), which has n and
    then the rows of all columns; the places of the measures that have no value or too few of them
    (``strange``). ``counts``: int64 [comparisons, columns, 4], n and errors now, then the usual
    ones; ``complete``: whether every column has any."""

    values: list[list[float]]
    sizes: list[list[int]]
    usual_sizes: list[list[int]]
    strange: list[NDArray[np.int64]]
    counts: NDArray[np.int64]
    complete: list[bool]


def _told(settings: ThresholdSettings, many: Many, rules: Rules) -> _Told:
    """``rules``: any of those that hold, which have the same measures."""
    listed, copies = rules.listed, len(many.places)
    columns = len(many.plan.columns)
    values = _values(many, rules.sign).T.reshape(copies, -1).take(listed.cells, axis=1)
    # n, rows and errors of either side, by comparison and column.
    both = np.array((many.now.counts[:3], many.usual.counts[:3]))
    both = both.reshape(2, 3, copies, columns).swapaxes(1, 2)
    sizes = both[:, :, :2].reshape(2, copies, -1)
    few = sizes.min(axis=0) < settings.min_events
    strange = np.isnan(values)
    if few.any():
        strange |= few.take(listed.sizes, axis=1)
    counts = both[:, :, ::2].transpose(1, 3, 0, 2).reshape(copies, columns, 4)
    now, usual = sizes.tolist()
    return _Told(
        values.tolist(),
        now,
        usual,
        [row.nonzero()[0] for row in strange] if strange.any() else [_NOWHERE] * copies,
        counts,
        np.logical_and.reduce(np.logical_or.reduce(counts, axis=2), axis=1).tolist(),
    )


def _judge(
    settings: ThresholdSettings,
    asked: Asked,
    many: Many,
    one: int,
    rules: Rules,
    told: _Told,
    latencies: Mapping[Summaries, Sequence[float]],
    findings: list[Finding],
) -> None:
    """All findings of one comparison, which is the one at ``one`` of ``many``."""
    if rules.columns:
        findings += _of_values(settings, asked, many, one, rules, told)
    if rules.latency is not None:
        sizes = told.sizes[one][rules.latency], told.usual_sizes[one][rules.latency]
        _judge_tails(settings, asked, rules, sizes, latencies, findings)
    _judge_failures(settings, asked.comparison, asked.place, rules, findings)


def _of_values(
    settings: ThresholdSettings, asked: Asked, many: Many, one: int, rules: Rules, told: _Told
) -> Iterable[Finding]:
    """A window has some ten of these a column: so those of which there is nothing to say but their
    value, as a rule all, are made without a line of Python for each."""
    place, listed = asked.place, rules.listed
    values = told.values[one]
    sizes, usual_sizes = listed.sizes_of(told.sizes[one]), listed.sizes_of(told.usual_sizes[one])
    special = told.strange[one]
    if len(listed.limits):
        special = np.union1d(special, listed.limits)
    outcomes: Iterable[Outcome] = repeat(Outcome.PASS)
    reasons: Iterable[str] = repeat(NO_LIMIT)
    if len(special):
        said = [Outcome.PASS] * len(values), [NO_LIMIT] * len(values)
        outcomes, reasons = said
        words = directions(many.one(one), *rules.worded)[0] if any(rules.worded) else None
        for at in special.tolist():
            measure, column = listed.measures[at], listed.columns[at]
            of_column = one * len(many.plan.columns) + column
            asked_of = AskedOfColumn(many, rules, column, of_column, measure.index, words)
            lacks = _few(settings, sizes[at], usual_sizes[at])
            said[0][at], said[1][at] = outcome_of(measure, values[at], lacks, asked_of)
            if math.isnan(values[at]):
                values[at] = math.nan  # one for all, so that equal findings are equal
    found = map(
        Finding,
        repeat(place.release),
        repeat(place.segment),
        listed.names,
        repeat(place.window_ms),
        repeat(place.window_start_ms),
        repeat(place.revision),
        listed.detectors,
        repeat(asked.comparison.name),
        values,
        listed.above,
        sizes,
        usual_sizes,
        outcomes,
        reasons,
        listed.limited,
        listed.critical,
    )
    if told.complete[one] and not rules.doubled:
        return found
    # Columns that are in a layout by chance only, or are judged by their other half, are left out.
    chosen = _chosen(rules, told.counts[one].tolist())
    return compress(
        found, [chosen.get(n) == c for n, c in zip(listed.names, listed.columns, strict=True)]
    )


def _values(many: Many, sign: NDArray[np.float64]) -> NDArray[np.float64]:
    """The statistics of :data:`OF_COLUMNS`, float64 [statistics, columns of all]. ``sign``: as in
    :class:`Rules`, of which it is the same for whatever is compared with."""
    found, usual, now = many.distances, many.usual, many.now
    shift = differences(usual.testable, usual.sd, now.testable, now.sd)
    unit = np.where(usual.sd > 0, usual.sd, now.sd)
    constant = unit == 0
    in_sd = shift / unit
    if constant.any():
        # Two constants: alike, or beyond any measure apart.
        in_sd[constant & (shift == 0)] = 0.0
    return np.concatenate(
        (
            found.psi,
            found.jensen_shannon,
            found.hellinger,
            many.kolmogorov_smirnov,
            many.wasserstein,
            found.chi_square,
            found.total_variation,
            found.l_infinity,
            now.missing - usual.missing,
            np.abs(in_sd),
            np.tile(sign, len(many.currents)) * in_sd,
        )
    ).reshape(len(OF_COLUMNS), -1)


def _few(settings: ThresholdSettings, n: int, usual_n: int) -> str:
    fewest = min(n, usual_n)
    least = settings.min_events
    return f"{fewest} values, {least} needed" if fewest < least else ""


def _chosen(rules: Rules, counts: list[list[int]]) -> dict[str, int]:
    """Of each name that has anything the place of the half that has more values, first on the usual
    side. ``counts``: as in :class:`_Told`."""
    chosen: dict[str, int] = {}
    for column in rules.columns:
        n, _, usual_n, _ = counts[column.place]
        if not any(counts[column.place]):
            continue
        known = chosen.setdefault(column.name, column.place)
        if (usual_n, n) > (counts[known][2], counts[known][0]):
            chosen[column.name] = column.place
    return chosen


def _judge_tails(
    settings: ThresholdSettings,
    asked: Asked,
    rules: Rules,
    sizes: tuple[int, int],
    latencies: Mapping[Summaries, Sequence[float]],
    findings: list[Finding],
) -> None:
    """The ratio of two quantiles, and by how much more than 1 - q of the current values lie above
    the usual quantile, in standard errors."""
    comparison, place = asked.comparison, asked.place
    sides = comparison.against, comparison.current
    usual, now = latencies[sides[0]], latencies[sides[1]]
    for index, (measure, (_, q)) in enumerate(zip(rules.tails, TAILS, strict=True)):
        there, here = usual[index], now[index]
        if not all(sizes) or not there > 0:
            here = there = math.nan
        tails = AskedOfTails(*sides, q, there, here)
        findings.append(
            _finding(settings, comparison, place, LATENCY, measure, here / there, sizes, tails)
        )


_NOWHERE = np.empty(0, np.int64)
_FAILED, _PREDICTIONS = HEADERS.index(Header.FAILED), HEADERS.index(Header.PREDICTIONS)
_TAILS = [QUANTILES.index(q) for _, q in TAILS]


def _latencies(summaries: Summaries) -> list[float]:
    """At the ranks of :data:`TAILS`."""
    index = summaries.layout.index.get((LATENCY, Kind.NUMERIC))
    if index is None:
        return [math.nan] * len(TAILS)
    found = quantiles_of(summaries)[:, index].tolist()
    return [found[at] for at in _TAILS]


def _judge_failures(
    settings: ThresholdSettings,
    comparison: Comparison,
    place: Place,
    rules: Rules,
    findings: list[Finding],
) -> None:
    """The model's own errors, as a rate over its predictions."""
    usual, now = map(_failures, (comparison.against, comparison.current))
    if not (usual[1] or now[1]):
        return
    difference = _rate(*now) - _rate(*usual)
    asked = AskedOfFailures(usual, now)
    sizes = now[1], usual[1]
    findings.append(
        _finding(settings, comparison, place, ERROR, rules.failures, difference, sizes, asked)
    )


def _failures(summaries: Summaries) -> tuple[int, int]:
    """How many failed, and of how many predictions."""
    headers = summaries.vector[: len(HEADERS)].tolist()
    return headers[_FAILED], headers[_PREDICTIONS]


def _rate(hits: int, n: int) -> float:
    return hits / n if 0 <= hits <= n and n else math.nan


def _finding(
    settings: ThresholdSettings,
    comparison: Comparison,
    place: Place,
    column: str,
    measure: Measure,
    value: float,
    sizes: tuple[int, int],
    asked: AskedOfTails | AskedOfFailures,
) -> Finding:
    outcome, reason = outcome_of(measure, value, _few(settings, *sizes), asked)
    return Finding(
        place.release,
        place.segment,
        column,
        place.window_ms,
        place.window_start_ms,
        place.revision,
        measure.detector,
        comparison.name,
        math.nan if math.isnan(value) else value,
        measure.above,
        *sizes,
        outcome,
        reason,
        measure.limit is not None,
        measure.critical,
    )
