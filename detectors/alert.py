"""Alerts of other systems (Grafana, Alertmanager) about a release: they open and close incidents,
and one that asks for it leads to the same guarded rollback as a FAIL.

The guard is stricter here: an alert is somebody else's word, so the release must have been seen in
the logs, which also say what to return to. An alert that comes before them pages, and its request
waits for ``alert_waits_ms``: the first verdict that names the production version answers it, if the
alert still fires then. It is answered once, so that what people hold then is not done later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from detectors.action import Severity, action_key, printable
from detectors.incident import Cause, Incident, ModelPolicy, Watched
from detectors.paging import Telling, close, page
from detectors.policy_settings import NO_ORDERS, FleetOrders, PolicySettings
from detectors.release import Release
from detectors.rollback_policy import Decided, fail, keep, withdraw
from detectors.verdict import Status

MOST_ALERTS = 50
UNSEEN = -1
"""The sequence of a release of which no verdict was seen."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What another system says of a release. ``fingerprint`` is the same from the beginning of the
    alert to its end. ``roll_back``: it asks for that, and does not only want to be told."""

    release: Release
    fingerprint: str
    firing: bool
    reason: str
    source: str
    roll_back: bool = False


def alert(
    state: ModelPolicy,
    given: Alert,
    settings: PolicySettings,
    now_ms: int,
    orders: FleetOrders = NO_ORDERS,
) -> Decided:
    """Take one alert, firing or resolved. Repeats change nothing."""
    release = given.release
    seen = state.of(release) or Watched(release, UNSEEN, Status.INSUFFICIENT, now_ms, None)
    if not given.firing:
        return _resolved(state, seen, given, settings, now_ms)
    known = given.fingerprint in seen.alerts
    if not known:
        alerts = (*seen.alerts, given.fingerprint)[-MOST_ALERTS:]
        seen = replace(seen, alerts=alerts, seen_ms=now_ms)
    past = state.rollback_of(release.version)
    if (
        past is not None
        and past.approved_ms is not None
        and past.release == release
        and now_ms - past.approved_ms < settings.quiet_after_rollback_ms
    ):
        return keep(state, seen, settings), ()
    seen = _opened(seen, given, settings, now_ms)
    if not given.roll_back:
        note = f"told by {given.source}: it does not ask for a rollback"
        after, pages = page(
            state, seen, Telling(Cause.FAIL, Severity.ERROR, note), settings, orders, now_ms
        )
        return keep(state, after, settings), pages
    if seen.sequence == UNSEEN:
        if not known:
            seen = replace(seen, asked_by=(*seen.asked_by, (given.fingerprint, now_ms)))
        wait_s = settings.alert_waits_ms // 1000
        obstacle = f"no verdict on this release was seen yet; the rollback waits {wait_s} s for one"
        return fail(state, seen, settings, orders, now_ms, obstacle)
    return fail(state, seen, settings, orders, now_ms)


def answer(
    state: ModelPolicy,
    release: Release,
    settings: PolicySettings,
    orders: FleetOrders,
    now_ms: int,
) -> Decided:
    """After a verdict on ``release``: do what an alert that came before it has asked for.

    Only a verdict that rests on events and names the version to return to is an answer."""
    seen = state.of(release)
    if seen is None or not seen.asked_by:
        return state, ()
    waiting = [
        asked_ms
        for fingerprint, asked_ms in seen.asked_by
        if fingerprint in seen.alerts and now_ms - asked_ms <= settings.alert_waits_ms
    ]
    if waiting and (seen.status in (Status.BLIND, Status.HOLD) or not seen.baseline):
        return state, ()
    answered = replace(seen, asked_by=())
    state = keep(state, answered, settings)
    if not waiting or seen.incident is None or state.case_of(release.version) is not None:
        return state, ()
    return fail(state, answered, settings, orders, now_ms)


def _opened(seen: Watched, given: Alert, settings: PolicySettings, now_ms: int) -> Watched:
    reason = printable(given.reason)
    if seen.incident is not None:
        incident = replace(seen.incident, failed=True)
        return replace(seen, incident=incident)
    release = given.release
    key = action_key(
        "incident",
        release.model,
        release.version,
        release.role,
        seen.sequence,
        given.fingerprint,
        len(seen.opens),
        seen.opens[-1] if seen.opens else 0,
    )
    since_ms = now_ms - settings.flap_window_ms
    opens = (*(at for at in seen.opens if at > since_ms), now_ms)[-settings.flap_opens :]
    flapping = len(opens) >= settings.flap_opens
    incident = Incident(key, now_ms, Cause.NOTHING, True, reason, (), flapping=flapping)
    return replace(seen, incident=incident, opens=opens)


def _resolved(
    state: ModelPolicy, seen: Watched, given: Alert, settings: PolicySettings, now_ms: int
) -> Decided:
    if given.fingerprint not in seen.alerts:
        return state, ()
    alerts = tuple(each for each in seen.alerts if each != given.fingerprint)
    seen = replace(seen, alerts=alerts)
    incident = seen.incident
    ill = seen.status in (Status.FAIL, Status.BLIND, Status.HOLD)
    if alerts or ill or incident is None:
        return keep(state, seen, settings), ()
    if incident.flapping and now_ms - seen.opens[-1] < settings.flap_window_ms:
        # Firing and resolved in turn: the last page holds until it is calm, see `policy.tick`.
        calm = replace(seen, status=Status.PASS, passes=settings.close_after_passes)
        return keep(state, calm, settings), ()
    state = withdraw(state, seen.release, now_ms)
    state, closed, ends = close(
        state, seen, f"{given.source}: the alert is over", "healthy again", now_ms
    )
    return keep(state, closed, settings), ends
