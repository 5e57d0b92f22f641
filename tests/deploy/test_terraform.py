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
import yaml

from deploy.access import ROLES, TOPICS, Kind, rights, topic_config

RENAMED = {"resource_name": "acl_resource_name", "resource_type": "acl_resource_type"}
"""Of kafka_acl: the other tool calls these two differently."""
META = {"for_each", "count", "depends_on", "iterator"}
"""Of Terraform itself, in any block."""
ALERTING = {"grafana_contact_point", "grafana_rule_group"}
KINDS_MADE = {
    *("kafka_topic", "kafka_acl", "kafka_user_scram_credential"),
    *("grafana_folder", "grafana_data_source", "grafana_dashboard", *ALERTING),
}

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


def test_the_module_takes_rules_and_contacts_as_the_provisioning_files_have_them(
    evaluate: Any, repository: Path
) -> None:
    folder = repository / "deploy" / "grafana" / "provisioning" / "alerting"
    (group,) = yaml.safe_load((folder / "rules.yaml").read_text(encoding="utf-8"))["groups"]
    given = {"grafana": "true", "alerting": str(folder), "hook_secret": "s", "slack_url": "u"}
    (taken,) = evaluate("local.groups", **given)
    assert taken == group
    panels = evaluate("local.panels", **given)
    for rule in group["rules"]:
        assert panels[rule["uid"]] == {
            "__dashboardUid__": rule["dashboardUid"],
            "__panelId__": str(rule["panelId"]),
        }
    contacts = evaluate("local.contacts", **given)
    assert set(contacts) == {rule["notification_settings"]["receiver"] for rule in group["rules"]}
    kinds = {name: {k for k, on in to.items() if on is True} for name, to in contacts.items()}
    assert kinds == {"driftline page": {"hook"}, "driftline notify": {"hook", "slack"}}
    assert evaluate("[local.groups, local.contacts]") == [[], {}], "nothing unless asked for"


def test_the_module_makes_every_internal_topic_as_it_must_be(evaluate: Any) -> None:
    topics = evaluate("local.topics")
    assert topics == {
        topic.name: {"partitioned": topic.partitioned, "config": topic_config(topic)}
        for topic in TOPICS
    }


def test_every_variable_and_local_that_a_resource_names_is_declared(repository: Path) -> None:
    """What `terraform validate` would say of them, which needs the providers."""
    text = _text(repository)
    folder = repository / "deploy" / "terraform"
    made = json.loads((folder / "access.tf.json").read_text(encoding="utf-8"))
    declared = set(re.findall(r'^variable "(\w+)"', text, flags=re.MULTILINE))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    own = (folder / "locals.tf").read_text(encoding="utf-8")
    locals_ = {*made["locals"], *re.findall(r"^  (\w+) *=", own, flags=re.MULTILINE)}
    assert set(re.findall(r"\blocal\.(\w+)", text)) <= locals_
    resources = set(re.findall(r'^resource "(\w+)" "(\w+)"', text, flags=re.MULTILINE))
    for kind, name in re.findall(r"\b((?:kafka|grafana)_\w+)\.(\w+)", text):
        assert (kind, name) in resources


def test_a_name_that_means_something_else_to_terraform_is_no_iterator(repository: Path) -> None:
    taken = {"count", "data", "each", "local", "module", "path", "self", "terraform", "var"}
    for name, body in re.findall(
        r'dynamic "(\w+)" \{(.*?)content \{', _text(repository), re.DOTALL
    ):
        assert name not in taken or "iterator" in body, name


def _text(repository: Path) -> str:
    folder = repository / "deploy" / "terraform"
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.tf")))


def _blocks(text: str) -> dict[tuple[str, ...], set[str]]:
    """What is given in each resource, (kind,), and in each block of it, (kind, block, ...):
    attributes and blocks. `terraform fmt` has put every one of them on a line of its own."""
    found: dict[tuple[str, ...], set[str]] = {}
    place: list[str] = []
    unclosed = 0
    for line in text.splitlines():
        if unclosed:  # inside a value of several lines
            unclosed += _opened(line)
        elif made := re.match(r'resource "(\w+)" "\w+" \{$', line):
            place = [made[1]]
            found[made[1],] = set()
        elif not place or line.lstrip().startswith("#"):
            continue
        elif block := re.match(r' +(?:dynamic "(\w+)"|(\w+)) \{$', line):
            name = block[1] or block[2]
            path = tuple(each for each in place if each != "content")
            if name != "content":
                found[path].add(name)
                found[(*path, name)] = set()
            place.append(name)
        elif given := re.match(r" +(\w+) += ", line):
            path = tuple(each for each in place if each != "content")
            found[path] |= {given[1]} - META
            unclosed = _opened(line)
        elif line.strip() == "}":
            place.pop()
    return {path: names for path, names in found.items() if "lifecycle" not in path}


def _opened(line: str) -> int:
    return sum(line.count(each) for each in "([{") - sum(line.count(each) for each in ")]}")


def _arguments(module: Path, name: str) -> tuple[set[str], set[str]]:
    """What a resource or block takes and what it must be given, from the class that is generated of
    the provider's schema."""
    for made in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(made, ast.ClassDef) and made.name == name:
            begin = next(each for each in made.body if isinstance(each, ast.FunctionDef))
            names = [each.arg for each in begin.args.kwonlyargs]
            must = {
                name
                for name, default in zip(names, begin.args.kw_defaults, strict=True)
                if default is None
            }
            return set(names), must
    raise AssertionError(f"{module.name} has no {name}")


def _spelled(name: str, known: set[str]) -> str:
    """The name in the other tool, which has lists in the plural and no words of Python."""
    forms = (name, f"{name}_", f"{name}s", re.sub("y$", "ies", name))
    return next((form for form in forms if form in known), name)


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def test_resources_have_the_attributes_that_the_providers_know(
    have: Callable[[str], Path], repository: Path
) -> None:
    """What `terraform validate` would say of names, from what else is made of the same schemas."""
    found = _blocks(_text(repository))
    assert {path[0] for path in found} == KINDS_MADE
    assert ("grafana_rule_group", "rule", "data", "relative_time_range") in found
    for path, given in found.items():
        provider, _, kind = path[0].partition("_")
        folder = have("grafana-alerting" if path[0] in ALERTING else f"{provider}-resources")
        module = folder / (f"{kind}.py" if len(path) == 1 else "_inputs.py")
        name = "".join(_camel(each) for each in (kind, *path[1:]))
        known, must = _arguments(module, f"{name}Args")
        named = {RENAMED.get(each, each) for each in given} if kind == "acl" else given
        named = {_spelled(each, known) for each in named - {"lifecycle"}}
        assert named - known == set(), path
        # A name may be left out there, and is made up.
        assert must - named == set(), path
        assert len(path) > 1 or "name" in named or "name" not in known, path
