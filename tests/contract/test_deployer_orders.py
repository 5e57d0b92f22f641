"""What is ordered of deployers, and what they are set to, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from detectors.action import Action, ActionKind, Severity
from detectors.release import OTHER, Release, Role
from sinks.deployers.cluster import Cluster, ClusterSettings
from sinks.deployers.flagger import FlaggerSettings
from sinks.deployers.order import (
    Done,
    Effect,
    Order,
    Refused,
    VersionMark,
    filled,
    object_name,
    order_of,
)
from sinks.deployers.receiver import DeployerReceiver
from sinks.egress import EgressSettings
from sinks.errors import Permanent
from tests.contract.deployer_stage import KEY
from tests.contract.kubernetes_objects import BAD, GOOD, NAME


def action(model: str = NAME, version: str = BAD, return_to: str = GOOD) -> Action:
    return Action(
        key=KEY,
        kind=ActionKind.ROLLBACK,
        release=Release(model, version, Role.CANARY),
        return_to=return_to,
        reason="",
        note="",
        evidence=(),
        severity=Severity.ERROR,
        incident_key="i",
        created_ms=0,
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (action(return_to=""), "no version to return to"),
        (action(return_to=BAD), "the one to leave"),
        (action(version=OTHER), "folded"),
        (action(return_to=OTHER), "folded"),
    ],
)
def test_an_action_without_a_way_back_is_no_order(given: Action, why: str) -> None:
    with pytest.raises(Refused, match=why):
        order_of(given)


HOSTILE = [
    "../../secrets",
    "a/b",
    "A",
    "",
    "x" * 254,
    "a\r\nb",
    "-a",
    "a?dryRun=All",
    "é",
    "{version}",
]


@pytest.mark.parametrize("model", HOSTILE)
def test_a_name_that_is_no_kubernetes_name_never_gets_into_a_path(model: str) -> None:
    with pytest.raises(Refused, match="no Kubernetes name"):
        object_name("{model}", model)


def test_what_is_filled_in_is_not_read_again() -> None:
    assert filled("{model}-{version}", "{version}", "{model}") == "{version}-{model}"


def test_a_dry_run_says_so_in_its_record() -> None:
    class Fake:
        async def roll_back(self, order: Order) -> Any:
            return Done(Effect.DONE, f"shifted {order.version}\n<b>" + "x" * 500)

    for dry_run in (True, False):
        receiver = DeployerReceiver(FlaggerSettings(name="f", dry_run=dry_run), Fake())
        text = asyncio.run(receiver.deliver(action(), 0))
        assert text.startswith("dry run, nothing changed") is dry_run
        assert "\n" not in text
        assert len(text) < 300


def test_a_mark_needs_a_version_in_its_form() -> None:
    with pytest.raises(ValueError, match="must hold"):
        VersionMark(form="latest")
    with pytest.raises(ValueError, match="JSON pointer"):
        VersionMark(at="spec.template")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (ClusterSettings(), "does not run in a cluster"),
        (ClusterSettings(server="https://10.0.0.1:6443", ca_file="/nowhere"), "cannot be read"),
    ],
)
def test_a_cluster_that_cannot_be_used_stops_the_start(settings: ClusterSettings, why: str) -> None:
    with pytest.raises(Permanent, match=why):
        Cluster(settings, EgressSettings(), {})


def test_a_token_is_not_sent_in_the_clear() -> None:
    with pytest.raises(ValueError, match="must be https"):
        ClusterSettings(server="http://10.0.0.1:8080")
