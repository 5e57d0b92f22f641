from __future__ import annotations

from dataclasses import fields, replace

from detectors.action import Action, ActionKind, Exhibit, Severity, rollback_key
from detectors.release import Release, Role
from detectors.trouble import TroubleKind
from sinks.receivers import Routes
from sinks.schema import ACTIONS
from streams.outbox import (
    ActionRow,
    ActionState,
    Delivery,
    DeliveryState,
    Outbox,
    add,
    record,
    sweep,
    wait_before,
)
from streams.outbox_settings import OutboxSettings

SETTINGS = OutboxSettings()
ROUTES = Routes(
    {
        ActionKind.ROLLBACK: ("deployer",),
        ActionKind.PAGE: ("pager", "chat"),
        ActionKind.RESOLVE: ("pager", "chat"),
    }
)
RETRY = Delivery(DeliveryState.RETRY, "503")
ACKNOWLEDGED = Delivery(DeliveryState.ACKNOWLEDGED, "200")
REFUSED = Delivery(DeliveryState.REFUSED, "410")


def action(kind: ActionKind, key: str = "", at_ms: int = 0, incident: str = "i") -> Action:
    return Action(
        key or rollback_key("m", "v2"),
        kind,
        Release("m", "v2", Role.CANARY),
        "v1",
        "bad",
        "note",
        (Exhibit("c", "all", "psi", 0.5, 0.2, 10),),
        Severity.ERROR,
        incident,
        at_ms,
    )


def filled(*actions: Action) -> Outbox:
    return add(Outbox(), actions, ROUTES, SETTINGS, 0)[0]


def states(rows: tuple[ActionRow, ...]) -> list[tuple[str, ActionState]]:
    return [(row.receiver, row.state) for row in rows]


def test_rows_have_the_columns_of_the_table() -> None:
    assert tuple(field.name for field in fields(ActionRow)) == ACTIONS.column_names


def test_each_receiver_of_a_kind_gets_an_entry_of_its_own() -> None:
    outbox, rows = add(Outbox(), (action(ActionKind.PAGE, "p"),), ROUTES, SETTINGS, 0)
    assert states(rows) == [("pager", ActionState.PENDING), ("chat", ActionState.PENDING)]
    again, rows = add(outbox, (action(ActionKind.PAGE, "p"),), ROUTES, SETTINGS, 5)
    assert (again, rows) == (outbox, ())


def test_rollbacks_leave_before_everything_else() -> None:
    pages = [action(ActionKind.PAGE, f"p{n}", n, f"i{n}") for n in range(500)]
    outbox = filled(*pages, action(ActionKind.ROLLBACK, at_ms=9_999))
    assert outbox.due(10_000)[0].action.kind is ActionKind.ROLLBACK


def test_rollbacks_can_be_withheld_while_pages_go_on() -> None:
    outbox = filled(action(ActionKind.ROLLBACK), action(ActionKind.PAGE, "p"))
    due = outbox.due(0, rollbacks=False)
    assert {entry.action.kind for entry in due} == {ActionKind.PAGE}
    assert len(outbox.due(0)) == 3


def test_the_end_of_an_incident_waits_for_its_beginning_at_each_receiver() -> None:
    outbox = filled(action(ActionKind.PAGE, "p"), action(ActionKind.RESOLVE, "r", 1))
    assert [e.action.key for e in outbox.due(1)] == ["p", "p"]
    outbox, _ = record(outbox, "p", "pager", ACKNOWLEDGED, ROUTES, SETTINGS, 2)
    outbox, _ = record(outbox, "p", "chat", RETRY, ROUTES, SETTINGS, 2)
    assert [(e.receiver, e.action.key) for e in outbox.due(2)] == [("pager", "r")]
    outbox, _ = record(outbox, "p", "chat", REFUSED, ROUTES, SETTINGS, 3)
    assert [(e.receiver, e.action.key) for e in outbox.due(3)] == [("pager", "r"), ("chat", "r")]


def test_waits_double_up_to_the_cap_and_are_jittered_by_at_most_half() -> None:
    entry = filled(action(ActionKind.PAGE, "p")).entries[0]
    for attempt in range(1, 40):
        full = min(SETTINGS.max_wait_ms, SETTINGS.first_wait_ms * 2 ** (attempt - 1))
        wait = wait_before(replace(entry, attempt=attempt), SETTINGS)
        assert full // 2 <= wait <= full
    others = {wait_before(replace(entry, attempt=9, receiver=str(n)), SETTINGS) for n in range(20)}
    assert len(others) > 15


def test_a_wait_the_receiver_asks_for_is_kept() -> None:
    outbox = filled(action(ActionKind.ROLLBACK))
    asked = Delivery(DeliveryState.RETRY, "429", 77_000)
    outbox, rows = record(
        outbox, outbox.entries[0].action.key, "deployer", asked, ROUTES, SETTINGS, 0
    )
    assert states(rows) == [("deployer", ActionState.RETRYING)]
    assert outbox.due(76_999) == ()
    assert len(outbox.due(77_000)) == 1


def test_every_step_of_an_action_is_a_row_of_its_own() -> None:
    outbox, rows = add(Outbox(), (action(ActionKind.ROLLBACK),), ROUTES, SETTINGS, 0)
    key = outbox.entries[0].action.key
    seen = list(rows)
    for now_ms, delivery in ((1, RETRY), (2, RETRY), (3, ACKNOWLEDGED)):
        outbox, new = record(outbox, key, "deployer", delivery, ROUTES, SETTINGS, now_ms)
        seen.extend(new)
    assert [(row.step, row.attempt, row.state) for row in seen] == [
        (0, 0, ActionState.PENDING),
        (1, 1, ActionState.RETRYING),
        (2, 2, ActionState.RETRYING),
        (3, 3, ActionState.ACKNOWLEDGED),
    ]
    assert outbox == Outbox()
    assert record(outbox, key, "deployer", ACKNOWLEDGED, ROUTES, SETTINGS, 4) == (outbox, ())


def test_a_refused_rollback_pages_and_a_refused_page_does_not() -> None:
    outbox = filled(action(ActionKind.ROLLBACK))
    key = outbox.entries[0].action.key
    outbox, rows = record(outbox, key, "deployer", REFUSED, ROUTES, SETTINGS, 1)
    assert states(rows) == [
        ("deployer", ActionState.REFUSED),
        ("pager", ActionState.PENDING),
        ("chat", ActionState.PENDING),
    ]
    assert "not acknowledged" in outbox.entries[0].action.reason
    outbox, rows = record(
        outbox, outbox.entries[0].action.key, "pager", REFUSED, ROUTES, SETTINGS, 2
    )
    assert states(rows) == [("pager", ActionState.REFUSED)]


def test_a_rollback_that_waits_too_long_pages_once_and_its_success_ends_that() -> None:
    outbox = filled(action(ActionKind.ROLLBACK))
    key = outbox.entries[0].action.key
    late = SETTINGS.page_unacknowledged_rollback_after_ms
    assert sweep(outbox, ROUTES, SETTINGS, late - 1) == (outbox, ())
    outbox, rows = sweep(outbox, ROUTES, SETTINGS, late)
    assert states(rows) == [("pager", ActionState.PENDING), ("chat", ActionState.PENDING)]
    incident = outbox.entries[-1].action.incident_key
    assert sweep(outbox, ROUTES, SETTINGS, late + 1) == (outbox, ())
    outbox, rows = record(outbox, key, "deployer", ACKNOWLEDGED, ROUTES, SETTINGS, late + 2)
    assert [row.kind for row in rows] == [
        ActionKind.ROLLBACK,
        ActionKind.RESOLVE,
        ActionKind.RESOLVE,
    ]
    assert outbox.entries[-1].action.incident_key == incident


def test_after_the_horizon_an_action_expires_and_a_rollback_pages() -> None:
    outbox = filled(action(ActionKind.ROLLBACK), action(ActionKind.PAGE, "p"))
    outbox, rows = sweep(outbox, ROUTES, SETTINGS, SETTINGS.horizon_ms)
    assert states(rows) == [
        ("deployer", ActionState.EXPIRED),
        ("pager", ActionState.PENDING),
        ("chat", ActionState.PENDING),
        ("pager", ActionState.EXPIRED),
        ("chat", ActionState.EXPIRED),
    ]
    assert [e.action.kind for e in outbox.entries] == [ActionKind.PAGE, ActionKind.PAGE]


def test_a_rollback_nobody_takes_is_recorded_and_paged() -> None:
    routes = Routes({ActionKind.PAGE: ("pager",)})
    outbox, rows = add(Outbox(), (action(ActionKind.ROLLBACK),), routes, SETTINGS, 0)
    assert states(rows) == [("none", ActionState.UNROUTED), ("pager", ActionState.PENDING)]
    reason = outbox.entries[0].action.reason
    assert "no deployer is configured for this model; set one under `deployers`" in reason
    assert rows[0].detail in reason


def test_a_dry_run_is_a_row_and_nothing_is_sent() -> None:
    dry = replace(action(ActionKind.ROLLBACK), dry_run=True)
    outbox, rows = add(Outbox(), (dry,), ROUTES, SETTINGS, 0)
    assert outbox == Outbox()
    assert states(rows) == [("none", ActionState.DRY_RUN)]


def test_a_full_outbox_drops_pages_and_never_a_rollback() -> None:
    settings = OutboxSettings(max_entries=4)
    pages = tuple(action(ActionKind.PAGE, f"p{n}", n) for n in range(5))
    outbox, rows = add(Outbox(), pages, ROUTES, settings, 0)
    assert len(outbox.entries) == 4
    assert sum(row.state is ActionState.DROPPED for row in rows) == 6
    outbox, _ = add(outbox, (action(ActionKind.ROLLBACK),), ROUTES, settings, 0)
    assert outbox.due(0)[0].action.kind is ActionKind.ROLLBACK


def test_a_clock_that_is_set_back_delays_no_try_by_as_much() -> None:
    hour_ms = 3_600_000
    box = filled(action(ActionKind.ROLLBACK, at_ms=hour_ms))
    (entry,) = box.due(hour_ms)
    box, _ = record(box, entry.action.key, "deployer", RETRY, ROUTES, SETTINGS, hour_ms)
    assert box.due(hour_ms) == ()
    assert len(box.due(hour_ms - 1)) == 1, "set back"
    assert len(box.due(0)) == 1, "an hour back"
    (waiting,) = box.entries
    assert box.due(waiting.next_try_ms - 1) == (), "as long as the clock is right, it waits"


def test_a_rollback_that_no_deployer_takes_is_one_incident_however_many_refuse() -> None:
    routes = Routes({ActionKind.ROLLBACK: ("one", "two"), ActionKind.PAGE: ("pager",)})
    outbox, _ = add(Outbox(), (action(ActionKind.ROLLBACK),), routes, SETTINGS, 0)
    key = outbox.entries[0].action.key
    outbox, rows = record(outbox, key, "one", REFUSED, routes, SETTINGS, 1)
    assert states(rows) == [("one", ActionState.REFUSED), ("pager", ActionState.PENDING)]
    outbox, rows = record(outbox, key, "two", REFUSED, routes, SETTINGS, 2)
    assert states(rows) == [("two", ActionState.REFUSED)]
    (trouble,) = outbox.troubles
    assert (trouble.kind, trouble.opened_ms) == (TroubleKind.UNDELIVERED, 1)
    assert outbox.entries[0].action.incident_key == trouble.key


def test_that_a_rollback_was_late_ends_when_the_last_deployer_has_answered() -> None:
    routes = Routes({ActionKind.ROLLBACK: ("one", "two"), ActionKind.PAGE: ("pager",)})
    outbox, _ = add(Outbox(), (action(ActionKind.ROLLBACK),), routes, SETTINGS, 0)
    key = outbox.entries[0].action.key
    late = SETTINGS.page_unacknowledged_rollback_after_ms
    outbox, _ = sweep(outbox, routes, SETTINGS, late)
    outbox, _ = record(outbox, key, "one", ACKNOWLEDGED, routes, SETTINGS, late + 1)
    assert len(outbox.troubles) == 1
    outbox, _ = record(outbox, key, "two", ACKNOWLEDGED, routes, SETTINGS, late + 2)
    assert outbox.troubles == ()


def test_a_receiver_is_gone_once_until_it_takes_a_message_again() -> None:
    gone = Delivery(DeliveryState.GONE, "410")
    told = []
    outbox = filled(*(action(ActionKind.PAGE, f"p{n}", incident=f"i{n}") for n in range(3)))
    for at, delivery in enumerate((gone, gone, ACKNOWLEDGED)):
        outbox, rows = record(outbox, f"p{at}", "chat", delivery, ROUTES, SETTINGS, at)
        told.append([(row.receiver, row.kind) for row in rows[1:]])
        assert len(outbox.troubles) == (at < 2)
    assert told == [[("pager", ActionKind.PAGE)], [], [("pager", ActionKind.RESOLVE)]]
