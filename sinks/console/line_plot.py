"""Series over time: lines, each with an interval around it if it has one.

What the values are is in the picture itself: a strip over each point in time says, where the
pointer rests on it, the time and the value of every series there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from sinks.console import svg, wording
from sinks.console.axes import Scale, fitted, time_ticks

COLOURS: Final = 8
_WIDTH, _HEIGHT = 520, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 24


@dataclass(frozen=True, slots=True)
class Point:
    """``at_ms`` in event time; ``low`` and ``high`` are the ends of an interval, or None."""

    at_ms: int
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """``colour``: 0 to `COLOURS` - 1. ``points`` in the order of time."""

    name: str
    colour: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a plot spans and how it is labelled. ``step_ms``: the usual distance of two points; a
    distance of three is a gap in the line. ``limit``: drawn across, where a value fails."""

    label: str
    from_ms: int
    to_ms: int
    step_ms: int
    written: Callable[[float | None], str] = wording.number
    with_zero: bool = False
    limit: float | None = None
    width: int = _WIDTH


def line_plot(series: Sequence[Series], frame: Frame) -> Markup:
    """The picture, or a sentence where there is nothing to draw."""
    if not any(each.points for each in series):
        return svg.element("p", "no data in this time", class_="empty")
    points = [point for each in series for point in each.points]
    values = [point.value for point in points]
    # Intervals of the first values are huge; drawn to scale they would flatten all others.
    settled = [point for each in series for point in each.points[len(each.points) // 3 :]]
    values += [end for point in settled for end in (point.low, point.high) if end is not None]
    if frame.limit is not None:
        values.append(frame.limit)
    y, ticks = fitted(values, _HEIGHT - _BOTTOM, _TOP, with_zero=frame.with_zero)
    x = Scale(frame.from_ms, max(frame.to_ms, frame.from_ms + 1), _LEFT, frame.width - _RIGHT)
    parts = [*_grid(frame, x, y, ticks)]
    for each in series:
        for run in _runs(each.points, frame.step_ms):
            parts += _run(run, each.colour, x, y)
    if frame.limit is not None:
        at = y.at(frame.limit)
        parts.append(svg.line(_LEFT, at, frame.width - _RIGHT, at, "limit"))
    parts += _strips(series, frame, x)
    return svg.picture(frame.width, _HEIGHT, frame.label, parts)


def legend(series: Sequence[Series]) -> Markup:
    """The names of the series beside their colours."""
    items = [
        svg.element(
            "li",
            svg.element("span", "", class_=f"swatch b{each.colour}"),
            svg.element("bdi", wording.shown(each.name)),
        )
        for each in series
        if each.points
    ]
    return svg.element("ul", *items, class_="legend")


def _grid(frame: Frame, x: Scale, y: Scale, ticks: Sequence[float]) -> Iterator[Markup]:
    right = frame.width - _RIGHT
    for tick in ticks:
        at = y.at(tick)
        yield svg.line(_LEFT, at, right, at, "zero" if tick == 0 else "grid")
        yield svg.text(_LEFT - 6, at + 3.5, frame.written(tick), anchor="end")
    for ms, words in time_ticks(frame.from_ms, frame.to_ms, most=6):
        at = x.at(ms)
        yield svg.line(at, _HEIGHT - _BOTTOM, at, _HEIGHT - _BOTTOM + 4, "grid")
        edge = "end" if at > right - 18 else "middle"
        yield svg.text(at, _HEIGHT - 8, words, anchor=edge)


def _runs(points: Sequence[Point], step_ms: int) -> Iterator[list[Point]]:
    """The points cut where the data has a gap: a line across it would show what nobody saw."""
    run = list(points[:1])
    for before, point in pairwise(points):
        if point.at_ms - before.at_ms > 3 * step_ms:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _run(run: Sequence[Point], colour: int, x: Scale, y: Scale) -> Iterator[Markup]:
    over = [(x.at(p.at_ms), y.at(p.high)) for p in run if p.high is not None]
    under = [(x.at(p.at_ms), y.at(p.low)) for p in run if p.low is not None]
    corners = [*over, *reversed(under)] if over and under else []
    if len(corners) > 2:
        yield svg.area(corners, f"band a{colour}")
    if len(run) == 1:
        (only,) = run
        yield svg.element(
            "circle", cx=x.at(only.at_ms), cy=y.at(only.value), r=2.5, class_=f"dot b{colour}"
        )
        return
    yield svg.path([(x.at(p.at_ms), y.at(p.value)) for p in run], f"line s{colour}")


def _strips(series: Sequence[Series], frame: Frame, x: Scale) -> Iterator[Markup]:
    said: dict[int, list[str]] = {}
    for each in series:
        for point in each.points:
            words = f"{wording.brief(each.name, 40)}: {frame.written(point.value)}"
            if point.low is not None or point.high is not None:
                words += f"  [{frame.written(point.low)}, {frame.written(point.high)}]"
            said.setdefault(point.at_ms, []).append(words)
    half = max((x.end - x.start) * frame.step_ms / max(frame.to_ms - frame.from_ms, 1) / 2, 1.0)
    for at_ms, sentences in sorted(said.items()):
        hint = "\n".join([f"{wording.moment(at_ms)} UTC", *sentences])
        left = max(x.at(at_ms) - half, _LEFT)
        yield svg.rect(left, _TOP, 2 * half, _HEIGHT - _TOP - _BOTTOM, "strip", hint)
