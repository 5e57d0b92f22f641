"""A deployer's scene on an API server: the objects around it, its rights, and what a test does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
import yaml

from detectors.action import rollback_key
from sinks.credentials import SecretSource
from sinks.deployers.cluster import Cluster, ClusterSettings, object_path
from sinks.deployers.order import Order, Refused
from sinks.deployers.receiver import Deployer
from sinks.egress import EgressSettings
from tests.contract.kube_apiserver import connected
from tests.contract.kubernetes_objects import BAD, GOOD, NAME, Scene, scenes
from tests.contract.kubernetes_schemas import Object
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


async def put_up(api: Api, namespace: str, scene: Scene) -> tuple[str, ...]:
    """Create the objects of a scene. Their paths; the first is that of the one that is changed."""
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
    return tuple(paths)


@asynccontextmanager
async def stage(
    scene: Scene, server: Server, rules: list[Object] | None = None
) -> AsyncIterator[Stage]:
    async with api_of(server) as (api, url):
        namespace = f"t{next(_numbers)}"
        await api.allow(namespace, rules_of(scene.folder) if rules is None else rules)
        paths = await put_up(api, namespace, scene)
        yield Stage(scene, api, cluster_at(url, server.certificate), namespace, paths)


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
