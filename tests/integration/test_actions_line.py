"""Approvals, the switch and hooks through real processes and a broker: what is executed, once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from detectors.verdict import Status
from tests.integration.actions_line import HOOK, READ, SOON_S, Line, alert, line, until

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A line in which a person approves rollbacks."""
    with line(tmp_path_factory.mktemp("by-hand"), "{approval: person}") as here:
        yield here


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A line that rolls back by itself."""
    with line(tmp_path_factory.mktemp("automatic")) as here:
        yield here


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_rollback_waits_for_a_person_and_is_executed_once_when_approved(by_hand: Line) -> None:
    by_hand.deploy("fraud")
    by_hand.verdict("fraud", Status.FAIL)
    until(lambda: by_hand.case("fraud").get("state") == "proposed", SOON_S, "it is proposed")
    case = by_hand.case("fraud")
    assert by_hand.executed("fraud") == 0
    link = by_hand.links.link(case["key"], case["revision"], int(time.time() * 1000) + 60_000)
    page = by_hand.api.get(link, headers={"authorization": ""})
    assert page.status_code == 200
    assert "Approve the rollback" in page.text
    query = dict(pair.split("=") for pair in link.partition("?")[2].split("&"))
    for _ in range(3):
        by_hand.api.post("/v1/approvals", data=query | {"decision": "approve"})
    until(lambda: by_hand.case("fraud")["state"] == "acknowledged", SOON_S, "it is acknowledged")
    by_hand.verdict("fraud", Status.FAIL)
    by_hand.api.post("/v1/approvals", data=query | {"decision": "approve"})
    by_hand.verdict("fraud", Status.BLIND)
    time.sleep(1)
    assert by_hand.executed("fraud") == 1
    said = by_hand.api.get("/v1/verdict", params={"model": "fraud", "version": "2"}).json()
    assert said["rollback"] == "acknowledged"
    assert "rolled back to 1" in said["reasons"][1]


def test_what_is_rejected_is_not_rolled_back_and_a_stale_decision_changes_nothing(
    by_hand: Line,
) -> None:
    by_hand.deploy("risk")
    by_hand.verdict("risk", Status.FAIL)
    until(lambda: by_hand.case("risk").get("state") == "proposed", SOON_S, "it is proposed")
    case = by_hand.case("risk")
    path = f"/v1/rollbacks/{case['key']}"
    stale = by_hand.api.post(f"{path}/approve", json={"revision": case["revision"] + 1})
    assert stale.status_code == 409
    assert by_hand.api.post(f"{path}/reject", json={"revision": case["revision"]}).is_success
    until(lambda: by_hand.case("risk")["state"] == "rejected", SOON_S, "it is rejected")
    assert by_hand.case("risk")["by"] == "alice"
    by_hand.api.post(f"{path}/approve", json={"revision": case["revision"]})
    by_hand.verdict("risk", Status.FAIL)
    time.sleep(1)
    assert by_hand.executed("risk") == 0


def test_the_switch_holds_at_once_and_what_was_held_is_not_done_later_by_itself(
    automatic: Line,
) -> None:
    turned = automatic.api.put("/v1/automation", json={"automation": "off", "reason": "test"})
    assert turned.json()["by"] == "alice"
    automatic.deploy("held")
    automatic.verdict("held", Status.FAIL)
    until(lambda: "action.page" in automatic.audited("held"), SOON_S, "a person was told")
    assert automatic.executed("held") == 0
    automatic.api.put("/v1/automation", json={"automation": "on"})
    until(
        lambda: automatic.api.get("/v1/automation").json()["automation"] == "on", SOON_S, "it is on"
    )
    time.sleep(1)
    assert automatic.executed("held") == 0
    # The next answer counts again.
    automatic.verdict("held", Status.FAIL)
    until(lambda: automatic.executed("held") == 1, SOON_S, "it is rolled back")


def test_an_alert_rolls_back_once_however_often_it_comes_and_forged_ones_never(
    automatic: Line,
) -> None:
    for model in ("alerted", "forged", "told"):
        automatic.deploy(model)
        automatic.verdict(model, Status.INSUFFICIENT)
    # Two topics: deliver must know the releases before it hears of the alerts.
    for model in ("alerted", "forged", "told"):
        until(lambda: "verdict" in automatic.audited(model), SOON_S, "it is known")  # noqa: B023
    assert automatic.grafana(alert("forged"), secret="not-the-secret-of-grafana") == 401
    assert automatic.grafana(alert("forged"), off_s=-301) == 401
    assert automatic.grafana(alert("forged"), off_s=302) == 401
    assert automatic.grafana(alert("told", roll_back=False)) == 202
    for begun in range(3):
        for _ in range(3):
            assert automatic.grafana(alert("alerted", begun=begun)) == 202
        # An alert that is over before anything was done about it would rightly lead to nothing.
        until(lambda: automatic.executed("alerted") == 1, SOON_S, "it is rolled back")
        assert automatic.grafana(alert("alerted", begun=begun, firing=False)) == 202
    time.sleep(1)
    assert [automatic.executed(model) for model in ("alerted", "forged", "told")] == [1, 0, 0]


def test_tokens_do_only_what_their_scopes_say(automatic: Line) -> None:
    order = {"automation": "on"}
    for token, status in ((READ, 403), (HOOK, 403), ("x", 403), ("x" * 30, 403)):
        reply = automatic.api.put("/v1/automation", json=order, headers=bearer(token))
        assert reply.status_code == status
    assert automatic.api.get("/v1/releases", headers=bearer("x" * 30)).status_code == 401
    assert automatic.api.get("/v1/releases", headers=bearer(HOOK)).status_code == 403
    assert automatic.api.get("/v1/releases", headers=bearer(READ)).status_code == 200
    hook = automatic.api.post("/v1/hooks/alertmanager", json={"alerts": []}, headers=bearer(READ))
    assert hook.status_code == 401
    hook = automatic.api.post("/v1/hooks/alertmanager", json={"alerts": []}, headers=bearer(HOOK))
    assert hook.status_code == 202
