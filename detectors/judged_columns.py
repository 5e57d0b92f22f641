"""What is judged of every column, and under which limits: worked out once for a plan."""

from __future__ import annotations

import fnmatch
import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.comparison_plan import Plan
from detectors.layout import Kind
from detectors.limits import (
    ERROR,
    LATENCY,
    Against,
    Detector,
    Limit,
    ThresholdSettings,
    limit_of,
)

OF_VALUES = (
    Detector.PSI,
    Detector.JENSEN_SHANNON,
    Detector.HELLINGER,
    Detector.KOLMOGOROV_SMIRNOV,
    Detector.WASSERSTEIN,
    Detector.CHI_SQUARE,
    Detector.TOTAL_VARIATION,
    Detector.L_INFINITY,
)
OF_COLUMNS = (*OF_VALUES, Detector.MISSING_RATE, Detector.MEAN_SHIFT, Detector.MEAN_WORSE)
"""What is said of every column, in this order."""
_NUMERIC_ONLY = frozenset(
    {
        Detector.KOLMOGOROV_SMIRNOV,
        Detector.WASSERSTEIN,
        Detector.MEAN_SHIFT,
        Detector.MEAN_WORSE,
    }
)
TAILS = ((Detector.P95_RATIO, 0.95), (Detector.P99_RATIO, 0.99))


@dataclass(frozen=True, slots=True)
class Measure:
    """One statistic of one column: ``index`` in :data:`OF_COLUMNS`; the denominator of
    ``of_rows`` is the events, of others the values. ``cannot`` is said where there is no value."""

    index: int
    detector: str
    limit: Limit | None
    above: float
    critical: bool
    of_rows: bool
    cannot: str


@dataclass(frozen=True, slots=True, eq=False)
class JudgedColumn:
    """What is judged of one column: ``place`` in the plan."""

    name: str
    place: int
    measures: tuple[Measure, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """The measures of all columns one after another, in the order of their findings; each of so
    many. ``columns``: the place of each one's column in the plan; ``cells``: int64, where its value
    stands among [columns, :data:`OF_COLUMNS`], and ``sizes``: int64, where what it is a share of
    stands among [n and rows, columns], which ``sizes_of`` picks out of a list; ``limits``: where
    those stand that have one, and ``limited``, whether it has one."""

    names: tuple[str, ...]
    columns: tuple[int, ...]
    measures: tuple[Measure, ...]
    detectors: tuple[str, ...]
    above: tuple[float, ...]
    critical: tuple[bool, ...]
    cells: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sizes_of: Callable[[list[int]], Sequence[int]]
    limits: NDArray[np.int64]
    limited: tuple[bool, ...]

    @classmethod
    def of(cls, columns: tuple[JudgedColumn, ...]) -> Listed:
        each = [(column, measure) for column in columns for measure in column.measures]
        measures = tuple(measure for _, measure in each)
        places = np.array([column.place for column, _ in each], np.int64)
        index = np.array([measure.index for measure in measures], np.int64)
        of_rows = np.array([measure.of_rows for measure in measures], np.int64)
        sizes = of_rows * len(columns) + places
        limited = tuple(measure.limit is not None for measure in measures)
        return cls(
            tuple(column.name for column, _ in each),
            tuple(places.tolist()),
            measures,
            tuple(measure.detector for measure in measures),
            tuple(measure.above for measure in measures),
            tuple(measure.critical for measure in measures),
            places * len(OF_COLUMNS) + index,
            sizes,
            # Every column has several, so that there is a list to make of them.
            operator.itemgetter(*sizes.tolist()) if measures else list,
            np.flatnonzero(limited),
            limited,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """What is judged of a plan's columns, by name; ``listed``: all at once. ``doubled``: some names
    stand twice, as numbers and as text. ``worded``: whether directions of numbers and of categories
    may be asked for. ``sign``: float64 [columns], by place: -1 where a mean that falls is worse, 1
    where one that rises is. ``latency``: its place."""

    columns: tuple[JudgedColumn, ...]
    listed: Listed
    doubled: bool
    worded: tuple[bool, bool]
    sign: NDArray[np.float64]
    latency: int | None
    tails: tuple[Measure, ...]
    failures: Measure


@functools.lru_cache(maxsize=1_024)
def rules_of(settings: ThresholdSettings, kind: Against, plan: Plan) -> Rules:
    columns = tuple(_column(settings, kind, plan, place) for place in plan.by_name.tolist())
    better_low = [
        any(fnmatch.fnmatchcase(spec.name, p) for p in settings.lower_is_better)
        for spec in plan.columns
    ]
    latency = [i for i, spec in enumerate(plan.columns) if spec.key == (LATENCY, Kind.NUMERIC)]
    worded = {
        plan.columns[column.place].kind
        for column in columns
        for measure in column.measures
        if measure.limit is not None and measure.index < len(OF_VALUES)
    }
    return Rules(
        columns,
        Listed.of(columns),
        len({column.name for column in columns}) < len(columns),
        (Kind.NUMERIC in worded, Kind.CATEGORICAL in worded),
        np.where(np.array(better_low, np.bool_), 1.0, -1.0),
        latency[0] if latency else None,
        tuple(
            _measure(-1, detector, limit_of(settings, kind, detector, LATENCY))
            for detector, _ in TAILS
        ),
        _measure(-1, Detector.ERROR_RATE, limit_of(settings, kind, Detector.ERROR_RATE, ERROR)),
    )


def _column(settings: ThresholdSettings, kind: Against, plan: Plan, place: int) -> JudgedColumn:
    spec = plan.columns[place]
    measures = tuple(
        _measure(index, detector, limit_of(settings, kind, detector, spec.name))
        for index, detector in enumerate(OF_COLUMNS)
        if spec.kind is Kind.NUMERIC or detector not in _NUMERIC_ONLY
    )
    return JudgedColumn(spec.name, place, measures)


def _measure(index: int, detector: Detector, limit: Limit | None) -> Measure:
    return Measure(
        index,
        detector.value,
        limit,
        limit.above if limit is not None else math.nan,
        limit is not None and limit.critical,
        detector is Detector.MISSING_RATE,
        f"{detector} could not be computed",
    )
