"""What a backtest found, for people (tables, policies side by side) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from detectors.action import printable
from detectors.release import Release
from detectors.verdict import Status
from streams.backtest_outcome import (
    Alarm,
    AlarmKind,
    BacktestOutcome,
    Exposure,
    ModelScore,
    PolicyOutcome,
)
from streams.timeline import DAY, HOUR, MINUTE, NEVER, SECOND

MOST_SHOWN: Final = 20
"""Alarms of one policy in the report; the JSON has more."""
_LATE_SHARE: Final = 0.01

_COLOURS: Final = {
    AlarmKind.DETECTION: "green",
    AlarmKind.FALSE_ALARM: "red",
    AlarmKind.ALARM: "yellow",
}


def as_json(outcome: BacktestOutcome) -> bytes:
    """All of it, in the names of `streams.backtest_outcome`, times in milliseconds."""
    return msgspec.json.encode(outcome)


def show(outcome: BacktestOutcome, console: Console) -> None:
    """Print the report."""
    length_ms = max(outcome.last_ms - outcome.first_ms, 0)
    console.print(
        Text(
            f"{printable(outcome.recording)}: {moment(outcome.first_ms)} to"
            f" {moment(outcome.last_ms)} ({duration(length_ms)})"
        ),
        soft_wrap=True,
    )
    console.print(_totals(outcome.policies))
    console.print(_releases(outcome))
    for policy in outcome.policies:
        if policy.alarms:
            console.print(_alarms(policy))
    for warning in _warnings(outcome):
        console.print(Text(warning, style="yellow"), soft_wrap=True)


def moment(ms: int) -> str:
    """A time as people read it, in UTC.

    >>> moment(1_700_000_000_000)
    '2023-11-14 22:13:20Z'
    """
    if ms == NEVER:
        return "never"
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def duration(ms: int) -> str:
    """A length of time in its two largest units.

    >>> duration(3_661_000), duration(90_000), duration(400)
    ('1h 1m', '1m 30s', '0s')
    """
    units = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND))
    for index, (name, unit) in enumerate(units):
        if ms >= unit:
            text = f"{ms // unit}{name}"
            if index + 1 < len(units) and (rest := ms % unit // units[index + 1][1]):
                text += f" {rest}{units[index + 1][0]}"
            return text
    return "0s"


def _totals(policies: Iterable[PolicyOutcome]) -> Table:
    """One column a policy, so that two stand side by side."""
    policies = tuple(policies)
    table = Table("", *_headings(policies), box=None)
    rows: tuple[tuple[str, Callable[[PolicyOutcome], str]], ...] = (
        ("detections", lambda p: str(sum(s.detections for s in p.scores))),
        ("missed", lambda p: str(sum(len(s.missed) for s in p.scores))),
        ("slowest detection", _slowest),
        ("false alarms", lambda p: str(sum(s.false_alarms for s in p.scores))),
        ("  the budget allows", _allowed),
        ("alarms, truth not known", lambda p: str(sum(s.alarms for s in p.scores if not s.known))),
        ("  repeated, not counted", lambda p: str(sum(s.repeated for s in p.scores))),
        ("rollbacks", lambda p: str(p.rollbacks)),
        ("pages", lambda p: str(p.pages)),
        ("answered by bad releases", lambda p: f"{sum(e.events for e in p.exposures):,} events"),
        ("verdicts", lambda p: f"{p.counted.verdicts:,}"),
        ("events", lambda p: f"{p.counted.events:,}"),
        ("  late, left out", lambda p: f"{p.counted.late:,}"),
        ("  unreadable", lambda p: f"{p.counted.dead:,}"),
        ("  after a rollback, withheld", lambda p: f"{p.counted.withheld:,}"),
    )
    for label, cell in rows:
        table.add_row(label, *(cell(policy) for policy in policies))
    return table


def _headings(policies: Iterable[PolicyOutcome]) -> list[Column]:
    return [Column(Text(printable(policy.name, 60))) for policy in policies]


def _slowest(policy: PolicyOutcome) -> str:
    first = [alarm for alarm in policy.alarms if not alarm.repeated]
    delays = [alarm.delay_ms for alarm in first if alarm.delay_ms is not None]
    return duration(max(delays)) if delays else "-"


def _allowed(policy: PolicyOutcome) -> str:
    known = [score for score in policy.scores if score.known]
    if not known:
        return "- (no --change, --bad)"
    healthy = duration(sum(score.healthy_ms for score in known))
    return f"{sum(score.allowed for score in known):.2g} in {healthy} that were healthy"


def _releases(outcome: BacktestOutcome) -> Table:
    """For each release what became of it under each policy."""
    table = Table("release", *_headings(outcome.policies), box=None)
    releases = sorted({c.release for policy in outcome.policies for c in policy.courses})
    for release in releases[:100]:
        cells = (Text("\n".join(_fate(release, policy))) for policy in outcome.policies)
        table.add_row(Text(printable(str(release), 80)), *cells)
    return table


def _fate(release: Release, policy: PolicyOutcome) -> Iterator[str]:
    course = next((c for c in policy.courses if c.release == release), None)
    if course is None:
        yield "-"
        return
    last: Status | str = course.statuses[-1][1] if course.statuses else "no verdict"
    yield f"{last} at the end, {course.events:,} events"
    first = next(
        (a for a in policy.alarms if a.release == release and a.kind is AlarmKind.DETECTION), None
    )
    if first is not None:
        yield f"detected after {duration(first.delay_ms or 0)}, {first.delay_events or 0:,} events"
    for exposure in policy.exposures:
        if exposure.release == release:
            yield _exposed(exposure)


def _exposed(exposure: Exposure) -> str:
    return (
        f"answered {exposure.events:,} events ({exposure.share:.1%} of the model's) in"
        f" {duration(exposure.until_ms - exposure.since_ms)}, until the {exposure.ended_by}"
    )


def _alarms(policy: PolicyOutcome) -> Table:
    title = Text(f"alarms of {printable(policy.name, 60)}", style="bold")
    table = Table("at", "release", "what", "after", "why", title=title, title_justify="left")
    for alarm in policy.alarms[:MOST_SHOWN]:
        table.add_row(
            moment(alarm.at_ms),
            Text(printable(str(alarm.release), 80)),
            Text(_what(alarm), style=_COLOURS[alarm.kind]),
            _delay(alarm),
            Text(printable(alarm.reason, 160)),
        )
    raised = sum(score.alarms + score.repeated for score in policy.scores)
    left = raised - min(len(policy.alarms), MOST_SHOWN)
    if left:
        table.caption = f"and {left:,} more"
    return table


def _what(alarm: Alarm) -> str:
    return alarm.kind.value.replace("_", " ") + (", repeated" if alarm.repeated else "")


def _delay(alarm: Alarm) -> str:
    if alarm.delay_ms is None:
        return "-"
    return f"{duration(alarm.delay_ms)}\n{alarm.delay_events or 0:,} events"


def _warnings(outcome: BacktestOutcome) -> Iterator[str]:
    """What a reader must know so as not to take the numbers for more than they are."""
    if outcome.unseen:
        names = ", ".join(printable(name, 80) for name in outcome.unseen)
        yield f"no event is of {names}: check --change and --bad"
    for policy in outcome.policies:
        name, counted = printable(policy.name, 60), policy.counted
        for score in policy.scores:
            yield from _score_warnings(name, score)
        if counted.late > _LATE_SHARE * (counted.events + counted.late):
            yield f"{name}: {counted.late:,} events were late: is the recording in order of time?"
        if counted.reasons:
            why = "; ".join(f"{reason} ({n:,})" for reason, n in counted.reasons[:3])
            yield f"{name}: {counted.dead:,} rows could not be read: {why}"


def _score_warnings(name: str, score: ModelScore) -> Iterator[str]:
    model = printable(score.model, 80)
    for missed in score.missed:
        yield f"{name}: {model}: missed: {printable(missed)}"
    # A budget speaks of an average: one alarm in a short recording proves nothing.
    if score.false_alarms > max(score.allowed, 1):
        yield (
            f"{name}: {model}: {score.false_alarms} false alarms,"
            f" and the budget allows {score.allowed:.2g}"
        )
