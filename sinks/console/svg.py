"""Elements of SVG as escaped markup. No style attributes and no scripts: the page's
Content-Security-Policy lets neither run, so colours are classes of the style sheet."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

Attribute = str | int | float


def element(name: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """``<name …>children</name>``. Children and attributes are escaped unless they are markup.

    ``class_`` is written ``class``, ``text_anchor`` is written ``text-anchor``.

    >>> element("text", "<b>", x=1.25, class_="t")
    Markup('<text x="1.25" class="t">&lt;b&gt;</text>')
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>")  # noqa: S704 - every part is escaped


def picture(width: int, height: int, label: str, children: Iterable[Markup]) -> Markup:
    """An ``<svg>`` that fills the width it is given; ``label`` is read out by screen readers."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        class_="plot",
        preserveAspectRatio="xMinYMin meet",
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line of the class ``kind``."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def text(x: float, y: float, words: str, kind: str = "tick", anchor: str = "start") -> Markup:
    """Words that start, end or lie in the middle at (x, y)."""
    return element("text", words, x=x, y=y, class_=kind, text_anchor=anchor)


def rect(x: float, y: float, width: float, height: float, kind: str, hint: str = "") -> Markup:
    """A rectangle; ``hint`` is shown where the pointer rests on it."""
    inside = (element("title", hint),) if hint else ()
    return element(
        "rect", *inside, x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), class_=kind
    )


def path(points: Iterable[tuple[float, float]], kind: str) -> Markup:
    """A line through points."""
    steps = "L".join(f"{_plain(x)} {_plain(y)}" for x, y in points)
    return element("path", d=f"M{steps}", class_=kind)


def area(points: Iterable[tuple[float, float]], kind: str) -> Markup:
    """A closed area with these corners."""
    steps = "L".join(f"{_plain(x)} {_plain(y)}" for x, y in points)
    return element("path", d=f"M{steps}Z", class_=kind)


def _plain(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0") if abs(value) >= 10 else f"{value:.3g}"
    return str(value)
