"""Where the linters come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.tools import SOURCES, CannotHave, GoProgram, NpmPackages, Wheel, tool


def test_a_tool_on_the_path_is_taken_from_there() -> None:
    assert tool("sh").name == "sh"


def test_a_tool_that_nobody_has_is_named_with_the_reason() -> None:
    with pytest.raises(CannotHave, match="no-such-linter is not on PATH"):
        tool("no-such-linter")


def test_what_is_in_the_cache_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to fetch with: PATH is empty."""
    monkeypatch.setenv("DRIFTLINE_TOOLS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(CannotHave, match="no Go"):
        tool("kubeconform")
    assert list(tmp_path.glob("kubeconform*")) == [], "a failure leaves nothing behind"


def test_every_source_is_pinned() -> None:
    for name, source in SOURCES.items():
        match source:
            case Wheel():
                assert re.fullmatch(r"[0-9a-f]{64}", source.sha256), name
                assert "==" in source.requirement, name
            case GoProgram():
                assert re.fullmatch(r"v\d+\.\d+\.\d+", source.version), name
            case NpmPackages():
                assert all(re.search(r"@\d+\.\d+\.\d+$", each) for each in source.packages), name
