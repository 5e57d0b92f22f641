"""What stands first on the pages of one release: its verdict, why, since when, and how sure that
is. Whoever is woken by a page reads this and nothing else."""

# ruff: noqa: S608 - queries are made of our own text; names from outside are bound parameters
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from detectors.finding import Outcome
from detectors.release import Release
from detectors.verdict import Status
from sinks.console.store_view import StoreView, Told
from sinks.verdict_board import Answer, Standing

MOST_DECIDING: Final = 4

_RELEASE: Final = "model = {model:String} AND version = {version:String} AND role = {role:String}"

SINCE: Final = f"""
SELECT toUnixTimestamp64Milli(min(as_of)) FROM {{db}}.verdicts
WHERE {_RELEASE} AND status = {{said:String}} AND as_of > (
    SELECT max(as_of) FROM {{db}}.verdicts
    WHERE {_RELEASE} AND status NOT IN ({{said:String}}, {{also:String}})
)
HAVING count() > 0
"""
"""Without FINAL: a verdict that is stored twice changes none of this. ``also``: what may have been
stored after it without being news: a release that was rolled back falls silent."""

DECIDING: Final = f"""
SELECT segment, column, detector, outcome, statistic / threshold AS share, effect, effect_low,
    effect_high, reason
FROM (
    SELECT *, max(window_end) OVER () AS latest FROM {{db}}.newest_findings FINAL WHERE {_RELEASE}
)
WHERE window_end >= latest - toIntervalMillisecond(2 * window_ms) AND threshold > 0
    AND isFinite(ifNull(statistic, nan))
ORDER BY outcome != 'fail', NOT critical, share DESC, segment != 'all', segment, column, detector
LIMIT 1 BY segment, column, detector
LIMIT {MOST_DECIDING}
"""
"""Of columns that are still seen: a column that is gone keeps its last finding for months."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """A finding that fails the release, or comes closest to it. ``share`` is that of the limit;
    ``effect``, with the ends of its interval, in the units of the column or as a rate."""

    segment: str
    column: str
    detector: str
    outcome: str
    share: float
    effect: float | None
    effect_low: float | None
    effect_high: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Lead:
    """The verdict of one release. ``words``: its reasons as sentences, without the figures of
    findings. ``deciding``: the findings that fail, or where none does those that come closest.
    ``since_ms``: the event time from which on the stored verdicts say the same; None where they say
    something else, or where there are none."""

    standing: Standing
    answer: Answer
    words: tuple[str, ...]
    since_ms: int | None
    deciding: tuple[Deciding, ...]
    told: tuple[Told, ...]


def read_lead(
    store: StoreView, held: Sequence[tuple[Standing, Answer]], focus: Release
) -> Lead | None:
    """None where nobody has judged ``focus``."""
    pair = next((pair for pair in held if pair[0].release == focus), None)
    if pair is None:
        return None
    standing, answer = pair
    release = {"model": focus.model, "version": focus.version, "role": focus.role.value}
    said = answer.status.value
    also = Status.BLIND.value if answer.rollback else said
    since = store.told(SINCE, {**release, "said": said, "also": also})
    newest = store.told(DECIDING, release)
    closest = tuple(Deciding(*row) for row in newest)
    failing = tuple(each for each in closest if each.outcome == Outcome.FAIL)
    return Lead(
        standing,
        answer,
        tuple(each for each in answer.reasons if each not in standing.failing),
        next((int(at) for (at,) in since), None),
        failing or closest,
        (since, newest),
    )
