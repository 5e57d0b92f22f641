"""The reference is true: what is made from the code is up to date, and the rest fits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from docs.generate import generated, main
from sinks.fed_tables import FED
from sinks.schema import TABLES
from sinks.table import Table
from streams.cli import app
from streams.config import Config, build_config
from streams.config_meanings import all_meanings, meanings, settings_below
from streams.config_reader import public_name, settings_fields
from streams.config_view import json_schema
from streams.yaml_file import Fields, Items, Node, Scalar, core_value, parse_yaml
from tests.command_tree import commands
from tests.contract.json_schema import problems

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "docs" / "reference"
CLASSES = settings_below(Config)


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python -m docs.generate"


def test_the_check_says_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("wanted", CLASSES.values(), ids=CLASSES)
def test_every_setting_has_a_meaning_and_no_meaning_is_left_over(wanted: type) -> None:
    assert set(meanings(wanted)) == {public_name(name) for name in settings_fields(wanted)}
    for key, said in meanings(wanted).items():
        assert said[0].isupper() or said[0] in "`…", key
        assert said.endswith((".", "…")), key


def test_no_meaning_is_of_a_class_that_is_gone() -> None:
    known = {base.__name__ for wanted in CLASSES.values() for base in wanted.__mro__}
    assert set(all_meanings()) <= known


def test_every_key_stands_in_the_page_and_in_the_schema_with_its_meaning() -> None:
    page = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    schema = json_schema()
    definitions = {Config.__name__: schema, **schema["$defs"]}
    for name, wanted in CLASSES.items():
        if name == "FalseAlarms":
            continue  # written as one text: 1 per 30d
        for key, said in meanings(wanted).items():
            assert definitions[name]["properties"][key]["description"] == said
            if wanted is not Config:
                assert f"| `{key}` |" in page
                assert said.replace("|", "\\|") in page


@pytest.mark.parametrize("name", ["driftline.yaml", "demo.yaml"])
def test_the_example_configurations_satisfy_the_schema_that_editors_use(name: str) -> None:
    schema = json.loads((REFERENCE / "configuration.schema.json").read_text(encoding="utf-8"))
    written = plain(parse_yaml((ROOT / "examples" / name).read_bytes(), name))
    schema.pop("$schema")
    definitions = schema.pop("$defs")
    assert list(problems(written, schema, {"$defs": definitions})) == []
    assert list(problems({"time": {"pane": "soon"}}, schema, {"$defs": definitions}))
    assert list(problems({"tiem": {}}, schema, {"$defs": definitions}))


_YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
SNIPPETS = {
    f"{page.name}-{number}": text
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for number, text in enumerate(_YAML.findall(page.read_text(encoding="utf-8")))
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_what_pages_show_as_configuration_is_accepted(name: str) -> None:
    tree = parse_yaml(SNIPPETS[name].encode(), name)
    assert isinstance(tree, Fields)
    build_config(with_receivers(tree), {})


def with_receivers(tree: Fields) -> Fields:
    """A piece of a configuration that names owners, with the receivers that it leaves out."""
    if "owners" not in tree.fields or "receivers" in tree.fields:
        return tree
    owners = tree.fields["owners"]
    assert isinstance(owners, Items)
    lists = ("receivers", "data_receivers", "escalation")
    names = sorted({n for each in plain(owners) for key in lists for n in each.get(key, [])})
    webhooks = ", ".join(f'{{name: {name}, url: "https://a.example"}}' for name in names)
    added = parse_yaml(f"receivers: {{webhooks: [{webhooks}]}}".encode(), "added")
    assert isinstance(added, Fields)
    return Fields(
        {**tree.fields, **added.fields}, {**tree.key_where, **added.key_where}, tree.where
    )


def plain(node: Node) -> Any:
    """A tree of YAML as an editor sees it."""
    match node:
        case Fields(fields=fields):
            return {key: plain(each) for key, each in fields.items()}
        case Items(items=items):
            return [plain(each) for each in items]
        case Scalar(text=text, plain=True):
            return core_value(text)
        case Scalar(text=text):
            return text


COMMANDS = commands(typer.main.get_command(app), "driftline")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name: str) -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert len(section.split("```")[0].strip()) > 10
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "option":
            (row,) = (line for line in section.splitlines() if f"`{parameter.opts[0]}" in line)
            assert parameter.help, f"{name} {parameter.opts[0]}"
            assert len(row.split("|")[2].strip()) > 3


@pytest.mark.parametrize("table", [*TABLES, *FED], ids=lambda table: table.name)
def test_every_column_of_a_table_is_described_with_its_type(table: Table) -> None:
    page = (REFERENCE / "tables.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {table.name}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    key = re.search(r"^Key: (.*)\. Version: `(\w+)`\.$", found[1], re.MULTILINE)
    assert key is not None
    assert tuple(re.findall(r"`(\w+)`", key[1])) == table.key
    assert key[2] == table.version
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (.{5,}) \|$", found[1], re.MULTILINE)
    assert [row[:2] for row in rows] == [(column.name, column.type) for column in table.columns]


def test_the_page_of_tables_has_no_others() -> None:
    page = (REFERENCE / "tables.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert headings == [table.name for table in (*TABLES, *FED)]
