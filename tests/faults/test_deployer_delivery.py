"""From a FAIL to one change of the cluster, with everything in between going wrong.

The stand-in counts the changes it stored; that is the truth about what was executed.
"""

from __future__ import annotations

import asyncio
import random
from math import nan
from typing import Any

import pytest

from detectors.action import ActionKind
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.credentials import SecretSource
from sinks.deployers.cluster import Cluster, ClusterSettings
from sinks.deployers.receiver import DeployerReceiver
from sinks.egress import EgressSettings
from sinks.receivers import Receiver, routes
from streams.deliver import (
    DeliverSettings,
    new_state,
)
from streams.outbox import ActionState
from tests.contract.deployer_stage import put_up, rules_of
from tests.contract.kubernetes_objects import BAD, GOOD, NAME, Scene, scenes
from tests.contract.kubernetes_stand_in import TOKEN, StandIn, stand_in
from tests.faults.delivery_scene import Worker

SETTINGS = DeliverSettings()
SCENES = {scene.name: scene for scene in scenes()}
FAULTS = ("drop", "lose", "hang", "503", "429", "401", "")


def verdict(sequence: int = 1, model: str = NAME) -> Verdict:
    release = Release(model, BAD, Role.CANARY)
    return Verdict(release, Status.FAIL, "bad", sequence, 0, 0, 0, GOOD, 9, nan, nan, (), 7)


class Pager:
    """A receiver of pages that takes them all."""

    name = "pager"
    kinds = frozenset({ActionKind.PAGE, ActionKind.RESOLVE})
    models = ("*",)
    dry_run = False

    async def deliver(self, action: Any, now_ms: int) -> str:
        return "taken"


class Deliver(Worker):
    """It, and the pages that it wrote."""

    def pages(self) -> list[str]:
        rows = {row.action_key: row for row in self.rows if row.kind is ActionKind.PAGE}
        return [row.reason for row in rows.values()]


async def set_up(api: StandIn, scene: Scene) -> str:
    """Put the objects of a scene in place. Returns the path of the one that is changed."""
    await api.allow("t", rules_of(scene.folder))
    return (await put_up(api, "t", scene))[0]


def worker(
    scene: Scene, url: str, *, dry_run: bool = False, models: tuple[str, ...] = ("*",)
) -> Deliver:
    settings = ClusterSettings(server=url, token=SecretSource(env="T"))
    cluster = Cluster(settings, EgressSettings(total_timeout_ms=250), {"T": TOKEN})
    deployer = scene.deployer(cluster, "t", dry_run=dry_run)
    receiver = DeployerReceiver(scene.settings, deployer)
    receiver.name, receiver.dry_run, receiver.models = "deployer", dry_run, models
    made: tuple[Receiver, ...] = (receiver, Pager())
    receivers = {each.name: each for each in made}
    return Deliver(receivers, routes(made), new_state(NAME), [])


@pytest.mark.parametrize("name", sorted(SCENES))
def test_whatever_goes_wrong_on_the_way_there_is_one_change(name: str) -> None:
    """20 seeded courses of faults and deaths of the worker, each ending with one change."""
    scene = SCENES[name]

    async def course(seed: int) -> None:
        dice = random.Random(seed)
        async with stand_in() as (api, url):
            main = await set_up(api, scene)
            api.faults = [
                dice.choice(FAULTS) if dice.random() < 0.97 else "hang"
                for _ in range(dice.randrange(8))
            ]
            here = worker(scene, url)
            here.take(verdict())
            for _ in range(dice.randrange(3)):
                # Killed after sending and before noting; the bus delivers the verdict again.
                await here.send_due(forget=True)
                here = here.restarted()
                here.take(verdict())
            here.take(verdict(2))
            await here.drain()
            assert here.state.outbox.entries == (), seed
            assert here.rows[-1].state is ActionState.ACKNOWLEDGED, seed
            assert scene.rolled_back(await api.get(main)), seed
            assert api.patched == 1, seed

    async def main() -> None:
        await asyncio.gather(*(course(seed) for seed in range(20)))

    asyncio.run(main())


def test_a_server_that_was_away_for_ten_minutes_is_asked_once_it_is_back() -> None:
    scene = SCENES["http_route"]

    async def main() -> None:
        async with stand_in() as (api, url):
            main = await set_up(api, scene)
            api.faults = ["drop"] * 36
            here = worker(scene, url)
            here.take(verdict())
            await here.drain()
            assert api.patched == 1
            assert scene.rolled_back(await api.get(main))
            retried = [row for row in here.rows if row.state is ActionState.RETRYING]
            assert len(retried) == 36
            assert here.now_ms > 600_000
            # Late is worth a page, and its end a resolve.
            assert any("not acknowledged" in reason for reason in here.pages())
            assert here.rows[-1].kind is ActionKind.RESOLVE

    asyncio.run(main())


def test_a_wait_that_the_server_asks_for_is_kept() -> None:
    async def main() -> None:
        async with stand_in() as (api, url):
            await set_up(api, SCENES["http_route"])
            api.faults = ["429"]
            here = worker(SCENES["http_route"], url)
            here.take(verdict())
            await here.send_due()
            assert here.state.outbox.next_try_ms() == 2_000

    asyncio.run(main())


def test_dry_run_everywhere_changes_nothing_and_pages_that_nobody_rolls_back() -> None:
    async def main() -> None:
        async with stand_in() as (api, url):
            await set_up(api, SCENES["http_route"])
            here = worker(SCENES["http_route"], url, dry_run=True)
            here.take(verdict())
            await here.drain()
            assert api.patched == 0
            states = [row.state for row in here.rows if row.kind is ActionKind.ROLLBACK]
            assert states == [ActionState.PENDING, ActionState.DRY_RUN]
            assert "would have shifted" in here.rows[-1].detail or any(
                "would have shifted" in row.detail for row in here.rows
            )
            assert any("set to dry run" in reason for reason in here.pages())

    asyncio.run(main())


def test_a_deployer_is_asked_for_its_models_only_and_others_page() -> None:
    async def main() -> None:
        async with stand_in() as (api, url):
            await set_up(api, SCENES["http_route"])
            here = worker(SCENES["http_route"], url, models=("churn", "churn-*"))
            here.take(verdict())
            await here.drain()
            assert api.patched == 0
            rollback = next(row for row in here.rows if row.kind is ActionKind.ROLLBACK)
            assert rollback.state is ActionState.UNROUTED
            assert any(
                "no deployer is configured for this model" in reason for reason in here.pages()
            )

    asyncio.run(main())


def test_a_refusal_pages_at_once_and_is_not_tried_again() -> None:
    scene = SCENES["http_route"]

    async def main() -> None:
        async with stand_in() as (api, url):
            path = await set_up(api, scene)
            thing = await api.get(path)
            thing["spec"]["rules"][1]["backendRefs"][0]["name"] = "elsewhere"
            await api.change(path, thing)
            here = worker(scene, url)
            here.take(verdict())
            await here.drain()
            assert api.patched == 0
            refused = [row for row in here.rows if row.state is ActionState.REFUSED]
            assert len(refused) == 1
            assert "nothing to return to" in refused[0].detail
            assert any("nothing to return to" in reason for reason in here.pages())

    asyncio.run(main())


def test_two_replicas_that_both_deliver_change_it_once() -> None:
    async def main() -> None:
        for name in ("http_route", "argo_abort", "deployment_scale"):
            async with stand_in() as (api, url):
                await set_up(api, SCENES[name])
                workers = [worker(SCENES[name], url) for _ in range(5)]
                for here in workers:
                    here.take(verdict())
                await asyncio.gather(*(here.drain() for here in workers))
                assert api.patched == 1, name
                assert all(here.state.outbox.entries == () for here in workers)

    asyncio.run(main())
