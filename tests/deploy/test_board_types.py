"""The boards' files, held to the types that Grafana publishes, of the oldest and the newest version
that they are for. A name that Grafana does not know is dropped there without a word."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.boards import BOARDS

pytestmark = pytest.mark.timeout(600)

VERSIONS = ("grafana-types-11", "grafana-types-13")
OF_SOME_VARIABLES = ("auto", "auto_min", "auto_count", "definition")
"""Of intervals the first three, of queries the last: the published type is one for all kinds."""
TYPES = """
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Some<T> = T extends (infer U)[] ? Some<U>[]
  : T extends object ? { [K in keyof T]?: Some<T[K]> } : T;
"""
"""``Plain``: a text where a type has an enumeration, as in JSON. ``Some``: all may be left out."""

Check = Callable[[str, dict[str, Any]], str]


@pytest.fixture
def complaints(have: Callable[[str], Path], tmp_path: Path) -> Check:
    """What the compiler says of a board, "" if it says nothing."""
    node = shutil.which("node") or "node"

    def check(version: str, board: dict[str, Any]) -> str:
        folder = have(version) / "node_modules"
        (tmp_path / "node_modules").symlink_to(folder)
        (tmp_path / "board.ts").write_text(_program(folder, board), encoding="utf-8")
        options = ("--noEmit", "--strict", "--skipLibCheck", "--pretty", "false")
        modules = ("--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022")
        done = subprocess.run(
            [node, str(folder / "typescript/bin/tsc"), *options, *modules, "board.ts"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        (tmp_path / "node_modules").unlink()
        assert bool(done.returncode) is bool(done.stdout), done.stderr
        return done.stdout

    return check


def _program(folder: Path, board: dict[str, Any]) -> str:
    """A program that assigns the board, and the options of each of its panels, to their types."""
    kinds = {panel["type"] for panel in board["panels"]} - {"row"}
    lines = [
        'import type { Dashboard } from "@grafana/schema";',
        *(f'import type * as {_plain(k)} from "{_types_of(folder, k)}";' for k in sorted(kinds)),
        TYPES,
        f"export const board: Plain<Dashboard> = {json.dumps(_known(board))};",
    ]
    for panel in board["panels"]:
        for name, value in _own(panel):
            kind = _plain(panel["type"])
            lines.append(
                f"export const {name}_{panel['id']}: Some<Plain<{kind}.{name}>> ="
                f" {json.dumps(value)};"
            )
    return "\n".join(lines)


def _plain(kind: str) -> str:
    return str(kind).replace("-", "")


def _types_of(folder: Path, kind: str) -> str:
    """Where the types of a kind of panel are; the folders were moved between versions."""
    own = folder / "@grafana" / "schema" / "dist"
    (found,) = [
        each
        for root in ("types", "esm")
        for each in (own / root).glob(f"raw/composable/{_plain(kind)}/panelcfg/x/*.gen.d.ts")
    ][:1]
    return "./node_modules/" + found.relative_to(folder).as_posix().removesuffix(".d.ts")


def _own(panel: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a panel says in the types of its own kind."""
    if panel["type"] == "row":
        return
    # Of tables before 12.2; later ones have it among the settings of a column, and none is set.
    yield "Options", {k: v for k, v in panel["options"].items() if k != "footer"}
    if "custom" in panel["fieldConfig"]["defaults"]:
        yield "FieldConfig", panel["fieldConfig"]["defaults"]["custom"]


def _known(board: dict[str, Any]) -> dict[str, Any]:
    """The board without what these types say nothing of: what a data source's own query holds."""
    board = copy.deepcopy(board)
    for variable in board["templating"]["list"]:
        for name in OF_SOME_VARIABLES:
            variable.pop(name, None)
    for mark in board["annotations"]["list"]:
        mark["target"] = {"refId": mark["target"]["refId"]}
    return board


def _board(repository: Path, name: str) -> dict[str, Any]:
    path = repository / "dashboards" / "generated" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", list(BOARDS))
def test_a_board_is_what_this_version_of_grafana_knows(
    complaints: Check, repository: Path, version: str, name: str
) -> None:
    assert complaints(version, _board(repository, name)) == ""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_name_or_value_anywhere_would_be_noticed(
    complaints: Check, repository: Path, version: str
) -> None:
    def first(board: dict[str, Any], kind: str) -> dict[str, Any]:
        return next(panel for panel in board["panels"] if panel["type"] == kind)

    board = _board(repository, "release")
    first(board, "timeseries")["fieldConfig"]["defaults"]["custom"]["lineWitdh"] = 2
    assert "lineWitdh" in complaints(version, board)
    board = _board(repository, "release")
    first(board, "state-timeline")["options"]["showValue"] = "allways"
    assert "allways" in complaints(version, board)
    board = _board(repository, "release")
    board["refrsh"] = "30s"
    assert "refrsh" in complaints(version, board)
