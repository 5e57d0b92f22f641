"""Failpoints do what they are told, when they are told, and nothing otherwise."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.failpoints import NAMES, VARIABLE, armed, parse


def run(points: str, passes: int) -> subprocess.CompletedProcess[str]:
    code = (
        "from streams.failpoints import reached\n"
        f"for number in range({passes}):\n"
        "    print(number, flush=True)\n"
        "    reached('judge.taken')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, VARIABLE: points},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_process_is_killed_at_the_pass_that_was_named() -> None:
    done = run("judge.taken=kill:3", 9)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]


def test_without_the_variable_nothing_happens() -> None:
    done = run("", 3)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize(
    "text", ["judge.takn=kill", "judge.taken=explode", "judge.taken", "judge.taken=kill:0"]
)
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=VARIABLE):
        parse(text)


def test_a_hang_happens_once_and_a_wait_each_time_from_then_on() -> None:
    reach = armed(parse("judge.taken=hang-60,judge.written=wait-60:2"))
    took = []
    for name in ("judge.taken", "judge.taken", "judge.written", "judge.written", "judge.written"):
        began = time.monotonic()
        reach(name)
        took.append(time.monotonic() - began >= 0.06)
    assert took == [True, False, False, True, True]


def test_every_name_stands_in_the_code_once(repository: Path) -> None:
    """One that no role comes to would let a test pass that kills nobody."""
    found: list[str] = []
    for path in (repository / "streams").glob("*.py"):
        found += re.findall(r'reached\("([a-z.]+)"\)', path.read_text(encoding="utf-8"))
    assert sorted(found) == sorted(NAMES)
