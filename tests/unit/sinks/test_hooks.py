"""What other systems report through the API, and what strangers may not."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode

import pytest

from detectors.release import Role
from sinks.api import MAX_BODY_BYTES
from sinks.audit import FLEET
from sinks.commands import (
    AlertCommand,
    BeginCommand,
    Command,
    NoteCommand,
)
from tests.unit.sinks.operations_scene import (
    HOOK,
    HOSTILE,
    MLFLOW,
    NOW,
    OPERATOR,
    READER,
    SECRET,
    api,
    body,
    grafana_alert,
    grafana_forgeries,
    signed,
)


def test_what_grafana_signs_becomes_one_command_an_alert() -> None:
    client, kafka = api()
    for secret in (SECRET, "older-secret"):  # while it is being rotated both are good
        headers = signed(body(), secret)
        assert client.post("/v1/hooks/grafana", content=body(), headers=headers).status_code == 202
    first, again = kafka.commands
    assert isinstance(first, AlertCommand)
    assert (first.model, first.version, first.role) == ("m", "2", Role.CANARY)
    assert (first.firing, first.roll_back, first.by) == (True, True, "grafana")
    assert first.id == again.id


@pytest.mark.parametrize("what", grafana_forgeries())
def test_what_grafana_did_not_sign_just_now_is_refused(what: str) -> None:
    client, kafka = api()
    headers, content = grafana_forgeries()[what]
    assert client.post("/v1/hooks/grafana", content=content, headers=headers).status_code == 401
    assert kafka.commands == []


@pytest.mark.parametrize(
    ("labels", "kind", "rolls_back"),
    [
        ({}, AlertCommand, False),
        ({"driftline_action": "rollback"}, AlertCommand, True),
        ({"driftline_action": "page"}, AlertCommand, False),
        ({"team": "driftline"}, NoteCommand, False),
        ({"team": "driftline", "driftline_action": "rollback"}, AlertCommand, True),
    ],
)
def test_an_alert_rolls_back_only_if_it_says_so(
    labels: dict[str, str], kind: type[Command], rolls_back: bool
) -> None:
    client, kafka = api()
    content = body(grafana_alert(**labels))
    assert client.post("/v1/hooks/grafana", content=content, headers=signed(content)).is_success
    (command,) = kafka.commands
    assert isinstance(command, kind)
    assert getattr(command, "roll_back", False) is rolls_back


def test_an_alert_about_no_release_is_about_the_fleet_and_rolls_nothing_back() -> None:
    client, kafka = api()
    alert = grafana_alert(driftline_action="rollback")
    del alert["labels"]["version"]
    reply = client.post("/v1/hooks/grafana", content=body(alert), headers=signed(body(alert)))
    assert reply.is_success
    (command,) = kafka.commands
    assert isinstance(command, AlertCommand)
    assert (command.model, command.roll_back) == (FLEET, False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"alerts": 1}',
        b'{"alerts": [{"status": "firing"}]}',
        b"\xff\xfe",
        b"[" * 50_000,
        json.dumps({"alerts": [grafana_alert()] * 501}).encode(),
    ],
)
def test_a_body_that_is_no_notification_is_refused_without_quoting_it(content: bytes) -> None:
    client, kafka = api()
    reply = client.post("/v1/hooks/grafana", content=content, headers=signed(content))
    assert reply.status_code == 400
    assert "firing" not in reply.text
    assert kafka.commands == []


def test_a_body_that_is_too_large_is_refused() -> None:
    client, _ = api()
    content = b"x" * (MAX_BODY_BYTES + 1)
    reply = client.post("/v1/hooks/grafana", content=content, headers=signed(content))
    assert reply.status_code == 413


def test_names_that_rewrite_messages_are_made_harmless() -> None:
    client, kafka = api()
    alert = grafana_alert()
    alert["annotations"]["summary"] = HOSTILE
    assert client.post(
        "/v1/hooks/grafana", content=body(alert), headers=signed(body(alert))
    ).is_success
    (command,) = kafka.commands
    assert isinstance(command, AlertCommand)
    assert command.reason.isprintable()


def test_alertmanager_is_let_in_by_its_token() -> None:
    client, kafka = api()
    headers = {"authorization": f"Bearer {HOOK}"}
    reply = client.post("/v1/hooks/alertmanager", content=body(), headers=headers)
    assert reply.status_code == 202
    assert [command.by for command in kafka.commands] == ["monitoring"]
    for token in (READER, OPERATOR, ""):
        headers = {"authorization": f"Bearer {token or 'x'}"}
        assert (
            client.post("/v1/hooks/alertmanager", content=body(), headers=headers).status_code
            == 401
        )


def test_flagger_tells_once_that_a_release_began() -> None:
    client, kafka = api(token="")
    event = {
        "name": "fraud",
        "namespace": "serving",
        "phase": "Progressing",
        "checksum": "abc",
        "metadata": {"version": "7", "token": HOOK, "eventMessage": HOSTILE},
    }
    for phase in ("Initialized", "Progressing", "Succeeded"):
        sent = event | {"phase": phase}
        assert client.post("/v1/hooks/flagger", json=sent).status_code == 202
    assert len({command.id for command in kafka.commands}) == 1
    assert isinstance(kafka.commands[0], BeginCommand)
    assert (kafka.commands[0].model, kafka.commands[0].version) == ("fraud", "7")
    event["metadata"] = {"version": "7", "token": "guessed"}
    assert client.post("/v1/hooks/flagger", json=event).status_code == 401
    event["metadata"] = {"version": "7"}
    assert client.post(f"/v1/hooks/flagger/{HOOK}", json=event).status_code == 202
    assert client.post(f"/v1/hooks/flagger/{READER}", json=event).status_code == 401
    # No other hook takes a token from its path.
    assert client.post(f"/v1/hooks/grafana/{HOOK}", content=body()).status_code == 404


def test_mlflow_tells_that_an_alias_was_set_and_signs_it() -> None:
    client, kafka = api(token="")
    content = json.dumps(
        {
            "entity": "model_version_alias",
            "action": "created",
            "timestamp": "2026-11-21T10:00:00Z",
            "data": {"name": "fraud", "alias": "canary", "version": "7"},
        }
    ).encode()
    stamp = str(NOW // 1000)
    mac = hmac.new(MLFLOW.encode(), f"d1.{stamp}.".encode() + content, hashlib.sha256).digest()
    headers = {
        "x-mlflow-delivery-id": "d1",
        "x-mlflow-timestamp": stamp,
        "x-mlflow-signature": "v1," + b64encode(mac).decode(),
    }
    assert client.post("/v1/hooks/mlflow", content=content, headers=headers).status_code == 202
    (command,) = kafka.commands
    assert isinstance(command, BeginCommand)
    assert (command.model, command.version) == ("fraud", "7")
    forged = headers | {"x-mlflow-delivery-id": "d2"}
    assert client.post("/v1/hooks/mlflow", content=content, headers=forged).status_code == 401
