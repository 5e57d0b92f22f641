"""From verdicts to actions: when to page, when to resolve, and the one rollback of a version.

What this module keeps, for every sequence of verdicts, also repeated, reordered or replayed:

* at most one rollback per (model, version), remembered for ever;
* a rollback only for FAIL, and only where `detectors.rollback_policy` finds no obstacle;
* one incident from the first FAIL, BLIND or HOLD of a release to its next PASS. Within one
  incident a page goes out only when things are worse than the last page said, and releases of one
  model and role that are ill alike are told of together (`detectors.paging`).

INSUFFICIENT is no answer: it neither opens nor closes anything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from detectors.action import Action, Audience, Severity, action_key, printable
from detectors.alert import answer
from detectors.incident import Cause, Incident, ModelPolicy, Watched
from detectors.paging import Telling, close, exhibits, page
from detectors.policy_settings import (
    HOUR_MS,
    NO_ORDERS,
    Approval,
    Automation,
    FleetOrders,
    PolicySettings,
)
from detectors.release import Role
from detectors.rollback_policy import Decided, fail, heard, keep, review, withdraw
from detectors.starting import first_heard, overdue
from detectors.verdict import Status, Verdict

__all__ = [
    "HOUR_MS",
    "NO_ORDERS",
    "Approval",
    "Automation",
    "FleetOrders",
    "PolicySettings",
    "step",
    "tick",
]


def step(
    state: ModelPolicy,
    verdict: Verdict,
    settings: PolicySettings,
    now_ms: int,
    orders: FleetOrders = NO_ORDERS,
) -> Decided:
    """Take one verdict of the model. Verdicts not newer than the last of their release do nothing.

    ``now_ms`` is the clock of the caller, used for waiting times only. The actions are in the
    order in which they should leave. Raises ValueError if the verdict is of another model.
    """
    release = verdict.release
    if release.model != state.model:
        raise ValueError(f"verdict of {release.model!r} given to the policy of {state.model!r}")
    before = state.of(release)
    if before is not None and verdict.sequence <= before.sequence:
        return state, ()
    state = heard(state, release, verdict.events, now_ms)
    state, begun = first_heard(state, release.version, now_ms)
    now = _noted(before, verdict, settings, now_ms)
    if _is_old_data(state, verdict, settings, now_ms):
        return keep(state, now, settings), begun
    after, actions = _judged(state, before, now, verdict, settings, now_ms, orders)
    after, asked = answer(after, release, settings, orders, now_ms)
    return after, (*begun, *actions, *asked)


def tick(
    state: ModelPolicy, settings: PolicySettings, now_ms: int, orders: FleetOrders = NO_ORDERS
) -> Decided:
    """Send the pages whose waiting time is over, end what is calm again, see to rollbacks. Call it
    about once a second. It proposes no rollback: that takes a new verdict."""
    actions: list[Action] = []
    for seen in state.watched:
        if seen.incident is None:
            continue
        if _may_close(seen, settings, now_ms):
            state, closed, due = close(state, seen, "it is calm", "healthy again", now_ms)
            state = keep(state, closed, settings)
        else:
            after, due = _page_if_due(state, seen, settings, orders, now_ms)
            if after is not seen:
                state = keep(state, after, settings)
        actions.extend(due)
    for case in state.cases:
        state, due = review(state, case, settings, now_ms)
        actions.extend(due)
    state, due = overdue(state, settings, orders, now_ms)
    actions.extend(due)
    return state, tuple(actions)


def _noted(
    before: Watched | None, verdict: Verdict, settings: PolicySettings, now_ms: int
) -> Watched:
    """What is known of the release with this verdict, its incident as it was."""
    release, status = verdict.release, verdict.status
    known = before or Watched(release, verdict.sequence, status, now_ms, None)
    fails = status is Status.FAIL
    recent, failing_ms, passes = known.recent, known.failing_ms, known.passes
    if status is not Status.INSUFFICIENT:
        recent = (recent << 1 | fails) & ((1 << settings.of_verdicts) - 1)
        failing_ms = (now_ms if failing_ms is None else failing_ms) if fails else None
        passes = min(passes + 1, settings.close_after_passes) if status is Status.PASS else 0
    return replace(
        known,
        sequence=verdict.sequence,
        status=status,
        seen_ms=now_ms,
        recent=recent,
        failing_ms=failing_ms,
        passes=passes,
        baseline=verdict.baseline_version,
    )


def _judged(
    state: ModelPolicy,
    before: Watched | None,
    now: Watched,
    verdict: Verdict,
    settings: PolicySettings,
    now_ms: int,
    orders: FleetOrders,
) -> Decided:
    match verdict.status:
        case Status.PASS:
            state = withdraw(state, verdict.release, now_ms)
            if not _may_close(now, settings, now_ms):
                return keep(state, now, settings), ()
            state, closed, actions = close(state, now, verdict.reason, "healthy again", now_ms)
            return keep(state, closed, settings), actions
        case Status.INSUFFICIENT:
            return keep(state, now, settings), ()
        case Status.BLIND | Status.HOLD:
            opened = _open(before, now, verdict, settings, now_ms)
            paged, actions = _page_if_due(state, opened, settings, orders, now_ms)
            return keep(state, paged, settings), actions
        case Status.FAIL:
            if not _confirmed(now, settings, now_ms):
                return keep(state, now, settings), ()
            opened = _open(before, now, verdict, settings, now_ms)
            return fail(state, opened, settings, orders, now_ms)
        case _:
            assert_never(verdict.status)


def _confirmed(now: Watched, settings: PolicySettings, now_ms: int) -> bool:
    """Whether enough of the last answers were FAIL, for long enough. An open incident that has
    failed before needs no second confirmation."""
    if now.incident is not None and now.incident.failed:
        return True
    lasted_ms = 0 if now.failing_ms is None else now_ms - now.failing_ms
    enough = now.recent.bit_count() >= settings.fail_verdicts
    return enough and lasted_ms >= settings.fail_for_ms


def _is_old_data(
    state: ModelPolicy, verdict: Verdict, settings: PolicySettings, now_ms: int
) -> bool:
    """True for what a rolled-back release still says: its last events, and then its silence."""
    past = state.rollback_of(verdict.release.version)
    if past is None or past.approved_ms is None or past.release != verdict.release:
        return False
    if verdict.status in (Status.BLIND, Status.HOLD):
        return True
    return now_ms - past.approved_ms < settings.quiet_after_rollback_ms


def _open(
    before: Watched | None, now: Watched, verdict: Verdict, settings: PolicySettings, now_ms: int
) -> Watched:
    """Open an incident, or bring the open one up to date."""
    failed = verdict.status is Status.FAIL
    reason = printable(verdict.reason)
    evidence = exhibits(verdict.findings, settings.max_exhibits)
    upstream = tuple(printable(column, 60) for column in verdict.upstream)
    if now.incident is not None:
        incident = replace(
            now.incident,
            failed=now.incident.failed or failed,
            reason=reason,
            evidence=evidence,
            upstream=upstream,
        )
        again = incident.flapping and before is not None and before.status is Status.PASS
        opens = (*now.opens[1:], now_ms) if again else now.opens
        return replace(now, incident=incident, opens=opens)
    key = action_key(
        "incident",
        verdict.release.model,
        verdict.release.version,
        verdict.release.role,
        verdict.sequence,
    )
    since_ms = now_ms - settings.flap_window_ms
    opens = (*(at for at in now.opens if at > since_ms), now_ms)[-settings.flap_opens :]
    incident = Incident(
        key,
        now_ms,
        Cause.NOTHING,
        failed,
        reason,
        evidence,
        upstream=upstream,
        flapping=len(opens) >= settings.flap_opens,
    )
    return replace(now, incident=incident, opens=opens)


def _may_close(seen: Watched, settings: PolicySettings, now_ms: int) -> bool:
    if seen.status is not Status.PASS or seen.passes < settings.close_after_passes or seen.alerts:
        return False
    incident = seen.incident
    flaps = incident is not None and incident.flapping and bool(seen.opens)
    return not flaps or now_ms - seen.opens[-1] >= settings.flap_window_ms


def _page_if_due(
    state: ModelPolicy,
    seen: Watched,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> tuple[Watched, tuple[Action, ...]]:
    """The page for an incident that has lasted long enough, or whose silence is over."""
    incident = seen.incident
    if incident is None:
        return seen, ()
    telling: Telling | None = None
    lasted_ms = now_ms - incident.opened_ms
    match seen.status:
        case Status.BLIND:
            telling = _blind(seen, incident, lasted_ms, settings)
        case Status.HOLD:
            if incident.upstream:
                telling = Telling(
                    Cause.UPSTREAM,
                    Severity.ERROR,
                    "production moves the same way in "
                    + ", ".join(incident.upstream[:5])
                    + ": the data is the cause; nothing is rolled back",
                    audience=Audience.DATA_OWNER,
                )
            else:
                note = "the comparison is broken: nothing is rolled back"
                telling = Telling(Cause.HOLD, Severity.WARNING, note)
            if incident.flapping:
                telling = _flapping(telling)
            elif lasted_ms < settings.hold_page_after_ms:
                telling = None
        case Status.FAIL | Status.INSUFFICIENT | Status.PASS:
            # Told when it failed, unless it was silenced then.
            telling = _after_silence(state, seen, incident)
        case _:
            assert_never(seen.status)
    if telling is None or telling.cause <= incident.paged:
        return seen, ()
    return page(state, seen, telling, settings, orders, now_ms)


def _blind(
    seen: Watched, incident: Incident, lasted_ms: int, settings: PolicySettings
) -> Telling | None:
    note = "it cannot be judged: check that it still logs"
    serves = seen.release.role is not Role.SHADOW
    if serves and lasted_ms >= settings.blind_escalate_after_ms:
        return Telling(
            Cause.BLIND_FOR_LONG,
            Severity.CRITICAL,
            f"for {lasted_ms // 60_000} min {note}",
            audience=Audience.ESCALATION,
        )
    telling = Telling(Cause.BLIND, Severity.ERROR if serves else Severity.WARNING, note)
    if incident.flapping:
        return _flapping(telling)
    return telling if lasted_ms >= settings.blind_page_after_ms else None


def _flapping(telling: Telling) -> Telling:
    note = f"{telling.note}; it comes and goes: told once until it is calm"
    return replace(telling, cause=Cause.FLAPPING, note=note)


def _after_silence(state: ModelPolicy, seen: Watched, incident: Incident) -> Telling | None:
    if not incident.silenced_by or not incident.failed:
        return None
    past = state.rollback_of(seen.release.version)
    if past is not None and past.release == seen.release:
        note = f"a rollback to {printable(past.return_to)} was requested while pages were silenced"
        return Telling(Cause.ROLLBACK, Severity.ERROR, note, past.return_to)
    case = state.case_of(seen.release.version)
    if case is not None and case.waits_for:
        return Telling(
            Cause.APPROVAL,
            Severity.CRITICAL,
            f"a rollback to {printable(case.return_to)} is proposed; approve or reject it",
            case.return_to,
            approves=(case.key, case.revision),
        )
    return Telling(Cause.FAIL, Severity.CRITICAL, "it failed while pages were silenced")
