"""`driftline demo`, as a user runs it: a process of its own, judged by its exit code and output."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.embedded


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "streams", "demo", "--directory", str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def roles_of(folder: Path) -> set[int]:
    """The processes that work in the demo's folder."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if entry.readlink() == folder:
                found.add(int(entry.parent.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def executed(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "deployer.db")) as db:
        rows = db.execute("SELECT detail FROM decided WHERE outcome = 'executed'")
        return [str(row[0]) for row in rows]


def test_the_demo_rolls_the_bad_canary_back_once_and_pages_for_the_drift(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    began = time.monotonic()
    with demo(folder) as process:
        said, _ = process.communicate(timeout=150)
    assert process.returncode == 0, said
    assert time.monotonic() - began < 120, "far longer than promised"
    assert executed(folder) == ["gpt-4: canary 0613 taken out, 0314 serves everything"]
    # Nobody but the canary is rolled back, and whoever is paged for, it is said.
    assert said.count("pager: trigger") == 3
    assert "pager: trigger (critical): car_loan@1 (production)" in said
    assert "pager: trigger (error): gpt-4@0613 (canary)" in said
    counted = re.search(r"([\d,]+) events sent: ([\d,]+) counted, 0 unreadable, 0 late", said)
    assert counted is not None, said
    assert counted[1] == counted[2]
    # Plain text where there is no terminal.
    assert "\x1b" not in said
    assert roles_of(folder) == set()


def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo(folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "replayed" in line and "%" in line:
                break
        assert len(roles_of(folder)) >= 8  # broker, store, judge, deliver, serve, summarize, ...
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
        assert process.wait(20) == 130, said
    assert "Traceback" not in said
    assert roles_of(folder) == set()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    with demo(tmp_path) as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "not empty" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]
