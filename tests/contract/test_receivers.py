"""What every receiver promises, checked against stand-ins that refuse what the real ones would."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from detectors.action import ActionKind, Exhibit, rollback_key
from detectors.release import Release, Role
from examples.pager import pagerduty_faults, slack_fault
from sinks.credentials import SecretSource
from sinks.egress import EgressSettings, RetryLater
from sinks.errors import Permanent
from sinks.pagerduty import PagerDutySettings
from sinks.receivers import ReceiversSettings, build_receivers, routes
from sinks.slack import SlackSettings
from sinks.webhook import WebhookSettings, event_body
from tests.contract.receiver_scene import (
    KINDS,
    NEXT_SECRET,
    NOW_MS,
    SECRET,
    action,
    endpoint,
    for_kind,
    receiver,
)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [200, 202, 204])
def test_success_is_an_acknowledgement(kind: str, status: int) -> None:
    async def main() -> None:
        async with endpoint(status) as there:
            detail = await receiver(kind, there.port).deliver(for_kind(kind), NOW_MS)
            assert str(status) in detail
            assert len(there.got) == 1

    run(main)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_retryable_with_the_wait_asked_for(kind: str, status: int) -> None:
    async def main() -> None:
        async with endpoint(status, "retry-after: 7\r\n") as there:
            with pytest.raises(RetryLater) as caught:
                await receiver(kind, there.port).deliver(for_kind(kind), NOW_MS)
            assert caught.value.retry_after_ms == 7_000
            assert len(there.got) == 1

    run(main)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 410, 413])
def test_what_will_not_pass_is_permanent(kind: str, status: int) -> None:
    async def main() -> None:
        async with endpoint(status) as there:
            with pytest.raises(Permanent, match=str(status)) as caught:
                await receiver(kind, there.port).deliver(for_kind(kind), NOW_MS)
            assert "T0KEN" not in str(caught.value)

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_there_is_retryable(kind: str) -> None:
    async def main() -> None:
        async with endpoint() as there:
            port = there.port
        with pytest.raises(RetryLater) as caught:
            await receiver(kind, port).deliver(for_kind(kind), NOW_MS)
        assert "T0KEN" not in str(caught.value)

    run(main)


def test_retries_carry_the_same_id_and_body_with_a_fresh_valid_signature() -> None:
    async def main() -> None:
        async with endpoint() as there:
            here = receiver("webhook", there.port)
            for now_ms in (NOW_MS, NOW_MS + 60_000):
                await here.deliver(action(ActionKind.ROLLBACK), now_ms)
            (first, body), (second, again) = there.got
            assert first["webhook-id"] == second["webhook-id"] == rollback_key("gpt-4", "0613")
            assert body == again
            assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
            assert first["webhook-signature"] != second["webhook-signature"]
            assert first["content-type"].startswith("application/cloudevents+json")

    run(main)


def test_a_rotated_secret_has_no_gap() -> None:
    async def main() -> None:
        async with endpoint() as there:
            now_ms = time.time_ns() // 1_000_000
            both = receiver("webhook", there.port, f"{SECRET} {NEXT_SECRET}")
            await both.deliver(action(ActionKind.ROLLBACK), now_ms)
            headers, body = there.got[0]
            for secret in (SECRET, NEXT_SECRET):
                assert Webhook(secret).verify(body, headers)["type"].startswith("io.driftline.")

    run(main)


def test_the_body_is_a_cloud_event_with_everything_a_deployer_needs() -> None:
    event = json.loads(event_body(action(ActionKind.ROLLBACK), "urn:driftline"))
    assert (event["specversion"], event["type"]) == ("1.0", "io.driftline.rollback.requested.v1")
    assert event["id"] == rollback_key("gpt-4", "0613")
    assert event["data"] == {
        "model": "gpt-4",
        "role": "canary",
        "version": "0613",
        "return_to": "0314",
        "reason": "fell from 0.52 to 0.10",
        "evidence": [
            {
                "column": f"c{n}",
                "segment": "all",
                "detector": "psi",
                "statistic": None,
                "threshold": 0.2,
                "n": 99,
            }
            for n in range(2)
        ],
        "action_key": rollback_key("gpt-4", "0613"),
        "decided_at": "2025-11-21T04:40:00.123Z",
    }


def test_a_body_stays_below_the_limit_of_the_standard() -> None:
    big = action(ActionKind.ROLLBACK, exhibits=1000)
    body = event_body(big, "urn:driftline")
    assert len(body) < 20 * 1024
    assert len(json.loads(body)["data"]["evidence"]) > 50


HOSTILE = '<!channel> <https://evil|click> & \r\n\x1b[0m\u202e {{x}} " \ud800' + "é" * 3000


@pytest.mark.parametrize("kind", [ActionKind.PAGE, ActionKind.RESOLVE])
def test_hostile_names_pass_the_checks_of_the_real_services(kind: ActionKind) -> None:
    hostile = replace(
        action(kind, HOSTILE, 10),
        release=Release(HOSTILE, HOSTILE, Role.CANARY),
        note=HOSTILE,
        evidence=(Exhibit(HOSTILE, HOSTILE, "psi", 1.0, 0.2, 1),) * 10,
        incident_key="k" * 300,
    )

    async def main() -> None:
        async with endpoint() as there:
            await receiver("pagerduty", there.port).deliver(hostile, NOW_MS)
            await receiver("slack", there.port).deliver(hostile, NOW_MS)
            event, message = (json.loads(body) for _, body in there.got)
            assert pagerduty_faults(event) == []
            assert slack_fault(message) == ""
            for block in message["blocks"][1:]:
                assert "<" not in block["text"]["text"]
            assert "<" not in message["text"]

    run(main)


def test_a_page_and_its_end_share_the_dedup_key() -> None:
    async def main() -> None:
        async with endpoint(202) as there:
            here = receiver("pagerduty", there.port)
            await here.deliver(action(ActionKind.PAGE), NOW_MS)
            await here.deliver(action(ActionKind.RESOLVE), NOW_MS)
            trigger, resolve = (json.loads(body) for _, body in there.got)
            assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
            assert trigger["dedup_key"] == resolve["dedup_key"] == "incident_1"
            assert trigger["payload"]["severity"] == "error"

    run(main)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "not set or empty"),
        ("whsec_!!!", "not whsec_ followed by base64"),
        ("whsec_" + base64.b64encode(b"short").decode(), "5 bytes"),
    ],
)
def test_a_missing_or_weak_secret_stops_the_start_without_being_shown(key: str, why: str) -> None:
    with pytest.raises(Permanent, match="there") as caught:
        receiver("webhook", 9, key)
    assert why in str(caught.value)
    assert key == "" or key not in str(caught.value)


def test_a_url_that_may_not_be_called_stops_the_start() -> None:
    settings = ReceiversSettings(
        webhooks=(WebhookSettings("d", "https://10.0.0.1/x", SecretSource(env="K")),)
    )
    with pytest.raises(Permanent, match=r"'d'.*allow_private"):
        build_receivers(settings, EgressSettings(), {"K": SECRET})


def test_a_rotated_secret_file_counts_at_the_next_delivery(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    source = SecretSource(file=str(path))
    assert source.read("x", {}) == SECRET
    path.write_text(NEXT_SECRET)
    assert source.read("x", {}) == NEXT_SECRET
    path.unlink()
    with pytest.raises(Permanent, match="cannot be read"):
        source.read("x", {})


def test_names_of_receivers_are_unique() -> None:
    with pytest.raises(ValueError, match="named twice"):
        ReceiversSettings(pagerduty=(PagerDutySettings("a"),), slack=(SlackSettings("a"),))


def test_nobody_is_not_the_name_of_a_receiver() -> None:
    """What no receiver takes is recorded under it, and the verdict says so."""
    settings = ReceiversSettings(slack=(SlackSettings("none", SecretSource(env="U")),))
    environ = {"U": "https://hooks.slack.com/services/a"}
    with pytest.raises(ValueError, match="'none' means nobody"):
        routes(build_receivers(settings, EgressSettings(), environ))


def test_rollbacks_go_to_deployers_and_pages_to_people() -> None:
    settings = ReceiversSettings(
        webhooks=(WebhookSettings("deployer", "https://d.example/x", SecretSource(env="K")),),
        pagerduty=(PagerDutySettings("pager", routing_key=SecretSource(env="R")),),
    )
    table = routes(build_receivers(settings, EgressSettings(), {"K": SECRET, "R": "r" * 32}))
    assert table.of(ActionKind.ROLLBACK) == ("deployer",)
    assert table.of(ActionKind.PAGE) == table.of(ActionKind.RESOLVE) == ("pager",)
