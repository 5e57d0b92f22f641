"""Pictures that fit into a cell of a table: a course, and a bar up to a limit."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from sinks.console import svg, wording

_WIDTH, _HEIGHT = 90, 18


def course(values: Sequence[float], label: str) -> Markup:
    """A line from the oldest to the newest value, from zero up."""
    highest = max(values, default=0.0)
    if len(values) < 2 or highest <= 0:
        return Markup()
    step = (_WIDTH - 2) / (len(values) - 1)
    points = [
        (1 + i * step, _HEIGHT - 2 - (_HEIGHT - 4) * value / highest)
        for i, value in enumerate(values)
    ]
    line = svg.path(points, "line s0")
    return svg.element(
        "svg",
        line,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=label,
        class_="course",
    )


def meter(value: float | None, label: str) -> Markup:
    """A bar that is full at 1, where it turns red; the figure stands beside it."""
    if value is None:
        return svg.element("span", wording.NOTHING, class_="none")
    # Evidence that speaks for a release is below zero: nothing of the way to the limit.
    value = max(value, 0.0)
    part = min(value, 1.0)
    kind = "full" if value >= 1 else "high" if value >= 0.5 else "low"
    bar = svg.element(
        "svg",
        svg.rect(0, 0, 60, 8, "groove"),
        svg.rect(0, 0, 60 * part, 8, f"fill-{kind}"),
        viewBox="0 0 60 8",
        role="img",
        aria_label=f"{label}: {wording.share(value)}",
        class_="meter",
    )
    return svg.element("span", bar, wording.share(value), class_="metered")
