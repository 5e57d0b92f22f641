"""Columns by time, coloured by how close each is to what fails it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from markupsafe import Markup

from sinks.console import svg, wording
from sinks.console.axes import Scale, time_ticks

SHADES: Final = 9
"""Steps below the limit; the class after them is the limit reached."""

_WIDTH, _LEFT, _RIGHT, _ROW, _BOTTOM = 1_080, 220, 12, 18, 24


def shade(value: float) -> int:
    """The step of a share: 0 is far, `SHADES` is where it fails.

    >>> [shade(v) for v in (-3, 0, 0.05, 0.5, 0.999, 1, 40)]
    [0, 0, 0, 4, 8, 9, 9]
    """
    return SHADES if value >= 1 else int(max(value, 0.0) * SHADES)


def heat_map(
    rows: Mapping[str, Sequence[tuple[int, float]]],
    links: Mapping[str, str],
    from_ms: int,
    to_ms: int,
    step_ms: int,
) -> Markup:
    """A row a column: (start of the cell in ms, share) each. ``links``: where a name leads."""
    if not rows:
        return svg.element("p", "no evidence in this time", class_="empty")
    x = Scale(from_ms, max(to_ms, from_ms + 1), _LEFT, _WIDTH - _RIGHT)
    height = 4 + len(rows) * _ROW + _BOTTOM
    label = f"How close {len(rows)} columns are to what fails them, over time"
    return svg.picture(_WIDTH, height, label, _parts(rows, links, x, step_ms, height))


def _parts(
    rows: Mapping[str, Sequence[tuple[int, float]]],
    links: Mapping[str, str],
    x: Scale,
    step_ms: int,
    height: int,
) -> Iterator[Markup]:
    for at_ms, words in time_ticks(int(x.low), int(x.high), most=9):
        at = x.at(at_ms)
        yield svg.line(at, height - _BOTTOM, at, height - _BOTTOM + 4, "grid")
        yield svg.text(at, height - 7, words, anchor="end" if at > _WIDTH - 40 else "middle")
    for number, (name, cells) in enumerate(rows.items()):
        y = 4 + number * _ROW
        written = svg.text(_LEFT - 10, y + 12.5, wording.brief(name, 32), "name", "end")
        target = links.get(name)
        yield svg.element("a", written, href=target) if target else written
        for at_ms, value in cells:
            left, right = x.at(at_ms), x.at(at_ms + step_ms)
            hint = f"{wording.shown(name)}\n{wording.moment(at_ms)} UTC\n{wording.share(value)}"
            yield svg.rect(
                left, y, max(right - left - 0.5, 1.0), _ROW - 2, f"h{shade(value)}", hint
            )
