"""The objects that deployers act on, before and after each rollback, held to what is published of
their kinds: a field that a kind does not have would be dropped by the API server without a word.

Where it comes from is in deploy/tools.py: validators and types made of the definitions of Argo
Rollouts, the Gateway API and Istio, Flagger's types, KServe's models, the schemas of Kubernetes.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sinks.deployers.json_patch import find
from tests.contract.deployer_stage import ORDER, SCENES, Server, Stage, play
from tests.contract.kubernetes_objects import Scene
from tests.contract.kubernetes_schemas import Object
from tests.deploy.conftest import TOOL_S, Run
from tests.deploy.kserve_models import complaints, read_models

pytestmark = pytest.mark.timeout(600)

PACKAGES = {
    "Rollout": "@kubernetes-models/argo-rollouts",
    "HTTPRoute": "@kubernetes-models/gateway-api",
    "VirtualService": "@kubernetes-models/istio",
}
"""Kinds whose definitions are in a package of npm."""
WRONG = {
    "Rollout": ("/status", "aborted", True),
    "HTTPRoute": ("/spec/rules/1/backendRefs/0", "wieght", 100),
    "VirtualService": ("/spec/http/0/route/0", "wieght", 100),
    "Canary": ("/status", "failedCheck", 5),
    "InferenceService": ("/spec/predictor", "canaryTraffic", 0),
    "Deployment": ("/spec", "replica", 0),
    "ReplicaSet": ("/spec", "replica", 0),
}
"""A field that each kind does not have, beside one that a rollback writes."""
Check = Callable[[Sequence[Object]], str]


@pytest.fixture(scope="module")
def kinds() -> dict[str, list[Object]]:
    """By kind: every object of every scene as it was and as the deployer left it."""
    found: dict[str, list[Object]] = {}

    async def noted(at: Stage) -> list[Object]:
        return [copy.deepcopy(await at.api.get(path)) for path in at.paths]

    def both(scene: Scene) -> None:
        async def main(at: Stage) -> None:
            before = await noted(at)
            await at.deployer().roll_back(ORDER)
            after = await noted(at)
            assert before != after
            for each in (*before, *after):
                found.setdefault(each["kind"], []).append(each)

        play(scene, Server(), main)

    for scene in SCENES:
        both(scene)
    return found


@pytest.fixture
def check(
    have: Callable[[str], Path],
    run: Run,
    valid: Callable[[Sequence[Any]], None],
    repository: Path,
    tmp_path: Path,
) -> Callable[[str], Check]:
    """What is wrong with objects of a kind, "" if nothing."""

    def by_packages(things: Sequence[Object]) -> str:
        folder = have("deployer-resources")
        validator = repository / "tests" / "deploy" / "custom_resources.mjs"
        node = shutil.which("node") or "node"
        ran = _said([node, str(validator), str(folder)], json.dumps(things))
        return ran or _typed(things, folder / "node_modules", tmp_path)

    def by_flagger(things: Sequence[Object]) -> str:
        return _said([str(have("flagger-canary"))], json.dumps(things))

    def by_kserve(things: Sequence[Object]) -> str:
        models = read_models(have("kserve-models"))
        return "\n".join(
            said
            for thing in things
            for said in complaints(thing, "V1beta1InferenceService", models)
        )

    def by_kubernetes(things: Sequence[Object]) -> str:
        try:
            valid(things)
        except AssertionError as error:
            return str(error)
        return ""

    def of(kind: str) -> Check:
        if kind in PACKAGES:
            return by_packages
        if kind not in checks:
            pytest.skip(f"{kind} of Seldon Core 2: no package that can be had has its definition")
        return checks[kind]

    checks: dict[str, Check] = {
        "Canary": by_flagger,
        "InferenceService": by_kserve,
        "Deployment": by_kubernetes,
        "ReplicaSet": by_kubernetes,
    }
    return of


def _said(command: list[str], text: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command,
        input=text,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TOOL_S,
        check=False,
    )
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def _typed(things: Sequence[Object], modules: Path, folder: Path) -> str:
    """What the compiler says of the objects as values of their types: it refuses other names."""
    lines = []
    for number, thing in enumerate(things):
        kind = thing["kind"]
        path = f"{PACKAGES[kind]}/{thing['apiVersion']}/{kind}"
        lines.append(f'import type {{ I{kind} as T{number} }} from "{path}";')
        lines.append(f"export const o{number}: T{number} = {json.dumps(thing)};")
    (folder / "objects.ts").write_text("\n".join(lines), encoding="utf-8")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(modules)
    compiler = [shutil.which("node") or "node", str(modules / "typescript/bin/tsc")]
    options = ("--noEmit", "--strict", "--skipLibCheck", "--pretty", "false")
    modern = ("--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022")
    return _said([*compiler, *options, *modern, "objects.ts"], "", folder)


@pytest.mark.parametrize("kind", sorted({*WRONG, "Experiment"}))
def test_what_a_rollback_reads_and_leaves_is_what_is_published_of_its_kind(
    kinds: dict[str, list[Object]], check: Callable[[str], Check], kind: str
) -> None:
    assert check(kind)(kinds[kind]) == ""


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_a_field_that_the_kind_does_not_have_would_be_noticed(
    kinds: dict[str, list[Object]], check: Callable[[str], Check], kind: str
) -> None:
    at, name, value = WRONG[kind]
    wrong = copy.deepcopy(kinds[kind][-1])
    find(wrong, at)[name] = value
    assert name in check(kind)([wrong])


def test_every_kind_of_the_scenes_is_checked(kinds: dict[str, list[Object]]) -> None:
    assert set(kinds) == {*WRONG, "Experiment"}
