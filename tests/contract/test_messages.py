"""What people and machines are told: PagerDuty, Slack and webhooks within the limits of each."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from detectors.action import Action, ActionKind, Exhibit, Severity
from detectors.release import Release, Role
from examples.pager import pagerduty_faults, slack_fault
from sinks.alertmanager import AlertmanagerSettings
from sinks.credentials import SecretSource
from sinks.egress import EgressSettings
from sinks.links import LinkSettings, links_for
from sinks.pagerduty import MAX_EVENT_BYTES, PagerDutySettings, event_body, pagerduty_event
from sinks.receivers import ReceiversSettings, Routes, build_receivers, routes
from sinks.slack import SlackSettings, evidence_table, slack_message
from sinks.webhook import WebhookReceiver, WebhookSettings
from sinks.webhook import event_body as cloud_event

KEY = "r" * 32
NO_LINKS = LinkSettings()
LINKS = LinkSettings(
    console="https://driftline.example/?model={model}",
    grafana="https://grafana.example/d/x?var-model={model}&var-version={version}&r={role}",
)
EXHIBIT = Exhibit("amount", "country=DE", "psi", 0.31, 0.2, 1200)


def action(kind: ActionKind, evidence: tuple[Exhibit, ...] = (EXHIBIT,)) -> Action:
    return Action(
        key="k1",
        kind=kind,
        release=Release("fraud", "7", Role.CANARY),
        return_to="6",
        reason="amount drifted",
        note="rollback to 6 requested",
        evidence=evidence,
        severity=Severity.ERROR,
        incident_key="incident_1",
        created_ms=1_763_700_000_123,
    )


def pagerduty(given: Action, links: LinkSettings = NO_LINKS) -> dict[str, Any]:
    event = pagerduty_event(given, KEY, links, given.evidence)
    assert pagerduty_faults(event) == []
    return event


def test_one_incident_is_triggered_acknowledged_and_resolved_under_one_key() -> None:
    events = [
        pagerduty(action(kind))
        for kind in (ActionKind.PAGE, ActionKind.ACKNOWLEDGE, ActionKind.RESOLVE)
    ]
    assert [event["event_action"] for event in events] == ["trigger", "acknowledge", "resolve"]
    assert {event["dedup_key"] for event in events} == {"incident_1"}
    assert ["payload" in event for event in events] == [True, False, False]


def test_a_rollback_is_no_event_of_pagerduty() -> None:
    with pytest.raises(ValueError, match="not rollback"):
        pagerduty_event(action(ActionKind.ROLLBACK), KEY, NO_LINKS, ())


def test_a_page_links_to_where_a_person_looks() -> None:
    event = pagerduty(action(ActionKind.PAGE), LINKS)
    assert event["client_url"] == "https://driftline.example/?model=fraud"
    assert event["links"] == [
        {"href": "https://driftline.example/?model=fraud", "text": "Console"},
        {
            "href": "https://grafana.example/d/x?var-model=fraud&var-version=7&r=canary",
            "text": "Grafana",
        },
    ]
    assert "links" not in pagerduty(action(ActionKind.PAGE))


def test_an_event_is_never_larger_than_pagerduty_takes() -> None:
    many = tuple(replace(EXHIBIT, column="c" * 500) for _ in range(5_000))
    body = event_body(action(ActionKind.PAGE, many), KEY, LINKS)
    assert len(body) <= MAX_EVENT_BYTES
    event = json.loads(body)
    assert pagerduty_faults(event) == []
    shown = len(event["payload"]["custom_details"]["evidence"])
    assert 500 < shown < 5_000


@pytest.mark.parametrize("name", ["a&b=c", "</a>", "{version}", "x" * 2_000, "\ud800é", "a b|c>"])
def test_a_name_can_neither_leave_its_place_in_a_link_nor_break_the_message(name: str) -> None:
    release = Release(name, "7", Role.CANARY)
    for link in links_for(LINKS, release):
        assert not set(link.href) & set('<>|" {}')
        assert link.href.count("&") <= 2
    message = slack_message(replace(action(ActionKind.PAGE), release=release), LINKS)
    assert slack_fault(message) == ""
    assert len(links_for(LINKS, Release("x" * 2_000, "7", Role.CANARY))) == 0


def blocks(given: Action, links: LinkSettings = NO_LINKS) -> list[str]:
    message: dict[str, Any] = slack_message(given, links)
    assert slack_fault(message) == ""
    return [block["text"]["text"] for block in message["blocks"]]


def test_slack_shows_the_evidence_as_a_table_with_bars_and_the_links() -> None:
    worse = replace(EXHIBIT, column="latency_ms", segment="all", statistic=0.9)
    texts = blocks(action(ActionKind.PAGE, (EXHIBIT, worse)), LINKS)
    assert texts[-1] == (
        "<https://driftline.example/?model=fraud|Console> · "
        "<https://grafana.example/d/x?var-model=fraud&amp;var-version=7&amp;r=canary|Grafana>"
    )
    assert texts[-2] == (
        "```amount [country=DE]  ██████░░ psi 0.31 limit 0.2 n=1200\n"
        "latency_ms           ████████ psi 0.9 limit 0.2 n=1200```"
    )


def test_a_table_stays_within_a_block_and_cannot_be_left() -> None:
    hostile = tuple(
        Exhibit("```<!channel>&" * 9, "&" * 99, "`" * 99, value, limit, 1)
        for value, limit in ((nan, 0.2), (inf, 0.2), (1.0, 0.0), (-1.0, 0.2)) * 5
    )
    table = evidence_table(hostile)
    assert len(table) <= 3_000
    assert table.startswith("```")
    assert table.endswith("```")
    assert "`" not in table[3:-3]
    assert "<" not in table
    assert "and " in table
    for given in (hostile, hostile[:1], ()):
        blocks(action(ActionKind.PAGE, given), LINKS)


def test_the_end_of_an_incident_is_said_without_a_table() -> None:
    texts = blocks(action(ActionKind.RESOLVE, ()))
    assert "healthy again" in texts[0]
    with pytest.raises(ValueError, match="not acknowledge"):
        slack_message(action(ActionKind.ACKNOWLEDGE), NO_LINKS)


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "https://user:pw@x/y", "https://x/a|b", "https://x/<", "//x/y"]
)
def test_a_link_that_would_break_a_message_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="grafana"):
        LinkSettings(grafana=url)


@pytest.mark.parametrize(
    ("kind", "event_type"),
    [
        (ActionKind.ROLLBACK, "io.driftline.rollback.requested.v1"),
        (ActionKind.PAGE, "io.driftline.incident.paged.v1"),
        (ActionKind.ACKNOWLEDGE, "io.driftline.incident.acknowledged.v1"),
        (ActionKind.RESOLVE, "io.driftline.incident.resolved.v1"),
    ],
)
def test_a_webhook_tells_of_each_kind_in_an_event_of_its_own(
    kind: ActionKind, event_type: str
) -> None:
    event = json.loads(cloud_event(action(kind), "urn:driftline"))
    assert (event["type"], event["id"]) == (event_type, "k1")
    about_incident = {"incident", "severity", "note"}
    assert (about_incident <= event["data"].keys()) is (kind is not ActionKind.ROLLBACK)


def everyone() -> tuple[ReceiversSettings, dict[str, str]]:
    hook = SecretSource(env="K")
    settings = ReceiversSettings(
        webhooks=(
            WebhookSettings("deployer", "https://d.example/x", hook),
            WebhookSettings("log", "https://l.example/x", hook, kinds=tuple(ActionKind)),
        ),
        pagerduty=(
            PagerDutySettings("risk", routing_key=SecretSource(env="R"), models=("fraud*",)),
            PagerDutySettings("rest", routing_key=SecretSource(env="R"), models=("[!f]*",)),
        ),
        slack=(SlackSettings("slack", SecretSource(env="S")),),
        alertmanager=(AlertmanagerSettings("am", "https://am.example"),),
    )
    secret = "whsec_" + "a" * 43 + "="
    return settings, {"K": secret, "R": KEY, "S": "https://hooks.slack.example/services/T"}


def test_actions_go_to_those_who_take_their_kind_and_model() -> None:
    settings, environ = everyone()
    table = routes(build_receivers(settings, EgressSettings(), environ))
    assert table.takers(action(ActionKind.ROLLBACK)) == ("deployer", "log")
    assert table.takers(action(ActionKind.PAGE)) == ("log", "risk", "slack", "am")
    assert table.takers(action(ActionKind.ACKNOWLEDGE)) == ("log", "risk")
    churn = replace(action(ActionKind.PAGE), release=Release("churn", "1", Role.CANARY))
    assert table.takers(churn) == ("log", "rest", "slack", "am")
    assert settings.names() == {"deployer", "log", "risk", "rest", "slack", "am"}
    assert table.dry_run == frozenset()


def test_routes_without_patterns_take_every_model() -> None:
    assert Routes({ActionKind.PAGE: ("p",)}).takers(action(ActionKind.PAGE)) == ("p",)


def test_two_receivers_of_one_name_are_refused() -> None:
    settings, environ = everyone()
    made = build_receivers(settings, EgressSettings(), environ)
    assert any(isinstance(each, WebhookReceiver) for each in made)
    with pytest.raises(ValueError, match="named twice"):
        routes((*made, made[0]))


def test_a_webhook_that_is_sent_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="kinds is empty"):
        WebhookSettings(kinds=())
