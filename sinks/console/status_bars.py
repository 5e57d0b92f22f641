"""Verdicts over time: a bar a release, in the colours of its statuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sinks.console import svg, wording
from sinks.console.axes import Scale, time_ticks

_WIDTH, _LEFT, _RIGHT = 1_080, 190, 12
_ROW, _BAR, _BOTTOM = 26, 15, 24


@dataclass(frozen=True, slots=True)
class StatusRun:
    """One status held from ``from_ms`` to ``to_ms`` of event time."""

    status: str
    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A release, named, and its runs in the order of time."""

    name: str
    runs: tuple[StatusRun, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something done at a point in time, such as a rollback."""

    at_ms: int
    bar: int
    words: str


def status_bars(bars: Sequence[Bar], marks: Sequence[Mark], from_ms: int, to_ms: int) -> Markup:
    """The picture, or a sentence where there are no verdicts."""
    if not bars:
        return svg.element("p", "no verdicts in this time", class_="empty")
    x = Scale(from_ms, max(to_ms, from_ms + 1), _LEFT, _WIDTH - _RIGHT)
    height = 6 + len(bars) * _ROW + _BOTTOM
    label = "Verdicts of " + ", ".join(wording.brief(bar.name, 40) for bar in bars)
    return svg.picture(_WIDTH, height, label, _parts(bars, marks, x, height))


def _parts(bars: Sequence[Bar], marks: Sequence[Mark], x: Scale, height: int) -> Iterator[Markup]:
    for at_ms, words in time_ticks(int(x.low), int(x.high), most=9):
        at = x.at(at_ms)
        yield svg.line(at, 4, at, height - _BOTTOM + 4, "grid")
        yield svg.text(at, height - 7, words, anchor="end" if at > _WIDTH - 40 else "middle")
    for number, bar in enumerate(bars):
        y = 6 + number * _ROW
        yield svg.text(_LEFT - 10, y + 12, wording.brief(bar.name, 26), "name", "end")
        for run in bar.runs:
            left, right = x.at(run.from_ms), x.at(run.to_ms)
            hint = (
                f"{wording.shown(run.status.upper(), 20)}\n{wording.moment(run.from_ms)} to"
                f" {wording.moment(run.to_ms)} UTC"
            )
            width = max(right - left, 1.5)
            yield svg.rect(left, y, width, _BAR, f"v-{run.status}", hint)
            if width > 60:
                yield svg.text(left + 5, y + 11.5, wording.shown(run.status, 20), "in-bar")
    for mark in marks:
        at, y = x.at(mark.at_ms), 6 + mark.bar * _ROW
        yield svg.element(
            "path",
            svg.element(
                "title", f"{wording.shown(mark.words, 120)}\n{wording.moment(mark.at_ms)} UTC"
            ),
            d=f"M{at:.1f} {y - 3} l7 10 l-7 10 l-7 -10 z",
            class_="mark",
        )
