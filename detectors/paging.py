"""Whom an incident is told, once: grouping, silences, ends.

An incident belongs to one release. When it is due to be told and another release of the model in
the same role is known for the same cause already, it joins that one's group: people hear of it
once, and of the end when the last of the group is over. A model whose two hundred shadows go blind
together is one page. What asks for or reports a rollback is told for each version.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, isfinite

from detectors.action import (
    Action,
    ActionKind,
    Audience,
    Exhibit,
    Severity,
    action_key,
    printable,
)
from detectors.finding import Finding, Outcome
from detectors.incident import Cause, Incident, ModelPolicy, Watched
from detectors.policy_settings import FleetOrders, PolicySettings
from detectors.silence import muted

ALONE = frozenset({Cause.APPROVAL, Cause.ROLLBACK, Cause.STILL_FAILING})
"""Told for each version, as each asks for something of its own."""
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Telling:
    """What a page is to say."""

    cause: Cause
    severity: Severity
    note: str
    return_to: str = ""
    audience: Audience = Audience.OWNER
    approves: tuple[str, int] | None = None


Told = tuple[Watched, tuple[Action, ...]]


def page(
    state: ModelPolicy,
    seen: Watched,
    telling: Telling,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> Told:
    """Tell of the open incident of ``seen``, unless the same or worse was told, it is silenced, or
    others of its group have told. ``state`` is the model's, for its other releases."""
    incident = seen.incident
    if incident is None or telling.cause <= incident.paged:
        return seen, ()
    silence = muted(seen.release, now_ms, orders.silences, settings.maintenance)
    if silence is not None:
        return replace(seen, incident=replace(incident, silenced_by=silence.by)), ()
    others = [
        each.incident
        for each in state.watched
        if each.release != seen.release
        and each.incident is not None
        and each.incident.group
        and (each.release.role is seen.release.role or telling.cause is Cause.UPSTREAM)
    ]
    known = ""
    if telling.cause not in ALONE:
        if incident.group:
            known = incident.group if _told(others, incident.group, telling.cause) else ""
        else:
            same = [each.group for each in others if each.paged is telling.cause]
            known = min(same, default="")
    group = known or incident.group or incident.key
    told = _widest({*incident.told, telling.audience})
    after = replace(
        incident,
        paged=telling.cause,
        group=group,
        told=told,
        silenced_by=(),
        severity=telling.severity,
        pages=incident.pages + (not known),
    )
    if known:
        return replace(seen, incident=after), ()
    made = Action(
        key=action_key(ActionKind.PAGE, group, telling.cause.name, incident.key),
        kind=ActionKind.PAGE,
        release=seen.release,
        return_to=telling.return_to,
        reason=incident.reason,
        note=telling.note + _also(state, seen),
        evidence=incident.evidence,
        severity=telling.severity,
        incident_key=group,
        created_ms=now_ms,
        audience=telling.audience,
        approves=telling.approves,
    )
    return replace(seen, incident=after), (made,)


def remind(
    seen: Watched, what: str, severity: Severity, reason: str, note: str, now_ms: int
) -> Told:
    """Tell more people of an incident that was told already; ``what`` names the reminder, which
    goes out once."""
    incident = seen.incident
    if incident is None or not incident.group:
        return seen, ()
    made = Action(
        key=action_key(ActionKind.PAGE, incident.group, what, incident.key),
        kind=ActionKind.PAGE,
        release=seen.release,
        return_to="",
        reason=printable(reason),
        note=note,
        evidence=incident.evidence,
        severity=severity,
        incident_key=incident.group,
        created_ms=now_ms,
        audience=Audience.ESCALATION,
    )
    after = replace(
        incident,
        told=_widest({*incident.told, Audience.ESCALATION}),
        severity=severity,
        pages=incident.pages + 1,
    )
    return replace(seen, incident=after), (made,)


def take_up(seen: Watched, by: str, now_ms: int) -> Told:
    """Note that somebody has taken the incident up, and tell the receivers that were told of it."""
    incident = seen.incident
    if incident is None:
        return seen, ()
    taken = replace(seen, incident=replace(incident, taken_by=by, taken_ms=now_ms))
    if not incident.group:
        return taken, ()
    made = Action(
        key=action_key(ActionKind.ACKNOWLEDGE, incident.group, incident.key),
        kind=ActionKind.ACKNOWLEDGE,
        release=seen.release,
        return_to="",
        reason=incident.reason,
        note=printable(f"taken up by {by}"),
        evidence=(),
        severity=Severity.INFO,
        incident_key=incident.group,
        created_ms=now_ms,
        audience=incident.told[0] if incident.told else Audience.OWNER,
    )
    return taken, (made,)


def close(
    state: ModelPolicy, seen: Watched, reason: str, note: str, now_ms: int
) -> tuple[ModelPolicy, Watched, tuple[Action, ...]]:
    """Close the incident of ``seen``. Nobody is told of the end of what nobody was told of, nor
    while others of the group are still open: those remember who has to be told."""
    incident = seen.incident
    closed = replace(seen, incident=None)
    if incident is None or not incident.group:
        return state, closed, ()
    watched = []
    left = False
    for each in state.watched:
        other = each.incident
        if each.release != seen.release and other is not None and other.group == incident.group:
            left = True
            told = _widest({*other.told, *incident.told})
            watched.append(replace(each, incident=replace(other, told=told)))
        else:
            watched.append(each)
    if left:
        return replace(state, watched=tuple(watched)), closed, ()
    ends = tuple(
        Action(
            key=action_key(ActionKind.RESOLVE, incident.group, audience),
            kind=ActionKind.RESOLVE,
            release=seen.release,
            return_to="",
            reason=printable(reason),
            note=note,
            evidence=(),
            severity=Severity.INFO,
            incident_key=incident.group,
            created_ms=now_ms,
            audience=audience,
        )
        for audience in incident.told or (Audience.OWNER,)
    )
    return state, closed, ends


def exhibits(findings: Iterable[Finding], limit: int) -> tuple[Exhibit, ...]:
    """The failing findings that decided, critical and strongest first; the same for any order."""
    failing = [f for f in findings if f.outcome is Outcome.FAIL and f.decides]
    failing.sort(
        key=lambda f: (not f.critical, -_excess(f), f.segment, f.column, f.detector, f.against)
    )
    return tuple(
        Exhibit(
            printable(f.column), printable(f.segment), f.detector, f.statistic, f.threshold, f.n
        )
        for f in failing[:limit]
    )


def _told(others: Iterable[Incident], group: str, cause: Cause) -> bool:
    return any(each.group == group and each.paged >= cause for each in others)


def _widest(told: set[Audience]) -> tuple[Audience, ...]:
    """Those to tell of the end. Escalation reaches the owner as well."""
    if Audience.ESCALATION in told:
        told = told - {Audience.OWNER}
    return tuple(sorted(told))


def _also(state: ModelPolicy, seen: Watched) -> str:
    """The model's other releases in the same role that stand alike, for the page to name."""
    alike = [
        printable(each.release.version, 40)
        for each in state.watched
        if each.release != seen.release
        and each.release.role is seen.release.role
        and each.incident is not None
        and each.status is seen.status
    ]
    if not alike:
        return ""
    named = ", ".join(alike[:MOST_NAMED])
    more = len(alike) - MOST_NAMED
    return f"; so does {named}" + (f" and {more} more" if more > 0 else "")


def _excess(finding: Finding) -> float:
    """How far a finding is beyond its threshold, as a ratio; 0 where that means nothing."""
    if not isfinite(finding.threshold) or finding.statistic != finding.statistic:
        return 0.0
    if finding.threshold == 0.0:
        return inf if finding.statistic else 0.0
    return abs(finding.statistic / finding.threshold)
