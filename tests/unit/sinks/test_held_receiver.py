"""A receiver that answers 410 is not called with messages again; others hear of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from detectors.action import Action, ActionKind, Severity
from detectors.release import Release, Role
from sinks.errors import Gone
from sinks.held_receiver import HeldReceiver
from sinks.receivers import Receiver, routes
from streams.deliver import deliver_once
from streams.outbox import DeliveryState, Outbox, add, record
from streams.outbox_settings import OutboxSettings


def action(kind: ActionKind, key: str) -> Action:
    release = Release("m", "2", Role.CANARY)
    return Action(key, kind, release, "1", "bad", "", (), Severity.ERROR, f"i-{key}", 0)


@dataclass
class Endpoint:
    """Says that it is gone, to whatever comes, while it is."""

    name: str = "chat"
    kinds: frozenset[ActionKind] = frozenset(ActionKind)
    models: tuple[str, ...] = ("*",)
    dry_run: bool = False
    gone: bool = True
    asked: list[str] = field(default_factory=list)

    async def deliver(self, action: Action, now_ms: int) -> str:
        self.asked.append(action.key)
        await asyncio.sleep(0)
        if self.gone:
            raise Gone("answered 410")
        return "200"


def states(receiver: Receiver, *actions: Action) -> list[DeliveryState]:
    async def tried() -> list[DeliveryState]:
        return [(await deliver_once(each, receiver, 0)).state for each in actions]

    return asyncio.run(tried())


PAGES = tuple(action(ActionKind.PAGE, f"p{n}") for n in range(3))
ROLLBACKS = tuple(action(ActionKind.ROLLBACK, f"r{n}") for n in range(2))


def test_after_one_answer_that_it_is_gone_it_gets_no_more_messages() -> None:
    endpoint = Endpoint()
    found = states(HeldReceiver(endpoint), *PAGES)
    assert found == [DeliveryState.GONE, DeliveryState.REFUSED, DeliveryState.REFUSED]
    assert endpoint.asked == ["p0"]


def test_without_the_hold_each_message_calls_it_again() -> None:
    endpoint = Endpoint()
    assert states(endpoint, *PAGES) == [DeliveryState.GONE] * 3
    assert endpoint.asked == ["p0", "p1", "p2"]


def test_rollbacks_are_asked_for_all_the_same_and_hold_nothing() -> None:
    endpoint = Endpoint()
    held = HeldReceiver(endpoint)
    states(held, ROLLBACKS[0], PAGES[0], ROLLBACKS[1])
    assert endpoint.asked == ["r0", "p0", "r1"]


def test_it_answers_from_its_first_message_until_it_is_gone() -> None:
    endpoint = Endpoint(gone=False)
    held = HeldReceiver(endpoint)
    answers = []
    for gone, each in ((False, ROLLBACKS[0]), (False, PAGES[0]), (True, PAGES[1])):
        endpoint.gone = gone
        states(held, each)
        answers.append(held.answers)
    assert answers == [False, True, False]


def test_two_messages_on_their_way_find_it_gone_once() -> None:
    async def both() -> list[DeliveryState]:
        held = HeldReceiver(Endpoint())
        found = await asyncio.gather(*(deliver_once(each, held, 0) for each in PAGES[:2]))
        return [each.state for each in found]

    assert asyncio.run(both()) == [DeliveryState.GONE, DeliveryState.REFUSED]


def test_the_others_are_paged_and_of_a_rollback_as_ever() -> None:
    table = routes((Endpoint(), Endpoint("pager", frozenset({ActionKind.PAGE}))))
    settings = OutboxSettings()
    for each, said in ((PAGES[0], "chat answered that it is gone"), (ROLLBACKS[0], "not ack")):
        outbox, _ = add(Outbox(), (each,), table, settings, 0)
        (entry,) = [entry for entry in outbox.entries if entry.receiver == "chat"]
        delivery = asyncio.run(deliver_once(entry.action, Endpoint(), 0))
        outbox, _ = record(outbox, each.key, "chat", delivery, table, settings, 1)
        pages = [entry for entry in outbox.entries if said in entry.action.reason]
        wanted = {"pager"} if each.kind is ActionKind.PAGE else {"pager", "chat"}
        assert {entry.receiver for entry in pages} == wanted
