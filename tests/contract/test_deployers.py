"""What every deployer of Kubernetes objects promises, against an API server.

Against the stand-in always, and against a real kube-apiserver where one is named
(`tests.contract.kube_apiserver`); the second is what shows that the first is right.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from sinks.deployers.argo_rollouts import ArgoRollouts, ArgoRolloutsSettings
from sinks.deployers.cluster import Change, Cluster, object_path
from sinks.deployers.json_patch import Json, find
from sinks.deployers.order import Effect, Refused
from sinks.egress import RetryLater
from tests.contract.deployer_stage import (
    KEY,
    ORDER,
    SCENES,
    Server,
    Stage,
    cluster_at,
    each_scene,
    play,
    rules_of,
)
from tests.contract.kube_apiserver import VARIABLE, connected, install, started
from tests.contract.kubernetes_objects import NAME, Scene


@pytest.fixture(
    scope="module",
    params=["stand_in", *(["kube_apiserver"] if os.environ.get(VARIABLE) else [])],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Server]:
    if request.param == "stand_in":
        yield Server()
        return
    running, url, certificate = started(os.environ[VARIABLE], tmp_path_factory.mktemp("kube"))
    try:

        async def ready() -> None:
            async with connected(url, certificate) as api:
                await install(api)

        asyncio.run(ready())
        yield Server(url, str(certificate))
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(20)


@each_scene
def test_an_order_is_carried_out_with_the_rights_of_the_shipped_role_alone(
    scene: Scene, server: Server
) -> None:
    async def main(at: Stage) -> None:
        assert not scene.rolled_back(await at.thing())
        done = await at.deployer().roll_back(ORDER)
        assert done.effect is Effect.DONE
        after = await at.thing()
        assert scene.rolled_back(after)
        kept = find(after, "/metadata/annotations/driftline.io~1actions")
        assert (kept == KEY) is scene.remembers

    play(scene, server, main)


@each_scene
def test_a_dry_run_is_checked_in_full_and_changes_nothing(scene: Scene, server: Server) -> None:
    async def main(at: Stage) -> None:
        before = await at.thing()
        done = await at.deployer(dry_run=True).roll_back(ORDER)
        assert done.effect is Effect.DONE
        assert await at.thing() == before
        # The control: the same with dry_run off does change it.
        await at.deployer().roll_back(ORDER)
        assert scene.rolled_back(await at.thing())

    play(scene, server, main)


@each_scene
def test_a_repeat_changes_nothing(scene: Scene, server: Server) -> None:
    async def main(at: Stage) -> None:
        await at.deployer().roll_back(ORDER)
        before = await at.thing()
        again = await at.deployer().roll_back(ORDER)
        assert again.effect is Effect.ALREADY
        assert await at.thing() == before

    play(scene, server, main)


@each_scene
def test_a_repeat_after_a_redeploy_is_known_by_its_id_where_one_can_be_kept(
    scene: Scene, server: Server
) -> None:
    async def main(at: Stage) -> None:
        await at.deployer().roll_back(ORDER)
        await at.change(scene.redeploy)
        again = await at.deployer().roll_back(ORDER)
        assert scene.rolled_back(await at.thing()) is not scene.remembers
        if scene.remembers:
            assert again.effect is Effect.ALREADY
            # The control: another action on the same version is carried out.
            await at.deployer().roll_back(replace(ORDER, key="rollback_other"))
            after = await at.thing()
            assert scene.rolled_back(after)
            kept = find(after, "/metadata/annotations/driftline.io~1actions")
            assert kept == f"{KEY} rollback_other"

    play(scene, server, main)


@each_scene
def test_another_version_than_the_one_that_runs_is_left_alone(scene: Scene, server: Server) -> None:
    async def main(at: Stage) -> None:
        before = await at.thing()
        order = replace(ORDER, version="0999")
        try:
            done = await at.deployer().roll_back(order)
        except Refused:
            pass
        else:
            # Weights: a version that gets no traffic has nothing to lose.
            assert done.effect is Effect.ALREADY
        assert await at.thing() == before

    play(scene, server, main)


@each_scene
def test_a_version_to_return_to_that_does_not_run_is_refused(scene: Scene, server: Server) -> None:
    if scene.name in ("kserve_pin", "kserve_restore"):
        # KServe itself knows the revision to return to, or loads what is named.
        return

    async def main(at: Stage) -> None:
        order = replace(ORDER, return_to="0200")
        await at.untouched(at.deployer().roll_back(order), "0200")

    play(scene, server, main)


class Meddling(Cluster):
    """A cluster in which somebody changes the object between our reading and our patch."""

    meddle: Callable[[], Awaitable[None]]
    inner: Cluster

    def __init__(self, inner: Cluster, meddle: Callable[[], Awaitable[None]]) -> None:
        self.inner, self.meddle, self.name = inner, meddle, inner.name

    async def read(self, path: str) -> Json:
        return await self.inner.read(path)

    async def listed(self, path: str, selector: str) -> list[Json]:
        return await self.inner.listed(path, selector)

    async def apply(self, change: Change, *, dry_run: bool) -> Json:
        await self.meddle()
        return await self.inner.apply(change, dry_run=dry_run)


@each_scene
def test_an_object_that_changed_since_it_was_read_is_not_changed(
    scene: Scene, server: Server
) -> None:
    async def main(at: Stage) -> None:
        async def meddle() -> None:
            await at.change(lambda thing: thing["metadata"].update(labels={"by": "somebody"}))

        late = at.deployer(cluster=Meddling(at.cluster, meddle))
        with pytest.raises(RetryLater, match="changed"):
            await late.roll_back(ORDER)
        after = await at.thing()
        assert after["metadata"]["labels"] == {"by": "somebody"}
        assert not scene.rolled_back(after)
        # The next try reads again and succeeds.
        await at.deployer().roll_back(ORDER)
        assert scene.rolled_back(await at.thing())

    play(scene, server, main)


def test_no_rule_of_a_shipped_role_is_without_use(server: Server) -> None:
    for folder in sorted({scene.folder for scene in SCENES}):
        rules = rules_of(folder)
        for left_out in range(len(rules)):
            failed: list[str] = []
            for scene in (each for each in SCENES if each.folder == folder):

                async def main(at: Stage, failed: list[str] = failed) -> None:
                    before = await at.thing()
                    try:
                        await at.deployer().roll_back(ORDER)
                    except Refused as error:
                        failed.append(str(error))
                        if await at.thing() != before:
                            failed.append("changed")

                play(scene, server, main, [r for i, r in enumerate(rules) if i != left_out])
            assert failed, f"{folder}: rule {left_out} is not needed"
            assert all("403" in text for text in failed)


@each_scene
def test_of_many_at_once_one_changes_the_object(scene: Scene, server: Server) -> None:
    async def main(at: Stage) -> None:
        async def attempt() -> str:
            for _ in range(20):
                try:
                    return str((await at.deployer().roll_back(ORDER)).effect)
                except RetryLater:
                    await asyncio.sleep(0.01)
            return "gave up"

        effects = await asyncio.gather(*(attempt() for _ in range(6)))
        assert sorted(effects) == ["already"] * 5 + ["done"]
        assert scene.rolled_back(await at.thing())

    play(scene, server, main)


@each_scene
def test_an_object_that_is_not_there_is_refused(scene: Scene, server: Server) -> None:
    async def main(at: Stage) -> None:
        settings = replace(scene.settings, namespace=at.namespace, object="missing", dry_run=False)
        anywhere = [dict(rule) for rule in rules_of(scene.folder)]
        for rule in anywhere:
            rule.pop("resourceNames", None)
        await at.api.allow(at.namespace, anywhere)
        await at.untouched(scene.make(settings, at.cluster).roll_back(ORDER), "no such object")

    play(scene, server, main)


STATES: list[tuple[str, str, Any, str]] = [
    ("argo_abort", "/status/stableRS", "bbb", "complete|not run"),
    ("argo_abort", "/status/stableRS", "", "no stable"),
    ("deployment_template", "/spec/paused", True, "paused"),
    ("flagger", "/status/phase", "Promoting", "Promoting"),
    ("kserve_pin", "/status/components/predictor/latestRolledoutRevision", "", "nothing to return"),
    (
        "kserve_pin",
        "/status/components/predictor/latestRolledoutRevision",
        "fraud-predictor-00002",
        "nothing to return",
    ),
    ("http_route", "/spec/rules/1/backendRefs/0/name", "elsewhere", "nothing to return"),
    ("virtual_service", "/spec/http/0/route/1/destination/subset", "v2", "nothing to return"),
    ("seldon", "/spec/candidates/0/name", "elsewhere", "nothing to return"),
]


@pytest.mark.parametrize(("name", "at", "value", "why"), STATES)
def test_what_has_nothing_to_return_to_is_refused(
    server: Server, name: str, at: str, value: Any, why: str
) -> None:
    scene = next(each for each in SCENES if each.name == name)
    parent, _, key = at.rpartition("/")

    async def main(here: Stage) -> None:
        await here.change(lambda thing: find(thing, parent).update({key: value}))
        # A complete rollout calls its own ReplicaSet stable; that one runs the bad version.
        if value == "bbb":
            bad = {**scene.objects[1][2]}
            bad["metadata"] = {**bad["metadata"], "name": f"{NAME}-bbb"}
            path = object_path("apps/v1", here.namespace, "replicasets", f"{NAME}-bbb")
            await here.api.create(path, bad)
        await here.untouched(here.deployer().roll_back(ORDER), why)

    play(scene, server, main)


def test_a_stable_deployment_without_available_replicas_is_nothing_to_return_to(
    server: Server,
) -> None:
    scene = next(each for each in SCENES if each.name == "deployment_scale")

    async def main(at: Stage) -> None:
        await at.change(lambda thing: thing.update(status={"replicas": 4}), path=at.paths[1])
        await at.untouched(at.deployer().roll_back(ORDER), "no available replica")

    play(scene, server, main)


def test_promoting_skips_what_is_left_of_a_rollout(server: Server) -> None:
    scene = next(each for each in SCENES if each.name == "argo_abort")

    async def main(at: Stage) -> None:
        argo = ArgoRollouts(
            ArgoRolloutsSettings(namespace=at.namespace, object=NAME, dry_run=False), at.cluster
        )
        with pytest.raises(Refused, match="0999"):
            await argo.promote(replace(ORDER, version="0999"))
        await argo.promote(ORDER)
        assert find(await at.thing(), "/status/promoteFull") is True

    play(scene, server, main)


def test_a_wrong_token_is_tried_again_and_never_shown(server: Server) -> None:
    scene = SCENES[0]

    async def main(at: Stage) -> None:
        url = at.cluster._server
        stranger = cluster_at(url, server.certificate, "wrong-token-0123456789")
        with pytest.raises(RetryLater, match="401") as caught:
            await at.deployer(cluster=stranger).roll_back(ORDER)
        assert "wrong-token" not in str(caught.value)

    play(scene, server, main)
