"""Makes the pictures of docs/console.md: runs the demo and photographs its console in Chromium.

    python docs/screenshots.py [--url http://127.0.0.1:PORT/console/]

With ``--url`` it photographs a console that is running already. Needs Playwright and a Chromium.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "images"
_RUNNING: Final = "Everything is still running."
_ADDRESS: Final = re.compile(r"watch it in a browser: (http://\S+/console/)")

SHOTS: Final = (
    ("console-fleet", "", "light", 560),
    ("console-release", "release?model=gpt-4&version=0613&role=canary", "light", 1_180),
    ("console-drift", "drift?model=car_loan", "light", 1_080),
    ("console-incidents", "incidents", "dark", 1_000),
)
"""Name of the file, address below the console's, colours, height in pixels."""


@contextmanager
def demo() -> Iterator[str]:
    """A demo that has been played and stays up; gives the console's address."""
    command = (sys.executable, "-m", "streams", "demo", "--keep")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = ""
            for line in process.stdout or ():
                found = _ADDRESS.search(line)
                address = found[1] if found else address
                if _RUNNING in line:
                    break
            if not address:
                raise SystemExit("the demo did not say where its console is")
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)


def photograph(url: str) -> None:
    """Write all pictures."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium on this machine: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for name, address, colours, height in SHOTS:
            page = browser.new_page(
                viewport={"width": 1280, "height": height},
                color_scheme="dark" if colours == "dark" else "light",
            )
            page.goto(url + address)
            page.wait_for_timeout(500)
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()
            sys.stdout.write(f"{FOLDER / name}.png\n")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Photograph the console for the documentation.")
    parser.add_argument("--url", default="", help="a console that is running already")
    given = parser.parse_args().url
    FOLDER.mkdir(exist_ok=True)
    if given:
        photograph(given)
        return
    with demo() as url:
        photograph(url)


if __name__ == "__main__":
    main()
