"""Environments are made once, made anew when their pins change, and never half."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bench.peers_environment import (
    ENVIRONMENTS,
    Environment,
    NotInstalled,
    Ready,
    last_error,
    prepare,
)

HERE = sys.version_info[:2]
ONE = Environment("one", ("peer==1.0", "numpy==2.4.6"), (HERE, HERE))


@dataclass
class Installer:
    """Makes what pip would have made, or fails."""

    fails: str = ""
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, place: Path, requirements: Sequence[str]) -> str:
        self.asked.append(tuple(requirements))
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "python").write_text("")
        return self.fails


def test_an_environment_is_made_once(tmp_path: Path) -> None:
    install = Installer()
    for _ in range(2):
        assert prepare(ONE, tmp_path, install) == Ready(str(tmp_path / "one" / "bin" / "python"))
    assert install.asked == [("peer==1.0", "numpy==2.4.6")]


def test_other_pins_make_it_anew(tmp_path: Path) -> None:
    install = Installer()
    prepare(ONE, tmp_path, install)
    (tmp_path / "one" / "left over").write_text("")
    prepare(replace(ONE, requirements=("peer==1.1",)), tmp_path, install)
    assert install.asked[-1] == ("peer==1.1",)
    assert not (tmp_path / "one" / "left over").exists()


def test_what_fails_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    assert prepare(ONE, tmp_path, Installer("no network")) == NotInstalled("no network")
    assert not (tmp_path / "one").exists()


def test_an_installation_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    Installer()(tmp_path / "one", ())
    install = Installer()
    (tmp_path / "one" / "bin" / "half").write_text("")
    assert isinstance(prepare(ONE, tmp_path, install), NotInstalled | Ready)
    assert install.asked
    assert not (tmp_path / "one" / "bin" / "half").exists()


def test_a_python_without_wheels_is_not_tried(tmp_path: Path) -> None:
    install = Installer()
    found = prepare(replace(ONE, pythons=((2, 6), (2, 7))), tmp_path, install)
    assert isinstance(found, NotInstalled)
    assert "2.6 to 2.7" in found.reason
    assert not install.asked


def test_every_requirement_is_pinned() -> None:
    for environment in ENVIRONMENTS:
        assert all("==" in requirement for requirement in environment.requirements)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", ""),
        ("Killed\n", "Killed"),
        ("ERROR: first\nERROR: second\n[notice] a new pip\n", "second"),
        ("x" * 500, "x" * 200),
    ],
    ids=["nothing", "no error line", "last error", "long"],
)
def test_the_reason_is_one_short_line(said: str, expected: str) -> None:
    assert last_error(said) == expected
