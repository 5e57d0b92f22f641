"""What stands in the way of a rollback, in words for the page that goes out instead."""

from __future__ import annotations

from typing import assert_never

from detectors.action import Severity, printable
from detectors.incident import ModelPolicy, Watched
from detectors.policy_settings import HOUR_MS, Automation, FleetOrders, PolicySettings
from detectors.release import OTHER, Release, Role
from detectors.silence import muted

Obstacle = tuple[Severity, str]
"""How bad it is, and why there is no rollback."""


def held(
    release: Release, settings: PolicySettings, orders: FleetOrders, now_ms: int
) -> Obstacle | None:
    """What people have ordered that holds rollbacks of ``release`` now."""
    if orders.automation_of(settings) is Automation.OFF:
        return Severity.CRITICAL, "automation is off: roll back by hand"
    silence = muted(release, now_ms, orders.silences, settings.maintenance)
    if silence is not None and silence.hold_rollbacks:
        return Severity.CRITICAL, f"rollbacks are held by {printable(', '.join(silence.by), 100)}"
    return None


def obstacle_of(
    state: ModelPolicy, seen: Watched, settings: PolicySettings, now_ms: int
) -> Obstacle | None:
    """Why a failing release is not rolled back, with how bad that is; None if it can be."""
    why = wrong_role(seen.release, settings) or no_return(state, seen)
    if why is not None:
        return why
    recent = sum(
        1
        for case in state.cases
        if case.approved_ms is not None and now_ms - case.approved_ms < HOUR_MS
    )
    if recent >= settings.max_rollbacks_per_hour:
        return (
            Severity.CRITICAL,
            f"{recent} rollbacks of this model within the hour is the limit: see to it by hand",
        )
    return None


def wrong_role(release: Release, settings: PolicySettings) -> Obstacle | None:
    """Why releases of this role are not rolled back."""
    if release.role in settings.rollback_roles:
        return None
    match release.role:
        case Role.PRODUCTION:
            return Severity.CRITICAL, "production is not rolled back automatically"
        case Role.SHADOW:
            return Severity.WARNING, "a shadow answers nobody: nothing to roll back"
        case Role.CANARY | Role.VARIANT:
            return Severity.ERROR, f"rollbacks of role {release.role} are not configured"
        case _:
            assert_never(release.role)


def no_return(state: ModelPolicy, seen: Watched) -> Obstacle | None:
    """Why there is no version to return to."""
    nothing = _nothing_to_return_to(state, seen.release, seen.baseline)
    return (Severity.CRITICAL, f"nothing to return to: {nothing}") if nothing else None


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
