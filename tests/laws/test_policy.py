"""Laws of the policy: for every sequence of verdicts, whatever a bus does to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import nan

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.action import Action, ActionKind
from detectors.incident import ModelPolicy
from detectors.policy import Automation, PolicySettings, step, tick
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict

POLICY = PolicySettings(
    hold_page_after_ms=0, blind_page_after_ms=0, quiet_after_rollback_ms=3_000, max_releases=50
)
VERSIONS = ("v1", "v2", "v3")
BOTH = (Role.CANARY, Role.VARIANT)

# What a release says next is mostly newer than what it said last, and mostly bad.
DRAWN = st.tuples(
    st.sampled_from(VERSIONS),
    st.sampled_from((*Role, Role.CANARY, Role.CANARY, Role.CANARY)),
    st.sampled_from((*Status, Status.FAIL, Status.FAIL, Status.FAIL)),
    st.sampled_from(("", *VERSIONS)),
    st.integers(0, 3),
)


def arriving(drawn: list[tuple[str, Role, Status, str, int]]) -> list[Verdict]:
    """Verdicts in order of arrival; the last number says by how much one is late."""
    return [
        Verdict(
            Release("m", version, role),
            status,
            "r",
            turn - late,
            0,
            0,
            0,
            baseline,
            1,
            nan,
            nan,
            (),
            turn,
        )
        for turn, (version, role, status, baseline, late) in enumerate(drawn)
    ]


verdicts = st.lists(DRAWN, max_size=30).map(arriving)


def play(
    given_verdicts: list[Verdict], policy: PolicySettings = POLICY
) -> tuple[ModelPolicy, list[Action]]:
    state = ModelPolicy("m")
    actions: list[Action] = []
    for turn, verdict in enumerate(given_verdicts):
        state, new = step(state, verdict, policy, turn * 1000)
        actions.extend(new)
        state, new = tick(state, policy, turn * 1000)
        actions.extend(new)
    return state, actions


# The quiet time is no guard: without it, what is remembered must be enough.
@given(verdicts, st.sampled_from((0, 3_000)), st.sampled_from(((Role.CANARY,), BOTH)))
@settings(max_examples=400, deadline=None)
def test_a_version_is_rolled_back_at_most_once_and_never_to_itself(
    sequence: list[Verdict], quiet_ms: int, roles: tuple[Role, ...]
) -> None:
    policy = replace(POLICY, quiet_after_rollback_ms=quiet_ms, rollback_roles=roles)
    _, actions = play(sequence, policy)
    rollbacks = [a for a in actions if a.kind is ActionKind.ROLLBACK]
    assert max(Counter(a.release.version for a in rollbacks).values(), default=0) <= 1
    gone: set[str] = set()
    for action in rollbacks:
        assert action.return_to not in {"", action.release.version, *gone}
        assert action.release.role in roles
        gone.add(action.release.version)


@given(verdicts)
@settings(max_examples=200, deadline=None)
def test_only_a_fail_leads_to_a_rollback(sequence: list[Verdict]) -> None:
    _, actions = play([v for v in sequence if v.status is not Status.FAIL])
    assert all(a.kind is not ActionKind.ROLLBACK for a in actions)


@given(verdicts, st.data())
@settings(max_examples=200, deadline=None)
def test_repeats_and_older_verdicts_change_nothing(
    sequence: list[Verdict], data: st.DataObject
) -> None:
    state, _ = play(sequence)
    if not sequence:
        return
    again = data.draw(st.lists(st.sampled_from(sequence), max_size=10))
    for verdict in again:
        # Everything was seen, or is older than what was seen, of its release.
        state_after, actions = step(state, verdict, POLICY, 10_000_000)
        assert (state_after, actions) == (state, ())


@given(verdicts)
@settings(max_examples=200, deadline=None)
def test_keys_are_unique_and_every_resolve_ends_a_page(sequence: list[Verdict]) -> None:
    _, actions = play(sequence)
    assert max(Counter(a.key for a in actions).values(), default=0) <= 1
    paged: set[str] = set()
    for action in actions:
        if action.kind is ActionKind.PAGE:
            paged.add(action.incident_key)
        if action.kind is ActionKind.RESOLVE:
            assert action.incident_key in paged


@given(verdicts)
@settings(max_examples=200, deadline=None)
def test_the_same_verdicts_ask_for_the_same_keys_at_any_time_of_day(
    sequence: list[Verdict],
) -> None:
    def keys(start_ms: int) -> list[str]:
        state = ModelPolicy("m")
        found: list[str] = []
        for turn, verdict in enumerate(sequence):
            state, new = step(state, verdict, POLICY, start_ms + turn)
            found.extend(action.key for action in new)
        return found

    assert keys(0) == keys(1_700_000_000_000)


@given(verdicts)
@settings(max_examples=100, deadline=None)
def test_the_state_survives_being_written_and_read(sequence: list[Verdict]) -> None:
    state, _ = play(sequence)
    written = msgspec.msgpack.encode(state)
    assert msgspec.msgpack.decode(written, type=ModelPolicy) == state


@given(verdicts)
@settings(max_examples=100, deadline=None)
def test_a_dry_run_asks_for_nothing_real(sequence: list[Verdict]) -> None:
    dry = PolicySettings(automation=Automation.DRY_RUN)
    state = ModelPolicy("m")
    for turn, verdict in enumerate(sequence):
        state, actions = step(state, verdict, dry, turn)
        assert all(a.dry_run for a in actions if a.kind is ActionKind.ROLLBACK)
