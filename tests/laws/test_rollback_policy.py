"""Laws of approvals, alerts and orders: whatever is mixed with verdicts, in whatever order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import nan

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.action import Action, ActionKind, rollback_key
from detectors.alert import Alert, alert
from detectors.incident import ModelPolicy
from detectors.policy import Approval, Automation, FleetOrders, PolicySettings, step, tick
from detectors.release import Release, Role
from detectors.rollback_case import RollbackState
from detectors.rollback_policy import admit, decide, progress
from detectors.silence import Silence
from detectors.verdict import Status, Verdict

VERSIONS = ("v1", "v2", "v3")
POLICY = PolicySettings(
    hold_page_after_ms=0,
    blind_page_after_ms=0,
    quiet_after_rollback_ms=2_000,
    approval_expires_ms=5_000,
    verify_quiet_ms=2_000,
    verify_within_ms=6_000,
    flap_opens=3,
    flap_window_ms=4_000,
)

version = st.sampled_from(VERSIONS)
EVENTS = st.one_of(
    st.tuples(
        st.just("verdict"),
        version,
        st.sampled_from((*Role, Role.CANARY, Role.CANARY)),
        st.sampled_from((*Status, Status.FAIL, Status.FAIL)),
    ),
    st.tuples(st.just("alert"), version, st.booleans(), st.booleans()),
    st.tuples(st.just("admit"), version, st.booleans(), st.just(0)),
    st.tuples(st.just("decide"), version, st.booleans(), st.integers(1, 6)),
    st.tuples(
        st.just("progress"),
        version,
        st.sampled_from((RollbackState.SENT, RollbackState.ACKNOWLEDGED, RollbackState.EXPIRED)),
        st.just(0),
    ),
    st.tuples(st.just("switch"), st.just(""), st.sampled_from(Automation), st.booleans()),
)


def play(
    events: list[tuple[str, str, object, object]], policy: PolicySettings
) -> tuple[ModelPolicy, list[Action], list[Automation]]:
    """The state at the end, all actions, and the switch at each of them."""
    state, orders = ModelPolicy("m"), FleetOrders(admission=True)
    made: list[Action] = []
    switches: list[Automation] = []
    for turn, (kind, name, one, two) in enumerate(events):
        now_ms = turn * 1_000
        actions: tuple[Action, ...] = ()
        key = rollback_key("m", name)
        match kind:
            case "verdict":
                said = Verdict(
                    Release("m", name, Role(str(one))),
                    Status(str(two)),
                    "r",
                    turn,
                    0,
                    0,
                    0,
                    "v1",
                    turn,
                    nan,
                    nan,
                    (),
                    turn,
                )
                state, actions = step(state, said, policy, now_ms, orders)
            case "alert":
                told = Alert(Release("m", name, Role.CANARY), "f", bool(one), "r", "G", bool(two))
                state, actions = alert(state, told, policy, now_ms, orders)
            case "admit":
                state, actions = admit(
                    state, key, granted=bool(one), settings=policy, orders=orders, now_ms=now_ms
                )
            case "decide":
                state, actions, _ = decide(
                    state,
                    key,
                    int(str(two)),
                    approved=bool(one),
                    by="alice",
                    settings=policy,
                    orders=orders,
                    now_ms=now_ms,
                )
            case "progress":
                state = progress(state, key, RollbackState(str(one)), "deployer", now_ms)
            case _:
                silence = Silence("s", "*", "*", now_ms, now_ms + 3_000, "a", "r", bool(two))
                orders = replace(
                    orders, automation=Automation(str(one)), silences=(silence,) if two else ()
                )
        state, more = tick(state, policy, now_ms, orders)
        made += (*actions, *more)
        switches += [orders.automation_of(policy)] * (len(actions) + len(more))
    return state, made, switches


sequences = st.lists(EVENTS, max_size=40)
approvals = st.sampled_from(Approval)


@given(sequences, approvals)
@settings(max_examples=400, deadline=None)
def test_a_version_is_rolled_back_at_most_once_and_only_while_automation_is_on(
    events: list[tuple[str, str, object, object]], approval: Approval
) -> None:
    _, actions, switches = play(events, replace(POLICY, approval=approval))
    real = [
        (action, switch)
        for action, switch in zip(actions, switches, strict=True)
        if action.kind is ActionKind.ROLLBACK and not action.dry_run
    ]
    assert max(Counter(a.release.version for a, _ in real).values(), default=0) <= 1
    for action, switch in real:
        assert switch is Automation.ON
        assert action.return_to not in {"", action.release.version}
        assert action.release.role is Role.CANARY


@given(sequences, approvals)
@settings(max_examples=300, deadline=None)
def test_keys_are_unique_and_only_what_was_told_is_acknowledged_or_ended(
    events: list[tuple[str, str, object, object]], approval: Approval
) -> None:
    _, actions, _ = play(events, replace(POLICY, approval=approval))
    repeatable = {ActionKind.ACKNOWLEDGE}
    keys = Counter(a.key for a in actions if a.kind not in repeatable)
    assert max(keys.values(), default=0) <= 1
    paged: set[str] = set()
    for action in actions:
        if action.kind is ActionKind.PAGE:
            paged.add(action.incident_key)
        elif action.kind is not ActionKind.ROLLBACK:
            assert action.incident_key in paged


@given(sequences, approvals)
@settings(max_examples=200, deadline=None)
def test_revisions_only_grow_and_a_requested_rollback_stays_requested(
    events: list[tuple[str, str, object, object]], approval: Approval
) -> None:
    policy = replace(POLICY, approval=approval)
    known: dict[str, tuple[int, bool]] = {}
    for end in range(len(events) + 1):
        state, _, _ = play(events[:end], policy)
        for case in state.cases:
            revision, requested = known.get(case.key, (0, False))
            assert case.revision >= revision
            assert case.requested or not requested
            known[case.key] = (case.revision, case.requested)


@given(sequences)
@settings(max_examples=100, deadline=None)
def test_the_state_survives_being_written_and_read(
    events: list[tuple[str, str, object, object]],
) -> None:
    state, _, _ = play(events, POLICY)
    written = msgspec.msgpack.encode(state)
    assert msgspec.msgpack.decode(written, type=ModelPolicy) == state
