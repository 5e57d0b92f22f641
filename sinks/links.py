"""Links in messages: where a person who is paged should look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote, urlsplit

from detectors.action import Action
from detectors.release import Release

MAX_HREF_CHARS = 1500
"""Slack and PagerDuty take longer ones; a message with two of them still fits a block."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Addresses as a browser opens them, "" for none. ``{model}``, ``{version}`` and ``{role}``
    in them stand for the release (escaped): ``https://grafana/d/driftline?var-model={model}``."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    console: str = ""
    grafana: str = ""

    def __post_init__(self) -> None:
        for name in ("console", "grafana"):
            url = getattr(self, name)
            if not url:
                continue
            parts = urlsplit(url)
            if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
                raise ValueError(f"{name} must be a URL such as https://host/path")
            if any(char in url for char in '<>|" '):
                raise ValueError(f'{name} must not hold < > | " or spaces; write them escaped')


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a message."""

    text: str
    href: str


def links_of(settings: LinkSettings, action: Action) -> tuple[Link, ...]:
    """The links of a message: those of the action itself, then those for its release."""
    own = (Link(link.text, link.href) for link in action.links if len(link.href) <= MAX_HREF_CHARS)
    return (*own, *links_for(settings, action.release))


def links_for(settings: LinkSettings, release: Release) -> tuple[Link, ...]:
    """The links of a message about ``release``; one that gets too long is left out."""
    values = {
        "{model}": release.model,
        "{version}": release.version,
        "{role}": release.role.value,
    }
    made = []
    for text, form in (("Console", settings.console), ("Grafana", settings.grafana)):
        href = form
        for placeholder, value in values.items():
            # Braces are escaped by quote, so a value cannot hold another placeholder.
            href = href.replace(placeholder, quote(value, safe="", errors="replace"))
        if href and len(href) <= MAX_HREF_CHARS:
            made.append(Link(text, href))
    return tuple(made)
