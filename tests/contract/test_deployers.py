"""What every deployer of Kubernetes objects promises, against an API server.

Against the stand-in always, and against a real kube-apiserver where one is named
(`tests.contract.kube_apiserver`); the second is what shows that the first is right.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from detectors.action import Action, ActionKind, Severity, rollback_key
from detectors.release import OTHER, Release, Role
from sinks.credentials import SecretSource
from sinks.deployers.argo_rollouts import ArgoRollouts, ArgoRolloutsSettings
from sinks.deployers.cluster import Change, Cluster, ClusterSettings, object_path
from sinks.deployers.flagger import FlaggerSettings
from sinks.deployers.json_patch import Json, find
from sinks.deployers.order import Effect, Order, Refused, VersionMark, filled, object_name, order_of
from sinks.deployers.receiver import Deployer, DeployerReceiver
from sinks.egress import EgressSettings, RetryLater
from sinks.errors import Permanent
from tests.contract.kube_apiserver import VARIABLE, connected, install, started
from tests.contract.kubernetes_objects import BAD, GOOD, NAME, Object, Scene, scenes
from tests.contract.kubernetes_stand_in import TOKEN, stand_in

SCENES = scenes()
KEY = rollback_key(NAME, BAD)
ORDER = Order(KEY, NAME, BAD, GOOD)
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_numbers = count()


class Api(Protocol):
    """An API server, as its administrator sees it."""

    async def create(self, path: str, thing: Object) -> Object: ...
    async def get(self, path: str) -> Object: ...
    async def change(self, path: str, thing: Object) -> None: ...
    async def allow(self, namespace: str, rules: list[Object]) -> None: ...


@dataclass(frozen=True)
class Server:
    """How to reach one: where, and what its certificate is signed by ("" for the stand-in)."""

    url: str = ""
    certificate: str = ""


@dataclass
class Stage:
    """A scene set up in a namespace of its own."""

    scene: Scene
    api: Api
    cluster: Cluster
    namespace: str
    paths: tuple[str, ...]

    @property
    def main(self) -> str:
        return self.paths[0]

    async def thing(self) -> Object:
        return await self.api.get(self.main)

    async def change(self, alter: Callable[[Object], None], path: str = "") -> None:
        thing = await self.api.get(path or self.main)
        alter(thing)
        await self.api.change(path or self.main, thing)

    def deployer(self, *, dry_run: bool = False, cluster: Cluster | None = None) -> Deployer:
        return self.scene.deployer(cluster or self.cluster, self.namespace, dry_run=dry_run)

    async def untouched(self, attempt: Awaitable[object], why: str) -> None:
        """Assert that ``attempt`` is refused for good and changes nothing."""
        before = await self.thing()
        with pytest.raises(Refused, match=why):
            await attempt
        assert await self.thing() == before


def rules_of(folder: str) -> list[Object]:
    """The rules of the role that deploy/ ships for a deployer."""
    documents = yaml.safe_load_all((DEPLOY / folder / "rbac.yaml").read_text())
    roles = [each for each in documents if each["kind"] == "Role"]
    assert len(roles) == 1
    return list(roles[0]["rules"])


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


@asynccontextmanager
async def api_of(server: Server) -> AsyncIterator[tuple[Api, str]]:
    if server.url:
        async with connected(server.url, Path(server.certificate)) as api:
            yield api, server.url
    else:
        async with stand_in() as (api, url):
            yield api, url


def cluster_at(url: str, certificate: str, token: str = TOKEN) -> Cluster:
    settings = ClusterSettings(
        server=url, ca_file=certificate or "unused", token=SecretSource(env="T")
    )
    return Cluster(settings, EgressSettings(total_timeout_ms=10_000), {"T": token})


@asynccontextmanager
async def stage(
    scene: Scene, server: Server, rules: list[Object] | None = None
) -> AsyncIterator[Stage]:
    async with api_of(server) as (api, url):
        namespace = f"t{next(_numbers)}"
        await api.allow(namespace, rules_of(scene.folder) if rules is None else rules)
        paths: list[str] = []
        owner = ""
        for group, plural, thing in scene.objects:
            metadata = dict(thing["metadata"])
            if "ownerReferences" in metadata:
                references = [dict(each, uid=owner) for each in metadata["ownerReferences"]]
                metadata["ownerReferences"] = references
            path = object_path(group, namespace, plural, metadata["name"])
            made = await api.create(path, {**thing, "metadata": metadata})
            owner = owner or made["metadata"]["uid"]
            paths.append(path)
        yield Stage(scene, api, cluster_at(url, server.certificate), namespace, tuple(paths))


def each_scene(test: Callable[..., None]) -> Callable[..., None]:
    marked: Callable[..., None] = pytest.mark.parametrize(
        "scene", SCENES, ids=[each.name for each in SCENES]
    )(test)
    return marked


def play(
    scene: Scene,
    server: Server,
    main: Callable[[Stage], Awaitable[None]],
    rules: list[Object] | None = None,
) -> None:
    async def run() -> None:
        async with stage(scene, server, rules) as set_up:
            await main(set_up)

    asyncio.run(run())


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


# --- without a server


def action(model: str = NAME, version: str = BAD, return_to: str = GOOD) -> Action:
    return Action(
        key=KEY,
        kind=ActionKind.ROLLBACK,
        release=Release(model, version, Role.CANARY),
        return_to=return_to,
        reason="",
        note="",
        evidence=(),
        severity=Severity.ERROR,
        incident_key="i",
        created_ms=0,
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (action(return_to=""), "no version to return to"),
        (action(return_to=BAD), "the one to leave"),
        (action(version=OTHER), "folded"),
        (action(return_to=OTHER), "folded"),
    ],
)
def test_an_action_without_a_way_back_is_no_order(given: Action, why: str) -> None:
    with pytest.raises(Refused, match=why):
        order_of(given)


HOSTILE = [
    "../../secrets",
    "a/b",
    "A",
    "",
    "x" * 254,
    "a\r\nb",
    "-a",
    "a?dryRun=All",
    "é",
    "{version}",
]


@pytest.mark.parametrize("model", HOSTILE)
def test_a_name_that_is_no_kubernetes_name_never_gets_into_a_path(model: str) -> None:
    with pytest.raises(Refused, match="no Kubernetes name"):
        object_name("{model}", model)


def test_what_is_filled_in_is_not_read_again() -> None:
    assert filled("{model}-{version}", "{version}", "{model}") == "{version}-{model}"


def test_a_dry_run_says_so_in_its_record() -> None:
    class Fake:
        async def roll_back(self, order: Order) -> Any:
            from sinks.deployers.order import Done

            return Done(Effect.DONE, f"shifted {order.version}\n<b>" + "x" * 500)

    for dry_run in (True, False):
        receiver = DeployerReceiver(FlaggerSettings(name="f", dry_run=dry_run), Fake())
        text = asyncio.run(receiver.deliver(action(), 0))
        assert text.startswith("dry run, nothing changed") is dry_run
        assert "\n" not in text
        assert len(text) < 300


def test_a_mark_needs_a_version_in_its_form() -> None:
    with pytest.raises(ValueError, match="must hold"):
        VersionMark(form="latest")
    with pytest.raises(ValueError, match="JSON pointer"):
        VersionMark(at="spec.template")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (ClusterSettings(), "does not run in a cluster"),
        (ClusterSettings(server="https://10.0.0.1:6443", ca_file="/nowhere"), "cannot be read"),
    ],
)
def test_a_cluster_that_cannot_be_used_stops_the_start(settings: ClusterSettings, why: str) -> None:
    with pytest.raises(Permanent, match=why):
        Cluster(settings, EgressSettings(), {})


def test_a_token_is_not_sent_in_the_clear() -> None:
    with pytest.raises(ValueError, match="must be https"):
        ClusterSettings(server="http://10.0.0.1:8080")
