"""What stands first on the pages of a release, out of a board and what a store says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from detectors.finding import Finding, Outcome
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.console.lead import DECIDING, SINCE, read_lead
from sinks.console.store_view import StoreView
from sinks.verdict_board import VerdictBoard

NOW = 1_760_000_000_000
RELEASE = Release("fraud", "2", Role.CANARY)
FAILS = ("all", "error", "canary_errors", "fail", 3.4, 0.06, 0.04, 0.08, "errors go up")
CLOSE = ("all", "age", "canary_level", "pass", 0.7, 1.0, -1.0, 3.0, "still reaches beyond")


def finding() -> Finding:
    return Finding(
        release=RELEASE,
        segment="all",
        column="error",
        window_ms=60_000,
        window_start_ms=NOW - 60_000,
        revision=0,
        detector="canary_errors",
        against="production:1",
        n=500,
        n_against=500,
        statistic=15.0,
        threshold=4.5,
        outcome=Outcome.FAIL,
        reason="errors go up",
        decides=True,
        critical=True,
    )


def board(status: Status) -> VerdictBoard:
    found = VerdictBoard()
    found.update(
        Verdict(
            release=RELEASE,
            status=status,
            reason="error: errors go up beyond the margin",
            sequence=1,
            as_of_ms=NOW - 5_000,
            window_start_ms=NOW - 60_000,
            window_ms=60_000,
            baseline_version="1",
            events=500,
            p95_latency_ms=1.0,
            p99_latency_ms=2.0,
            findings=(finding(),),
            offset=7,
        ),
        NOW,
    )
    return found


def store(status: str, *rows: Sequence[Any]) -> StoreView:
    def ask(sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        release = {"model": "fraud", "version": "2", "role": "canary"}
        if sql == DECIDING.replace("{db}", "`driftline`"):
            assert parameters == release
            return list(rows)
        assert sql == SINCE.replace("{db}", "`driftline`")
        said = parameters["said"]
        assert parameters == {**release, "said": said, "also": said}
        return [(NOW - 90_000,)] if said == status else []

    return StoreView(ask, lambda: 0.0, "driftline")


def test_reasons_are_sentences_and_figures_are_those_of_what_fails() -> None:
    held = board(Status.FAIL).standings(NOW, 300_000)
    lead = read_lead(store("fail", FAILS, CLOSE), held, RELEASE)
    assert lead is not None
    assert lead.words == ("error: errors go up beyond the margin",)
    assert [each.column for each in lead.deciding] == ["error"]
    assert lead.since_ms == NOW - 90_000


def test_where_nothing_fails_the_closest_are_shown() -> None:
    held = board(Status.PASS).standings(NOW, 300_000)
    lead = read_lead(store("pass", CLOSE), held, RELEASE)
    assert lead is not None
    assert [each.column for each in lead.deciding] == ["age"]


def test_a_verdict_that_the_store_does_not_have_has_no_beginning() -> None:
    """An old verdict is told as blind, and so nobody stored it."""
    held = board(Status.PASS).standings(NOW + 600_000, 300_000)
    lead = read_lead(store("pass", CLOSE), held, RELEASE)
    assert lead is not None
    assert lead.answer.status is Status.BLIND
    assert lead.since_ms is None


def test_a_release_that_nobody_has_judged_has_no_lead() -> None:
    held = board(Status.PASS).standings(NOW, 300_000)
    assert read_lead(store("pass"), held, replace(RELEASE, version="3")) is None
