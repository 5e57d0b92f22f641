"""The API with everything that may be ordered through it, and what is sent to its hooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
from starlette.testclient import TestClient

from detectors.release import Role
from detectors.rollback_case import RollbackState
from sinks.api import ApiParts, Readiness, create_app
from sinks.approvals import ApprovalLinks, ApprovalSettings
from sinks.commands import (
    Command,
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
from sinks.credentials import SecretSource
from sinks.errors import Retryable
from sinks.grants import Grant, Scope
from sinks.hooks import HookSettings
from sinks.operations import Operations
from sinks.rate_limit import RateLimiter
from sinks.verdict_board import VerdictBoard

if TYPE_CHECKING:
    from starlette.types import ASGIApp

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
    grants: tuple[Grant, ...] = GRANTS,
    token: str = OPERATOR,
    limiter: RateLimiter | None = None,
    *,
    now_ms: int = NOW,
    grafana_secrets: str = f"older-secret {SECRET}",
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app,
) -> tuple[httpx2.Client, Kafka]:
    """A client with ``token``, and what it makes Kafka take. ``around``: what stands before it."""
    board = ControlBoard(max_rollbacks_per_hour=2)
    board.take(case())
    kafka = Kafka(board)
    parts = ApiParts(
        board=VerdictBoard(rollbacks=board.case_of),
        now_ms=lambda: now_ms,
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
            {"G": grafana_secrets, "M": MLFLOW},
        ),
        limiter=limiter,
    )
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return TestClient(around(create_app(parts)), headers=headers), kafka


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


def grafana_forgeries() -> dict[str, tuple[dict[str, str], bytes]]:
    """Headers and bodies that Grafana did not sign so, or not within five minutes of `NOW`."""
    right = body()
    headers = signed(right)
    signature, stamp = "x-grafana-alerting-signature", "x-grafana-alerting-timestamp"
    untimed = hmac.new(SECRET.encode(), right, hashlib.sha256).hexdigest()
    return {
        "no signature": (headers | {signature: ""}, right),
        "a wrong signature": (headers | {signature: "00" * 32}, right),
        "a truncated signature": (headers | {signature: headers[signature][:-2]}, right),
        "no time": (headers | {stamp: ""}, right),
        "moved in time": (headers | {stamp: str(NOW // 1000 + 1)}, right),
        "a time as a float": (headers | {stamp: "1e9"}, right),
        "an endless time": (headers | {stamp: "9" * 400}, right),
        "a signature without a time": ({signature: untimed, "authorization": "Basic x"}, right),
        "another secret": (signed(right, "x" * 20), right),
        "another body": (headers, body(grafana_alert(model="other"))),
        "written otherwise": (headers, json.dumps(json.loads(right), indent=1).encode()),
        "old by 301 s": (signed(right, at_ms=NOW - 301_000), right),
        "new by 301 s": (signed(right, at_ms=NOW + 301_000), right),
    }


def link(revision: int = 1, expires_ms: int = NOW + 1) -> str:
    return LINKS.link("rollback_k", revision, expires_ms).removeprefix("https://driftline.example")


def fields(path: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in path.partition("?")[2].split("&"))
