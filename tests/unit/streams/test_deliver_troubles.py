"""Every page has an incident that opens and closes in the audit trail, also one that no verdict
opened."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from math import nan

from detectors.action import ActionKind
from detectors.policy import PolicySettings
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.audit import AuditRow
from sinks.commands import BeginCommand
from sinks.owners import OwnerSettings
from sinks.receivers import NO_DEPLOYER, Routes
from streams.deliver import (
    ALONE,
    DeliverSettings,
    ModelState,
    Surroundings,
    decode_state,
    due,
    encode_state,
    new_state,
    on_command,
    on_delivery,
    on_tick,
    on_verdict,
)
from streams.outbox import Delivery, DeliveryState

NOW = 1_800_000_000_000
MINUTE = 60_000
SETTINGS = DeliverSettings(PolicySettings(hold_page_after_ms=0, blind_page_after_ms=0))
PEOPLE = {ActionKind.PAGE: ("pager", "chat"), ActionKind.RESOLVE: ("pager", "chat")}
NOBODY = Routes(PEOPLE, owners=(OwnerSettings("risk"),))
DEPLOYER = replace(NOBODY, by_kind=PEOPLE | {ActionKind.ROLLBACK: ("deployer",)})
CANARY = Release("m", "v2", Role.CANARY)
PRODUCTION = Release("m", "v1", Role.PRODUCTION)
TAKEN = Delivery(DeliveryState.ACKNOWLEDGED, "200")


@dataclass
class Deliver:
    """Deliver of one model, without Kafka; ``answers`` of receivers, who take what they are sent
    unless it says otherwise. ``pages``: the incident of each page that ever waited, by its key."""

    routes: Routes = NOBODY
    answers: dict[str, Delivery] = field(default_factory=dict)
    state: ModelState = field(default_factory=lambda: new_state("m"))
    pages: dict[str, str] = field(default_factory=dict)
    around: Surroundings = ALONE
    now_ms: int = NOW
    sequence: int = 0

    def verdict(self, release: Release, status: Status, events: int) -> None:
        self.sequence += 1
        said = Verdict(
            release, status, "bad", self.sequence, 0, 0, 0, "v1", events, nan, nan, (), 7
        )
        self.state, _ = on_verdict(self.state, said, SETTINGS, self.routes, self.now_ms)
        self._note_pages()

    def begins(self, version: str) -> None:
        command = BeginCommand(
            id=f"c-{version}",
            model="m",
            at_ms=self.now_ms,
            by="hook",
            version=version,
            source="Flagger",
        )
        self.state, _ = on_command(self.state, command, SETTINGS, self.routes, self.now_ms)
        self._note_pages()

    def after(self, wait_ms: int) -> None:
        """Time passes, a process is another one, and what is due is sent."""
        self.now_ms += wait_ms
        self.state = decode_state(encode_state(self.state))
        self.state, _ = on_tick(self.state, SETTINGS, self.routes, self.now_ms, self.around)
        self._note_pages()
        while entries := due(self.state, SETTINGS, self.now_ms):
            for entry in entries:
                said = self.answers.get(entry.receiver, TAKEN)
                self.state, _ = on_delivery(
                    self.state, entry, said, SETTINGS, self.routes, self.now_ms
                )
                self._note_pages()

    def incidents(self, cause: str) -> list[str]:
        """What the trail says of incidents with this cause: opened, closed."""
        return [row.kind.removeprefix("incident.") for row in self.rows(cause)]

    def rows(self, cause: str) -> list[AuditRow]:
        return [
            row
            for row in self.state.unpublished
            if row.kind.startswith("incident.") and json.loads(row.body)["told"] == cause
        ]

    def pages_without_incident(self) -> set[str]:
        """Keys of pages whose incident has no row."""
        known = {row.subject for row in self.state.unpublished if row.kind.startswith("incident.")}
        return {key for key, incident in self.pages.items() if incident not in known}

    def _note_pages(self) -> None:
        actions = (entry.action for entry in self.state.outbox.entries)
        self.pages |= {a.key: a.incident_key for a in actions if a.kind is ActionKind.PAGE}


def test_a_rollback_without_a_deployer_is_an_incident_until_it_was_done_by_hand() -> None:
    here = Deliver()
    here.verdict(PRODUCTION, Status.PASS, 100)
    here.verdict(CANARY, Status.FAIL, 100)
    assert here.pages_without_incident() == set()
    (row,) = here.rows("undelivered")
    body = json.loads(row.body)
    assert (row.version, row.role, body["severity"]) == ("v2", "canary", "critical")
    assert (body["team"], body["pages"], body["opened_ms"]) == ("risk", 1, NOW)
    assert NO_DEPLOYER[:40] in body["reason"]
    # It still runs: its events grow.
    here.after(5 * MINUTE)
    here.verdict(CANARY, Status.FAIL, 200)
    here.after(MINUTE)
    assert here.incidents("undelivered") == ["opened"]
    # Then somebody takes it out by hand: it is silent, while production goes on.
    here.after(MINUTE)
    here.verdict(CANARY, Status.BLIND, 200)
    here.verdict(PRODUCTION, Status.PASS, 300)
    here.after(MINUTE)
    assert here.incidents("undelivered") == ["opened", "closed"]
    assert here.incidents("rollback") == ["opened", "closed"]


def test_the_incident_of_a_late_rollback_ends_with_its_acknowledgement() -> None:
    here = Deliver(DEPLOYER, {"deployer": Delivery(DeliveryState.RETRY, "503", 30_000)})
    here.verdict(CANARY, Status.FAIL, 100)
    for _ in range(6):
        here.after(MINUTE)
    assert here.incidents("undelivered") == ["opened"]
    here.answers.clear()
    here.after(MINUTE)
    assert here.incidents("undelivered") == ["opened", "closed"]


def test_a_release_that_passes_again_does_not_end_that_its_rollback_is_still_being_tried() -> None:
    here = Deliver(DEPLOYER, {"deployer": Delivery(DeliveryState.RETRY, "503", 30_000)})
    here.verdict(CANARY, Status.FAIL, 100)
    here.after(3 * MINUTE)
    here.after(90 * MINUTE)
    here.verdict(CANARY, Status.PASS, 200)
    here.after(MINUTE)
    assert here.incidents("undelivered") == ["opened"]
    here.answers["deployer"] = Delivery(DeliveryState.REFUSED, "404")
    here.after(MINUTE)
    here.after(MINUTE)
    assert here.incidents("undelivered") == ["opened", "closed"]


def test_a_release_that_began_and_is_silent_is_an_incident_until_it_logs() -> None:
    here = Deliver()
    here.begins("v2")
    here.after(29 * MINUTE)
    assert here.incidents("begun_silent") == []
    here.after(MINUTE)
    (row,) = here.rows("begun_silent")
    assert (row.version, json.loads(row.body)["opened_ms"]) == ("v2", NOW)
    here.verdict(CANARY, Status.INSUFFICIENT, 1)
    assert here.incidents("begun_silent") == ["opened", "closed"]


def test_a_receiver_that_is_gone_is_an_incident_until_it_is_not_configured_any_more() -> None:
    here = Deliver(answers={"chat": Delivery(DeliveryState.GONE, "410")})
    here.verdict(CANARY, Status.BLIND, 100)
    here.after(0)
    (row,) = here.rows("receiver_gone")
    assert "receiver chat" in json.loads(row.body)["reason"]
    here.after(MINUTE)
    assert here.incidents("receiver_gone") == ["opened"]
    here.routes = here.routes.without("chat")
    here.after(MINUTE)
    assert here.incidents("receiver_gone") == ["opened", "closed"]


def test_that_a_receiver_is_gone_ends_when_another_model_told_it_something() -> None:
    here = Deliver(answers={"chat": Delivery(DeliveryState.GONE, "410")})
    here.verdict(CANARY, Status.BLIND, 100)
    here.after(0)
    here.around = Surroundings(answering=frozenset({"pager"}))
    here.after(MINUTE)
    assert here.incidents("receiver_gone") == ["opened"]
    here.around = Surroundings(answering=frozenset({"pager", "chat"}))
    here.after(MINUTE)
    assert here.incidents("receiver_gone") == ["opened", "closed"]
