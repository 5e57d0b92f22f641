"""Releases that somebody said have begun: one that then logs nothing is a page.

A deployment tool tells of a beginning (Flagger's event hook, an MLflow alias). Without that, a
release that never logs is never heard of, and what was never heard of cannot go blind.
"""

from __future__ import annotations

from dataclasses import replace

from detectors.action import Action, Severity, action_key
from detectors.incident import Begun, ModelPolicy
from detectors.policy_settings import HOUR_MS, FleetOrders, PolicySettings
from detectors.release import Release, Role
from detectors.silence import muted
from detectors.trouble import Trouble, TroubleKind, end_of, page_of

MOST_REMEMBERED = 20
FORGET_MS = 7 * 24 * HOUR_MS
"""After so long nobody waits for a release any more; its incident ends, and its end says why."""

Begins = tuple[ModelPolicy, tuple[Action, ...]]


def begin(state: ModelPolicy, version: str, source: str, now_ms: int) -> Begins:
    """Note that ``version`` began. The same version again counts from the first time while nothing
    is known of it. Beyond ``MOST_REMEMBERED`` the one that began first is given up."""
    if any(each.version == version for each in state.begun):
        return state, ()
    if any(seen.release.version == version for seen in state.watched):
        return state, ()
    begun = (*state.begun, Begun(version, now_ms, source))
    return _given_up(
        replace(state, begun=begun), begun[:-MOST_REMEMBERED], "too many others began", now_ms
    )


def first_heard(state: ModelPolicy, version: str, now_ms: int) -> Begins:
    """A verdict on ``version`` has come: nothing is to be waited for any more."""
    found = tuple(each for each in state.begun if each.version == version)
    return _given_up(state, found, "it logs now", now_ms)


def overdue(
    state: ModelPolicy, settings: PolicySettings, orders: FleetOrders, now_ms: int
) -> Begins:
    """Page for what began long ago and was not heard of, when no silence mutes it any more; give up
    what began very long ago."""
    late = [
        each
        for each in state.begun
        if not each.told
        and now_ms - each.at_ms >= settings.begun_page_after_ms
        and muted(_release(state.model, each), now_ms, orders.silences, settings.maintenance)
        is None
    ]
    begun = tuple(replace(each, told=each.told or each in late) for each in state.begun)
    pages = tuple(
        page_of(
            trouble_of(state.model, each),
            f"{each.source} said that it began: check that it runs and logs",
            now_ms,
            reason=f"it began {(now_ms - each.at_ms) // 60_000} min ago and logs nothing",
        )
        for each in late
    )
    old_ms = now_ms - max(FORGET_MS, 2 * settings.begun_page_after_ms)
    old = tuple(each for each in begun if each.at_ms <= old_ms)
    why = "nothing of it was ever logged; nobody waits for it any more"
    state, ends = _given_up(replace(state, begun=begun) if late else state, old, why, now_ms)
    return state, (*pages, *ends)


def troubles(state: ModelPolicy) -> tuple[Trouble, ...]:
    """The open incidents of releases that began and are silent."""
    return tuple(trouble_of(state.model, each) for each in state.begun if each.told)


def trouble_of(model: str, begun: Begun) -> Trouble:
    """The incident of a beginning that was told; it is open since the release began."""
    return Trouble(
        TroubleKind.BEGUN_SILENT,
        action_key("incident", "begun", model, begun.version, begun.at_ms),
        _release(model, begun),
        begun.source,
        "it began and logs nothing",
        Severity.WARNING,
        begun.at_ms,
    )


def _release(model: str, begun: Begun) -> Release:
    return Release(model, begun.version, Role.CANARY)


def _given_up(state: ModelPolicy, those: tuple[Begun, ...], why: str, now_ms: int) -> Begins:
    """Wait no more for ``those``, and end the incidents that people know of."""
    if not those:
        return state, ()
    left = tuple(each for each in state.begun if each not in those)
    ends = tuple(
        end_of(trouble_of(state.model, each), why, f"{each.source} said that it began", now_ms)
        for each in those
        if each.told
    )
    return replace(state, begun=left), ends
