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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.cell_statistics import quiet
from detectors.column_figures import QUANTILES, quantiles_of
from detectors.compared import Many, Pair, compare_many, directions
from detectors.differences import differences
from detectors.finding import Finding, Outcome
from detectors.judged_columns import OF_COLUMNS, TAILS, Measure, Rules, rules_of
from detectors.layout import Header, Kind
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
from detectors.sketch import Sketch
from detectors.summary import Summaries

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


def judge_all(settings: ThresholdSettings, asked: Sequence[Asked]) -> list[list[Finding]]:
    """As :func:`judge_columns` for each: the same findings, at a fraction of the cost where many
    comparisons have their columns in common."""
    pairs = [
        Pair(each.against, each.current, lasting=each.kind is Against.REFERENCE)
        for each in (one.comparison for one in asked)
    ]
    found: list[list[Finding]] = [[] for _ in asked]
    with quiet():
        for many in compare_many(pairs):
            kinds = [asked[at].comparison.kind for at in many.places]
            rules = {kind: rules_of(settings, kind, many.plan) for kind in kinds}
            values = _values(many, rules[kinds[0]].sign).T
            shown = values.reshape(len(kinds), -1, len(OF_COLUMNS)).tolist()
            for one, (at, kind) in enumerate(zip(many.places, kinds, strict=True)):
                _judge(settings, asked[at], many, one, rules[kind], shown[one], found[at])
    return found


def _judge(
    settings: ThresholdSettings,
    asked: Asked,
    many: Many,
    one: int,
    rules: Rules,
    values: list[list[float]],
    findings: list[Finding],
) -> None:
    """All findings of one comparison, which is the one at ``one`` of ``many``."""
    if rules.columns:
        _judge_values(settings, asked, many, one, rules, values, findings)
    if rules.latency is not None:
        _judge_tails(settings, asked, many, one, rules, findings)
    _judge_failures(settings, asked.comparison, asked.place, rules, findings)


def _judge_values(
    settings: ThresholdSettings,
    asked: Asked,
    many: Many,
    one: int,
    rules: Rules,
    values: list[list[float]],
    findings: list[Finding],
) -> None:
    place, against = asked.place, asked.comparison.name
    release, segment, window_ms = place.release, place.segment, place.window_ms
    start_ms, revision = place.window_start_ms, place.revision
    passed, nan, no_limit = Outcome.PASS, math.nan, NO_LIMIT
    columns = len(many.plan.columns)
    counts = many.now.counts[:, one * columns : (one + 1) * columns]
    every = np.concatenate((counts, many.known[one].figures.counts)).T.tolist()
    chosen = _chosen(rules, every) if rules.doubled else {}
    told = directions(many.one(one), *rules.worded)[0] if any(rules.worded) else None
    for column in rules.columns:
        name, at = column.name, column.place
        n, rows, errors, _, usual_n, usual_rows, usual_errors, _ = every[at]
        if not (n or errors or usual_n or usual_errors) or chosen.get(name, at) != at:
            continue  # in a layout by chance only, or judged by its other half
        row = values[at]
        few, few_rows = _few(settings, n, usual_n), _few(settings, rows, usual_rows)
        for measure in column.measures:
            value, of_rows = row[measure.index], measure.of_rows
            lacks = few_rows if of_rows else few
            if measure.limit is None and not lacks and value == value:
                outcome, reason = passed, no_limit
            else:
                asked_of = AskedOfColumn(many, rules, at, one * columns + at, measure.index, told)
                outcome, reason = outcome_of(measure, value, lacks, asked_of)
                # One NaN for all, so that equal findings are equal.
                value = value if value == value else nan
            findings.append(
                Finding(
                    release,
                    segment,
                    name,
                    window_ms,
                    start_ms,
                    revision,
                    measure.detector,
                    against,
                    value,
                    measure.above,
                    rows if of_rows else n,
                    usual_rows if of_rows else usual_n,
                    outcome,
                    reason,
                    measure.limit is not None,
                    measure.critical,
                )
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


def _chosen(rules: Rules, every: list[list[int]]) -> dict[str, int]:
    """Of each name the place of the half that has more values, first on the usual side."""
    chosen: dict[str, int] = {}
    for column in rules.columns:
        n, _, errors, _, usual_n, _, usual_errors, _ = every[column.place]
        if not (n or errors or usual_n or usual_errors):
            continue
        known = chosen.setdefault(column.name, column.place)
        if (usual_n, n) > (every[known][4], every[known][0]):
            chosen[column.name] = column.place
    return chosen


def _judge_tails(
    settings: ThresholdSettings,
    asked: Asked,
    many: Many,
    one: int,
    rules: Rules,
    findings: list[Finding],
) -> None:
    """The ratio of two quantiles, and by how much more than 1 - q of the current values lie above
    the usual quantile, in standard errors."""
    comparison, place, columns = asked.comparison, asked.place, len(many.plan.columns)
    at = (rules.latency or 0) + one * columns
    sizes = int(many.now.n[at]), int(many.usual.n[at])
    usual, now = (_latencies(side) for side in (comparison.against, comparison.current))
    usual_sketch, sketch = (
        side.sketches.get(LATENCY) or Sketch.empty()
        for side in (comparison.against, comparison.current)
    )
    for index, (measure, (_, q)) in enumerate(zip(rules.tails, TAILS, strict=True)):
        there, here = usual[index], now[index]
        if not all(sizes) or not there > 0:
            here = there = math.nan
        tails = AskedOfTails(usual_sketch, sketch, q, there, here)
        findings.append(
            _finding(settings, comparison, place, LATENCY, measure, here / there, sizes, tails)
        )


def _latencies(summaries: Summaries) -> list[float]:
    """At the ranks of :data:`TAILS`."""
    index = summaries.layout.index.get((LATENCY, Kind.NUMERIC))
    if index is None:
        return [math.nan] * len(TAILS)
    found = quantiles_of(summaries)[:, index].tolist()
    return [found[QUANTILES.index(q)] for _, q in TAILS]


def _judge_failures(
    settings: ThresholdSettings,
    comparison: Comparison,
    place: Place,
    rules: Rules,
    findings: list[Finding],
) -> None:
    """The model's own errors, as a rate over its predictions."""
    usual, now = (
        (side.header(Header.FAILED), side.header(Header.PREDICTIONS))
        for side in (comparison.against, comparison.current)
    )
    if not (usual[1] or now[1]):
        return
    difference = _rate(*now) - _rate(*usual)
    asked = AskedOfFailures(usual, now)
    sizes = now[1], usual[1]
    findings.append(
        _finding(settings, comparison, place, ERROR, rules.failures, difference, sizes, asked)
    )


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
