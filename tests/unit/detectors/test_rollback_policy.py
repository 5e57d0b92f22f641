"""The life of a rollback: proposed, approved, sent, acknowledged, verified."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detectors.action import Action, ActionKind, Severity
from detectors.alert import Alert, alert
from detectors.incident import ModelPolicy
from detectors.policy import (
    NO_ORDERS,
    Approval,
    Automation,
    FleetOrders,
    PolicySettings,
    step,
    tick,
)
from detectors.release import Release, Role
from detectors.rollback_case import RollbackCase, RollbackState, WaitsFor
from detectors.rollback_policy import admit, decide, progress
from detectors.verdict import Status
from tests.unit.detectors.test_paging import CANARY, MINUTE, NOW, verdict

SETTINGS = PolicySettings(hold_page_after_ms=0, blind_page_after_ms=0)
BY_HAND = replace(SETTINGS, approval=Approval.PERSON)
ADMISSION = FleetOrders(admission=True)
PRODUCTION = Release("m", "v1", Role.PRODUCTION)


def kinds(actions: tuple[Action, ...]) -> list[ActionKind]:
    return [action.kind for action in actions]


def only(state: ModelPolicy) -> RollbackCase:
    (case,) = state.cases
    return case


def proposed() -> tuple[ModelPolicy, Action]:
    state, (page,) = step(ModelPolicy("m"), verdict(Status.FAIL, 1), BY_HAND, NOW)
    return state, page


def decided(
    state: ModelPolicy,
    *,
    approved: bool = True,
    revision: int = 0,
    orders: FleetOrders | None = None,
    at_ms: int = NOW,
) -> tuple[ModelPolicy, tuple[Action, ...], str]:
    case = only(state)
    return decide(
        state,
        case.key,
        revision or case.revision,
        approved=approved,
        by="alice",
        settings=BY_HAND,
        orders=orders or FleetOrders(),
        now_ms=at_ms,
    )


def test_a_proposal_asks_a_person_and_his_approval_is_the_rollback() -> None:
    state, page = proposed()
    assert page.severity is Severity.CRITICAL
    assert page.approves == (only(state).key, 1)
    assert step(state, verdict(Status.FAIL, 2), BY_HAND, NOW)[1] == ()
    state, actions, why_not = decided(state)
    assert why_not == ""
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE, ActionKind.ACKNOWLEDGE]
    assert "approved by alice" in actions[1].note
    assert actions[0].key == only(state).key
    _, again, why_not = decided(state)
    assert (again, why_not) == ((), "it is approved already")


def test_an_approval_of_what_has_changed_since_does_nothing() -> None:
    state, _ = proposed()
    _, actions, why_not = decided(state, revision=7)
    assert actions == ()
    assert "look again" in why_not
    healthy, _ = step(state, verdict(Status.PASS, 2), BY_HAND, NOW)
    assert only(healthy).state is RollbackState.WITHDRAWN
    # It fails again: the old link names another revision.
    again, _ = step(healthy, verdict(Status.FAIL, 3), BY_HAND, NOW)
    assert only(again).revision == 3
    assert decided(again, revision=1)[1] == ()
    assert kinds(decided(again)[1])[0] is ActionKind.ROLLBACK


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (Status.INSUFFICIENT, "does not fail any more"),
        (Status.HOLD, "does not fail any more"),
    ],
)
def test_an_approval_that_comes_when_it_does_not_fail_does_nothing(
    change: Status, why: str
) -> None:
    state, _ = proposed()
    state, _ = step(state, verdict(change, 2), BY_HAND, NOW)
    _, actions, why_not = decided(state)
    assert actions == ()
    assert why in why_not


@pytest.mark.parametrize("switch", [Automation.OFF, Automation.DRY_RUN])
def test_no_approval_goes_past_the_switch(switch: Automation) -> None:
    state, _ = proposed()
    _, actions, why_not = decided(state, orders=FleetOrders(automation=switch))
    assert actions == ()
    assert "automation is" in why_not


def test_no_approval_rolls_back_to_what_fails_as_well() -> None:
    state, _ = proposed()
    state, _ = step(state, verdict(Status.FAIL, 1, PRODUCTION, baseline=""), BY_HAND, NOW)
    _, actions, why_not = decided(state)
    assert actions == ()
    assert "nothing to return to" in why_not


def test_what_is_rejected_is_not_proposed_again() -> None:
    state, _ = proposed()
    state, actions, _ = decided(state, approved=False)
    assert kinds(actions) == [ActionKind.ACKNOWLEDGE]
    assert (only(state).state, only(state).by) == (RollbackState.REJECTED, "alice")
    for turn in range(2, 6):
        state, actions = step(state, verdict(Status.FAIL, turn), BY_HAND, NOW)
        assert ActionKind.ROLLBACK not in kinds(actions)
    assert only(state).state is RollbackState.REJECTED


def test_a_proposal_nobody_approves_expires_and_more_people_hear_of_it() -> None:
    state, page = proposed()
    wait_ms = BY_HAND.approval_expires_ms
    assert tick(state, BY_HAND, NOW + wait_ms - 1)[1] == ()
    state, told = tick(state, BY_HAND, NOW + wait_ms)
    assert only(state).state is RollbackState.EXPIRED
    assert "nobody approved" in told[0].reason
    assert told[0].incident_key == page.incident_key
    assert tick(state, BY_HAND, NOW + 2 * wait_ms)[1] == ()


def waiting() -> ModelPolicy:
    state, actions = step(ModelPolicy("m"), verdict(Status.FAIL, 1), SETTINGS, NOW, ADMISSION)
    assert actions == ()
    assert only(state).waits_for is WaitsFor.FLEET
    return state


def answered(
    state: ModelPolicy, *, granted: bool, orders: FleetOrders = ADMISSION
) -> tuple[ModelPolicy, tuple[Action, ...]]:
    return admit(
        state,
        only(state).key,
        granted=granted,
        settings=SETTINGS,
        orders=orders,
        now_ms=NOW,
    )


def test_with_a_place_in_the_fleets_limit_it_is_rolled_back_once() -> None:
    state, actions = answered(waiting(), granted=True)
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]
    assert answered(state, granted=True) == (state, ())


def test_beyond_the_fleets_limit_a_person_is_asked_and_may_go_beyond() -> None:
    state, (page,) = answered(waiting(), granted=False)
    assert "limit" in page.note
    assert page.approves == (only(state).key, 2)
    _, actions, _ = decided(state)
    assert kinds(actions)[0] is ActionKind.ROLLBACK


def test_a_place_that_comes_when_automation_was_turned_off_is_not_used() -> None:
    state, actions = answered(
        waiting(), granted=True, orders=FleetOrders(automation=Automation.OFF, admission=True)
    )
    assert actions == ()
    assert only(state).state is RollbackState.WITHDRAWN


def test_the_switch_does_not_wake_a_model_that_is_kept_stricter() -> None:
    quiet = replace(SETTINGS, automation=Automation.OFF)
    on = FleetOrders(automation=Automation.ON, usual=Automation.DRY_RUN)
    assert on.automation_of(replace(SETTINGS, automation=Automation.DRY_RUN)) is Automation.ON
    assert on.automation_of(quiet) is Automation.OFF
    off = FleetOrders(automation=Automation.OFF, usual=Automation.ON)
    assert off.automation_of(SETTINGS) is Automation.OFF


def acknowledged() -> tuple[ModelPolicy, str]:
    state, actions = step(ModelPolicy("m"), verdict(Status.FAIL, 1), SETTINGS, NOW)
    key = actions[0].key
    state = progress(state, key, RollbackState.SENT, "deployer", NOW)
    state = progress(state, key, RollbackState.ACKNOWLEDGED, "deployer", NOW + 1_000)
    assert only(state).state is RollbackState.ACKNOWLEDGED
    return state, actions[1].incident_key


def test_it_is_verified_when_only_the_others_still_have_events() -> None:
    state, incident = acknowledged()
    # Old data for a while, then silence while production goes on.
    state, _ = step(state, verdict(Status.FAIL, 2), SETTINGS, NOW + 30_000)
    state, _ = step(state, verdict(Status.PASS, 9, PRODUCTION, baseline=""), SETTINGS, NOW + MINUTE)
    assert tick(state, SETTINGS, NOW + 2 * MINUTE)[1] == ()
    state, told = tick(state, SETTINGS, NOW + 30_000 + SETTINGS.verify_quiet_ms)
    assert only(state).state is RollbackState.VERIFIED
    assert [(a.kind, a.incident_key) for a in told] == [(ActionKind.RESOLVE, incident)]


def test_silence_of_all_proves_nothing_and_is_told_in_the_end() -> None:
    state, _ = acknowledged()
    state, told = tick(state, SETTINGS, NOW + 1_000 + SETTINGS.verify_within_ms)
    assert "cannot be verified" in told[0].reason
    assert only(state).state is RollbackState.ACKNOWLEDGED
    assert tick(state, SETTINGS, NOW + 10 * SETTINGS.verify_within_ms)[1] == ()


def test_a_release_that_still_has_events_after_its_rollback_is_a_page() -> None:
    state, incident = acknowledged()
    told: list[Action] = []
    for turn in range(2, 22):
        at_ms = NOW + turn * MINUTE
        for given in (
            verdict(Status.FAIL, turn),
            verdict(Status.PASS, turn, PRODUCTION, baseline=""),
        ):
            state, actions = step(state, given, SETTINGS, at_ms)
            told += actions
        state, actions = tick(state, SETTINGS, at_ms)
        told += actions
    (page,) = told
    assert "still has events" in page.reason
    assert (page.severity, page.incident_key) == (Severity.CRITICAL, incident)


def given(*, firing: bool = True, roll_back: bool = True, release: Release = CANARY) -> Alert:
    return Alert(release, "c6eadffa", firing, "precision fell", "Grafana", roll_back)


def test_an_alert_about_a_release_nobody_has_seen_pages_and_rolls_nothing_back() -> None:
    _, actions = alert(ModelPolicy("m"), given(), SETTINGS, NOW)
    assert kinds(actions) == [ActionKind.PAGE]
    assert "no verdict on this release was seen yet" in actions[0].note


def asked() -> ModelPolicy:
    """An alert has asked for the rollback of a release that nobody has seen."""
    return alert(ModelPolicy("m"), given(), SETTINGS, NOW)[0]


@pytest.mark.parametrize("status", [Status.INSUFFICIENT, Status.PASS, Status.FAIL])
def test_what_an_alert_asked_for_before_the_first_verdict_is_done_with_it(status: Status) -> None:
    state = asked()
    # Until a verdict knows what to return to, it waits.
    state, actions = step(state, verdict(Status.INSUFFICIENT, 1, baseline=""), SETTINGS, NOW)
    assert actions == ()
    state, actions = step(state, verdict(status, 2), SETTINGS, NOW + MINUTE)
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]
    assert (actions[0].return_to, only(state).return_to) == ("v1", "v1")
    for sequence in range(3, 6):
        state, actions = step(state, verdict(status, sequence), SETTINGS, NOW + MINUTE)
        assert ActionKind.ROLLBACK not in kinds(actions)


@pytest.mark.parametrize("status", [Status.BLIND, Status.HOLD])
def test_what_rests_on_no_events_or_a_broken_comparison_answers_no_alert(status: Status) -> None:
    _, actions = step(asked(), verdict(status, 1), SETTINGS, NOW)
    assert ActionKind.ROLLBACK not in kinds(actions)


@pytest.mark.parametrize(
    ("late_ms", "over", "orders"),
    [
        (SETTINGS.alert_waits_ms + 1, False, NO_ORDERS),
        (0, True, NO_ORDERS),
        (0, False, FleetOrders(automation=Automation.OFF)),
    ],
    ids=["too old", "over", "held"],
)
def test_an_alert_that_is_over_too_old_or_held_by_people_is_not_done_later(
    late_ms: int, over: bool, orders: FleetOrders
) -> None:
    state = asked()
    if over:
        state, _ = alert(state, given(firing=False), SETTINGS, NOW)
    state, first = step(state, verdict(Status.INSUFFICIENT, 1), SETTINGS, NOW + late_ms, orders)
    _, second = step(state, verdict(Status.INSUFFICIENT, 2), SETTINGS, NOW + late_ms)
    assert ActionKind.ROLLBACK not in kinds((*first, *second))


def test_an_alert_about_a_known_canary_is_the_same_guarded_rollback() -> None:
    state, _ = step(ModelPolicy("m"), verdict(Status.PASS, 1), SETTINGS, NOW)
    fired, actions = alert(state, given(), SETTINGS, NOW)
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]
    assert actions[0].return_to == "v1"
    assert alert(fired, given(), SETTINGS, NOW)[1] == ()
    off = FleetOrders(automation=Automation.OFF)
    assert kinds(alert(state, given(), SETTINGS, NOW, off)[1]) == [ActionKind.PAGE]
    assert kinds(alert(state, given(roll_back=False), SETTINGS, NOW)[1]) == [ActionKind.PAGE]


def test_an_incident_ends_when_verdicts_and_alerts_have_both_ended() -> None:
    shadow = Release("m", "s", Role.SHADOW)
    state, _ = step(ModelPolicy("m"), verdict(Status.PASS, 1, shadow), SETTINGS, NOW)
    state, _ = alert(state, given(release=shadow), SETTINGS, NOW)
    state, actions = step(state, verdict(Status.PASS, 2, shadow), SETTINGS, NOW)
    assert actions == ()
    state, actions = alert(state, given(firing=False, release=shadow), SETTINGS, NOW)
    assert kinds(actions) == [ActionKind.RESOLVE]
    assert alert(state, given(firing=False, release=shadow), SETTINGS, NOW) == (state, ())
