"""The count of fault cells: too few fail the run, and so does a cell that has its guard always."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("test_d6_labels", "test_d6_no_guard_labels"), ""),
        (("test_d6_labels", "test_d6_other_labels"), "test_late_labels.py: D6 without its guard"),
        (("test_d6_no_guard_labels",), "test_late_labels.py: 1 of 2"),
    ],
    ids=["whole", "never-without-its-guard", "too-few"],
)
def test_cells_that_are_left_out_fail_the_run(
    repository: Path, tmp_path: Path, names: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "tests" / "faults" / "test_late_labels.py"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"def {name}(): assert True\n" for name in names))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.faults.cell_count", "tests"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(repository),
            "PYTEST_ADDOPTS": "--import-mode=importlib",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode == 0) is (said == ""), done.stdout + done.stderr
    assert f"FAILED cells left out of {said}" in done.stdout or not said
