"""Every example on the pages about detectors gives what the page says."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from bench.__main__ import BENCHMARKS

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


@pytest.mark.parametrize("page", sorted(PAGES.glob("[!R]*.md")), ids=lambda page: page.name)
def test_each_page_has_a_formula_and_a_cost_that_was_measured(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = _BLOCK.sub("", text)
    assert re.search(r"[ΣΠ∫√≤←·]|\bln\b", prose) or "no formula" in prose
    assert re.search(r"\d (µs|ms) ", prose), "no figure"
    assert re.search(r"`python -m bench (\w+)`", prose), "by which benchmark?"
    for name in re.findall(r"`python -m bench (\w+)`", prose):
        assert name in BENCHMARKS


def test_the_index_links_every_page() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in PAGES.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", index)) == pages
