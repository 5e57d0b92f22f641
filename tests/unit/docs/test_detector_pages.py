"""Every example on the pages about detectors gives what the page says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).resolve().parents[3] / "docs" / "detectors"
SECTIONS = ("promise", "cost", "cannot see", "When to use")
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_examples_give_what_the_page_says(page: Path) -> None:
    blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks, "a page without an example"
    parsed = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.name, str(page), 0)
    assert parsed.examples
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(parsed, out=told.append)
    assert runner.failures == 0, "".join(told)


@pytest.mark.parametrize("page", sorted(PAGES.glob("[!R]*.md")), ids=lambda page: page.name)
def test_each_page_says_what_is_promised_what_it_costs_and_what_it_misses(page: Path) -> None:
    headings = " ".join(re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE))
    for section in SECTIONS:
        assert section in headings or section.lower() in headings.lower(), section


def test_the_index_links_every_page() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in PAGES.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", index)) == pages
