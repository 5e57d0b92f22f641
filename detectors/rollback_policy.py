"""When a failing release is rolled back, who approves it, and whether it helped.

A rollback is proposed for a FAIL only, of the roles that may be rolled back, and only to a
production version that is known, is another one, does not fail and was not itself rolled back. It
is approved by itself, by the fleet's limit or by a person, and every condition is looked at again
then: an approval that comes when the release is healthy again changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from detectors.action import (
    Action,
    ActionKind,
    Audience,
    Severity,
    action_key,
    printable,
    rollback_key,
)
from detectors.incident import Cause, ModelPolicy, Watched
from detectors.paging import Telling, close, page, remind, take_up
from detectors.policy_settings import (
    Approval,
    Automation,
    FleetOrders,
    PolicySettings,
)
from detectors.release import Release, Role
from detectors.rollback_case import AWAITED, UNDER_WAY, RollbackCase, RollbackState, WaitsFor
from detectors.rollback_obstacles import held, no_return, obstacle_of, wrong_role
from detectors.verdict import Status

AUTOMATION = "automation"
MAX_BY_CHARS = 100

Decided = tuple[ModelPolicy, tuple[Action, ...]]


def fail(
    state: ModelPolicy,
    seen: Watched,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
    obstacle: str = "",
) -> Decided:
    """``seen`` fails, with an open incident: propose the rollback if there can be one, and page.

    ``obstacle``: why there can be none, if the caller knows one.
    """

    def tell(telling: Telling) -> Decided:
        after, pages = page(state, seen, telling, settings, orders, now_ms)
        return keep(state, after, settings), pages

    release = seen.release
    past = state.case_of(release.version)
    may = release.role in settings.rollback_roles
    if past is not None and past.requested and may:
        note = "it was rolled back already and is not rolled back twice: see to it by hand"
        return tell(Telling(Cause.STILL_FAILING, Severity.CRITICAL, note))
    why = (Severity.ERROR, obstacle) if obstacle else obstacle_of(state, seen, settings, now_ms)
    automation = orders.automation_of(settings)
    if why is None:
        why = held(release, settings, orders, now_ms)
    if why is not None:
        flapping = seen.incident is not None and seen.incident.flapping
        note = why[1] + ("; it flaps: told once until it is calm" if flapping else "")
        return tell(Telling(Cause.FAIL, why[0], note))
    if automation is Automation.DRY_RUN:
        return _dry_run(state, seen, settings, orders, now_ms)
    if past is not None and past.state in (RollbackState.REJECTED, RollbackState.EXPIRED):
        note = f"its rollback was {past.state.value} and is not proposed again; approve it by hand"
        return tell(Telling(Cause.FAIL, Severity.ERROR, note))
    if past is not None and past.state is RollbackState.PROPOSED:
        return keep(state, seen, settings), ()
    waits = WaitsFor.FLEET if orders.admission else WaitsFor.NOTHING
    if settings.approval is Approval.PERSON:
        waits = WaitsFor.PERSON
    case = _proposed(past, seen, waits, now_ms)
    state = _with_case(state, case)
    if waits is WaitsFor.NOTHING:
        return _approve(state, seen, case, AUTOMATION, settings, orders, now_ms)
    if waits is WaitsFor.FLEET:
        return keep(state, seen, settings), ()
    return _ask(state, seen, case, "it waits for a person", settings, orders, now_ms)


def admit(
    state: ModelPolicy,
    key: str,
    *,
    granted: bool,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> Decided:
    """The fleet's limit has a place for the rollback ``key``, or not: then a person is asked."""
    case = state.case(key)
    if case is None or case.waits_for is not WaitsFor.FLEET:
        return state, ()
    seen = state.of(case.release)
    if seen is None or not _still_fails(seen):
        return _with_case(state, case.to(RollbackState.WITHDRAWN, now_ms, AUTOMATION)), ()
    if granted:
        why = obstacle_of(state, seen, settings, now_ms) or held(
            case.release, settings, orders, now_ms
        )
        if why is None and orders.automation_of(settings) is Automation.ON:
            return _approve(state, seen, case, AUTOMATION, settings, orders, now_ms)
        return _with_case(state, case.to(RollbackState.WITHDRAWN, now_ms, AUTOMATION)), ()
    asked = case.to(RollbackState.PROPOSED, now_ms, waits_for=WaitsFor.PERSON)
    state = _with_case(state, asked)
    note = "the fleet's limit of rollbacks within the hour is reached"
    return _ask(state, seen, asked, note, settings, orders, now_ms)


def decide(
    state: ModelPolicy,
    key: str,
    revision: int,
    *,
    approved: bool,
    by: str,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> tuple[ModelPolicy, tuple[Action, ...], str]:
    """A person approves or rejects the rollback ``key`` as of ``revision``.

    Returns also why nothing was done, "" if something was. The limits of the hour do not bind a
    person; everything else does.
    """
    case = state.case(key)
    if case is None:
        return state, (), "there is no such rollback"
    if case.revision != revision:
        return state, (), f"it is {case.state.value} since: look again before you decide"
    may = case.state in (RollbackState.PROPOSED, RollbackState.REJECTED, RollbackState.EXPIRED)
    if not may or case.requested:
        return state, (), f"it is {case.state.value} already"
    by = printable(by, MAX_BY_CHARS) or "somebody"
    seen = state.of(case.release)
    if not approved:
        state = _with_case(state, case.to(RollbackState.REJECTED, now_ms, by))
        state, told = _taken_up(state, case.release, by, settings, now_ms)
        return state, told, ""
    if seen is None or not _still_fails(seen):
        return state, (), "the release does not fail any more"
    why = wrong_role(case.release, settings) or no_return(state, seen)
    if why is not None:
        return state, (), why[1]
    withheld = held(case.release, settings, orders, now_ms)
    if withheld is not None:
        return state, (), withheld[1]
    if orders.automation_of(settings) is not Automation.ON:
        return state, (), f"automation is {orders.automation_of(settings).value}"
    state, actions = _approve(state, seen, case, by, settings, orders, now_ms)
    state, told = _taken_up(state, case.release, by, settings, now_ms)
    return state, (*actions, *told), ""


def progress(
    state: ModelPolicy, key: str, reached: RollbackState, by: str, now_ms: int
) -> ModelPolicy:
    """Note how the delivery of a rollback goes: SENT, ACKNOWLEDGED, or EXPIRED if nobody took it.
    What comes late or twice changes nothing."""
    case = state.case(key)
    if case is None or case.state not in UNDER_WAY or case.state is reached:
        return state
    return _with_case(state, case.to(reached, now_ms, by))


def review(
    state: ModelPolicy, case: RollbackCase, settings: PolicySettings, now_ms: int
) -> Decided:
    """Let time pass for one rollback: expire what nobody approves, verify what was acknowledged,
    and see that what nobody carried out was done by hand."""
    seen = state.of(case.release)
    age_ms = now_ms - case.changed_ms
    if case.state is RollbackState.PROPOSED and age_ms >= settings.approval_expires_ms:
        state = _with_case(state, case.to(RollbackState.EXPIRED, now_ms))
        if seen is None or not _still_fails(seen):
            return state, ()
        after, told = remind(
            seen,
            f"unapproved {case.revision}",
            Severity.CRITICAL,
            f"nobody approved the rollback to {case.return_to}",
            "it still fails: roll back by hand",
            now_ms,
        )
        return keep(state, after, settings), told
    if not case.awaits_silence:
        return state, ()
    acknowledged = case.state is RollbackState.ACKNOWLEDGED
    if case.silent_since(now_ms, settings.verify_quiet_ms):
        if acknowledged:
            state = _with_case(state, case.to(RollbackState.VERIFIED, now_ms))
            reason = f"rollback to {case.return_to} is verified"
            note = "rolled back, and it receives no events any more"
        else:
            reason, note = "it receives no events any more", "nobody has to roll it back any more"
        if seen is None or seen.incident is None:
            return state, ()
        if not acknowledged and (seen.alerts or seen.incident.opened_ms > case.last_sign_ms):
            return state, ()  # of its silence, or another system's: not what it was failing for
        state, closed, ends = close(state, seen, reason, note, now_ms)
        return keep(state, closed, settings), ends
    if not acknowledged or case.escalated or age_ms < settings.verify_within_ms:
        return state, ()
    state = _with_case(state, replace(case, escalated=True))
    if seen is None:
        return state, ()
    grows = case.grew_ms > case.changed_ms
    reason = (
        f"the rollback to {case.return_to} was acknowledged and the release still has events"
        if grows
        else f"the rollback to {case.return_to} cannot be verified: the model's others are silent"
    )
    after, pages = remind(
        seen, "unverified", Severity.CRITICAL, reason, "check what really runs", now_ms
    )
    return keep(state, after, settings), pages


def heard(state: ModelPolicy, release: Release, events: int, now_ms: int) -> ModelPolicy:
    """Note a verdict for the rollbacks that wait for their proof."""
    cases = tuple(case.heard(release, events, now_ms) for case in state.cases)
    return state if cases == state.cases else replace(state, cases=cases)


def withdraw(state: ModelPolicy, release: Release, now_ms: int) -> ModelPolicy:
    """The release is healthy: what was proposed for it and not approved is off."""
    case = state.case_of(release.version)
    if case is None or case.state is not RollbackState.PROPOSED or case.release != release:
        return state
    return _with_case(state, case.to(RollbackState.WITHDRAWN, now_ms, AUTOMATION))


def keep(state: ModelPolicy, now: Watched, settings: PolicySettings) -> ModelPolicy:
    """Remember ``now``. Beyond ``max_releases``, forget what was silent longest and is healthy;
    last of all what a rollback is under way for, which would be withdrawn, and production."""
    others = [seen for seen in state.watched if seen.release != now.release]
    if len(others) >= settings.max_releases:
        awaited = {case.release for case in state.cases if case.state in AWAITED}

        def worth(seen: Watched) -> tuple[bool, bool, bool, int]:
            serves = seen.release.role is Role.PRODUCTION
            return seen.release in awaited, serves, seen.incident is not None, seen.seen_ms

        others.remove(min(others, key=worth))
    watched = sorted((*others, now), key=lambda seen: seen.release)
    return replace(state, watched=tuple(watched))


def _taken_up(
    state: ModelPolicy, release: Release, by: str, settings: PolicySettings, now_ms: int
) -> Decided:
    seen = state.of(release)
    if seen is None:
        return state, ()
    taken, told = take_up(seen, by, now_ms)
    return keep(state, taken, settings), told


def _still_fails(seen: Watched) -> bool:
    return seen.incident is not None and (seen.status is Status.FAIL or bool(seen.alerts))


def _approve(
    state: ModelPolicy,
    seen: Watched,
    case: RollbackCase,
    by: str,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> Decided:
    approved = replace(case.to(RollbackState.APPROVED, now_ms, by), return_to=seen.baseline)
    back = printable(approved.return_to)
    note = f"rollback to {back} requested"
    if by != AUTOMATION:
        note += f", approved by {by}"
    telling = Telling(Cause.ROLLBACK, Severity.ERROR, note, approved.return_to)
    after, pages = page(state, seen, telling, settings, orders, now_ms)
    rollback = _rollback_action(approved, rollback_key(*_names(case)), Severity.ERROR, note)
    state = keep(_with_case(state, approved), after, settings)
    return state, (replace(rollback, created_ms=now_ms), *pages)


def _ask(
    state: ModelPolicy,
    seen: Watched,
    case: RollbackCase,
    why: str,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> Decided:
    telling = Telling(
        Cause.APPROVAL,
        Severity.CRITICAL,
        f"a rollback to {printable(case.return_to)} is proposed: {why}; approve or reject it",
        case.return_to,
        approves=(case.key, case.revision),
    )
    after, pages = page(state, seen, telling, settings, orders, now_ms)
    return keep(state, after, settings), pages


def _dry_run(
    state: ModelPolicy,
    seen: Watched,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> Decided:
    back = seen.baseline
    note = f"dry run: a rollback to {printable(back)} would be requested; roll back by hand"
    telling = Telling(Cause.FAIL, Severity.CRITICAL, note, back)
    after, pages = page(state, seen, telling, settings, orders, now_ms)
    state = keep(state, after, settings)
    if state.case_of(seen.release.version, dry_run=True) is not None:
        return state, pages
    case = replace(
        _proposed(None, seen, WaitsFor.NOTHING, now_ms),
        key=action_key("dry_run", seen.release.model, seen.release.version),
        state=RollbackState.DRY_RUN,
    )
    action = _rollback_action(case, case.key, Severity.CRITICAL, note)
    action = replace(action, created_ms=now_ms, dry_run=True)
    return _with_case(state, case), (action, *pages)


def _rollback_action(case: RollbackCase, key: str, severity: Severity, note: str) -> Action:
    return Action(
        key=key,
        kind=ActionKind.ROLLBACK,
        release=case.release,
        return_to=case.return_to,
        reason=case.reason,
        note=note,
        evidence=case.evidence,
        severity=severity,
        incident_key=case.incident_key,
        created_ms=case.proposed_ms,
        audience=Audience.OWNER,
    )


def _proposed(
    past: RollbackCase | None, seen: Watched, waits: WaitsFor, now_ms: int
) -> RollbackCase:
    incident = seen.incident
    if incident is None:
        raise AssertionError("a FAIL without an incident: it is opened first")
    return RollbackCase(
        key=rollback_key(seen.release.model, seen.release.version),
        release=seen.release,
        return_to=seen.baseline,
        state=RollbackState.PROPOSED,
        revision=1 if past is None else past.revision + 1,
        waits_for=waits,
        by=AUTOMATION,
        reason=incident.reason,
        incident_key=incident.group or incident.key,
        evidence=incident.evidence,
        sequence=seen.sequence,
        proposed_ms=now_ms,
        changed_ms=now_ms,
        events=0 if past is None else past.events,
    )


def _names(case: RollbackCase) -> tuple[str, str]:
    return case.release.model, case.release.version


def _with_case(state: ModelPolicy, case: RollbackCase) -> ModelPolicy:
    others = tuple(each for each in state.cases if each.key != case.key)
    return replace(state, cases=(*others, case))
