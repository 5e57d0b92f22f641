"""What a signed link decides, and what a changed one does not."""

from __future__ import annotations

import pytest

from detectors.rollback_case import RollbackState
from sinks.approvals import ApprovalLinks, ApprovalSettings
from sinks.credentials import NoSecret, SecretSource
from tests.unit.sinks.operations_scene import (
    NOW,
    api,
    case,
    fields,
    link,
)


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
