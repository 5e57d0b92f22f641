"""The present answer of a measure of a canary, in words and as a value of its own."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.canary_answers import NEVER, OUTCOMES, SILENT, Answer, Answers
from detectors.canary_rules import Judged, Measure
from detectors.confidence_sequence import Interval
from detectors.finding import Outcome
from detectors.upstream import Direction

_IN_WORDS = {
    Measure.LEVEL: "values go WAY",
    Measure.TAIL: "slow events go WAY",
    Measure.ERRORS: "errors go WAY",
    Measure.MISSING: "missing values go WAY",
    Measure.CATEGORIES: "the share of a category moves",
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """Canary values that are still needed, if things go on as they have: until the measure fails,
    and until it passes; None where it will not, or nothing is known. ``events_per_ms``: how fast
    they come."""

    to_fail: int | None = None
    to_pass: int | None = None
    events_per_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class MetricStanding:
    """As of :class:`detectors.canary_answers.Answers`. ``silent``: nothing to be judged: no values
    in either arm, or the same constant in both."""

    column: str
    measure: Measure
    critical: bool
    outcome: Outcome
    reason: str
    evidence: float
    needed: float
    difference: Interval
    margin: float
    direction: Direction
    n: int
    n_against: int
    since_ms: int
    silent: bool
    outlook: Outlook


def standing_of(answers: Answers, at: int, what: Judged) -> MetricStanding:
    """Of the measure in one place of the book, which is held to ``what``."""
    answer = answers.answer[at]
    to_fail, to_pass = answers.to_fail[at], answers.to_pass[at]
    return MetricStanding(
        what.column,
        what.measure,
        what.critical,
        OUTCOMES[answer],
        reason_of(answers, at, what),
        answers.evidence[at],
        answers.needed[at],
        Interval(answers.estimate[at], answers.low[at], answers.high[at]),
        answers.margin[at],
        answers.direction(at),
        answers.n[at],
        answers.n_against[at],
        answers.since_ms[at],
        answer in SILENT,
        Outlook(
            to_fail if to_fail != NEVER else None,
            to_pass if to_pass != NEVER else None,
            answers.events_per_ms[at],
        ),
    )


def reason_of(answers: Answers, at: int, what: Judged) -> str:
    """Why a measure has the outcome that it has."""
    answer = answers.answer[at]
    plain = _REASONS.get(answer)
    if plain is not None:
        return plain
    if answer == Answer.FAILED:
        if what.measure is Measure.LEVEL and answers.low[at] <= 0.0 <= answers.high[at]:
            way = "move" if what.harm is Direction.BOTH else f"go {what.harm.value}"
            return f"values {way} beyond the margin{_NOT_THE_MEAN}"
        words = _IN_WORDS[what.measure].replace("WAY", answers.direction(at).value)
        return f"{words} beyond the margin"
    if answer == Answer.FEW_VALUES:
        return f"{answers.n[at]} values, {answers.min_events} needed"
    return f"too few cases: {answers.cases[at]} more values needed"


_NOT_THE_MEAN = ", by rank or at an end of the scale; the interval of their mean holds 0"
"""The bets on a level are on ranks and on the ends, so what is proven need not be in the mean."""
_REASONS = {
    int(Answer.NO_VALUES): "no values in either arm",
    int(Answer.NO_PAIRS): "no pane has had values of both arms",
    int(Answer.CONSTANT): "the same constant in both arms",
    int(Answer.NO_VARIATION): "no variation, so no interval of the difference",
    int(Answer.INSIDE): "the interval lies inside the margin",
    int(Answer.BEYOND): "at or beyond the margin, not proven yet",
    int(Answer.OPEN): "the interval still reaches beyond the margin",
}
