"""Trying deployers out, and promoting by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from sinks.deployers.cluster import object_path
from sinks.deployers.json_patch import find
from streams.cli import main
from streams.config import Config, load_config
from streams.deployers_command import order_for, promote, tried_out
from streams.errors import UserError
from tests.contract.kubernetes_objects import BAD, GOOD, NAME, scenes
from tests.contract.kubernetes_stand_in import TOKEN, stand_in

SCENE = next(scene for scene in scenes() if scene.name == "argo_abort")
ENVIRON = {"T": TOKEN}


def config(folder: Path, url: str, *, dry_run: bool = False) -> Config:
    file = folder / "c.yaml"
    deployers = {
        "clusters": [{"name": "there", "server": url, "token": {"env": "T"}}],
        "argo_rollouts": [
            {
                "name": "rollouts",
                "models": ["fr*"],
                "cluster": "there",
                "namespace": "t",
                "object": NAME,
                "dry_run": dry_run,
            }
        ],
        "http_routes": [{"name": "routes", "cluster": "there", "namespace": "t"}],
        "mlflow": [{"name": "registry", "url": "https://m.example", "models": ["churn"]}],
    }
    file.write_text(yaml.safe_dump({"deployers": deployers}))
    return load_config(file, {})


def test_a_check_asks_all_deployers_of_the_model_and_changes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with stand_in() as (api, url):
            rule = {"apiGroups": ["argoproj.io", "apps", "gateway.networking.k8s.io"]}
            rule |= {"resources": ["rollouts", "rollouts/status", "replicasets", "httproutes"]}
            await api.allow("t", [rule | {"verbs": ["get", "patch"]}])
            for group, plural, thing in SCENE.objects:
                path = object_path(group, "t", plural, thing["metadata"]["name"])
                await api.create(path, thing)
            order = order_for(NAME, BAD, GOOD)
            rollouts, routes = await tried_out(config(tmp_path, url), order, ENVIRON)
            assert (rollouts.deployer, rollouts.ok) == ("rollouts", True)
            assert "would have aborted" in rollouts.text
            assert (routes.deployer, routes.ok) == ("routes", False)
            assert "no such object" in routes.text
            assert api.patched == 0

    asyncio.run(run())


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_person_can_promote_as_the_deployer_is_set(tmp_path: Path, dry_run: bool) -> None:
    said: list[str] = []

    async def run() -> None:
        async with stand_in() as (api, url):
            rule = {"apiGroups": ["argoproj.io"], "resources": ["rollouts", "rollouts/status"]}
            await api.allow("t", [rule | {"verbs": ["get", "patch"]}])
            group, plural, thing = SCENE.objects[0]
            path = object_path(group, "t", plural, NAME)
            await api.create(path, thing)
            settings = config(tmp_path, url, dry_run=dry_run)
            loop = asyncio.get_running_loop()
            call = (settings, "rollouts", NAME, BAD, ENVIRON, said.append)
            assert await loop.run_in_executor(None, promote, *call) == 0
            promoted = find(await api.get(path), "/status/promoteFull") is True
            assert promoted is not dry_run
            with pytest.raises(UserError, match="0999"):
                await loop.run_in_executor(
                    None, promote, settings, "rollouts", NAME, "0999", ENVIRON, said.append
                )

    asyncio.run(run())
    assert said[0].startswith("dry run") is dry_run


def test_what_cannot_be_tried_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deployers", "check", "m", "2", "1"]) == 2
    assert "no deployer is for the model m" in capsys.readouterr().err
    assert main(["deployers", "check", "m", "2", "2"]) == 2
    assert "two versions are one" in capsys.readouterr().err
    assert main(["deployers", "promote", "nobody", "m", "2"]) == 2
    assert "no deployer 'nobody'" in capsys.readouterr().err


def test_a_deployer_may_not_have_a_receivers_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "receivers: {slack: [{name: twice}]}\ndeployers: {mlflow: [{name: twice, url: x}]}\n"
    )
    assert main(["config", "check", str(file)]) == 2
    assert "`twice` is a receiver's name as well" in capsys.readouterr().err
