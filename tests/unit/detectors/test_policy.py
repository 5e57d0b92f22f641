from __future__ import annotations

from dataclasses import replace
from math import nan

import msgspec
import pytest

from detectors.action import Action, ActionKind, Severity, action_key, rollback_key
from detectors.finding import Finding, Outcome
from detectors.incident import ModelPolicy
from detectors.policy import Approval, Automation, PolicySettings, step, tick
from detectors.release import OTHER, Release, Role
from detectors.rollback_case import RollbackState
from detectors.verdict import Status, Verdict

SETTINGS = PolicySettings(hold_page_after_ms=0, blind_page_after_ms=0)
CANARY = Release("m", "v2", Role.CANARY)
PRODUCTION = Release("m", "v1", Role.PRODUCTION)


def finding(column: str, statistic: float = 0.5, *, critical: bool = False) -> Finding:
    return Finding(
        CANARY,
        "all",
        column,
        60_000,
        0,
        0,
        "psi",
        "production:v1",
        statistic,
        0.2,
        500,
        500,
        Outcome.FAIL,
        "above",
        True,
        critical,
    )


def verdict(
    status: Status,
    sequence: int,
    release: Release = CANARY,
    baseline: str = "v1",
    findings: tuple[Finding, ...] = (),
    reason: str = "scores.usable_code fell",
) -> Verdict:
    return Verdict(
        release, status, reason, sequence, 0, 0, 0, baseline, 100, nan, nan, findings, sequence
    )


def run(
    verdicts: list[Verdict], settings: PolicySettings = SETTINGS, apart_ms: int = 1000
) -> tuple[ModelPolicy, list[Action]]:
    state = ModelPolicy("m")
    actions: list[Action] = []
    for turn, given in enumerate(verdicts):
        state, new = step(state, given, settings, turn * apart_ms)
        actions.extend(new)
    return state, actions


def kinds(actions: list[Action]) -> list[ActionKind]:
    return [action.kind for action in actions]


def test_a_failing_canary_is_rolled_back_once_and_paged_once() -> None:
    _, actions = run([verdict(Status.FAIL, n) for n in range(1, 6)])
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]
    rollback, page = actions
    assert (rollback.key, rollback.return_to) == (rollback_key("m", "v2"), "v1")
    assert rollback.incident_key == page.incident_key
    assert "rollback to v1 requested" in page.note


def test_the_end_of_an_incident_has_the_key_of_its_beginning() -> None:
    _, actions = run([verdict(Status.BLIND, 1), verdict(Status.PASS, 2)])
    page, resolve = actions
    assert kinds(actions) == [ActionKind.PAGE, ActionKind.RESOLVE]
    assert page.incident_key == resolve.incident_key
    assert page.key != resolve.key


def test_each_incident_has_keys_of_its_own() -> None:
    down, up = Status.BLIND, Status.PASS
    _, actions = run([verdict(s, n) for n, s in enumerate((down, up, down, up))])
    assert len({action.key for action in actions}) == 4
    assert len({action.incident_key for action in actions}) == 2


@pytest.mark.parametrize("role", [Role.PRODUCTION, Role.SHADOW, Role.VARIANT])
def test_other_roles_are_paged_and_not_rolled_back(role: Role) -> None:
    _, actions = run([verdict(Status.FAIL, 1, Release("m", "v2", role))])
    assert kinds(actions) == [ActionKind.PAGE]


def test_a_variant_is_rolled_back_where_configured() -> None:
    settings = replace(SETTINGS, rollback_roles=(Role.CANARY, Role.VARIANT))
    _, actions = run([verdict(Status.FAIL, 1, Release("m", "v2", Role.VARIANT))], settings)
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]


def test_production_cannot_be_configured_for_rollback() -> None:
    with pytest.raises(ValueError, match="nothing to return to"):
        PolicySettings(rollback_roles=(Role.PRODUCTION,))


@pytest.mark.parametrize(
    ("release", "baseline", "why"),
    [
        (CANARY, "", "no production version is known"),
        (CANARY, "v2", "production runs the same version"),
        (CANARY, OTHER, "folded together"),
        (Release("m", OTHER, Role.CANARY), "v1", "folded together"),
    ],
)
def test_without_a_version_to_return_to_a_person_is_called(
    release: Release, baseline: str, why: str
) -> None:
    _, actions = run([verdict(Status.FAIL, 1, release, baseline)])
    assert kinds(actions) == [ActionKind.PAGE]
    assert actions[0].severity is Severity.CRITICAL
    assert "nothing to return to" in actions[0].note
    assert why in actions[0].note


def test_a_canary_is_not_rolled_back_to_a_production_that_fails_as_well() -> None:
    _, actions = run([verdict(Status.FAIL, 1, PRODUCTION, ""), verdict(Status.FAIL, 1)])
    assert kinds(actions) == [ActionKind.PAGE, ActionKind.PAGE]
    assert "upstream" in actions[1].note


def test_a_canary_that_still_fails_is_rolled_back_when_production_is_healthy_again() -> None:
    _, actions = run(
        [
            verdict(Status.FAIL, 1, PRODUCTION, ""),
            verdict(Status.FAIL, 1),
            verdict(Status.PASS, 2, PRODUCTION, ""),
            verdict(Status.FAIL, 2),
        ]
    )
    assert kinds(actions).count(ActionKind.ROLLBACK) == 1


def test_a_bad_target_stops_the_chain_after_one_rollback() -> None:
    # v2 is rolled back to v1; then v3 comes with v2 named as its baseline.
    third = Release("m", "v3", Role.CANARY)
    _, actions = run([verdict(Status.FAIL, 1), verdict(Status.FAIL, 1, third, "v2")])
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE, ActionKind.PAGE]
    assert "v2 was itself rolled back" in actions[2].note


def test_old_data_of_a_rolled_back_version_opens_nothing() -> None:
    later = [Status.FAIL, Status.PASS, Status.FAIL, Status.BLIND, Status.HOLD, Status.FAIL]
    _, actions = run(
        [verdict(Status.FAIL, 1)] + [verdict(s, n) for n, s in enumerate(later, start=2)]
    )
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]


def test_a_rollback_that_did_not_help_is_a_page_after_the_quiet_time() -> None:
    _, actions = run([verdict(Status.FAIL, n) for n in (1, 2, 3, 4)], apart_ms=2_000_000)
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE, ActionKind.PAGE]
    assert actions[2].severity is Severity.CRITICAL
    assert "not rolled back twice" in actions[2].note


def test_insufficient_neither_opens_nor_closes() -> None:
    assert run([verdict(Status.INSUFFICIENT, 1)])[1] == []
    _, actions = run([verdict(Status.FAIL, 1), verdict(Status.INSUFFICIENT, 2)])
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]


def test_blind_and_hold_page_only_when_they_last() -> None:
    settings = PolicySettings(hold_page_after_ms=5_000, blind_page_after_ms=5_000)
    for status in (Status.BLIND, Status.HOLD):
        state, actions = step(ModelPolicy("m"), verdict(status, 1), settings, 0)
        assert actions == ()
        assert tick(state, settings, 4_999) == (state, ())
        state, actions = tick(state, settings, 5_000)
        assert kinds(list(actions)) == [ActionKind.PAGE]
        assert tick(state, settings, 60_000)[1] == ()


def test_what_nobody_was_told_of_is_not_resolved() -> None:
    settings = PolicySettings(hold_page_after_ms=60_000, blind_page_after_ms=60_000)
    _, actions = run([verdict(Status.BLIND, 1), verdict(Status.PASS, 2)], settings)
    assert actions == []


def test_an_open_incident_pages_again_only_when_it_gets_worse() -> None:
    statuses = [Status.HOLD, Status.BLIND, Status.HOLD, Status.FAIL, Status.BLIND, Status.FAIL]
    shadow = Release("m", "v2", Role.SHADOW)
    _, actions = run([verdict(s, n, shadow) for n, s in enumerate(statuses)])
    assert kinds(actions) == [ActionKind.PAGE] * 3
    assert len({action.incident_key for action in actions}) == 1


def test_a_dry_run_records_the_rollback_once_and_the_real_one_may_follow() -> None:
    dry = replace(SETTINGS, automation=Automation.DRY_RUN)
    state, actions = run([verdict(Status.FAIL, 1), verdict(Status.FAIL, 2)], dry)
    assert kinds(actions) == [ActionKind.ROLLBACK, ActionKind.PAGE]
    assert actions[0].dry_run
    assert actions[0].key != rollback_key("m", "v2")
    _, live = step(state, verdict(Status.FAIL, 3), SETTINGS, 9_000)
    assert [(a.kind, a.dry_run) for a in live] == [
        (ActionKind.ROLLBACK, False),
        (ActionKind.PAGE, False),
    ]


def test_with_automation_off_people_are_called_instead() -> None:
    _, actions = run([verdict(Status.FAIL, 1)], replace(SETTINGS, automation=Automation.OFF))
    assert kinds(actions) == [ActionKind.PAGE]
    assert "automation is off" in actions[0].note


def test_rollbacks_of_a_model_are_limited_per_hour() -> None:
    settings = replace(SETTINGS, max_rollbacks_per_hour=2)
    _, actions = run(
        [verdict(Status.FAIL, 1, Release("m", f"c{n}", Role.CANARY)) for n in range(5)], settings
    )
    assert kinds(actions).count(ActionKind.ROLLBACK) == 2
    # One for each rollback, and one for the three that the limit holds back.
    assert kinds(actions).count(ActionKind.PAGE) == 3


def test_memory_is_bounded_and_forgets_the_healthy_first() -> None:
    settings = replace(SETTINGS, max_releases=5)
    shadows = [Release("m", f"s{n}", Role.SHADOW) for n in range(20)]
    state, _ = run(
        [verdict(Status.FAIL, 1, shadows[0])]
        + [verdict(Status.PASS, 1, release) for release in shadows[1:]],
        settings,
    )
    assert len(state.watched) == 5
    assert state.of(shadows[0]) is not None


def test_a_release_whose_rollback_is_under_way_is_not_forgotten_in_a_flood() -> None:
    """Forgotten, it would count as healthy, and the rollback that waits for a place or for a person
    would be withdrawn."""
    settings = replace(SETTINGS, max_releases=5, approval=Approval.PERSON)
    production = Release("m", "v1", Role.PRODUCTION)
    shadows = [Release("m", f"s{n}", Role.SHADOW) for n in range(20)]
    state, _ = run(
        [verdict(Status.PASS, 1, production, ""), verdict(Status.FAIL, 1)]
        + [verdict(Status.FAIL, 1, release) for release in shadows],
        settings,
    )
    assert len(state.watched) == 5
    (case,) = state.cases
    assert (case.release, case.state) == (CANARY, RollbackState.PROPOSED)
    assert state.of(CANARY) is not None
    assert state.of(production) is not None


def test_evidence_is_the_strongest_first_and_the_same_for_any_order() -> None:
    findings = (
        finding("a", 0.3),
        finding("b", 0.9),
        finding("c", 0.4, critical=True),
        msgspec.structs.replace(finding("d"), decides=False),
        finding("e", nan),
    )
    _, forward = run([verdict(Status.FAIL, 1, findings=findings)])
    _, backward = run([verdict(Status.FAIL, 1, findings=findings[::-1])])
    names = [exhibit.column for exhibit in forward[0].evidence]
    assert names == ["c", "b", "a", "e"]
    assert [exhibit.column for exhibit in backward[0].evidence] == names


def test_names_cannot_rewrite_the_message() -> None:
    _, actions = run([verdict(Status.FAIL, 1, reason="bad\r\n\x1b[2Jall fine\u202e" + "x" * 900)])
    assert actions[0].reason.isprintable()
    assert len(actions[0].reason) == 500


def test_verdicts_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="given to the policy"):
        step(ModelPolicy("m"), verdict(Status.PASS, 1, Release("x", "1", Role.CANARY)), SETTINGS, 0)


def test_keys_of_unlike_parts_differ_also_when_they_join_alike() -> None:
    assert action_key("rollback", "a", "b c") != action_key("rollback", "a b", "c")
    assert "." not in rollback_key("gpt-4.1", "2025.01")
