"""Who is told of an incident, when, and how often."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import pytest

from detectors.action import Action, ActionKind, Audience, Severity
from detectors.incident import ModelPolicy
from detectors.policy import FleetOrders, PolicySettings, step, tick
from detectors.release import Release, Role
from detectors.silence import MaintenanceWindow, Silence, Weekday
from detectors.verdict import Status, Verdict

MINUTE = 60_000
NOW = 1_800_000_000_000
SETTINGS = PolicySettings(hold_page_after_ms=0, blind_page_after_ms=0)
CANARY = Release("m", "v2", Role.CANARY)


def verdict(
    status: Status,
    sequence: int,
    release: Release = CANARY,
    upstream: tuple[str, ...] = (),
    baseline: str = "v1",
) -> Verdict:
    return Verdict(
        release,
        status,
        "because",
        sequence,
        0,
        0,
        0,
        baseline,
        100 * sequence,
        nan,
        nan,
        (),
        sequence,
        upstream=upstream,
    )


def shadow(number: int) -> Release:
    return Release("m", f"s{number:03d}", Role.SHADOW)


def pages(actions: tuple[Action, ...] | list[Action]) -> list[Action]:
    return [action for action in actions if action.kind is ActionKind.PAGE]


def test_two_hundred_releases_that_go_blind_together_are_one_page_and_one_end() -> None:
    settings = replace(SETTINGS, blind_page_after_ms=MINUTE, max_releases=300)
    state = ModelPolicy("m")
    told: list[Action] = []
    for number in range(200):
        state, actions = step(state, verdict(Status.BLIND, 1, shadow(number)), settings, NOW)
        told += actions
    state, actions = tick(state, settings, NOW + MINUTE)
    told += actions
    (page,) = pages(told)
    assert "and 194 more" in page.note
    ends: list[Action] = []
    for number in range(200):
        assert ends == []
        state, actions = step(
            state, verdict(Status.PASS, 2, shadow(number)), settings, NOW + 2 * MINUTE
        )
        ends += actions
    assert [(end.kind, end.incident_key) for end in ends] == [
        (ActionKind.RESOLVE, page.incident_key)
    ]


def test_what_moves_in_production_as_well_is_told_to_the_data_owner_and_rolls_nothing_back() -> (
    None
):
    given = verdict(Status.HOLD, 1, upstream=("features.amount",))
    state, actions = step(ModelPolicy("m"), given, SETTINGS, NOW)
    (page,) = actions
    assert page.audience is Audience.DATA_OWNER
    assert "features.amount" in page.note
    _, ends = step(state, verdict(Status.PASS, 2), SETTINGS, NOW)
    assert [end.audience for end in ends] == [Audience.DATA_OWNER]


def test_a_release_that_stays_blind_is_told_louder_and_to_more_people() -> None:
    settings = replace(SETTINGS, blind_escalate_after_ms=30 * MINUTE)
    state, first = step(ModelPolicy("m"), verdict(Status.BLIND, 1), settings, NOW)
    assert tick(state, settings, NOW + 30 * MINUTE - 1)[1] == ()
    state, louder = tick(state, settings, NOW + 30 * MINUTE)
    assert [a.severity for a in (*first, *louder)] == [Severity.ERROR, Severity.CRITICAL]
    assert louder[0].audience is Audience.ESCALATION
    assert louder[0].incident_key == first[0].incident_key
    assert tick(state, settings, NOW + 300 * MINUTE)[1] == ()


def test_flapping_ends_in_one_page_and_an_end_when_it_is_calm() -> None:
    settings = replace(SETTINGS, flap_opens=4, flap_window_ms=30 * MINUTE)
    state, at = ModelPolicy("m"), NOW
    told: list[Action] = []
    for turn in range(100):
        status = Status.BLIND if turn % 2 == 0 else Status.PASS
        state, actions = step(state, verdict(status, turn), settings, at)
        told += actions
        at += 10_000
    # Three incidents with their ends, then one page that says that it flaps.
    assert [action.kind for action in told] == [
        *[ActionKind.PAGE, ActionKind.RESOLVE] * 3,
        ActionKind.PAGE,
    ]
    assert "comes and goes" in told[-1].note
    last_began = at - 20_000
    assert tick(state, settings, last_began + 30 * MINUTE - 1)[1] == ()
    state, calm = tick(state, settings, last_began + 30 * MINUTE)
    assert [action.kind for action in calm] == [ActionKind.RESOLVE]
    assert calm[0].incident_key == told[-1].incident_key


def test_a_fail_counts_when_it_is_confirmed_and_has_lasted() -> None:
    settings = replace(SETTINGS, fail_verdicts=2, of_verdicts=3, fail_for_ms=MINUTE)
    state = ModelPolicy("m")
    seen = []
    for turn, status in enumerate((Status.FAIL, Status.PASS, Status.FAIL, Status.FAIL)):
        state, actions = step(state, verdict(status, turn), settings, NOW + turn * 40_000)
        seen.append(len(actions))
    # The second and third FAIL are two of three, but the third only has lasted 40 s.
    assert seen == [0, 0, 0, 0]
    _, actions = step(state, verdict(Status.FAIL, 4), settings, NOW + 4 * 40_000)
    assert [a.kind for a in actions] == [ActionKind.ROLLBACK, ActionKind.PAGE]


def test_an_incident_ends_after_as_many_passes_as_configured() -> None:
    settings = replace(SETTINGS, close_after_passes=3)
    state, _ = step(ModelPolicy("m"), verdict(Status.BLIND, 0), settings, NOW)
    ends = []
    for turn, status in enumerate(
        (Status.PASS, Status.PASS, Status.BLIND, Status.PASS, Status.PASS, Status.PASS), start=1
    ):
        state, actions = step(state, verdict(status, turn), settings, NOW + turn)
        ends.append(len(actions))
    assert ends == [0, 0, 0, 0, 0, 1]


def silence(*, hold: bool = False, ends_ms: int = NOW + 60 * MINUTE) -> FleetOrders:
    return FleetOrders(silences=(Silence("s1", "m*", "*", NOW, ends_ms, "alice", "test", hold),))


def test_a_silence_mutes_pages_not_rollbacks_and_what_holds_is_told_when_it_ends() -> None:
    state, actions = step(ModelPolicy("m"), verdict(Status.FAIL, 1), SETTINGS, NOW, silence())
    assert [a.kind for a in actions] == [ActionKind.ROLLBACK]
    assert tick(state, SETTINGS, NOW + MINUTE, silence())[1] == ()
    state, late = tick(state, SETTINGS, NOW + 2 * MINUTE)
    assert [a.kind for a in late] == [ActionKind.PAGE]
    assert "while pages were silenced" in late[0].note
    assert tick(state, SETTINGS, NOW + 3 * MINUTE)[1] == ()


def test_a_silence_that_holds_rollbacks_holds_them_until_a_verdict_after_it() -> None:
    held = silence(hold=True)
    state, actions = step(ModelPolicy("m"), verdict(Status.FAIL, 1), SETTINGS, NOW, held)
    assert actions == ()
    state, late = tick(state, SETTINGS, NOW + 61 * MINUTE, held)
    assert [a.kind for a in late] == [ActionKind.PAGE]
    _, after = step(state, verdict(Status.FAIL, 2), SETTINGS, NOW + 62 * MINUTE, held)
    assert ActionKind.ROLLBACK in [a.kind for a in after]


def test_what_began_and_ended_in_a_silence_is_not_told() -> None:
    state, _ = step(ModelPolicy("m"), verdict(Status.BLIND, 1), SETTINGS, NOW, silence())
    state, ends = step(state, verdict(Status.PASS, 2), SETTINGS, NOW, silence())
    assert ends == ()
    assert tick(state, SETTINGS, NOW + MINUTE)[1] == ()


@pytest.mark.parametrize(
    ("at", "covered"),
    [
        ("sat 21:59", False),
        ("sat 22:00", True),
        ("sun 01:59", True),
        ("sun 02:00", False),
        ("sun 22:30", False),
    ],
)
def test_a_maintenance_window_comes_back_every_week_and_reaches_past_midnight(
    at: str, covered: bool
) -> None:
    window = MaintenanceWindow("w", ("m*",), (Weekday.SATURDAY,), "22:00", 240 * MINUTE)
    day, _, time = at.partition(" ")
    hours, minutes = map(int, time.split(":"))
    # 2026-11-21 is a Saturday.
    midnight_ms = 1_795_219_200_000 + 24 * 60 * MINUTE * ("sat", "sun").index(day)
    assert window.covers(CANARY, midnight_ms + (hours * 60 + minutes) * MINUTE) is covered
    assert not window.covers(Release("x", "1", Role.CANARY), midnight_ms + 22 * 60 * MINUTE)


@pytest.mark.parametrize("start", ["24:00", "7", "07:60", "7:5", "-1:00", ""])
def test_a_time_that_is_none_is_refused(start: str) -> None:
    with pytest.raises(ValueError, match="start"):
        MaintenanceWindow(start=start)
