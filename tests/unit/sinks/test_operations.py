"""What people may order through the API, and what strangers may not."""

from __future__ import annotations

from typing import Any

import pytest

from detectors.policy_settings import Automation
from detectors.rollback_case import RollbackState
from sinks.audit import FLEET
from sinks.commands import (
    DecisionCommand,
    NoteCommand,
    decode_command,
)
from sinks.control import (
    ControlBoard,
    decode_control,
)
from tests.unit.sinks.operations_scene import (
    HOOK,
    HOSTILE,
    NOW,
    OPERATOR,
    READER,
    api,
    body,
    case,
    signed,
)


def test_the_switch_takes_effect_and_is_noted_with_the_name_of_who_turned_it() -> None:
    client, kafka = api()
    assert client.get("/v1/automation").json()["by"] == "configuration"
    reply = client.put("/v1/automation", json={"automation": "off", "reason": "incident 7"})
    assert reply.json()["automation"] == "off"
    assert kafka.board.orders(NOW).automation is Automation.OFF
    (note,) = kafka.commands
    assert isinstance(note, NoteCommand)
    assert (note.model, note.by, note.kind) == (FLEET, "alice", "switch")


@pytest.mark.parametrize(
    "body", [{}, {"automation": "maybe"}, {"automation": "off", "by": "x"}, [], "off"]
)
def test_an_order_that_is_none_is_refused_without_quoting_it(body: Any) -> None:
    client, kafka = api()
    reply = client.put("/v1/automation", json=body)
    assert reply.status_code == 422
    assert "maybe" not in reply.text
    assert kafka.commands == []


def test_a_silence_is_made_shown_and_ended() -> None:
    client, kafka = api()
    made = client.post(
        "/v1/silences", json={"model": "fraud*", "seconds": 600, "reason": "migration"}
    )
    assert made.status_code == 201
    (silence,) = kafka.board.orders(NOW).silences
    assert (silence.model, silence.by, silence.ends_ms) == ("fraud*", "alice", NOW + 600_000)
    assert [each["id"] for each in client.get("/v1/silences").json()] == [silence.id]
    assert client.delete(f"/v1/silences/{silence.id}").status_code == 200
    assert kafka.board.orders(NOW).silences == ()
    assert client.delete("/v1/silences/none").status_code == 404
    assert [command.by for command in kafka.commands] == ["alice", "alice"]


def test_without_kafka_nothing_is_said_to_be_done() -> None:
    client, kafka = api()
    kafka.away = True
    orders = [
        client.put("/v1/automation", json={"automation": "off"}),
        client.post("/v1/silences", json={"seconds": 60, "reason": "x"}),
        client.post("/v1/rollbacks/rollback_k/approve", json={"revision": 1}),
        client.post("/v1/hooks/grafana", content=body(), headers=signed(body())),
    ]
    assert [reply.status_code for reply in orders] == [503] * 4
    assert kafka.board.orders(NOW).automation is None


@pytest.mark.parametrize(
    ("token", "status"), [(OPERATOR, 202), (HOOK, 403), (READER, 403), ("", 403), ("é" * 20, 403)]
)
def test_only_an_operator_decides(token: str, status: int) -> None:
    client, kafka = api(token="")
    headers = {b"authorization": f"Bearer {token}".encode()} if token else {}
    reply = client.post("/v1/rollbacks/rollback_k/approve", json={"revision": 1}, headers=headers)
    assert reply.status_code == status
    assert len(kafka.commands) == (status == 202)


@pytest.mark.parametrize(
    ("method", "path", "token", "status", "said"),
    [
        ("GET", "/v1/automation", HOOK, 403, "a token of scope read is needed"),
        ("GET", "/v1/automation", "x" * 20, 401, "the bearer token is not known"),
        ("GET", "/v1/automation", "", 401, "a bearer token is needed"),
        (
            "POST",
            "/v1/hooks/alertmanager",
            READER,
            401,
            "no valid signature or token of scope hook",
        ),
        ("POST", "/v1/hooks/alertmanager", "x" * 20, 401, "no valid signature or token"),
        ("GET", "/v1/nowhere", READER, 404, "nothing is here"),
        ("PATCH", "/v1/releases", READER, 405, "this path takes other methods"),
    ],
)
def test_who_is_refused_is_told_which_scope_is_missing(
    method: str, path: str, token: str, status: int, said: str
) -> None:
    client, kafka = api()
    headers = {"authorization": f"Bearer {token}"} if token else {"authorization": ""}
    reply = client.request(method, path, headers=headers)
    assert reply.status_code == status
    assert reply.json()["error"].startswith(said)
    assert kafka.commands == []


def test_without_tokens_everybody_reads_and_nobody_orders() -> None:
    client, kafka = api(grants=(), token="")
    assert client.get("/v1/automation").status_code == 200
    assert client.put("/v1/automation", json={"automation": "off"}).status_code == 403
    assert client.post("/v1/hooks/alertmanager", content=body()).status_code == 401
    assert kafka.commands == []


def test_a_decision_names_the_revision_that_was_seen() -> None:
    client, kafka = api()
    path = "/v1/rollbacks/rollback_k/reject"
    assert client.post(path, json={"revision": 2}).status_code == 409
    assert client.post("/v1/rollbacks/none/reject", json={"revision": 1}).status_code == 404
    for _ in range(2):
        assert client.post(path, json={"revision": 1}).status_code == 202
    first, again = kafka.commands
    assert isinstance(first, DecisionCommand)
    assert (first.approved, first.by, first.revision) == (False, "alice", 1)
    assert first.id == again.id


def test_the_verdict_says_that_a_silent_release_was_rolled_back() -> None:
    client, kafka = api()
    kafka.board.take(case(5, RollbackState.VERIFIED))
    said = client.get("/v1/verdict", params={"model": "m", "version": "2"}).json()
    assert (said["verdict"], said["status"], said["rollback"]) == (
        "inconclusive",
        "fail",
        "verified",
    )
    assert said["reasons"][0] == HOSTILE
    assert said["reasons"][1].startswith("rolled back to 1")


def test_records_of_control_are_read_in_their_order_and_older_ones_lose() -> None:
    board = ControlBoard(max_rollbacks_per_hour=2)
    board.take(case(3, RollbackState.SENT))
    board.take(case(2, RollbackState.APPROVED))
    assert board.case_of("m", "2") == case(3, RollbackState.SENT)
    with pytest.raises(ValueError, match="not a control record"):
        decode_control(b'{"type": "other"}')
    with pytest.raises(ValueError, match="not a command"):
        decode_command(b"[" * 10_000)
