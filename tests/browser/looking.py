"""A page in a browser, and everything about it that nobody may ever see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.browser.console_scene import MODEL

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

PAGES = ("", f"release?model={MODEL}", f"drift?model={MODEL}", "incidents")


@dataclass
class Seen:
    """A page, and everything about it that nobody may ever see."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        return [" ".join(text.split()) for text in self.page.locator(selector).all_inner_texts()]


@contextmanager
def looking(browser: Browser, **options: Any) -> Iterator[Seen]:
    """A window of its own; it must have had no errors, and asked nobody else."""
    context: BrowserContext = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(10_000)
    seen = Seen(page)
    page.on("console", lambda said: seen.errors.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("dialog", lambda dialog: seen.errors.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: seen.requests.append(request.url))
    try:
        yield seen
    finally:
        context.close()


def table(seen: Seen, place: str) -> list[list[str]]:
    rows = seen.page.locator(f"#{place} tbody tr")
    return [
        [" ".join(t.split()) for t in rows.nth(i).locator("th, td").all_inner_texts()]
        for i in range(rows.count())
    ]


def row_of(seen: Seen, section: str, *words: str) -> list[str]:
    """The cells of the one row of a table in which all ``words`` are cells."""
    rows = seen.page.locator(f"#{section} tbody tr")
    found = []
    for i in range(rows.count()):
        cells = [" ".join(t.split()) for t in rows.nth(i).locator("th, td").all_inner_texts()]
        if all(word in cells for word in words):
            found.append(cells)
    assert len(found) == 1, (words, found)
    return found[0]
