"""What the demo prints: a live table on a terminal, plain lines elsewhere, then the timeline and
what to try next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from detectors.release import Release
from streams.demo_outcome import EXPECTED_PAGES, Moment
from streams.demo_shell import Shell
from streams.demo_traffic import CANARY, LOAN_MODEL, PRODUCTION, SHADOW
from streams.demo_watch import Addresses, Snapshot
from streams.replay import Replay

SHOWN: tuple[Release, ...] = (PRODUCTION, CANARY, SHADOW, LOAN_MODEL)
MOST_COLUMNS = 3
_COLOURS = {"pass": "green", "fail": "bold red", "blind": "magenta", "hold": "magenta"}
_EVERY_LINES = 5.0
"""Percent of the replay between two lines of progress where there is no terminal."""


class View:
    """Shows the replay and the releases. On a terminal in place, elsewhere a line for each change
    of a verdict."""

    def __init__(self, console: Console, events: int) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[counted]}"),
            console=console,
            expand=True,
        )
        self._replayed = self._progress.add_task(
            f"replayed of {events:,} events", total=events, counted=""
        )
        self._judged = self._progress.add_task("read by driftline", total=events, counted="")
        self._live: Live | None = None
        self._said: dict[Release, str] = {}
        self._rollbacks: dict[Release, str] = {}
        self._pages = 0
        self._requests = 0
        self._percent = -_EVERY_LINES

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the table as it is: what is printed from now on comes below it."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, replay: Replay, seen: Snapshot) -> None:
        """Bring what is shown up to date."""
        played = replay.sent.events + replay.sent.withheld
        read = min(seen.intake.total + replay.sent.withheld, played)
        self._progress.update(
            self._replayed, completed=played, counted=f"{replay.sent.events:>6,} sent"
        )
        self._progress.update(
            self._judged, completed=read, counted=f"{seen.intake.events:>6,} counted"
        )
        if self._live is not None:
            self._live.update(Group(self._progress, releases_table(seen)))
        else:
            self._say_changes(played, seen)

    def _say_changes(self, played: int, seen: Snapshot) -> None:
        total = self._progress.tasks[0].total or 1
        if 100 * played / total >= self._percent + _EVERY_LINES * 4:
            self._percent = 100 * played / total
            self._console.print(f"[{self._percent:3.0f} %] replayed", markup=False)
        for release in SHOWN:
            standing = seen.releases.get(release)
            if standing is not None and standing.status != self._said.get(release):
                self._said[release] = standing.status
                self._line(f"{release}: {standing.status.upper()}: {_short(standing.reason)}")
        for request in seen.requests[self._requests :]:
            self._line(f"deployer: {request.outcome}: {request.detail}")
        self._requests = len(seen.requests)
        for release in SHOWN:
            standing = seen.releases.get(release)
            if standing is not None and standing.rollback != self._rollbacks.get(release, ""):
                self._rollbacks[release] = standing.rollback
                self._line(f"{release}: its rollback is {standing.rollback}")
        for page in seen.pages[self._pages :]:
            self._line(f"pager: {page.action} ({page.severity}): {_short(page.summary)}")
        self._pages = len(seen.pages)

    def _line(self, text: str) -> None:
        self._console.print(f"        {text}", markup=False, highlight=False, soft_wrap=True)


def releases_table(seen: Snapshot) -> Table:
    """The releases and what is thought of them."""
    # Narrow enough that 80 columns leave room for the reasons.
    table = Table(
        expand=True, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="Releases", title_style="bold"
    )
    table.add_column("release", no_wrap=True, min_width=14)
    table.add_column("status", no_wrap=True, min_width=12)
    for name in ("events", "p95 ms", "p99 ms"):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    table.add_column("why", ratio=1, min_width=20)
    for release in SHOWN:
        table.add_row(*_cells(release, seen))
    return table


def _cells(release: Release, seen: Snapshot) -> list[str]:
    standing, figures = seen.releases.get(release), seen.figures.get(release)
    name = f"{escape(release.model)}@{escape(release.version)}\n[dim]{release.role}[/dim]"
    if standing is None:
        return [name, "[dim]-[/dim]", "", "", "", "[dim]no verdict yet[/dim]\n"]
    colour = _COLOURS.get(standing.status, "yellow")
    why = standing.reason
    if standing.status == "fail" and figures is not None and figures.columns:
        more = len(figures.columns) - MOST_COLUMNS
        why = ", ".join(figures.columns[:MOST_COLUMNS]) + (f" and {more} more" if more > 0 else "")
    taken_out = ""
    if release == CANARY and _executed(seen):
        taken_out = f"\n{CANARY.version} was taken out, {PRODUCTION.version} answers everything"
    done = _done(release, seen)
    return [
        name,
        f"[{colour}]{standing.status.upper()}[/{colour}]{done}",
        f"{standing.events:,}",
        _milliseconds(figures.p95_ms if figures else None),
        _milliseconds(figures.p99_ms if figures else None),
        escape(_short(why, 90) + taken_out),
    ]


def _done(release: Release, seen: Snapshot) -> str:
    """What was done about it, as a line of its own."""
    if release == CANARY and _executed(seen):
        return "\n[bold cyan]rolled back[/bold cyan]"
    paged = any(page.summary.startswith(f"{release}: ") for page in seen.pages)
    return "\n[cyan]paged[/cyan]" if paged else ""


def _executed(seen: Snapshot) -> bool:
    return any(request.outcome == "executed" for request in seen.requests)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _short(text: str, most: int = 150) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def show_timeline(console: Console, moments: Sequence[Moment]) -> None:
    """From the first bad answer to the rollback: event time, time on the wall, and the distance."""
    table = Table(
        title="From the first bad answer to the executed rollback",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("what", no_wrap=True)
    table.add_column("event time", no_wrap=True)
    table.add_column("wall clock", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    first_ms = moments[0].wall_ms if moments else 0
    for moment in moments:
        table.add_row(
            moment.what,
            _time(moment.event_ms, "%H:%M:%S") if moment.event_ms else "",
            _time(moment.wall_ms, "%H:%M:%S.%f")[:-3],
            f"{(moment.wall_ms - first_ms) / 1000:.2f} s",
        )
    console.print(table)


def _time(at_ms: int, form: str) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime(form)


def show_end(
    console: Console, replay: Replay, seen: Snapshot, failures: Sequence[str], logs: Path
) -> None:
    """What was found, in a few lines."""
    sent, intake = replay.sent, seen.intake
    console.print(
        f"{sent.events:,} events sent: {intake.events:,} counted, {intake.dead} unreadable,"
        f" {intake.late} late. {sent.withheld:,} answers of the canary were never asked for,"
        " because it was rolled back.",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )
    if failures:
        console.print("[bold red]The demo did not go as it must:[/bold red]")
        for failure in failures:
            console.print(f"  - {failure}", markup=False, highlight=False)
        console.print(
            f"The logs are in {logs}",
            markup=False,
            highlight=False,
            soft_wrap=not console.is_terminal,
        )
        return
    pages = ", ".join(str(release) for release in EXPECTED_PAGES)
    console.print(
        f"[bold green]As it must be:[/bold green] {escape(str(CANARY))} was rolled back, once, and"
        f" nothing else was. Pages went out for {escape(pages)}, and for nothing else.",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )


def show_next(
    console: Console,
    addresses: Addresses,
    folder: Path,
    *,
    shell: Shell,
    running: bool,
) -> None:
    """What to try next, as it can be typed in the reader's ``shell``."""
    lines = ["", "What to try next"]
    if running:
        lines += [
            f"  look at it in a browser: {addresses.serve}/console/",
            "  ask what a deployment tool would ask:",
            f"    {shell.program} verdict gpt-4 0314 --url {addresses.serve}",
            f"    curl '{addresses.serve}/v1/releases'",
            "  query the store, as Grafana does (any ClickHouse client will do):",
            f"    curl '{addresses.store}' --data-binary \\",
            '      "SELECT column, detector, max(statistic), any(threshold) FROM driftline.findings'
            " FINAL WHERE outcome = 'fail' AND decides AND model = 'car_loan'"
            ' GROUP BY column, detector ORDER BY column FORMAT PrettyCompact"',
            "  see what the deployer and the pager were sent:",
            f"    curl {addresses.deployer}/log; curl {addresses.pager}/pages",
            f"  logs of every role: {folder / 'var' / 'log'}",
            f"  the configuration of this run: {folder / 'demo.yaml'}",
        ]
    else:
        lines += [
            f"  the console was at {addresses.serve}/console/; to leave it up and look around:",
            f"    {shell.program} demo --keep",
        ]
    lines += [
        "  run it on your own events, with a real Kafka:",
        "    DRIFTLINE__KAFKA__BOOTSTRAP=host:9092 DRIFTLINE__INPUTS='[{topic: your-topic}]' \\",
        f"      {shell.program} up",
        f"  every setting with a word on it: {shell.settings}",
    ]
    for line in lines:
        style = "bold" if line.startswith("What") else None
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    if running:
        console.print("\nEverything is still running. Ctrl-C stops it.", style="bold")
