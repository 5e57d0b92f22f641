"""Classical statistics of every column, and plain limits on them for those who want some.

Every statistic of every column becomes a finding; those that a :class:`Limit` names decide, beside
the evidence (:mod:`detectors.drift`, :mod:`detectors.canary`), and by default none is named. A
limit fails only if the statistic is above it *and* the difference is beyond chance for this one
look (``z`` standard errors, default 4). That keeps small samples from failing, but it is not a
budget: looking at 25 columns every minute for a month is not one look, and these findings do not
claim otherwise.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from scipy import special

from detectors.comparison import ColumnStatistics, compare_columns
from detectors.finding import Finding, Outcome
from detectors.layout import Header, Kind
from detectors.release import Release
from detectors.statistics import rate_difference
from detectors.summary import CategoricalSummary, NumericSummary, Summaries

ERROR = "error"
"""The column of the model's own failures: a rate over its predictions."""
LATENCY = "latency_ms"


class Detector(StrEnum):
    """The statistics that can be given a limit."""

    PSI = "psi"
    JENSEN_SHANNON = "jensen_shannon"
    HELLINGER = "hellinger"
    KOLMOGOROV_SMIRNOV = "kolmogorov_smirnov"
    WASSERSTEIN = "wasserstein"
    CHI_SQUARE = "chi_square"
    TOTAL_VARIATION = "total_variation"
    L_INFINITY = "l_infinity"
    MISSING_RATE = "missing_rate"
    MEAN_SHIFT = "mean_shift"
    MEAN_WORSE = "mean_worse"
    ERROR_RATE = "error_rate"
    P95_RATIO = "p95_ratio"
    P99_RATIO = "p99_ratio"


class Against(StrEnum):
    """What a limit compares with."""

    REFERENCE = "reference"
    PRODUCTION = "production"


_NUMERIC_ONLY = frozenset({Detector.KOLMOGOROV_SMIRNOV, Detector.WASSERSTEIN})


@dataclass(frozen=True, slots=True)
class Limit:
    """``detector`` of the columns that match ``columns`` must not exceed ``above``.

    ``critical``: a failing canary is rolled back for it; otherwise people are told. ``z``: how many
    standard errors a difference must also have. In the units of the detector: psi and its kin as
    defined, ``mean_*`` in standard deviations, ``*_rate`` as a difference of rates, ``*_ratio`` as
    a ratio.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    detector: Detector
    above: float
    columns: str = "*"
    against: Against = Against.REFERENCE
    critical: bool = False
    z: float = 4.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.above) or self.above < 0:
            raise ValueError(f"a limit on {self.detector} needs a number of at least 0")
        if not math.isfinite(self.z) or self.z < 0:
            raise ValueError("z must be a number of at least 0")


@dataclass(frozen=True, slots=True)
class ThresholdSettings:
    """``min_events``: with fewer values on either side a limit does not decide.
    ``lower_is_better``: scores whose rise is bad, not their fall (patterns)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    min_events: int = 200
    limits: tuple[Limit, ...] = ()
    lower_is_better: tuple[str, ...] = ("scores.toxicity",)

    def __post_init__(self) -> None:
        if self.min_events < 2:
            raise ValueError("detect.min_events must be at least 2")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with what: ``name`` as in :attr:`Finding.against`."""

    current: Summaries
    against: Summaries
    name: str
    kind: Against


@dataclass(frozen=True, slots=True)
class Measure:
    """One statistic of one column; ``z`` is its distance from chance (NaN: unknown)."""

    column: str
    detector: Detector
    value: float
    z: float
    n: int
    n_against: int
    words: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a comparison was made: it goes into every finding."""

    release: Release
    segment: str
    window_ms: int
    window_start_ms: int
    revision: int


def judge_columns(
    settings: ThresholdSettings, comparison: Comparison, place: Place
) -> list[Finding]:
    """A finding for every statistic of every column that both sides have."""
    return [
        _finding(settings, comparison, place, measure)
        for measure in measures(comparison.current, comparison.against, settings)
    ]


def measures(
    current: Summaries, against: Summaries, settings: ThresholdSettings
) -> Iterator[Measure]:
    """All statistics of all columns. A column that is numbers in some events and text in others
    is judged as what it mostly is on the other side; there its other half is missing."""
    if current.layout.reference == against.layout.reference:
        # A column that one side never sent is missing there in every event.
        layout = current.layout.union(against.layout)
        current, against = current.widen(layout), against.widen(layout)
    columns: dict[str, ColumnStatistics] = {}
    for column in compare_columns(against, current):
        if not (_occurs(current, column) or _occurs(against, column)):
            continue  # in a layout by chance only: nobody ever sent a value
        known = columns.setdefault(column.column, column)
        if (column.n_against, column.n) > (known.n_against, known.n):
            columns[column.column] = column
    for column in columns.values():
        rows = _rows(current, column), _rows(against, column)
        yield from _column_measures(column, rows, settings)
    latency, usual = current.numeric(LATENCY), against.numeric(LATENCY)
    if latency is not None and usual is not None:
        yield _tail_ratio(Detector.P95_RATIO, 0.95, latency, usual)
        yield _tail_ratio(Detector.P99_RATIO, 0.99, latency, usual)
    n, usual_n = current.header(Header.PREDICTIONS), against.header(Header.PREDICTIONS)
    if n or usual_n:
        rate = rate_difference(
            against.header(Header.FAILED), usual_n, current.header(Header.FAILED), n
        )
        yield Measure(
            ERROR, Detector.ERROR_RATE, rate.difference, rate.z, n, usual_n, "share of errors"
        )


def _column_measures(
    column: ColumnStatistics, rows: tuple[int, int], settings: ThresholdSettings
) -> Iterator[Measure]:
    n, usual_n, name = column.n, column.n_against, column.column
    chance = _z_of(column.chi_square.p_value)
    words = _nameless(column)
    for detector, value in (
        (Detector.PSI, column.psi),
        (Detector.JENSEN_SHANNON, column.jensen_shannon),
        (Detector.HELLINGER, column.hellinger),
        (Detector.KOLMOGOROV_SMIRNOV, column.kolmogorov_smirnov),
        (Detector.WASSERSTEIN, column.wasserstein),
        (Detector.CHI_SQUARE, column.chi_square.statistic),
        (Detector.TOTAL_VARIATION, column.total_variation),
        (Detector.L_INFINITY, column.l_infinity),
    ):
        # What cannot be computed is said too: a correction must replace what was said before.
        if column.kind is Kind.NUMERIC or detector not in _NUMERIC_ONLY:
            yield Measure(name, detector, value, chance, n, usual_n, words)
    # Of missing values the denominator is the events, not the values that are left.
    missing = column.missing
    words = f"{column.missing_rate:.2%} missing, was {column.missing_rate_against:.2%}"
    yield Measure(name, Detector.MISSING_RATE, missing.difference, missing.z, *rows, words)
    yield from _mean_measures(column, settings)


def _nameless(column: ColumnStatistics) -> str:
    """Which way a column went. Names of categories are payload text: they stay in the store, and
    out of reasons, which reach logs and alerts."""
    if not column.direction:
        return "no direction"
    if column.kind is Kind.NUMERIC:
        return column.direction
    if column.direction.startswith("new category"):
        return "new category"
    return "a category " + column.direction.rpartition(" ")[2]


def _mean_measures(column: ColumnStatistics, settings: ThresholdSettings) -> Iterator[Measure]:
    shift = column.mean_shift
    if column.kind is Kind.CATEGORICAL:
        return
    unit = column.sd_against if column.sd_against > 0 else column.sd
    if math.isnan(shift.difference):
        in_sd = math.nan
    elif unit > 0:
        in_sd = shift.difference / unit
    else:  # two constants: alike, or beyond any measure apart
        in_sd = math.copysign(math.inf, shift.difference) if shift.difference else 0.0
    words = f"mean {column.mean:.4g}, was {column.mean_against:.4g}"
    n, usual_n = column.n, column.n_against
    worse_up = any(fnmatch.fnmatchcase(column.column, p) for p in settings.lower_is_better)
    for detector, sign in ((Detector.MEAN_SHIFT, 0), (Detector.MEAN_WORSE, -1)):
        direction = -sign if worse_up else sign
        value = abs(in_sd) if sign == 0 else direction * in_sd
        z = abs(shift.t) if sign == 0 else direction * shift.t
        yield Measure(column.column, detector, value, z, n, usual_n, words)


def _tail_ratio(
    detector: Detector, q: float, latency: NumericSummary, usual: NumericSummary
) -> Measure:
    """The ratio of two quantiles, and by how much more than 1 - q of the current values lie above
    the usual quantile, in standard errors."""
    here, there = latency.quantile(q), usual.quantile(q)
    if latency.n == 0 or usual.n == 0 or not there > 0:
        return Measure(LATENCY, detector, math.nan, math.nan, latency.n, usual.n, "no latency")
    tail = rate_difference(
        usual.sketch.tail(there), usual.sketch.n, latency.sketch.tail(there), latency.sketch.n
    )
    words = f"p{round(q * 100)} {here:.4g} ms, was {there:.4g} ms"
    return Measure(LATENCY, detector, here / there, tail.z, latency.n, usual.n, words)


def _column(
    summaries: Summaries, column: ColumnStatistics
) -> NumericSummary | CategoricalSummary | None:
    look = summaries.numeric if column.kind is Kind.NUMERIC else summaries.categorical
    return look(column.column)


def _occurs(summaries: Summaries, column: ColumnStatistics) -> bool:
    summary = _column(summaries, column)
    return summary is not None and summary.n + summary.errors > 0


def _rows(summaries: Summaries, column: ColumnStatistics) -> int:
    """Events that had, or should have had, a value in a column."""
    summary = _column(summaries, column)
    return summary.n + summary.nulls + summary.errors if summary else 0


def _z_of(p_value: float) -> float:
    """A p-value as the distance from chance in standard errors."""
    return math.nan if math.isnan(p_value) else -float(special.ndtri(max(p_value, 1e-300)))


def _finding(
    settings: ThresholdSettings, comparison: Comparison, place: Place, measure: Measure
) -> Finding:
    limit = next(
        (
            limit
            for limit in settings.limits
            if limit.detector is measure.detector
            and limit.against is comparison.kind
            and fnmatch.fnmatchcase(measure.column, limit.columns)
        ),
        None,
    )
    outcome, reason = _judge(settings, limit, measure)
    return Finding(
        release=place.release,
        segment=place.segment,
        column=measure.column,
        window_ms=place.window_ms,
        window_start_ms=place.window_start_ms,
        revision=place.revision,
        detector=measure.detector.value,
        against=comparison.name,
        statistic=measure.value,
        threshold=limit.above if limit else math.nan,
        n=measure.n,
        n_against=measure.n_against,
        outcome=outcome,
        reason=reason,
        decides=limit is not None,
        critical=limit is not None and limit.critical,
    )


def _judge(
    settings: ThresholdSettings, limit: Limit | None, measure: Measure
) -> tuple[Outcome, str]:
    """No answer is INSUFFICIENT with a reason; it is never PASS."""
    fewest = min(measure.n, measure.n_against)
    if fewest < settings.min_events:
        return Outcome.INSUFFICIENT, f"{fewest} values, {settings.min_events} needed"
    if math.isnan(measure.value):
        return Outcome.INSUFFICIENT, f"{measure.detector} could not be computed"
    if limit is None:
        return Outcome.PASS, f"{measure.words}; no limit set"
    if measure.value <= limit.above:
        return Outcome.PASS, measure.words
    if limit.z and math.isnan(measure.z):
        return Outcome.INSUFFICIENT, f"{measure.words}; chance could not be ruled out"
    if limit.z and measure.z < limit.z:
        return (
            Outcome.INSUFFICIENT,
            f"{measure.words}; {measure.z:.1f} standard errors from chance, {limit.z:g} needed",
        )
    return Outcome.FAIL, measure.words
