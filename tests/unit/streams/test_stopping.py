"""A role that was told to stop ends in time, whatever it waits for."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("bound", "code"), [("end_within(0.2)", 1), ("None", 0)], ids=["bound", "no-guard"]
)
def test_a_process_that_waits_for_ever_ends_with_code_1_in_time(bound: str, code: int) -> None:
    script = f"import time; from streams.stopping import end_within; {bound}; time.sleep(3)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert ("still not stopped" in done.stderr) is bool(code)
