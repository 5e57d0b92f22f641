"""Generated files are written once, and a check writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.generated_files import brought_up_to_date, generate


def test_a_check_names_what_differs_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, wrong, missing = (tmp_path / name for name in ("right", "wrong", "below/missing"))
    right.write_text("a\n")
    wrong.write_text("other\n")
    files = {right: "a\n", wrong: "b\n", missing: "c\n"}
    assert generate(files, tmp_path, ["--check"]) == 1
    said = capsys.readouterr().out
    assert said == "wrong is not what it should be\nbelow/missing is not what it should be\n"
    assert (wrong.read_text(), missing.exists()) == ("other\n", False)
    assert generate(files, tmp_path, []) == 0
    assert capsys.readouterr().out == "wrote wrong\nwrote below/missing\n"
    assert [path.read_text() for path in files] == list(files.values())
    assert brought_up_to_date(files, check=True) == []


def test_what_is_as_it_should_be_is_not_touched(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("a\n")
    before = kept.stat().st_mtime_ns
    assert brought_up_to_date({kept: "a\n"}, check=False) == []
    assert kept.stat().st_mtime_ns == before
