"""The Terraform module: its formatting, and the rights that it works out without a provider."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.access import ROLES, TOPICS, Kind, rights, topic_config

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
