"""What a page is asked for: the query of its address, checked, and addresses made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from detectors.release import ALL

MOST_CHARS: Final = 400
"""Of a name in an address. The line refuses names of more than 200 characters; what is longer
cannot be linked to, and would not fit into a request anyway."""

SPANS: Final = {
    "1h": 3_600_000,
    "6h": 21_600_000,
    "24h": 86_400_000,
    "7d": 604_800_000,
    "30d": 2_592_000_000,
}
DEFAULT_SPAN: Final = "6h"
_NAMES: Final = ("model", "version", "role", "release", "segment", "column", "q")


class Unreadable(ValueError):
    """The address cannot be read. The text says which part of it, and never quotes it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at. "" and 0 mean: not said, the page chooses."""

    model: str = ""
    version: str = ""
    role: str = ""
    segment: str = ALL
    column: str = ""
    window_ms: int = 0
    span: str = DEFAULT_SPAN
    q: str = ""
    page: int = 1

    @property
    def span_ms(self) -> int:
        return SPANS[self.span]


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """Raises `Unreadable`. Parts that are not known are passed over. ``release``, as a form sends
    it, is role and version in one.

    >>> read_wanted({"model": "gpt-4", "release": "canary:v:2", "page": "2"}).version
    'v:2'
    """
    for name in _NAMES:
        if len(query.get(name, "")) > MOST_CHARS:
            raise Unreadable(f"{name} has more than {MOST_CHARS} characters")
    span = query.get("span", DEFAULT_SPAN)
    if span not in SPANS:
        raise Unreadable(f"span must be one of {', '.join(SPANS)}")
    role, both, version = query.get("release", "").partition(":")
    return Wanted(
        model=query.get("model", ""),
        version=version if both else query.get("version", ""),
        role=role if both else query.get("role", ""),
        segment=query.get("segment", "") or ALL,
        column=query.get("column", ""),
        window_ms=_number(query.get("window", ""), 0, 2**31),
        span=span,
        q=query.get("q", "").strip(),
        page=_number(query.get("page", ""), 1, 100_000),
    )


def _number(text: str, least: int, most: int) -> int:
    if not text:
        return least
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise Unreadable("window and page must be whole numbers")
    return min(max(int(text), least), most)


def address(page: str, /, **query: str | int) -> str:
    """The address of a page of the console; "" where a name is too long to be linked to.

    >>> address("release", model="a b", version="", page=1)
    '/console/release?model=a+b&page=1'
    """
    said = {name: str(value) for name, value in query.items() if value not in ("", 0)}
    if any(len(value) > MOST_CHARS for value in said.values()):
        return ""
    return f"/console/{page}" + (f"?{urlencode(said, errors='replace')}" if said else "")
