"""The page *Incidents*: what is open, what was done when, and how far each action got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sinks.console.store_view import StoreView, Told
from sinks.console.wanted import Wanted

NEWEST: Final = """
SELECT model, version, role, state, cause, severity, team, pages, taken_by,
    toUnixTimestamp64Milli(taken_at), silenced_by, flapping, reason,
    toUnixTimestamp64Milli(opened_at), toUnixTimestamp64Milli(changed_at)
FROM {db}.incidents FINAL
WHERE positionCaseInsensitive(concat(model, ' ', version, ' ', cause, ' ', team), {q:String}) > 0
ORDER BY state = 'open' DESC, if(state = 'open', opened_at, changed_at) DESC,
    model, version, role, incident LIMIT 300
"""
STEPS: Final = """
SELECT action_key, receiver, step, kind, model, version, role, return_to, state, attempt, reason,
    detail, toUnixTimestamp64Milli(at)
FROM {db}.actions FINAL
WHERE positionCaseInsensitive(concat(model, ' ', version, ' ', kind), {q:String}) > 0
ORDER BY at DESC, action_key, receiver, step DESC LIMIT 600
"""
CHANGES: Final = """
SELECT model, version, role, before, status, reason, events, toUnixTimestamp64Milli(as_of) AS t
FROM (
    SELECT model, version, role, status, reason, events, as_of, sequence,
        lagInFrame(toString(status), 1, '') OVER (PARTITION BY model, version, role
            ORDER BY as_of, sequence ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
    FROM {db}.verdicts
    WHERE positionCaseInsensitive(concat(model, ' ', version), {q:String}) > 0
        AND as_of >= (SELECT max(as_of) FROM {db}.newest_verdicts) - toIntervalDay(2)
)
WHERE before != status
ORDER BY as_of DESC, model, version, role LIMIT 200
"""
"""Of the two days before the newest verdict: further back is the business of the boards."""

_ENDED: Final = frozenset({"acknowledged", "dry_run", "expired", "refused", "unrouted"})


@dataclass(frozen=True, slots=True)
class Episode:
    """An incident. ``cause``: what people were told last, "nothing" while nobody was told; ``team``
    owns the model; ``pages`` are those about this release; ``taken_by``: who has taken it up, ""
    for nobody; ``changed_ms``: of a closed one, its end."""

    model: str
    version: str
    role: str
    state: str
    cause: str
    severity: str
    team: str
    pages: int
    taken_by: str
    taken_ms: int
    silenced_by: tuple[str, ...]
    flapping: bool
    reason: str
    opened_ms: int
    changed_ms: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step in the life of an action at one receiver. ``after_ms``: since its first step."""

    state: str
    attempt: int
    detail: str
    at_ms: int
    after_ms: int


@dataclass(frozen=True, slots=True)
class Course:
    """What became of an action at one receiver."""

    receiver: str
    steps: tuple[Step, ...]

    @property
    def state(self) -> str:
        return self.steps[-1].state

    @property
    def ended(self) -> bool:
        return self.state in _ENDED


@dataclass(frozen=True, slots=True)
class Done:
    """An action: what, for which release, why, and its course at each receiver."""

    key: str
    kind: str
    model: str
    version: str
    role: str
    return_to: str
    reason: str
    at_ms: int
    courses: tuple[Course, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A verdict that became another one; ``before`` is "" for the first."""

    model: str
    version: str
    role: str
    before: str
    status: str
    reason: str
    events: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Incidents:
    """The page."""

    open: tuple[Episode, ...]
    closed: tuple[Episode, ...]
    done: tuple[Done, ...]
    changes: tuple[Change, ...]
    told: tuple[Told, ...]


def read_incidents(store: StoreView, wanted: Wanted) -> Incidents:
    """Everything on the page, the newest first."""
    newest = store.told(NEWEST, {"q": wanted.q})
    episodes = [_episode(row) for row in newest]
    steps = store.told(STEPS, {"q": wanted.q})
    changes = store.told(CHANGES, {"q": wanted.q})
    return Incidents(
        open=tuple(each for each in episodes if each.state == "open"),
        closed=tuple(each for each in episodes if each.state != "open"),
        done=_done(steps),
        changes=tuple(
            Change(m, v, role, before, status, reason, int(events), int(at_ms))
            for m, v, role, before, status, reason, events, at_ms in changes
        ),
        told=(newest, steps, changes),
    )


def _episode(row: Sequence[Any]) -> Episode:
    model, version, role, state, cause, severity, team, pages, by, taken, silenced = row[:11]
    return Episode(
        model=model,
        version=version,
        role=role,
        state=state,
        cause=cause,
        severity=severity,
        team=team,
        pages=int(pages),
        taken_by=by,
        taken_ms=int(taken),
        silenced_by=tuple(silenced),
        flapping=bool(row[11]),
        reason=row[12],
        opened_ms=int(row[13]),
        changed_ms=int(row[14]),
    )


def _done(told: Told) -> tuple[Done, ...]:
    by_key: dict[str, dict[str, list[Sequence[Any]]]] = {}
    for row in told:
        by_key.setdefault(row[0], {}).setdefault(row[1], []).append(row)
    found = []
    for key, receivers in by_key.items():
        rows = [row for of in receivers.values() for row in of]
        first = min(rows, key=lambda row: (row[12], row[2]))
        courses = tuple(
            _course(receiver, of, int(first[12])) for receiver, of in sorted(receivers.items())
        )
        found.append(
            Done(key, first[3], first[4], first[5], first[6], first[7], first[10], int(first[12]),
                 courses)
        )  # fmt: skip
    return tuple(sorted(found, key=lambda done: (-done.at_ms, done.kind, done.key)))


def _course(receiver: str, rows: Sequence[Sequence[Any]], first_ms: int) -> Course:
    return Course(
        receiver,
        tuple(
            Step(row[8], int(row[9]), row[11], int(row[12]), int(row[12]) - first_ms)
            for row in sorted(rows, key=lambda row: row[2])
        ),
    )
