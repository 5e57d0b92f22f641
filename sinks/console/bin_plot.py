"""A histogram now beside the one of the reference, in the reference's bins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sinks.console import svg, wording
from sinks.console.axes import Scale, fitted

_WIDTH, _HEIGHT = 520, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 64
_MOST_LABELS = 22


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin's name, what is written under it, its share of the values now, and in the reference
    (None: not known there)."""

    name: str
    label: str
    now: float
    reference: float | None


def bin_plot(bins: Sequence[Bin], label: str) -> Markup:
    """The picture, or a sentence where there is nothing to draw."""
    if not bins:
        return svg.element("p", "no histogram of this column in this time", class_="empty")
    highest = [b.now for b in bins] + [b.reference for b in bins if b.reference is not None]
    y, ticks = fitted(highest, _HEIGHT - _BOTTOM, _TOP, with_zero=True)
    return svg.picture(_WIDTH, _HEIGHT, label, _parts(bins, y, ticks))


def _parts(bins: Sequence[Bin], y: Scale, ticks: Sequence[float]) -> Iterator[Markup]:
    for tick in ticks:
        at = y.at(tick)
        yield svg.line(_LEFT, at, _WIDTH - _RIGHT, at, "zero" if tick == 0 else "grid")
        yield svg.text(_LEFT - 6, at + 3.5, wording.share(tick), anchor="end")
    width = (_WIDTH - _LEFT - _RIGHT) / len(bins)
    floor = y.at(0)
    every = -(-len(bins) // _MOST_LABELS)
    for number, one in enumerate(bins):
        left = _LEFT + number * width
        hint = (
            f"{wording.shown(one.name)}\nnow {wording.share(one.now)}"
            f"\nreference {wording.share(one.reference)}"
        )
        if one.reference is not None:
            top = y.at(one.reference)
            yield svg.rect(left + 0.06 * width, top, 0.44 * width, floor - top, "was")
        top = y.at(one.now)
        yield svg.rect(left + 0.5 * width, top, 0.44 * width, floor - top, "is")
        yield svg.rect(left, _TOP, width, floor - _TOP, "strip", hint)
        if number % every == 0:
            at = left + width / 2
            yield svg.element(
                "text",
                wording.brief(one.label, 14),
                class_="tick",
                text_anchor="end",
                transform=f"translate({at:.1f} {floor + 12:.1f}) rotate(-40)",
            )
