"""A real Chromium, headless. Where there is none the tests say so and are not run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.console_scene import JudgedLine, Scene, filled, recording
from tests.browser.looking import Seen, looking

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser of this machine, driven by Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("no browser tests: playwright is not installed (pip install playwright)")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no browser tests: no Chromium on this machine (apt-get install chromium)")
    # Chromium refuses its sandbox to root; what it is shown here is our own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="session")
def recorded_line(tmp_path_factory: pytest.TempPathFactory) -> JudgedLine:
    """What the line said of an hour of traffic."""
    return recording(tmp_path_factory.mktemp("recording"))


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory,
    chromium: Browser,  # asked for first: without a browser there is nothing to record for
    request: pytest.FixtureRequest,
) -> Iterator[Scene]:
    """A board and a store that hold it. One a module: a process has one engine."""
    line: JudgedLine = request.getfixturevalue("recorded_line")
    with filled(tmp_path_factory.mktemp("console"), line) as made:
        yield made


@pytest.fixture(scope="module")
def url(scene: Scene) -> Iterator[str]:
    """Where the console is."""
    with scene.served() as address:
        yield f"{address}/console/"


@pytest.fixture
def seen(chromium: Browser) -> Iterator[Seen]:
    """A window in which nothing may go wrong."""
    with looking(chromium, viewport={"width": 1400, "height": 900}) as made:
        yield made
        assert made.errors == []
