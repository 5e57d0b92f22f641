"""The tutorials: every file, command and output of theirs, as a new reader would meet them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from streams.cli import app
from streams.config import build_config
from streams.yaml_file import Fields, parse_yaml
from tests.command_tree import commands
from tests.contract.test_pull_deployers import condition_holds, documents
from tests.integration.tutorial import (
    BASH,
    REPOSITORY,
    TUTORIALS,
    Block,
    Reader,
    blocks,
    first_missing,
    reader,
)
from tests.ports import free_port

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(600)]

PAGES = sorted(TUTORIALS.glob("*.md"))
ROLLOUTS = TUTORIALS / "canary-with-argo-rollouts.md"
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Reader]:
    with reader(tmp_path, free_port(), free_port()) as somebody:
        yield somebody


@pytest.mark.parametrize("page", [p for p in PAGES if p != ROLLOUTS], ids=lambda page: page.stem)
def test_everything_goes_as_the_tutorial_says(newcomer: Reader, page: Path) -> None:
    newcomer.follow(page)


def test_argo_promotes_the_good_release_and_aborts_the_bad_one(newcomer: Reader) -> None:
    """The tutorial's answers, as the conditions of its own AnalysisTemplate read them."""
    newcomer.follow(ROLLOUTS)
    (metric,) = manifests(ROLLOUTS)[0]["spec"]["metrics"]
    answers = [json.loads(said) for said in newcomer.said.values() if said.startswith('{"verdict"')]
    assert [(each["version"], each["verdict"]) for each in answers] == [
        ("0613", "pass"),
        ("0614", "fail"),
    ]
    decided = [
        (
            condition_holds(metric["successCondition"], each),
            condition_holds(metric["failureCondition"], each),
        )
        for each in answers
    ]
    assert decided == [(True, False), (False, True)]


def test_the_manifests_are_those_that_are_shipped() -> None:
    shown = manifests(ROLLOUTS)
    shipped = [
        documents("argo-rollouts/analysis-templates.yaml")[0],
        *documents("argo-rollouts/rollout.yaml"),
    ]
    assert shown == shipped


def manifests(page: Path) -> list[Any]:
    found = [yaml.safe_load(block.text) for block in blocks(page) if block.language == "yaml"]
    return [each for each in found if "apiVersion" in each]


@every_page
def test_every_block_says_what_is_to_be_done_with_it(page: Path) -> None:
    known = {"file", "run", "until", "background", "elsewhere"}
    for block in blocks(page):
        wanted = {"output"} if block.language == "text" else known
        assert set(block.marks) <= wanted, f"{page.name}:{block.line}"
        assert block.language == "text" or len(block.marks) == 1, f"{page.name}:{block.line}"


@every_page
def test_what_cannot_be_run_here_is_at_least_valid_shell(page: Path) -> None:
    for block in blocks(page):
        if "elsewhere" in block.marks:
            command = [BASH, "-n", "-c", block.text]
            done = subprocess.run(command, capture_output=True, check=False)
            assert done.returncode == 0, f"{page.name}:{block.line}: {done.stderr.decode()}"


@every_page
def test_variables_that_are_exported_have_names_that_a_shell_and_driftline_take(page: Path) -> None:
    for block in blocks(page):
        for name in re.findall(r"^export (.+?)=", block.text, re.MULTILINE):
            assert re.fullmatch(r"[A-Za-z_]\w*", name), f"{page.name}:{block.line}: {name}"
            build_config(Fields({}, {}, page.name), {name: "x"})


@every_page
def test_commands_that_are_not_run_exist_with_their_options_and_files(page: Path) -> None:
    known = commands(typer.main.get_command(app), "driftline")
    for block in blocks(page):
        if "elsewhere" not in block.marks:
            continue
        for words in commands_in(block):
            for word in words:
                if word.startswith("deploy/"):
                    assert (REPOSITORY / word).exists(), word
            if words[0] == "driftline":
                name = max((n for n in known if " ".join(words).startswith(n)), key=len)
                options = {option for each in known[name].params for option in each.opts}
                assert {word for word in words if word.startswith("-")} <= options, name


def commands_in(block: Block) -> Iterator[list[str]]:
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words:
                yield words


@every_page
def test_what_is_configured_is_accepted_with_the_documented_names(page: Path) -> None:
    for block in blocks(page):
        if block.marks.get("file", "").endswith("driftline.yaml"):
            build_config(parse_yaml(block.text.encode(), f"{page.name}:{block.line}"), {})


def test_every_tutorial_is_in_the_list() -> None:
    listed = (TUTORIALS.parent / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"](tutorials/{page.name})" in listed, page.name


def test_output_is_compared_line_by_line_in_order() -> None:
    said = "starting\nverdict:  fail  (n=12)\ndone\n"
    assert first_missing("verdict: fail (n=…)\n\ndone\n", said) == ""
    assert first_missing("done\nverdict: fail (n=…)\n", said) == "verdict: fail (n=…)"
    assert first_missing("verdict: fail\n", said) == "verdict: fail"


def test_marks_are_read_from_behind_the_language(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# t\n\n```yaml file=a.yaml\na: 1\n```\n\n```text\nx\n```\n", encoding="utf-8")
    assert blocks(page) == [
        Block("yaml", {"file": "a.yaml"}, "a: 1\n", 3),
        Block("text", {}, "x\n", 7),
    ]
