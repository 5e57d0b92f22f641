"""Linters and schemas: from PATH or their registries, else the test says why it did not run."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.tools import KUBERNETES, CannotHave, tool

TOOL_S = 120
Run = Callable[..., str]


@pytest.fixture(scope="session")
def have() -> Callable[[str], Path]:
    """The path of a tool; skips the test with the reason where it cannot be had."""

    missing: dict[str, str] = {}  # asking again would only wait again

    def get(name: str) -> Path:
        if name not in missing:
            try:
                return tool(name, build=False)
            except CannotHave as reason:
                missing[name] = str(reason)
        pytest.skip(missing[name])

    return get


@pytest.fixture(scope="session")
def run() -> Run:
    """Runs a program and gives what it printed; fails the test with what it said if it failed."""

    def ran(*command: str | Path, fails: bool = False, text: str = "") -> str:
        done = subprocess.run(
            [str(part) for part in command],
            input=text,
            capture_output=True,
            text=True,
            timeout=TOOL_S,
            check=False,
        )
        said = f"{done.stdout}{done.stderr}"
        assert (done.returncode != 0) is fails, said[-3000:]
        return done.stdout if not fails else said

    return ran


@pytest.fixture(scope="session")
def chart(repository: Path) -> Path:
    return repository / "deploy" / "helm" / "driftline"


@pytest.fixture(scope="session")
def render(have: Callable[[str], Path], run: Run, chart: Path) -> Callable[..., list[Any]]:
    """The resources that the chart makes of values, given as ``a.b=c``."""

    def rendered(*values: str) -> list[Any]:
        given = [
            "kafka.bootstrap=kafka:9094",
            "store.url=https://driftline@clickhouse:8443",
            *values,
        ]
        options = [part for value in given for part in ("--set", value)]
        text = run(have("helm"), "template", "dl", chart, *options)
        return [each for each in yaml.safe_load_all(text) if each]

    return rendered


@pytest.fixture(scope="session")
def valid(
    have: Callable[[str], Path], run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Sequence[Any]], None]:
    """Asserts that kubeconform, strict, accepts resources of Kubernetes itself or of Strimzi."""
    folder = tmp_path_factory.mktemp("schemas")

    def check(resources: Sequence[Any]) -> None:
        program, schemas = have("kubeconform"), have("kubernetes-schemas")
        for each in resources:
            group, _, version = str(each["apiVersion"]).rpartition("/")
            first = group.split(".")[0]
            name = "-".join([each["kind"].lower(), *([first] if first else []), version])
            if not (folder / f"{name}.json").exists():
                if group == "kafka.strimzi.io":
                    text = _defined(have("strimzi-definitions"), each["kind"], version)
                else:
                    text = _standalone(schemas, name)
                (folder / f"{name}.json").write_text(text, encoding="utf-8")
        manifest = folder / "manifest.yaml"
        manifest.write_text(yaml.safe_dump_all(resources), encoding="utf-8")
        where = f"{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
        out = run(program, "-strict", "-summary", "-schema-location", where, manifest)
        found = re.search(r"Valid: (\d+), Invalid: 0, Errors: 0, Skipped: 0", out)
        assert found is not None, out
        assert int(found[1]) == len(resources), f"Kubernetes {KUBERNETES}: {out}"

    return check


def _standalone(schemas: Path, name: str) -> str:
    """One schema with all that it refers to: kubeconform follows no references to other files."""
    everything = _local(schemas / "_definitions.json")["$defs"]
    schema = _local(schemas / f"{name}.json")
    wanted, reached = _references(schema), {}
    while wanted:
        key = wanted.pop()
        reached[key] = everything[key]
        wanted |= _references(everything[key]) - set(reached)
    return json.dumps({**schema, "$defs": reached})


def _defined(definitions: Path, kind: str, version: str) -> str:
    """The schema of a custom resource; fields that it does not name are refused."""
    text = (definitions / f"{kind}.yaml").read_text(encoding="utf-8")
    served = {each["name"]: each for each in yaml.safe_load(text)["spec"]["versions"]}
    assert version in served, f"Strimzi serves {sorted(served)} of {kind}"
    return json.dumps(_closed(served[version]["schema"]["openAPIV3Schema"]))


def _closed(schema: Any) -> Any:
    """As the API server does it, and stricter: it drops what is unknown, this refuses it."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    named = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    return {**closed, "additionalProperties": False} if named else closed


def _local(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8").replace("/api/_definitions.json#", "#"))


def _references(schema: Any) -> set[str]:
    return set(re.findall(r'"#/\$defs/([^"]+)"', json.dumps(schema)))
