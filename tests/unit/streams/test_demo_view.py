"""What the demo prints about a release: first what was found, then what was done."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from streams.demo_shell import Shell
from streams.demo_traffic import CANARY
from streams.demo_view import View, releases_table, show_next
from streams.demo_watch import Addresses, Figures, Page, Request, Snapshot, Standing
from streams.replay import Replay, Sent

FOUND = "scores.usable_code: values go down beyond the margin"
FAILS = Standing("fail", FOUND, 1_000)


class Played:
    """As much of a replay as is shown."""

    sent = Sent()


def lines(*snapshots: Snapshot) -> list[str]:
    out = io.StringIO()
    view = View(Console(file=out, width=200), 1_000)
    played: Replay = Played()  # type: ignore[assignment]
    for seen in snapshots:
        view.show(played, seen)
    return [line.strip() for line in out.getvalue().splitlines()]


def test_the_reason_of_the_finding_is_said_and_then_each_step_of_the_rollback_once() -> None:
    fails = Snapshot(releases={CANARY: FAILS})
    asked = replace(fails, releases={CANARY: replace(FAILS, rollback="approved")})
    done = replace(fails, releases={CANARY: replace(FAILS, rollback="acknowledged")})
    said = [line for line in lines(fails, asked, asked, done, done) if str(CANARY) in line]
    assert said == [
        f"{CANARY}: FAIL: {FOUND}",
        f"{CANARY}: its rollback is approved",
        f"{CANARY}: its rollback is acknowledged",
    ]


def test_the_table_keeps_the_finding_beside_what_was_done() -> None:
    out = io.StringIO()
    seen = Snapshot(
        releases={CANARY: FAILS},
        figures={CANARY: Figures(1.0, 2.0, (), 0)},
        requests=(Request(1, "executed", "canary taken out"),),
    )
    Console(file=out, width=200).print(releases_table(seen))
    text = out.getvalue()
    assert FOUND in text
    assert "was taken out" in text
    assert text.index(FOUND) < text.index("was taken out")


def test_what_was_executed_is_told_after_the_verdict_and_before_what_came_of_it() -> None:
    seen = Snapshot(
        releases={CANARY: replace(FAILS, rollback="acknowledged")},
        requests=(Request(1, "executed", "canary taken out"),),
        pages=(Page("trigger", "incident", "error", f"{CANARY}: {FOUND}"),),
    )
    told = [line.removeprefix(f"{CANARY}: ").partition(":")[0] for line in lines(seen)]
    assert told == ["FAIL", "deployer", "its rollback is acknowledged", "pager"]


def test_the_last_lines_can_be_typed_as_they_are_printed() -> None:
    out = io.StringIO()
    show_next(
        Console(file=out, width=200),
        Addresses("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3", "http://x"),
        Path("/run"),
        shell=Shell(".venv/bin/driftline", "examples/driftline.yaml"),
        running=True,
    )
    said = out.getvalue()
    assert " .venv/bin/driftline verdict gpt-4 0314 --url http://127.0.0.1:1" in said
    assert " .venv/bin/driftline up" in said
    assert " driftline " not in said
