"""The Terraform module: its formatting, and the rights that it works out without a provider."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.access import ROLES, TOPICS, Kind, rights, topic_config

RENAMED = {"resource_name": "acl_resource_name", "resource_type": "acl_resource_type"}
"""Of kafka_acl: the other tool calls these two differently."""
META = {"for_each", "count", "depends_on", "lifecycle"}
"""Of Terraform itself, in any resource."""

KINDS = {Kind.TOPIC: "Topic", Kind.GROUP: "Group", Kind.TRANSACTION: "TransactionalID"}
Run = Callable[..., str]


@pytest.fixture
def evaluate(have: Callable[[str], Path], run: Run, repository: Path, tmp_path: Path) -> Any:
    """The value of an expression in the module, without its resources."""
    terraform = have("terraform")
    for name in ("variables.tf", "locals.tf", "access.tf.json"):
        shutil.copy(repository / "deploy" / "terraform" / name, tmp_path)

    def value(expression: str, **variables: str) -> Any:
        given = [f"-var={name}={text}" for name, text in variables.items()]
        out = run(
            *(terraform, f"-chdir={tmp_path}", "console", *given),
            text=f"jsonencode({expression})\n",
        )
        return json.loads(json.loads(out))

    return value


def test_the_module_is_formatted(have: Callable[[str], Path], run: Run, repository: Path) -> None:
    run(have("terraform"), "fmt", "-check", "-diff", repository / "deploy" / "terraform")


def test_the_module_grants_what_each_role_needs(evaluate: Any) -> None:
    acls = evaluate("local.acls", inputs='["predictions","labels"]', prefix="eu.")
    granted = {
        (
            acl["role"],
            acl["type"],
            f"eu.{acl['name']}" if acl["own"] else acl["name"],
            acl["pattern"],
            acl["operation"],
        )
        for acl in acls.values()
    }
    wanted = {
        (role, KINDS[right.kind], right.name, "Prefixed" if right.prefix else "Literal", op.value)
        for role in ROLES
        for right in rights(role, ("predictions", "labels"), prefix="eu.")
        for op in right.operations
    }
    assert granted == wanted
    assert len(acls) == len(wanted)


def test_the_module_makes_every_internal_topic_as_it_must_be(evaluate: Any) -> None:
    topics = evaluate("local.topics")
    assert topics == {
        topic.name: {"partitioned": topic.partitioned, "config": topic_config(topic)}
        for topic in TOPICS
    }


def test_every_variable_and_local_that_a_resource_names_is_declared(repository: Path) -> None:
    """What `terraform validate` would say of them, which needs the providers."""
    folder = repository / "deploy" / "terraform"
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf")))
    made = json.loads((folder / "access.tf.json").read_text(encoding="utf-8"))
    declared = set(re.findall(r'^variable "(\w+)"', text, flags=re.MULTILINE))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    assert set(re.findall(r"\blocal\.(\w+)", text)) <= {*made["locals"], "acls", "boards"}
    resources = set(re.findall(r'^resource "(\w+)" "(\w+)"', text, flags=re.MULTILINE))
    for kind, name in re.findall(r"\b((?:kafka|grafana)_\w+)\.(\w+)", text):
        assert (kind, name) in resources


def _resources(repository: Path) -> dict[str, set[str]]:
    """The attributes that the module gives to each kind of resource. `terraform fmt` has put every
    one of them on a line of its own, two spaces in."""
    text = (repository / "deploy" / "terraform" / "main.tf").read_text(encoding="utf-8")
    blocks = re.findall(
        r'^resource "(\w+)" "\w+" \{\n(.*?)^\}', text, flags=re.MULTILINE | re.DOTALL
    )
    return {
        kind: set(re.findall(r"^  (\w+) *[={]", body, flags=re.MULTILINE)) - META
        for kind, body in blocks
    }


def _arguments(module: Path) -> tuple[set[str], set[str]]:
    """What a resource takes and what it must be given, from the class that is generated of the
    provider's schema."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for made in ast.walk(tree):
        if isinstance(made, ast.ClassDef) and made.name.endswith("Args"):
            begin = next(each for each in made.body if isinstance(each, ast.FunctionDef))
            names = [each.arg for each in begin.args.kwonlyargs]
            must = {
                name
                for name, default in zip(names, begin.args.kw_defaults, strict=True)
                if default is None
            }
            return set(names), must
    raise AssertionError(f"{module.name} has no arguments")


def test_resources_have_the_attributes_that_the_providers_know(
    have: Callable[[str], Path], repository: Path
) -> None:
    """What `terraform validate` would say of names, from what else is made of the same schemas."""
    found = _resources(repository)
    assert set(found) == {
        *("kafka_topic", "kafka_acl", "kafka_user_scram_credential"),
        *("grafana_folder", "grafana_data_source", "grafana_dashboard"),
    }
    for kind, given in found.items():
        provider, _, name = kind.partition("_")
        known, must = _arguments(have(f"{provider}-resources") / f"{name}.py")
        named = {RENAMED.get(each, each) for each in given} if kind == "kafka_acl" else given
        assert named - known == set(), kind
        # A name may be left out there, and is made up.
        assert must - named == set(), kind
        assert "name" in named or "name" not in known
