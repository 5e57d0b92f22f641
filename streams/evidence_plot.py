"""The pictures of an evidence report: SVG by hand, as they are lines, bars and text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

from detectors.action import printable

WIDTH: Final = 920
_LEFT: Final = 220
_RIGHT: Final = 20
_MOST_LINES: Final = 10
_MOST_EFFECTS: Final = 30
_COLOURS: Final[Mapping[str, str]] = {
    "pass": "#3a9d5d",
    "fail": "#d1383d",
    "insufficient": "#b9c0c9",
    "blind": "#5b4a8a",
    "hold": "#e0a030",
}
_LINES: Final = ("#1f4fa3", "#d1383d", "#1c6b3a", "#b07400", "#5b4a8a", "#00798c")

Row = Mapping[str, Any]


def verdict_bar(verdicts: Sequence[Row]) -> str:
    """Which verdict stood when, for each role."""
    if not verdicts:
        return ""
    low, high = _span([row["as_of"] for row in verdicts])
    parts: list[str] = []
    roles = sorted({row["role"] for row in verdicts})
    for at, role in enumerate(roles):
        y = 24 + 28 * at
        parts.append(_text(4, y + 12, role))
        course = [row for row in verdicts if row["role"] == role]
        for row, after in zip(course, [*course[1:], None], strict=True):
            start = _x(row["as_of"], low, high)
            end = _x(after["as_of"] if after else high, low, high)
            colour = _COLOURS.get(row["status"], "#000000")
            parts.append(
                f'<rect x="{start:.1f}" y="{y}" width="{max(end - start, 2):.1f}" height="16"'
                f' fill="{colour}"><title>{_safe(row["status"])}: {_safe(row["reason"])}</title>'
                "</rect>"
            )
    x = _LEFT
    for name, colour in _COLOURS.items():
        parts.append(f'<rect x="{x}" y="4" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, 13, name))
        x += 100
    return _svg(30 + 28 * len(roles), parts)


def evidence_lines(findings: Sequence[Row]) -> str:
    """How each check came near its limit: statistic over threshold, the limit at 1; the highest
    ones, on a logarithmic scale."""
    courses: dict[tuple[str, ...], list[tuple[int, float]]] = {}
    for row in findings:
        ratio = _ratio(row)
        if ratio is not None:
            names = ("column", "segment", "detector", "window_ms")
            key = tuple(str(row[name]) for name in names)
            courses.setdefault(key, []).append((row["window_end"], ratio))
    chosen = sorted(courses, key=lambda key: (-max(r for _, r in courses[key]), key))[:_MOST_LINES]
    if not chosen:
        return ""
    low, high = _span([at for key in chosen for at, _ in courses[key]])
    top = max(2.0, *(r for key in chosen for _, r in courses[key]))
    bottom = 0.01
    height = 300

    def y(ratio: float) -> float:
        share = math.log(max(ratio, bottom) / bottom) / math.log(top / bottom)
        return height - 20 - share * (height - 40)

    limit = y(1.0)
    parts = [
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{limit:.1f}" y2="{limit:.1f}"'
        ' stroke="#555555" stroke-dasharray="5 4"/>',
        _text(_LEFT + 4, limit - 4, "limit"),
    ]
    for at, key in enumerate(chosen):
        colour = _LINES[at % len(_LINES)]
        points = " ".join(f"{_x(t, low, high):.1f},{y(r):.1f}" for t, r in courses[key])
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts += [
            f'<circle cx="{_x(t, low, high):.1f}" cy="{y(r):.1f}" r="2" fill="{colour}"/>'
            for t, r in courses[key][-1:]
        ]
        label = f"{key[0]} {key[2]}" if key[1] == "all" else f"{key[0]} [{key[1]}] {key[2]}"
        parts.append(_text(4, 20 + 18 * at, label, colour))
    return _svg(height, parts)


def effect_intervals(latest: Sequence[Row]) -> str:
    """The size of each difference with its interval; zero is no difference. In each detector's own
    units, so every line has a scale of its own."""
    shown = [row for row in latest if _finite(row["effect_low"]) and _finite(row["effect_high"])]
    shown = shown[:_MOST_EFFECTS]
    if not shown:
        return ""
    parts: list[str] = []
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    half = (WIDTH - _RIGHT - _LEFT) / 2 - 90
    parts.append(
        f'<line x1="{middle}" x2="{middle}" y1="4" y2="{20 * len(shown) + 10}" stroke="#999999"/>'
    )
    for at, row in enumerate(shown):
        y = 16 + 20 * at
        ends = (row["effect_low"], row["effect_high"])
        widest = max(abs(ends[0]), abs(ends[1])) or 1.0
        left, right = (middle + half * end / widest for end in ends)
        colour = _COLOURS.get(row["outcome"], "#000000")
        parts.append(_text(4, y + 4, f"{row['column']} {row['detector']}"))
        parts.append(
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}" stroke="{colour}"'
            ' stroke-width="4"/>'
        )
        if _finite(row["effect"]):
            x = middle + half * row["effect"] / widest
            parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(_text(WIDTH - _RIGHT - 84, y + 4, f"{ends[0]:.3g} to {ends[1]:.3g}"))
    return _svg(20 * len(shown) + 16, parts)


def _ratio(row: Row) -> float | None:
    statistic, threshold = row["statistic"], row["threshold"]
    if not _finite(statistic) or not _finite(threshold) or not threshold:
        return None
    return abs(float(statistic) / float(threshold))


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _span(times: Iterable[int]) -> tuple[int, int]:
    found = list(times)
    low, high = min(found), max(found)
    return low, high if high > low else low + 1


def _x(at_ms: int, low: int, high: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (at_ms - low) / (high - low)


def _text(x: float, y: float, text: str, colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{_safe(text, 34)}</text>'


def _safe(text: str, limit: int = 200) -> str:
    return escape(printable(str(text), limit), {'"': "&quot;"})


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' width="{WIDTH}" height="{height:.0f}" font-family="sans-serif" font-size="12"'
        ' role="img">' + "".join(parts) + "</svg>"
    )
