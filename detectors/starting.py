"""Releases that somebody said have begun: one that then logs nothing is a page.

A deployment tool tells of a beginning (Flagger's event hook, an MLflow alias). Without that, a
release that never logs is never heard of, and what was never heard of cannot go blind.
"""

from __future__ import annotations

from dataclasses import replace

from detectors.action import Action, ActionKind, Severity, action_key
from detectors.incident import Begun, ModelPolicy
from detectors.policy_settings import PolicySettings
from detectors.release import Release, Role

MOST_REMEMBERED = 20


def begin(state: ModelPolicy, version: str, source: str, now_ms: int) -> ModelPolicy:
    """Note that ``version`` began. The same version again counts from the first time while nothing
    is known of it."""
    if any(each.version == version for each in state.begun):
        return state
    if any(seen.release.version == version for seen in state.watched):
        return state
    begun = (*state.begun, Begun(version, now_ms, source))
    return replace(state, begun=begun[-MOST_REMEMBERED:])


def first_heard(
    state: ModelPolicy, version: str, now_ms: int
) -> tuple[ModelPolicy, tuple[Action, ...]]:
    """A verdict on ``version`` has come: nothing is to be waited for any more."""
    found = next((each for each in state.begun if each.version == version), None)
    if found is None:
        return state, ()
    state = replace(state, begun=tuple(each for each in state.begun if each is not found))
    if not found.told:
        return state, ()
    end = _action(state.model, found, ActionKind.RESOLVE, Severity.INFO, "it logs now", now_ms)
    return state, (end,)


def overdue(
    state: ModelPolicy, settings: PolicySettings, now_ms: int
) -> tuple[ModelPolicy, tuple[Action, ...]]:
    """Page for what began long ago and was not heard of."""
    late = [
        each
        for each in state.begun
        if not each.told and now_ms - each.at_ms >= settings.begun_page_after_ms
    ]
    if not late:
        return state, ()
    begun = tuple(replace(each, told=each.told or each in late) for each in state.begun)
    pages = tuple(
        _action(
            state.model,
            each,
            ActionKind.PAGE,
            Severity.WARNING,
            f"it began {(now_ms - each.at_ms) // 60_000} min ago and nothing of it is logged",
            now_ms,
        )
        for each in late
    )
    return replace(state, begun=begun), pages


def _action(
    model: str, begun: Begun, kind: ActionKind, severity: Severity, reason: str, now_ms: int
) -> Action:
    incident = action_key("incident", "begun", model, begun.version, begun.at_ms)
    return Action(
        key=action_key(kind, incident),
        kind=kind,
        release=Release(model, begun.version, Role.CANARY),
        return_to="",
        reason=reason,
        note=f"{begun.source} said that it began: check that it runs and logs",
        evidence=(),
        severity=severity,
        incident_key=incident,
        created_ms=now_ms,
    )
