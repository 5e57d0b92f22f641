"""Which of a model's people hears what, and through which receivers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from detectors.action import Action, ActionKind, ActionLink, Audience, Severity
from detectors.release import Release, Role
from sinks.links import LinkSettings, links_of
from sinks.owners import OwnerSettings
from sinks.receivers import Routes
from streams.config import ConfigError, load_config

RISK = OwnerSettings("risk", ("fraud*",), ("pager",), ("data",), ("duty",))
ALL = ("pager", "slack", "data", "duty")
PAGE = Action(
    "k",
    ActionKind.PAGE,
    Release("fraud-1", "2", Role.CANARY),
    "1",
    "r",
    "n",
    (),
    Severity.ERROR,
    "i",
    0,
)


def routes(*owners: OwnerSettings) -> Routes:
    return Routes({ActionKind.PAGE: ALL, ActionKind.ROLLBACK: ("deployer",)}, owners=owners)


@pytest.mark.parametrize(
    ("audience", "heard"),
    [
        (Audience.OWNER, ("pager",)),
        (Audience.DATA_OWNER, ("data",)),
        (Audience.ESCALATION, ("pager", "duty")),
    ],
)
def test_each_audience_hears_through_its_own_receivers(
    audience: Audience, heard: tuple[str, ...]
) -> None:
    assert routes(RISK).takers(replace(PAGE, audience=audience)) == heard


def test_what_no_owner_claims_is_heard_by_all_and_rollbacks_go_to_deployers() -> None:
    other = replace(PAGE, release=Release("search", "2", Role.CANARY))
    assert routes(RISK).takers(other) == ALL
    assert routes(RISK).takers(replace(PAGE, kind=ActionKind.ROLLBACK)) == ("deployer",)


def test_an_owner_without_receivers_hears_through_all_but_those_for_others() -> None:
    owner = OwnerSettings("risk", ("*",), (), ("data",), ("duty",))
    assert routes(owner).takers(PAGE) == ("pager", "slack")


def test_a_page_that_would_reach_nobody_reaches_everybody() -> None:
    owner = OwnerSettings("risk", ("*",), ("gone",))
    assert routes(owner).takers(PAGE) == ALL


def test_the_first_owner_that_matches_counts() -> None:
    everything = OwnerSettings("platform", ("*",), ("slack",))
    assert routes(RISK, everything).takers(PAGE) == ("pager",)
    assert routes(everything, RISK).takers(PAGE) == ("slack",)


def test_an_owner_names_receivers_that_are_there(tmp_path: Path) -> None:
    file = tmp_path / "driftline.yaml"
    file.write_text("owners: [{team: risk, receivers: [pager]}]\n", "utf-8")
    with pytest.raises(ConfigError, match="no receiver is called `pager`"):
        load_config(file, {})


def test_the_link_to_an_approval_stands_before_the_others() -> None:
    asked = replace(
        PAGE, links=(ActionLink("Approve or reject", "https://d.example/v1/approvals"),)
    )
    found = links_of(LinkSettings(console="https://d.example/"), asked)
    assert [link.text for link in found] == ["Approve or reject", "Console"]
