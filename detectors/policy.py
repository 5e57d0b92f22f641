"""From verdicts to actions: when to page, when to resolve, and the one rollback of a version.

What this module keeps, for every sequence of verdicts, also repeated, reordered or replayed:

* at most one rollback per (model, version), remembered for ever;
* a rollback only for FAIL, only of the roles that may be rolled back, and only to a production
  version that is known, is another one, does not fail and was not itself rolled back;
* one incident from the first FAIL, BLIND or HOLD of a release to its next PASS. Within one
  incident a page goes out only when things are worse than the last page said.

INSUFFICIENT is no answer: it neither opens nor closes anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf, isfinite
from typing import ClassVar, assert_never

from detectors.action import (
    Action,
    ActionKind,
    Exhibit,
    Severity,
    action_key,
    printable,
    rollback_key,
)
from detectors.finding import Finding, Outcome
from detectors.incident import Cause, Incident, ModelPolicy, RolledBack, Watched
from detectors.release import OTHER, Release, Role
from detectors.verdict import Status, Verdict

HOUR_MS = 3_600_000


class Automation(StrEnum):
    """The switch for rollbacks: done, only recorded, or not even that. Pages always go out."""

    ON = "on"
    DRY_RUN = "dry_run"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """When to act.

    ``hold_page_after_ms``/``blind_page_after_ms``: how long an incident that is not a FAIL may
    last before it pages. ``quiet_after_rollback_ms``: for how long a FAIL of a rolled-back release
    is taken for old data still arriving; after that it is a page, as the rollback did not help.
    ``max_rollbacks_per_hour`` is per model: what fails more often than that needs a person.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    automation: Automation = Automation.ON
    rollback_roles: tuple[Role, ...] = (Role.CANARY,)
    hold_page_after_ms: int = 60_000
    blind_page_after_ms: int = 60_000
    quiet_after_rollback_ms: int = HOUR_MS
    max_rollbacks_per_hour: int = 4
    max_exhibits: int = 10
    max_releases: int = 200

    def __post_init__(self) -> None:
        for name in ("hold_page_after_ms", "blind_page_after_ms", "quiet_after_rollback_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"policy: {name} is negative; give 0 or more milliseconds")
        for name in ("max_rollbacks_per_hour", "max_exhibits", "max_releases"):
            if getattr(self, name) < 1:
                raise ValueError(f"policy: {name} must be at least 1")
        refused = {Role.PRODUCTION, Role.SHADOW} & set(self.rollback_roles)
        if refused:
            raise ValueError(
                f"policy: rollback_roles holds {min(refused)}, which has nothing to return to; "
                "use canary and variant only"
            )


def step(
    state: ModelPolicy, verdict: Verdict, settings: PolicySettings, now_ms: int
) -> tuple[ModelPolicy, tuple[Action, ...]]:
    """Take one verdict of the model. Verdicts not newer than the last of their release do nothing.

    ``now_ms`` is the clock of the caller, used for waiting times only. The actions are in the
    order in which they should leave. Raises ValueError if the verdict is of another model.
    """
    release = verdict.release
    if release.model != state.model:
        raise ValueError(f"verdict of {release.model!r} given to the policy of {state.model!r}")
    seen = state.of(release)
    if seen is not None and verdict.sequence <= seen.sequence:
        return state, ()
    now = Watched(
        release, verdict.sequence, verdict.status, now_ms, None if seen is None else seen.incident
    )
    if _is_old_data(state, verdict, settings, now_ms):
        return _keep(state, now, settings), ()
    match verdict.status:
        case Status.PASS:
            closed, actions = _close(now, verdict, now_ms)
            return _keep(state, closed, settings), actions
        case Status.INSUFFICIENT:
            return _keep(state, now, settings), ()
        case Status.BLIND | Status.HOLD:
            opened = _open(now, verdict, settings, now_ms)
            paged, actions = _page_if_waited(opened, settings, now_ms)
            return _keep(state, paged, settings), actions
        case Status.FAIL:
            opened = _open(now, verdict, settings, now_ms)
            return _fail(state, opened, verdict, settings, now_ms)
        case _:
            assert_never(verdict.status)


def tick(
    state: ModelPolicy, settings: PolicySettings, now_ms: int
) -> tuple[ModelPolicy, tuple[Action, ...]]:
    """Send the pages whose waiting time is over. Call it about once a second."""
    watched: list[Watched] = []
    actions: list[Action] = []
    for seen in state.watched:
        after, due = _page_if_waited(seen, settings, now_ms)
        watched.append(after)
        actions.extend(due)
    return (replace(state, watched=tuple(watched)), tuple(actions)) if actions else (state, ())


def _is_old_data(
    state: ModelPolicy, verdict: Verdict, settings: PolicySettings, now_ms: int
) -> bool:
    """True for what a rolled-back release still says: its last events, and then its silence."""
    past = state.rollback_of(verdict.release.version)
    if past is None or past.release != verdict.release:
        return False
    if verdict.status in (Status.BLIND, Status.HOLD):
        return True
    return now_ms - past.at_ms < settings.quiet_after_rollback_ms


def _open(now: Watched, verdict: Verdict, settings: PolicySettings, now_ms: int) -> Watched:
    """Open an incident, or bring the open one up to date."""
    failed = verdict.status is Status.FAIL
    reason = printable(verdict.reason)
    evidence = _exhibits(verdict.findings, settings.max_exhibits)
    if now.incident is not None:
        incident = replace(
            now.incident,
            failed=now.incident.failed or failed,
            reason=reason,
            evidence=evidence,
        )
        return replace(now, incident=incident)
    key = action_key(
        "incident",
        verdict.release.model,
        verdict.release.version,
        verdict.release.role,
        verdict.sequence,
    )
    return replace(now, incident=Incident(key, now_ms, Cause.NOTHING, failed, reason, evidence))


def _close(now: Watched, verdict: Verdict, now_ms: int) -> tuple[Watched, tuple[Action, ...]]:
    """Close the incident. Nobody is told of the end of what nobody was told of."""
    incident = now.incident
    closed = replace(now, incident=None)
    if incident is None or incident.paged is Cause.NOTHING:
        return closed, ()
    resolve = Action(
        key=action_key(ActionKind.RESOLVE, incident.key),
        kind=ActionKind.RESOLVE,
        release=now.release,
        return_to="",
        reason=printable(verdict.reason),
        note="healthy again",
        evidence=(),
        severity=Severity.INFO,
        incident_key=incident.key,
        created_ms=now_ms,
    )
    return closed, (resolve,)


def _page_if_waited(
    seen: Watched, settings: PolicySettings, now_ms: int
) -> tuple[Watched, tuple[Action, ...]]:
    """The page for BLIND and HOLD, once the incident has lasted long enough."""
    incident = seen.incident
    if incident is None:
        return seen, ()
    match seen.status:
        case Status.BLIND:
            cause, wait_ms = Cause.BLIND, settings.blind_page_after_ms
        case Status.HOLD:
            cause, wait_ms = Cause.HOLD, settings.hold_page_after_ms
        case Status.FAIL | Status.INSUFFICIENT | Status.PASS:
            return seen, ()
        case _:
            assert_never(seen.status)
    if now_ms - incident.opened_ms < wait_ms:
        return seen, ()
    note = (
        "it cannot be judged: check that it still logs"
        if cause is Cause.BLIND
        else "the comparison is broken: nothing is rolled back"
    )
    severity = Severity.WARNING
    if cause is Cause.BLIND and seen.release.role is not Role.SHADOW:
        severity = Severity.ERROR
    return _page(seen, incident, cause, severity, note, "", now_ms)


def _page(
    seen: Watched,
    incident: Incident,
    cause: Cause,
    severity: Severity,
    note: str,
    return_to: str,
    now_ms: int,
) -> tuple[Watched, tuple[Action, ...]]:
    if cause <= incident.paged:
        return seen, ()
    page = Action(
        key=action_key(ActionKind.PAGE, incident.key, cause.name),
        kind=ActionKind.PAGE,
        release=seen.release,
        return_to=return_to,
        reason=incident.reason,
        note=note,
        evidence=incident.evidence,
        severity=severity,
        incident_key=incident.key,
        created_ms=now_ms,
    )
    return replace(seen, incident=replace(incident, paged=cause)), (page,)


def _fail(
    state: ModelPolicy,
    seen: Watched,
    verdict: Verdict,
    settings: PolicySettings,
    now_ms: int,
) -> tuple[ModelPolicy, tuple[Action, ...]]:
    """FAIL: ask for the rollback if there can be one, and page."""
    incident = seen.incident
    if incident is None:
        raise AssertionError("a FAIL without an incident: _open must come first")
    release = verdict.release
    past = state.rollback_of(release.version)
    if past is not None and release.role in settings.rollback_roles:
        note = "it was rolled back already and is not rolled back twice: see to it by hand"
        kept, pages = _page(
            seen, incident, Cause.STILL_FAILING, Severity.CRITICAL, note, "", now_ms
        )
        return _keep(state, kept, settings), pages

    obstacle = _obstacle(state, verdict, settings, now_ms)
    if obstacle is not None:
        severity, note = obstacle
        kept, pages = _page(seen, incident, Cause.FAIL, severity, note, "", now_ms)
        return _keep(state, kept, settings), pages

    dry_run = settings.automation is Automation.DRY_RUN
    back = verdict.baseline_version
    if dry_run:
        note = f"dry run: a rollback to {printable(back)} would be requested; roll back by hand"
        cause, severity = Cause.FAIL, Severity.CRITICAL
    else:
        note = f"rollback to {printable(back)} requested"
        cause, severity = Cause.ROLLBACK, Severity.ERROR
    kept, pages = _page(seen, incident, cause, severity, note, back, now_ms)
    state = _keep(state, kept, settings)
    if dry_run and state.rollback_of(release.version, dry_run=True) is not None:
        return state, pages
    rollback = Action(
        key=(
            action_key("dry_run", release.model, release.version)
            if dry_run
            else rollback_key(release.model, release.version)
        ),
        kind=ActionKind.ROLLBACK,
        release=release,
        return_to=back,
        reason=incident.reason,
        note=note,
        evidence=incident.evidence,
        severity=severity,
        incident_key=incident.key,
        created_ms=now_ms,
        dry_run=dry_run,
    )
    remembered = RolledBack(release, now_ms, dry_run)
    return replace(state, rolled_back=(*state.rolled_back, remembered)), (rollback, *pages)


def _obstacle(
    state: ModelPolicy, verdict: Verdict, settings: PolicySettings, now_ms: int
) -> tuple[Severity, str] | None:
    """Why a failing release is not rolled back, with how bad that is; None if it can be."""
    release, back = verdict.release, verdict.baseline_version
    if release.role not in settings.rollback_roles:
        match release.role:
            case Role.PRODUCTION:
                return Severity.CRITICAL, "production is not rolled back automatically"
            case Role.SHADOW:
                return Severity.WARNING, "a shadow answers nobody: nothing to roll back"
            case Role.CANARY | Role.VARIANT:
                return Severity.ERROR, f"rollbacks of role {release.role} are not configured"
            case _:
                assert_never(release.role)
    nothing = _nothing_to_return_to(state, release, back)
    if nothing:
        return Severity.CRITICAL, f"nothing to return to: {nothing}"
    if settings.automation is Automation.OFF:
        return Severity.CRITICAL, "automation is off: roll back by hand"
    recent = sum(
        1 for past in state.rolled_back if not past.dry_run and now_ms - past.at_ms < HOUR_MS
    )
    if recent >= settings.max_rollbacks_per_hour:
        return (
            Severity.CRITICAL,
            f"{recent} rollbacks of this model within the hour is the limit: see to it by hand",
        )
    return None


def _nothing_to_return_to(state: ModelPolicy, release: Release, back: str) -> str:
    # A folded name stands for many: rolling it back would hit versions nobody judged.
    if OTHER in (release.model, release.version, back):
        return "the release is one of many folded together"
    if not back:
        return "no production version is known"
    if back == release.version:
        return "production runs the same version"
    if state.rollback_of(back) is not None:
        return f"{printable(back)} was itself rolled back"
    production = state.of(Release(release.model, back, Role.PRODUCTION))
    if production is not None and production.incident is not None and production.incident.failed:
        return f"{printable(back)} fails as well, so the cause may be upstream"
    return ""


def _keep(state: ModelPolicy, now: Watched, settings: PolicySettings) -> ModelPolicy:
    """Remember ``now``. Beyond ``max_releases``, forget what was silent longest and is healthy."""
    others = [seen for seen in state.watched if seen.release != now.release]
    if len(others) >= settings.max_releases:
        others.remove(min(others, key=lambda seen: (seen.incident is not None, seen.seen_ms)))
    watched = sorted((*others, now), key=lambda seen: seen.release)
    return replace(state, watched=tuple(watched))


def _exhibits(findings: Iterable[Finding], limit: int) -> tuple[Exhibit, ...]:
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


def _excess(finding: Finding) -> float:
    """How far a finding is beyond its threshold, as a ratio; 0 where that means nothing."""
    if not isfinite(finding.threshold) or finding.statistic != finding.statistic:
        return 0.0
    if finding.threshold == 0.0:
        return inf if finding.statistic else 0.0
    return abs(finding.statistic / finding.threshold)
