"""What an online detector is given of a pane: one number, or values drawn from the summary.

One number is the pane's rate (0 to 1) for the detectors that need one, and otherwise a standard
score: how many standard errors the pane's mean or rate lies from the reference's, so that panes
with few and with many events scatter alike. Drawn values are errors as 0 or 1, and for means the
normal scores of the reference's bins, whose ranks no heavy tail disturbs. They are drawn with
replacement by a hash of the column and the time: a replay draws the same ones.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import shake_128
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.layout import Header, Kind
from detectors.online_rules import ALGORITHMS, Feed, OnlineSettings, OnlineWatch, Quantity
from detectors.summary import NumericSummary, Summaries, expected_of, is_expected
from detectors.thresholds import ERROR

MOST_TRACKS = 2000
"""Columns followed by all online detectors of one (release, segment) together."""
_HIGHEST_SCORE = 1e6
_P95 = 0.95


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one quantity in one interval. ``n``: events; ``level``: the mean, rate or quantile as
    people know it; ``score``: its distance from the reference in standard errors; ``rate``: the
    share of events that count (NaN for means); ``n_against``: the reference's events."""

    n: int
    level: float
    score: float
    rate: float
    n_against: int


def followed(settings: OnlineSettings, normal: Summaries) -> list[tuple[OnlineWatch, str]]:
    """Each watch with each column of the reference that it follows, each name once."""
    return list(islice(_matching(settings, normal), MOST_TRACKS))


def figures(watch: OnlineWatch, column: str, part: Summaries, normal: Summaries) -> Figures:
    """What a watch sees in an interval; ``n`` is 0 where there is nothing to see."""
    if watch.quantity is Quantity.MEAN:
        return _mean(part.numeric(column), normal.numeric(column))
    cases, n = _cases(watch, column, part, normal)
    usual_cases, usual_n = _cases(watch, column, normal, normal)
    usual = (usual_cases + 0.5) / (usual_n + 1.0)
    if n <= 0:
        return Figures(0, math.nan, math.nan, math.nan, usual_n)
    rate = min(cases / n, 1.0)
    score = (rate - usual) * math.sqrt(n / (usual * (1.0 - usual)))
    level = rate
    if watch.quantity is Quantity.P95:
        values = part.numeric(column)
        level = values.quantile(_P95) if values is not None else math.nan
    return Figures(n, level, _bounded(score), rate, usual_n)


def given(
    watch: OnlineWatch,
    column: str,
    seen: Figures,
    part: Summaries,
    normal: Summaries,
    start_ms: int,
    sample: int,
) -> list[float]:
    """The values that a pane gives to the watch's detector, in order."""
    if watch.feed is Feed.PANES:
        return [seen.rate if ALGORITHMS[watch.method].unit else seen.score]
    uniform = _uniform(f"{watch.name} {start_ms} {column}", sample)
    if watch.quantity is not Quantity.MEAN:
        bits: list[float] = (uniform < seen.rate).astype(np.float64).tolist()
        return bits
    values, usual = part.numeric(column), normal.numeric(column)
    if values is None or usual is None or not len(values.bins):
        return []
    upto = np.cumsum(values.bins)
    drawn = np.searchsorted(upto, uniform * float(upto[-1]), side="right")
    scores: list[float] = _normal_scores(usual.bins)[np.minimum(drawn, len(upto) - 1)].tolist()
    return scores


def _matching(settings: OnlineSettings, normal: Summaries) -> Iterator[tuple[OnlineWatch, str]]:
    taken: set[tuple[str, str]] = set()
    for watch in settings.watches:
        for column in _columns(watch, normal):
            key = watch.name, column
            if key not in taken and fnmatch.fnmatchcase(column, watch.columns):
                taken.add(key)
                yield watch, column


def _columns(watch: OnlineWatch, normal: Summaries) -> list[str]:
    """The reference's columns that have the quantity."""
    match watch.quantity:
        case Quantity.ERROR_RATE:
            return [ERROR]
        case Quantity.NULL_RATE:
            return sorted({spec.name for spec in normal.layout.columns if is_expected(spec.name)})
        case Quantity.SHARE:
            return _of_kind(normal, Kind.CATEGORICAL)
        case Quantity.P95:
            return [name for name in _of_kind(normal, Kind.NUMERIC) if name in normal.sketches]
        case Quantity.MEAN:
            return _of_kind(normal, Kind.NUMERIC)


def _of_kind(normal: Summaries, kind: Kind) -> list[str]:
    return [spec.name for spec in normal.layout.columns if spec.kind is kind]


def _mean(values: NumericSummary | None, usual: NumericSummary | None) -> Figures:
    n_against = usual.n if usual is not None else 0
    if values is None or usual is None or not values.n or not usual.n:
        return Figures(0, math.nan, math.nan, math.nan, n_against)
    away, sd = values.mean - usual.mean, usual.sd
    # Against a constant any other value is beyond measure.
    score = away / sd * math.sqrt(values.n) if sd > 0 else away * math.inf if away else 0.0
    return Figures(values.n, values.mean, _bounded(score), math.nan, n_against)


def _cases(watch: OnlineWatch, column: str, part: Summaries, normal: Summaries) -> tuple[int, int]:
    """How many events count, and of how many."""
    match watch.quantity:
        case Quantity.ERROR_RATE:
            return part.header(Header.FAILED), part.header(Header.PREDICTIONS)
        case Quantity.NULL_RATE:
            there = part.numeric(column) or part.categorical(column)
            n = part.header(expected_of(column))
            return (there.nulls if there is not None else n), n
        case Quantity.SHARE:
            return _share(watch.category, column, part, normal)
        case Quantity.P95:
            values, usual = part.numeric(column), normal.numeric(column)
            if values is None or usual is None or not usual.sketch.n:
                return 0, 0
            return values.sketch.tail(usual.sketch.quantile(_P95)), values.sketch.n
        case Quantity.MEAN:
            return 0, 0


def _share(category: str, column: str, part: Summaries, normal: Summaries) -> tuple[int, int]:
    texts, usual = part.categorical(column), normal.categorical(column)
    if texts is None or usual is None:
        return 0, 0
    if not category and usual.n:
        counts = usual.counts()
        category = min(counts, key=lambda name: (-counts[name], name), default="")
    return texts.counts().get(category, 0), texts.n


def _normal_scores(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """The normal score of the middle rank of each of the reference's bins."""
    shares = (bins + 0.5) / (bins.sum() + 0.5 * len(bins))
    return np.asarray(special.ndtri(np.cumsum(shares) - shares / 2), np.float64)


def _uniform(seed: str, count: int) -> NDArray[np.float64]:
    """Numbers from 0 to below 1, the same for the same seed on every machine and version."""
    digest = shake_128(seed.encode("utf-8", "surrogatepass")).digest(8 * count)
    return (np.frombuffer(digest, "<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _bounded(score: float) -> float:
    return min(max(score, -_HIGHEST_SCORE), _HIGHEST_SCORE) if score == score else math.nan
