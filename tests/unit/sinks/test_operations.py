"""What people and other systems may order through the API, and what strangers may not."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from detectors.policy_settings import Automation
from detectors.release import Role
from detectors.rollback_case import RollbackState
from sinks.api import MAX_BODY_BYTES, ApiParts, Readiness, create_app
from sinks.approvals import ApprovalLinks, ApprovalSettings
from sinks.audit import FLEET
from sinks.commands import (
    AlertCommand,
    BeginCommand,
    Command,
    DecisionCommand,
    NoteCommand,
    decode_command,
    encode_command,
)
from sinks.control import (
    CaseRecord,
    ControlBoard,
    ControlRecord,
    decode_control,
    encode_control,
)
from sinks.credentials import NoSecret, SecretSource
from sinks.errors import Retryable
from sinks.grants import Grant, Scope, TokenFileError, read_grants
from sinks.hooks import HookSettings
from sinks.operations import Operations
from sinks.rate_limit import RateLimiter
from sinks.verdict_board import VerdictBoard

NOW = 1_800_000_000_000
OPERATOR, HOOK, READER = "operator-token-xyz", "hook-token-xyz-xyz", "reader-token-xyz-x"
SECRET, MLFLOW, APPROVAL = "grafana-secret", "mlflow-secret", "a" * 24
HOSTILE = '"><script>alert(1)</script>\r\nX-Evil: 1 {{7*7}} \u202e'
GRANTS = (
    Grant(OPERATOR, frozenset({Scope.OPERATE}), "alice"),
    Grant(HOOK, frozenset({Scope.HOOK}), "monitoring"),
    Grant(READER),
)
LINKS = ApprovalLinks(
    ApprovalSettings("https://driftline.example", SecretSource(env="A")), {"A": APPROVAL}
)


@dataclass
class Kafka:
    """Takes what is published, as Kafka would write it; ``board`` reads control records."""

    board: ControlBoard
    commands: list[Command] = field(default_factory=list)
    away: bool = False

    def command(self, command: Command) -> None:
        if self.away:
            raise Retryable("away")
        self.commands.append(decode_command(encode_command(command)))

    def control(self, record: ControlRecord) -> None:
        if self.away:
            raise Retryable("away")
        self.board.take(decode_control(encode_control(record)))


def case(revision: int = 1, state: RollbackState = RollbackState.PROPOSED) -> CaseRecord:
    requested = state is not RollbackState.PROPOSED
    return CaseRecord(
        "rollback_k",
        "m",
        "2",
        Role.CANARY,
        "1",
        state,
        revision,
        "policy",
        HOSTILE,
        requested,
        0,
        NOW,
    )


def api(
    grants: tuple[Grant, ...] = GRANTS, token: str = OPERATOR, limiter: RateLimiter | None = None
) -> tuple[httpx2.Client, Kafka]:
    board = ControlBoard(max_rollbacks_per_hour=2)
    board.take(case())
    kafka = Kafka(board)
    parts = ApiParts(
        board=VerdictBoard(rollbacks=board.case_of),
        now_ms=lambda: NOW,
        max_age_ms=300_000,
        ready=lambda: Readiness(True, "test"),
        findings=lambda _: [],
        tokens=tuple(grant.token for grant in grants if grant.may(Scope.READ)),
        operations=Operations(
            board,
            lambda: True,
            kafka,
            LINKS,
            grants,
            HookSettings(SecretSource(env="G"), SecretSource(env="M")),
            {"G": f"older-secret {SECRET}", "M": MLFLOW},
        ),
        limiter=limiter,
    )
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return TestClient(create_app(parts), headers=headers), kafka


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


# --- hooks ----------------------------------------------------------------------------------------


def grafana_alert(status: str = "firing", **labels: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "A", "model": "m", "version": "2", **labels},
        "annotations": {"summary": "precision fell"},
        "startsAt": "2026-11-21T10:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "c6ea",
        "values": {"A": 0.31},
    }


def body(*alerts: dict[str, Any]) -> bytes:
    sent = list(alerts) or [grafana_alert(driftline_action="rollback")]
    return json.dumps({"receiver": "r", "status": "firing", "orgId": 1, "alerts": sent}).encode()


def signed(content: bytes, secret: str = SECRET, at_ms: int = NOW) -> dict[str, str]:
    stamp = str(at_ms // 1000)
    said = stamp.encode() + b":" + content
    return {
        "x-grafana-alerting-signature": hmac.new(secret.encode(), said, hashlib.sha256).hexdigest(),
        "x-grafana-alerting-timestamp": stamp,
        "authorization": "Basic none",
    }


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


@pytest.mark.parametrize(
    "change",
    [
        {"x-grafana-alerting-signature": ""},
        {"x-grafana-alerting-signature": "00" * 32},
        {"x-grafana-alerting-timestamp": ""},
        {"x-grafana-alerting-timestamp": str(NOW // 1000 + 1)},
        {"x-grafana-alerting-timestamp": "1e9"},
        {"x-grafana-alerting-timestamp": "9" * 400},
    ],
)
def test_what_is_not_signed_is_refused(change: dict[str, str]) -> None:
    client, kafka = api()
    headers = signed(body()) | change
    assert client.post("/v1/hooks/grafana", content=body(), headers=headers).status_code == 401
    assert kafka.commands == []


def test_other_forgeries_are_refused() -> None:
    client, kafka = api()
    right = body()
    attacks = {
        "another secret": (signed(right, "x" * 20), right),
        "another body": (signed(right), body(grafana_alert(model="other"))),
        "written otherwise": (signed(right), json.dumps(json.loads(right), indent=1).encode()),
        "too old": (signed(right, at_ms=NOW - 301_000), right),
        "too new": (signed(right, at_ms=NOW + 301_000), right),
        "without a time": (
            {
                "x-grafana-alerting-signature": hmac.new(
                    SECRET.encode(), right, hashlib.sha256
                ).hexdigest()
            },
            right,
        ),
    }
    for name, (headers, content) in attacks.items():
        sent = {"authorization": "Basic none"} | headers
        reply = client.post("/v1/hooks/grafana", content=content, headers=sent)
        assert reply.status_code == 401, name
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


# --- approvals ------------------------------------------------------------------------------------


def link(revision: int = 1, expires_ms: int = NOW + 1) -> str:
    return LINKS.link("rollback_k", revision, expires_ms).removeprefix("https://driftline.example")


def fields(path: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in path.partition("?")[2].split("&"))


def test_opening_the_link_shows_and_changes_nothing() -> None:
    client, kafka = api(token="")
    for _ in range(3):
        page = client.get(link())
        assert page.status_code == 200
    assert kafka.commands == []
    assert "<script>" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-frame-options"] == "DENY"


def test_the_button_decides_once() -> None:
    client, kafka = api(token="")
    for _ in range(2):
        reply = client.post("/v1/approvals", data=fields(link()) | {"decision": "approve"})
        assert reply.status_code == 200
    assert len({command.id for command in kafka.commands}) == 1
    kafka.board.take(case(2, RollbackState.APPROVED))
    count = len(kafka.commands)
    late = client.post("/v1/approvals", data=fields(link()) | {"decision": "approve"})
    assert "nothing left to decide" in late.text
    assert len(kafka.commands) == count


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"s": "0" * 64}, 403),
        ({"s": ""}, 400),
        ({"s": "é"}, 403),
        ({"k": "rollback_other"}, 403),
        ({"r": "2"}, 403),
        ({"e": str(NOW + 2)}, 403),
        ({"r": "x"}, 400),
        ({"decision": "delete"}, 400),
        ({"decision": ""}, 400),
    ],
)
def test_a_changed_link_or_form_decides_nothing(change: dict[str, str], status: int) -> None:
    client, kafka = api(token="")
    sent = fields(link()) | {"decision": "approve"} | change
    assert client.post("/v1/approvals", data=sent).status_code == status
    assert kafka.commands == []


def test_an_expired_link_decides_nothing() -> None:
    client, kafka = api(token="")
    old = link(expires_ms=NOW - 1)
    assert client.get(old).status_code == 410
    assert (
        client.post("/v1/approvals", data=fields(old) | {"decision": "approve"}).status_code == 410
    )
    assert kafka.commands == []


def test_links_need_a_secret_that_is_long_enough() -> None:
    for secret in ("", "short"):
        with pytest.raises(NoSecret):
            ApprovalLinks(
                ApprovalSettings("https://d.example", SecretSource(env="A")), {"A": secret}
            )
    assert ApprovalLinks(ApprovalSettings(), {}).link("k", 1, 1) == ""
    assert not ApprovalLinks(ApprovalSettings(), {}).genuine("k", 1, 1, "")


# --- limits and files -----------------------------------------------------------------------------


def test_who_asks_too_often_has_to_wait_and_others_do_not() -> None:
    client, _ = api(limiter=RateLimiter(per_second=1, burst=20))
    replies = [client.get("/v1/automation") for _ in range(40)]
    refused = [reply for reply in replies if reply.status_code == 429]
    assert 15 <= len(refused) <= 20
    assert int(refused[0].headers["retry-after"]) >= 1
    other = client.get("/v1/automation", headers={"authorization": f"Bearer {READER}"})
    assert other.status_code == 200
    assert client.get("/healthz").status_code == 200


def test_a_bucket_fills_again_and_memory_is_bounded() -> None:
    limiter = RateLimiter(per_second=2, burst=2)
    waits = [limiter.wait_s("a", at) for at in (0.0, 0.0, 0.0, 0.25, 0.5)]
    assert waits == [0.0, 0.0, 0.5, 0.25, 0.0]
    for number in range(20_000):
        limiter.wait_s(f"c{number}", 1.0)
    assert len(limiter._buckets) == 10_000


def test_the_token_file_gives_scopes_and_names(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{READER}\n\n{OPERATOR} operate alice\n{HOOK} hook,read ci\n", "ascii")
    reader, operator, hook = read_grants(str(file))
    assert (reader.may(Scope.READ), reader.may(Scope.OPERATE)) == (True, False)
    assert (operator.may(Scope.READ), operator.may(Scope.HOOK)) == (True, False)
    assert (hook.scopes, hook.name) == (frozenset({Scope.HOOK, Scope.READ}), "ci")
    assert OPERATOR not in repr(operator)


@pytest.mark.parametrize(
    "text", [f"{HOOK} hook\n", f"{READER} admin\n", f"{READER} read a b\n", "short read\n", "\n"]
)
def test_a_token_file_that_would_open_the_door_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(text, "ascii")
    with pytest.raises(TokenFileError) as refused:
        read_grants(str(file))
    assert READER not in str(refused.value)


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
