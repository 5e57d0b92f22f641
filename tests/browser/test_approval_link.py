"""The signed link of a page, opened and used in a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detectors.release import Role
from detectors.rollback_case import RollbackState
from examples.serving import bind
from sinks.api import ApiParts, Readiness, create_app
from sinks.approvals import ApprovalLinks, ApprovalSettings
from sinks.commands import DecisionCommand
from sinks.control import CaseRecord, ControlBoard
from sinks.credentials import SecretSource
from sinks.operations import Operations
from sinks.verdict_board import VerdictBoard
from tests.faults.served_api import Kafka
from tests.web_server import QUIET, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

KEY = "an-approval-key-of-the-test"
HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title="owned"</script>'


def case(revision: int = 1, state: RollbackState = RollbackState.PROPOSED) -> CaseRecord:
    names = ("rollback_k", HOSTILE, "0613", Role.CANARY, "0314")
    return CaseRecord(*names, state, revision, "policy", HOSTILE, False, 0, 0)


@contextmanager
def served(board: ControlBoard, kafka: Kafka) -> Iterator[ApprovalLinks]:
    """The API on a port of its own; gives what makes links to it."""
    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        links = ApprovalLinks(ApprovalSettings(url, SecretSource(env="A")), {"A": KEY})
        parts = ApiParts(
            board=VerdictBoard(),
            now_ms=lambda: time.time_ns() // 1_000_000,
            max_age_ms=300_000,
            ready=lambda: Readiness(True, ""),
            findings=lambda _: [],
            tokens=("a-token-for-readers",),
            operations=Operations(board, lambda: True, kafka, links),
        )
        with running(create_app(parts), listener, **QUIET):
            yield links


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty page of a browser that has seen nothing yet."""
    with chromium.new_context() as context:
        yield context.new_page()


def test_opening_the_link_does_nothing_and_the_button_approves_once(
    page: Page, tmp_path: Path
) -> None:
    board, kafka = ControlBoard(5), Kafka()
    board.take(case())
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    with served(board, kafka) as links:
        link = links.link("rollback_k", 1, time.time_ns() // 1_000_000 + 60_000)
        page.goto(link)
        page.reload()
        assert kafka.commands == []
        # What a producer or an alert wrote is text.
        assert page.title() == "Roll this release back? · driftline"
        assert page.locator("img, script").count() == 0
        assert HOSTILE in page.locator("dd").first.inner_text()
        page.screenshot(path=tmp_path / "approval.png")
        page.click("#approve")
        assert "carried out" in page.locator("#outcome").inner_text()
        (command,) = kafka.commands
        assert isinstance(command, DecisionCommand)
        assert (command.key, command.revision, command.approved) == ("rollback_k", 1, True)
        board.take(case(2, RollbackState.APPROVED))
        page.goto(link)
        assert page.locator("button").count() == 0
        assert "It is approved" in page.locator("h1").inner_text()
        assert len(kafka.commands) == 1
    # The page's policy let everything it needs load, the style included.
    assert [text for text in said if "Content Security Policy" in text] == []


def test_a_link_somebody_changed_has_no_button(page: Page) -> None:
    board, kafka = ControlBoard(5), Kafka()
    board.take(case())
    with served(board, kafka) as links:
        link = links.link("rollback_k", 1, time.time_ns() // 1_000_000 + 60_000)
        page.goto(link.replace("r=1", "r=2"))
        assert page.locator("button").count() == 0
        assert "not valid" in page.locator("h1").inner_text()
    assert kafka.commands == []
