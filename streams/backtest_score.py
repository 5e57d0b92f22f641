"""How the outcome of a backtest is told from verdicts and actions as they come.

An *alarm* begins with a FAIL of a release and lasts to its next PASS. What is known of the truth
says what it was: a *detection* if the release was bad by then, a *false alarm* if it was not, and
without any knowledge of the model just an alarm. An alarm belongs to the time before a change if
all of the windows that led to it ended before it, however late it was raised.

Some alarms are *repeated*, and counted apart. A release that was detected by a column is not
detected again by it: what was found is the same. Any other alarm repeats an earlier one of its
columns if its evidence reaches back into that of the earlier one; if it stands on other events, it
is another alarm, as it woke somebody up again and the budget pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from detectors.action import Action, ActionKind
from detectors.finding import Outcome
from detectors.layout import HEADERS, Header
from detectors.release import ALL, OTHER, Release, Role
from detectors.verdict import Status, Verdict
from streams.backtest_outcome import (
    MOST_LISTED,
    Acted,
    Alarm,
    AlarmKind,
    Budget,
    Counted,
    EndedBy,
    Exposure,
    ModelScore,
    PolicyOutcome,
    ReleaseCourse,
    Truth,
)
from streams.wire import Delta, Group, events_of

_PREDICTIONS: Final = HEADERS.index(Header.PREDICTIONS)


@dataclass(slots=True)
class _Course:
    """What is noted of a release while its events go by."""

    first_ms: int
    bad_ms: int | None
    last_ms: int
    events: int = 0
    exposed: int = 0
    model_exposed: int = 0
    failing: bool = False
    detected: bool = False
    alarms: int = 0
    told: dict[tuple[AlarmKind, str], int] = field(default_factory=dict)
    """Until when the evidence went of the last alarm of each kind by each column."""
    ended_ms: int | None = None
    ended_by: EndedBy = EndedBy.END
    statuses: list[tuple[int, Status]] = field(default_factory=list)


@dataclass(slots=True)
class _Model:
    first_ms: int
    last_ms: int
    alarms: int = 0
    detections: int = 0
    false_alarms: int = 0
    repeated: int = 0


class Scorer:
    """Takes what happens under one policy, in its order; :meth:`outcome` sums it up."""

    def __init__(self, truth: Truth, budget: Budget, pane_ms: int) -> None:
        self._truth = truth
        self._budget = budget
        self._pane_ms = pane_ms
        self._courses: dict[Release, _Course] = {}
        self._models: dict[str, _Model] = {}
        self._alarms: list[Alarm] = []
        self._acted: list[Acted] = []
        self._rollbacks = self._pages = 0

    def count(self, delta: Delta) -> None:
        """Enter the events of a delta."""
        groups = [group for group in delta.groups if group.segment == ALL]
        for group in groups:
            release = Release(delta.model, group.version, group.role)
            course = self._course(release, group.pane_ms)
            course.events += events_of(group.summaries)
            course.last_ms = max(course.last_ms, group.pane_ms + self._pane_ms)
            model = self._models.setdefault(delta.model, _Model(group.pane_ms, group.pane_ms))
            model.first_ms = min(model.first_ms, group.pane_ms)
            model.last_ms = max(model.last_ms, course.last_ms)
        for release, course in self._courses.items():
            if release.model != delta.model or course.ended_ms is not None:
                continue
            since_ms = self._exposed_since(release, course)
            if since_ms is not None:
                self._expose(release, course, since_ms, groups)

    def _course(self, release: Release, pane_ms: int) -> _Course:
        course = self._courses.get(release)
        if course is None:
            bad_ms = self._truth.bad_since(release, pane_ms)
            course = self._courses[release] = _Course(pane_ms, bad_ms, pane_ms)
        return course

    def _exposed_since(self, release: Release, course: _Course) -> int | None:
        """From when to count: since it is bad, or, where nobody knows, since a new release came."""
        if release.version == OTHER:
            return None
        if self._truth.knows(release.model) or release.role is Role.PRODUCTION:
            return course.bad_ms
        return course.first_ms

    def _expose(
        self, release: Release, course: _Course, since_ms: int, groups: Iterable[Group]
    ) -> None:
        for group in groups:
            if group.pane_ms + self._pane_ms <= since_ms:
                continue
            n = _predictions(group)
            if group.role is not Role.SHADOW:
                course.model_exposed += n
            if (group.version, group.role) == (release.version, release.role):
                course.exposed += n

    def judged(self, verdict: Verdict, at_ms: int) -> None:
        """Enter a verdict that was given when the newest event was of ``at_ms``."""
        course = self._course(verdict.release, verdict.as_of_ms)
        changed = not course.statuses or course.statuses[-1][1] is not verdict.status
        if changed and len(course.statuses) < MOST_LISTED:
            course.statuses.append((at_ms, verdict.status))
        if verdict.status is Status.PASS:
            course.failing = False
        if verdict.status is not Status.FAIL or course.failing:
            return
        course.failing = True
        course.alarms += 1
        alarm = self._alarm(verdict, course, at_ms)
        alarm = replace(alarm, repeated=_repeated(alarm.kind, verdict, course))
        model = self._models.setdefault(verdict.release.model, _Model(at_ms, at_ms))
        if alarm.repeated:
            model.repeated += 1
        else:
            model.alarms += 1
            model.detections += alarm.kind is AlarmKind.DETECTION
            model.false_alarms += alarm.kind is AlarmKind.FALSE_ALARM
        course.detected |= alarm.kind is AlarmKind.DETECTION
        if len(self._alarms) < MOST_LISTED:
            self._alarms.append(alarm)

    def _alarm(self, verdict: Verdict, course: _Course, at_ms: int) -> Alarm:
        release, bad_ms = verdict.release, course.bad_ms
        evidence_ms = max(
            (f.window_end_ms for f in verdict.findings if f.outcome is Outcome.FAIL),
            default=verdict.as_of_ms,
        )
        if not self._truth.knows(release.model):
            return Alarm(release, AlarmKind.ALARM, at_ms, None, None, verdict.reason)
        if bad_ms is None or evidence_ms <= bad_ms:
            return Alarm(release, AlarmKind.FALSE_ALARM, at_ms, None, None, verdict.reason)
        return Alarm(
            release, AlarmKind.DETECTION, at_ms, at_ms - bad_ms, course.exposed, verdict.reason
        )

    def acted(self, actions: Iterable[Action], at_ms: int) -> None:
        """Enter the actions that a verdict, or the passing of time, led to."""
        for action in actions:
            course = self._course(action.release, at_ms)
            if course.ended_ms is None and action.release.role is not Role.SHADOW:
                rolled_back = action.kind is ActionKind.ROLLBACK and not action.dry_run
                is_production = action.release.role is Role.PRODUCTION
                paged = action.kind is ActionKind.PAGE and is_production and course.detected
                if rolled_back or paged:
                    course.ended_ms = at_ms
                    course.ended_by = EndedBy.ROLLBACK if rolled_back else EndedBy.PAGE
            self._rollbacks += action.kind is ActionKind.ROLLBACK and not action.dry_run
            self._pages += action.kind is ActionKind.PAGE
            if len(self._acted) < MOST_LISTED:
                self._acted.append(
                    Acted(action.release, action.kind, at_ms, action.dry_run, action.note)
                )

    def outcome(self, name: str, counted: Counted, end_ms: int) -> PolicyOutcome:
        """The sum of it all; ``end_ms`` is the time of the last event."""
        courses = sorted(self._courses.items())
        return PolicyOutcome(
            name,
            counted,
            tuple(self._score(*item) for item in sorted(self._models.items())),
            self._rollbacks,
            self._pages,
            tuple(self._alarms),
            tuple(self._acted),
            tuple(self._exposures(end_ms)),
            tuple(
                ReleaseCourse(release, c.first_ms, c.last_ms, c.events, tuple(c.statuses))
                for release, c in courses
            ),
        )

    def _score(self, name: str, model: _Model) -> ModelScore:
        known = self._truth.knows(name)
        changed_ms = self._truth.changes.get(name)
        until_ms = model.last_ms if changed_ms is None else min(changed_ms, model.last_ms)
        healthy_ms = max(until_ms - model.first_ms, 0) if known else 0
        return ModelScore(
            name,
            known,
            model.alarms,
            model.detections,
            model.false_alarms,
            healthy_ms,
            self._budget.allowed(healthy_ms),
            tuple(self._missed(name, model)),
            model.repeated,
        )

    def _missed(self, name: str, model: _Model) -> Iterable[str]:
        mine = {r: c for r, c in self._courses.items() if r.model == name}
        changed_ms = self._truth.changes.get(name)
        changed = changed_ms is not None and changed_ms < model.last_ms
        if changed and not any(course.detected for course in mine.values()):
            stuck = any(course.failing for course in mine.values())
            yield "the change (it was failing already)" if stuck else "the change"
        for bad_model, version in sorted(self._truth.bad):
            if bad_model == name:
                found = [course for release, course in mine.items() if release.version == version]
                if not any(course.detected for course in found):
                    yield f"version {version}" + ("" if found else " (no events of it)")

    def _exposures(self, end_ms: int) -> Iterable[Exposure]:
        for release, course in sorted(self._courses.items()):
            since_ms = self._exposed_since(release, course)
            suspect = course.alarms > 0 or course.bad_ms is not None
            if since_ms is None or not suspect or not course.exposed:
                continue
            if release.role is Role.SHADOW:
                continue
            until_ms = end_ms if course.ended_ms is None else course.ended_ms
            yield Exposure(
                release,
                since_ms,
                until_ms,
                course.ended_by,
                course.exposed,
                course.model_exposed,
                course.exposed / course.model_exposed,
            )


def _repeated(kind: AlarmKind, verdict: Verdict, course: _Course) -> bool:
    """Whether this alarm tells what an earlier one of its columns told; it is remembered."""
    spans: dict[str, tuple[int, int]] = {}
    for f in verdict.findings:
        if f.outcome is Outcome.FAIL:
            since_ms, until_ms = f.onset_ms or f.window_start_ms, f.window_end_ms
            known = spans.get(f.column, (since_ms, until_ms))
            spans[f.column] = min(known[0], since_ms), max(known[1], until_ms)
    spans = spans or {"": (verdict.as_of_ms, verdict.as_of_ms)}
    repeated = True
    for column, (since_ms, until_ms) in spans.items():
        told_ms = course.told.get((kind, column))
        again = told_ms is not None and (kind is AlarmKind.DETECTION or since_ms < told_ms)
        repeated = repeated and again
        course.told[kind, column] = until_ms
    return repeated


def _predictions(group: Group) -> int:
    """Predictions of a group: the headers stand first in every vector, in the order of HEADERS."""
    return int(np.frombuffer(group.summaries.vector, "<i8", _PREDICTIONS + 1)[_PREDICTIONS])
