"""What the answers of a canary's measures add up to: PASS, FAIL, HOLD or not known yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from detectors.canary_answers import NEVER, OUTCOMES, SILENT, Answer, Answers
from detectors.canary_book import Book
from detectors.canary_rules import Judged, Measure
from detectors.canary_standing import MetricStanding, reason_of, standing_of
from detectors.cells import Aspect
from detectors.finding import Evidence, Finding, Outcome
from detectors.plural import plural
from detectors.sample_ratio import BrokenSplit
from detectors.thresholds import Place
from detectors.upstream import CommonCause, Movement, common_cause
from detectors.verdict import Status


@dataclass(frozen=True, slots=True, eq=False)
class CanaryVerdict:
    """``answers``: of all measures; ``roll_back``: a critical measure failed and the cause is not
    upstream; ``upstream``: what production has in common with it; ``further_events``,
    ``further_ms``: canary events and time until the verdict is expected (None: nothing to expect
    from what was seen)."""

    status: Status
    reason: str
    answers: Answers
    roll_back: bool = False
    upstream: CommonCause | None = None
    further_events: int | None = None
    further_ms: int | None = None

    @property
    def standings(self) -> tuple[MetricStanding, ...]:
        """Of every measure that is judged, in the order of (column, measure). Made when asked."""
        return tuple(
            standing_of(self.answers, at, what) for at, what in judged_in(self.answers.book)
        )


def verdict_of(
    answers: Answers, panes: int, broken: BrokenSplit | None, production: Iterable[Movement]
) -> CanaryVerdict:
    """``panes``: how many have had both arms; ``production``: what drifts in production itself."""
    if broken is not None:
        return CanaryVerdict(Status.HOLD, broken.reason, answers)
    judged = judged_in(answers.book)
    answer = answers.answer
    failed = [(at, what) for at, what in judged if answer[at] == _FAILED]
    if failed:
        return _failed(answers, failed, production)
    if not panes:
        words = "no pane has had events of canary and production"
        return CanaryVerdict(Status.INSUFFICIENT, words, answers)
    wanted = [(at, what) for at, what in judged if what.critical and answer[at] not in SILENT]
    if not wanted:
        words = "no critical measure has values to judge"
        return CanaryVerdict(Status.INSUFFICIENT, words, answers)
    open_ones = [(at, what) for at, what in wanted if answer[at] != _INSIDE]
    if not open_ones:
        lie = (
            "critical measure lies inside its margin",
            "critical measures lie inside their margins",
        )
        words = plural(len(wanted), *lie)
        return CanaryVerdict(Status.PASS, words, answers)
    return _open(answers, judged, open_ones)


def findings_of(found: CanaryVerdict, place: Place, against: str) -> list[Finding]:
    """A finding for each measure: the evidence of harm as a natural logarithm, and what proves it.

    ``against``: as in :attr:`Finding.against`."""
    told = found.answers
    release, segment, window_ms = place.release, place.segment, place.window_ms
    start_ms, revision = place.window_start_ms, place.revision
    answer, evidence, needed = told.answer, told.evidence, told.needed
    n, n_against = told.n, told.n_against
    estimate, low, high = told.estimate, told.low, told.high
    made = []
    for at, what in judged_in(told.book):
        outcome = OUTCOMES[answer[at]]
        failed = outcome is Outcome.FAIL
        # By place and not by name, which takes twice as long: there are dozens in every window.
        made.append(
            Finding(
                release,
                segment,
                what.column,
                window_ms,
                start_ms,
                revision,
                _DETECTORS[what.measure],
                against,
                evidence[at],
                needed[at],
                n[at],
                n_against[at],
                outcome,
                reason_of(told, at, what),
                True,
                what.critical,
                Evidence.FINAL,
                estimate[at],
                low[at],
                high[at],
                told.direction(at).value if failed else "",
                told.since_ms[at] if failed else 0,
            )
        )
    return made


_ASPECTS = {
    Measure.LEVEL: Aspect.VALUES,
    Measure.TAIL: Aspect.VALUES,
    Measure.CATEGORIES: Aspect.VALUES,
    Measure.MISSING: Aspect.PRESENCE,
    Measure.ERRORS: Aspect.FAILURES,
}
"""What drift calls what is measured of a canary."""
_DETECTORS = {measure: f"canary_{measure}" for measure in Measure}
_FAILED, _INSIDE = int(Answer.FAILED), int(Answer.INSIDE)
"""As plain numbers, which all of many answers are compared with."""
_Places = Sequence[tuple[int, Judged]]


@lru_cache(maxsize=512)
def judged_in(book: Book) -> _Places:
    """The places in a book that a rule still asks for."""
    return tuple((at, what) for at, what in enumerate(book.what) if what is not None)


def _failed(answers: Answers, failed: _Places, production: Iterable[Movement]) -> CanaryVerdict:
    worst = sorted(
        failed,
        key=lambda one: (not one[1].critical, answers.needed[one[0]] - answers.evidence[one[0]]),
    )
    critical = [one for one in worst if one[1].critical]
    cause = common_cause(
        (
            Movement(what.column, _ASPECTS[what.measure], answers.direction(at), 1.0)
            for at, what in critical or worst
        ),
        production,
    )
    words = _in_words(answers, worst)
    upstream = cause is not None and cause.all_of_it
    if cause is not None:
        words += f"; {cause.reason}"
    return CanaryVerdict(Status.FAIL, words, answers, bool(critical) and not upstream, cause, 0, 0)


def _open(answers: Answers, judged: _Places, open_ones: _Places) -> CanaryVerdict:
    """Not decided: a FAIL comes with the first measure to fail, a PASS with the last to pass."""
    to_fail, to_pass = answers.to_fail, answers.to_pass
    fails = [(to_fail[at], at) for at, _ in judged if to_fail[at] != NEVER]
    passes = [(to_pass[at], at) for at, _ in open_ones if to_pass[at] != NEVER]
    expected = [min(fails, key=_events)] if fails else []
    if len(passes) == len(open_ones):
        expected.append(max(passes, key=_events))
    words = _in_words(answers, open_ones, with_measure=True)
    if not expected:
        return CanaryVerdict(Status.INSUFFICIENT, words, answers)
    events, at = min(expected, key=_events)
    return CanaryVerdict(
        Status.INSUFFICIENT,
        f"{words}; about {events} more events",
        answers,
        further_events=events,
        further_ms=_wait_ms(events, answers.events_per_ms[at]),
    )


def _events(expected: tuple[int, int]) -> int:
    return expected[0]


def _in_words(answers: Answers, places: _Places, with_measure: bool = False) -> str:
    """The first three, and how many more there are."""
    shown = "; ".join(
        f"{what.column} ({what.measure}): {reason_of(answers, at, what)}"
        if with_measure
        else f"{what.column}: {reason_of(answers, at, what)}"
        for at, what in places[:3]
    )
    return f"{shown}; and {len(places) - 3} more" if len(places) > 3 else shown


def _wait_ms(events: int, events_per_ms: float) -> int | None:
    """How long it takes until so many values have come."""
    wait = events / events_per_ms if events_per_ms > 0 else math.inf
    return round(wait) if wait < 1e15 else None
