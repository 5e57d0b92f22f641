"""Releases that began and log nothing: told once, and ended whatever becomes of them."""

from __future__ import annotations

from detectors.action import Action, ActionKind
from detectors.incident import ModelPolicy
from detectors.policy import FleetOrders, PolicySettings, step, tick
from detectors.silence import Silence
from detectors.starting import FORGET_MS, MOST_REMEMBERED, begin, troubles
from detectors.verdict import Status
from tests.unit.detectors.test_paging import MINUTE, NOW, verdict

SETTINGS = PolicySettings()


def silent() -> tuple[ModelPolicy, Action]:
    """Begun and told, with the page."""
    state, _ = begin(ModelPolicy("m"), "v2", "Flagger", NOW)
    state, (page,) = tick(state, SETTINGS, NOW + 30 * MINUTE)
    return state, page


def test_a_release_that_began_and_logs_nothing_is_one_page() -> None:
    state, _ = begin(ModelPolicy("m"), "v2", "Flagger", NOW)
    state, _ = begin(state, "v2", "Flagger", NOW + 10 * MINUTE)
    assert tick(state, SETTINGS, NOW + 30 * MINUTE - 1)[1] == ()
    assert troubles(state) == ()
    state, told = tick(state, SETTINGS, NOW + 30 * MINUTE)
    assert [a.kind for a in told] == [ActionKind.PAGE]
    assert told[0].reason == "it began 30 min ago and logs nothing"
    assert [each.key for each in troubles(state)] == [told[0].incident_key]
    assert tick(state, SETTINGS, NOW + 60 * MINUTE)[1] == ()


def test_a_silence_mutes_it_and_what_still_holds_is_told_when_the_silence_ends() -> None:
    silence = Silence("s", "m", "*", NOW, NOW + 60 * MINUTE, "alice", "migration")
    orders = FleetOrders(silences=(silence,))
    state, _ = begin(ModelPolicy("m"), "v2", "Flagger", NOW)
    muted, told = tick(state, SETTINGS, NOW + 30 * MINUTE, orders)
    assert (muted, told) == (state, ())
    _, told = tick(state, SETTINGS, NOW + 60 * MINUTE, orders)
    assert [a.reason for a in told] == ["it began 60 min ago and logs nothing"]


def test_its_first_verdict_is_the_end() -> None:
    state, page = silent()
    state, ends = step(state, verdict(Status.INSUFFICIENT, 1), SETTINGS, NOW + 61 * MINUTE)
    assert [(a.kind, a.incident_key) for a in ends] == [(ActionKind.RESOLVE, page.incident_key)]
    assert troubles(state) == ()
    assert begin(state, "v2", "Flagger", NOW) == (state, ())


def test_what_never_logs_ends_after_a_week_and_says_why() -> None:
    state, page = silent()
    assert tick(state, SETTINGS, NOW + FORGET_MS - 1)[1] == ()
    state, (end,) = tick(state, SETTINGS, NOW + FORGET_MS)
    assert (end.kind, end.incident_key) == (ActionKind.RESOLVE, page.incident_key)
    assert "nobody waits" in end.reason
    assert state.begun == ()


def test_what_gives_way_to_others_ends_too_and_memory_is_bounded() -> None:
    state, page = silent()
    ends: list[Action] = []
    for number in range(MOST_REMEMBERED):
        state, more = begin(state, f"w{number}", "Flagger", NOW + 31 * MINUTE)
        ends.extend(more)
    assert [end.incident_key for end in ends] == [page.incident_key]
    assert len(state.begun) == MOST_REMEMBERED
