"""What counts as a demo that went as it must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from detectors.release import Release, Role
from streams.demo_outcome import EXPECTED_PAGES, EXPECTED_RUNNING, missing, wrong
from streams.demo_traffic import CANARY, LOAN_MODEL, PRODUCTION, drift_at_ms
from streams.demo_watch import Figures, Page, Request, Snapshot, Step

PAGES = tuple(
    Page("trigger", f"incident-{number}", "error", f"{release}: bad")
    for number, release in enumerate(EXPECTED_PAGES)
)
EXECUTED = Request(1, "executed", "gpt-4: canary 0613 taken out")
GOOD = Snapshot(
    actions=(Step(CANARY, "rollback", "deployer", "acknowledged", 2),),
    running=EXPECTED_RUNNING,
    requests=(EXECUTED,),
    pages=PAGES,
)


def test_one_rollback_and_the_expected_pages_are_as_it_must_be() -> None:
    assert missing(GOOD) == ()
    assert wrong(GOOD, 0) == ()


def test_a_repeated_request_and_a_repeated_page_change_nothing() -> None:
    repeated = replace(
        GOOD,
        requests=(EXECUTED, Request(2, "repeated", "first time: executed")),
        pages=(*PAGES, PAGES[0]),
    )
    assert wrong(repeated, 0) == ()


def test_before_anything_happened_everything_is_missing() -> None:
    assert len(missing(Snapshot())) == 1 + len(EXPECTED_PAGES)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, requests=(EXECUTED, EXECUTED)),
        replace(GOOD, requests=(EXECUTED, Request(2, "declined", "nothing done"))),
        replace(GOOD, requests=(EXECUTED, Request(2, "refused", "no valid signature"))),
        replace(GOOD, running={**EXPECTED_RUNNING, "car_loan": ("0", "")}),
        replace(GOOD, actions=(*GOOD.actions, Step(LOAN_MODEL, "rollback", "none", "pending", 3))),
        replace(GOOD, pages=(*PAGES, Page("trigger", "i", "error", f"{PRODUCTION}: bad"))),
        replace(GOOD, pages=(*PAGES, Page("trigger", "again", "error", f"{CANARY}: bad"))),
        replace(GOOD, pages=(*PAGES, Page("resolve", "incident-0", "", ""))),
        replace(GOOD, refused=1),
        replace(GOOD, figures={LOAN_MODEL: Figures(None, None, (), drift_at_ms())}),
    ],
)
def test_anything_else_is_wrong(bad: Snapshot) -> None:
    assert len(wrong(bad, 0)) == 1


def test_only_a_canary_loses_its_traffic_by_a_rollback() -> None:
    assert not GOOD.runs(CANARY)
    assert GOOD.runs(PRODUCTION)
    assert GOOD.runs(LOAN_MODEL)
    assert GOOD.runs(Release("gpt-4", "x", Role.SHADOW))
    assert Snapshot().runs(CANARY)
