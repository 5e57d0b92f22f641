"""What a backtest found: alarms, actions, exposure and scores by model and policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from detectors.action import ActionKind
from detectors.release import Release
from detectors.verdict import Status

MOST_LISTED: Final = 1_000
"""Alarms, actions and changes of status that are kept one by one; all are counted."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the user knows. ``changes``: since when all of a model's traffic is bad (None: never).
    ``bad``: (model, version) of releases that are bad from their first event; other releases of
    these models are not. Of models named in neither nothing is known."""

    changes: Mapping[str, int | None] = field(default_factory=dict)
    bad: frozenset[tuple[str, str]] = frozenset()

    def knows(self, model: str) -> bool:
        return model in self.models()

    def models(self) -> frozenset[str]:
        return frozenset(self.changes) | {name for name, _ in self.bad}

    def bad_since(self, release: Release, first_ms: int) -> int | None:
        """Since when a release is bad, that was first seen at ``first_ms``; None: it is not."""
        if (release.model, release.version) in self.bad:
            return first_ms
        changed_ms = self.changes.get(release.model)
        return None if changed_ms is None else max(changed_ms, first_ms)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many false alarms of a model are accepted: ``alarms`` in ``period_ms``."""

    alarms: float
    period_ms: int

    def allowed(self, duration_ms: int) -> float:
        return self.alarms * duration_ms / self.period_ms


class AlarmKind(StrEnum):
    DETECTION = "detection"
    FALSE_ALARM = "false_alarm"
    ALARM = "alarm"
    """Nothing is known of the model, so nobody can say whether it was right."""


class EndedBy(StrEnum):
    """What ended the exposure to a bad release. A page ends that of production, for which nothing
    else can be done."""

    ROLLBACK = "rollback"
    PAGE = "page"
    END = "end of events"


@dataclass(frozen=True, slots=True)
class Alarm:
    """``at_ms``: event time of the newest event when it was raised. ``delay_ms`` and
    ``delay_events`` (predictions of this release, to the pane) count from the time since which the
    release is bad; None unless this is a detection. ``repeated``: it told nothing new and is not
    counted among the others (see `streams.backtest_score`)."""

    release: Release
    kind: AlarmKind
    at_ms: int
    delay_ms: int | None
    delay_events: int | None
    reason: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Acted:
    """An action that the policy would have sent."""

    release: Release
    kind: ActionKind
    at_ms: int
    dry_run: bool
    note: str


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a bad release answered, from ``since_ms`` until ``until_ms``: ``events`` of the
    ``model_events`` predictions that were answered by the whole model (shadows answer nobody)."""

    release: Release
    since_ms: int
    until_ms: int
    ended_by: EndedBy
    events: int
    model_events: int
    share: float


@dataclass(frozen=True, slots=True)
class ReleaseCourse:
    """A release over time: its statuses, each from the time at which it began."""

    release: Release
    first_ms: int
    last_ms: int
    events: int
    statuses: tuple[tuple[int, Status], ...]


@dataclass(frozen=True, slots=True)
class ModelScore:
    """How the policy did on one model. ``known``: whether anything is known of it, so that alarms
    can be told apart. ``healthy_ms``: time in which every FAIL of a release that was not bad is
    false. ``allowed``: false alarms that the budget accepts in that time. ``missed``: what was bad
    and was not detected. ``repeated``: alarms that told nothing new; ``alarms``, ``detections`` and
    ``false_alarms`` are without them."""

    model: str
    known: bool
    alarms: int
    detections: int
    false_alarms: int
    healthy_ms: int
    allowed: float
    missed: tuple[str, ...]
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """What became of the events. ``withheld``: of releases that had been rolled back by then, and
    counted among the events. ``reasons``: why rows could not be read, the most frequent first."""

    events: int = 0
    dead: int = 0
    late: int = 0
    capped: int = 0
    withheld: int = 0
    verdicts: int = 0
    reasons: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """All that one policy did. Lists stop at ``MOST_LISTED``; ``scores`` count everything."""

    name: str
    counted: Counted
    scores: tuple[ModelScore, ...]
    rollbacks: int
    pages: int
    alarms: tuple[Alarm, ...]
    acted: tuple[Acted, ...]
    exposures: tuple[Exposure, ...]
    courses: tuple[ReleaseCourse, ...]


@dataclass(frozen=True, slots=True)
class BacktestOutcome:
    """Several policies on the same events. ``changes``: known changes, for the plot. ``unseen``:
    models that something is known of, and no event was of them."""

    recording: str
    first_ms: int
    last_ms: int
    changes: tuple[tuple[str, int], ...]
    unseen: tuple[str, ...]
    policies: tuple[PolicyOutcome, ...]
