"""What can be typed after the demo: the program by the name that this shell knows it by."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streams.demo_shell import shell_of

SETTINGS = Path("examples/driftline.yaml")


def program(folder: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "driftline"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_program_that_is_not_on_the_path_is_called_by_where_it_is(tmp_path: Path) -> None:
    program(tmp_path / ".venv" / "bin")
    shell = shell_of(Path(".venv/bin/driftline"), tmp_path, tmp_path / SETTINGS)
    assert (shell.program, shell.settings) == (".venv/bin/driftline", str(SETTINGS))


def test_a_program_on_the_path_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    shell = shell_of(path, tmp_path / "elsewhere", tmp_path / SETTINGS)
    assert (shell.program, shell.settings) == ("driftline", str(tmp_path / SETTINGS))


def test_a_module_that_was_run_is_run_again_by_the_same_interpreter(tmp_path: Path) -> None:
    shell = shell_of(Path("/lib/streams/__main__.py"), tmp_path, tmp_path / SETTINGS)
    assert shell.program == f"{sys.executable} -m streams"
