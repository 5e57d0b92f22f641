"""F1 to F12: how many rollbacks are executed, whatever goes wrong between verdict and
deployer.

    python -m tests.faults.action_cells [--runs 20] [--only F2,F5]

runs each cell with that many seeds and prints the count of each; without its guard the same cell
must give another one in some run.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog

from detectors.action import Action, ActionKind, Severity
from detectors.policy import Approval, Automation
from detectors.release import Release, Role
from detectors.verdict import Status
from sinks.commands import Command
from sinks.control import SwitchRecord
from sinks.egress import RetryLater
from streams.deliver_agent import DeliverAgent
from streams.demo_traffic import CANARY
from tests.faults.action_world import (
    NOW,
    Deployer,
    World,
    alert,
    config,
    kill,
    partition_of,
    play,
    settle,
    take,
    verdict,
    whole_trail,
)
from tests.faults.faster_but_worse import verdicts

RUNS: Final = 20
MINUTE: Final = 60_000
PRODUCTION: Final = Release("m", "1", Role.PRODUCTION)
FAIL: Final = verdict(Status.FAIL, 2)
FIRST: Final = verdict(Status.INSUFFICIENT, 1)


@dataclass
class Target(Deployer):
    """A deployer that knows what runs. With its guards it remembers ids and takes out only what
    runs; ``down_until_ms``: until then it does not answer; ``after``: it acts, and then fails."""

    guarded: bool = True
    running: str = "2"
    down_until_ms: int = 0
    after: int = 0
    fails: bool = False

    async def deliver(self, action: Action, now_ms: int) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        if now_ms < self.down_until_ms or (self.fails and self.chance.random() < 0.4):
            raise RetryLater("not now")
        runs = self.running == action.release.version
        if not self.guarded or (action.key not in self.ids and runs):
            self.executed.append(f"{action.release.version} to {action.return_to}")
            self.running = action.return_to
        self.ids.add(action.key)
        if self.after > 0:
            self.after -= 1
            raise RetryLater("after it acted")
        return "done"


@dataclass
class Pager(Deployer):
    """Takes pages; keeps them."""

    name: str = "pager"
    kinds: frozenset[ActionKind] = frozenset({ActionKind.PAGE, ActionKind.RESOLVE})
    pages: list[Action] = field(default_factory=list)

    async def deliver(self, action: Action, now_ms: int) -> str:
        await asyncio.sleep(0)
        if action.key not in self.ids and action.kind is ActionKind.PAGE:
            self.ids.add(action.key)
            self.pages.append(action)
        return "done"


@dataclass
class Run:
    """One run of a cell: its chance, whether its guard is there, and its world."""

    chance: random.Random
    guarded: bool
    target: Target
    pager: Pager
    world: World

    async def give(self, agent: DeliverAgent, *given: bytes | Command) -> None:
        for each in given:
            await take(agent, partition_of(self.world.config), 0, each)

    async def pass_time(self, agent: DeliverAgent, ms: int, step_ms: int = 20_000) -> None:
        for _ in range(max(1, ms // step_ms)):
            await settle(agent)
            self.world.now_ms += step_ms
            await agent.tick()
        await settle(agent)


def _run(seed: int, guarded: bool, approval: Approval = Approval.AUTOMATIC) -> Run:
    chance = random.Random(seed)
    target, pager = Target(chance, guarded=guarded), Pager(chance)
    world = World(config(approval), target)
    world.also = (pager,)
    return Run(chance, guarded, target, pager, world)


Play = Callable[[Run], Coroutine[Any, Any, None]]


async def down_for_ten_minutes(run: Run) -> None:
    run.target.down_until_ms = NOW + 10 * MINUTE
    run.target.after = run.chance.randrange(1, 4)
    agent = run.world.started()
    await run.give(agent, FIRST, FAIL)
    for _ in range(40):
        await run.pass_time(agent, MINUTE // 2)
        if run.chance.random() < 0.2:
            await kill(agent, run.chance.randrange(6))
            agent = run.world.started()
            await run.give(agent, FAIL)


async def answer_lost(run: Run) -> None:
    run.target.after = run.chance.randrange(1, 8)
    agent = run.world.started()
    await run.give(agent, FIRST, FAIL)
    await run.pass_time(agent, 20 * MINUTE)


async def killed_at_every_step(run: Run) -> None:
    run.target.fails, run.target.after = True, run.chance.randrange(3)
    script: list[bytes | Command] = [FIRST, FAIL, *(verdict(Status.FAIL, n) for n in range(3, 8))]
    await play(run.world, script, run.chance)


async def two_evaluators(run: Run) -> None:
    """Both believe that the partition is theirs, as after a change of leader, and both deliver."""
    run.target.fails = True
    first, second = run.world.started(), run.world.started()
    await run.give(first, FIRST)
    await run.give(second, FIRST)
    await asyncio.gather(run.give(first, FAIL), run.give(second, FAIL))
    for _ in range(20):
        await run.pass_time(first, MINUTE // 2)
        await run.pass_time(second, MINUTE // 2)


async def repeated_flapping_and_reordered(run: Run) -> None:
    """Fifty edges, alerts that fire and end in any order, lost ends; and afterwards the version is
    deployed again by hand, which a late repeat must not undo."""
    flapping: list[bytes | Command] = [
        verdict(Status.FAIL if n % 2 else Status.PASS, n) for n in range(3, 103)
    ]
    for begun in range(10):
        flapping.append(alert(begun, firing=True))
        if run.chance.random() < 0.6:
            flapping.append(alert(begun, firing=False))
    order = sorted(range(len(flapping)), key=lambda n: n + run.chance.uniform(0, 8))
    agent = run.world.started()
    await run.give(agent, FIRST)
    for n in order:
        await run.give(agent, *[flapping[n]] * run.chance.choice((1, 1, 3)))
        await run.pass_time(agent, 2_000, 2_000)
    run.target.running = "2"
    lost = run.world.kafka.data if not run.guarded else {}
    lost.clear()  # without its guard: the memory that the version was rolled back
    agent = run.world.started()
    await run.give(agent, *(verdict(Status.FAIL, n) for n in (101, 103, 104)))
    await run.pass_time(agent, 5 * MINUTE)


async def target_is_bad_as_well(run: Run) -> None:
    """The version that it went back to fails, and the next canary of the same version as well."""
    agent = run.world.started()
    await run.give(agent, verdict(Status.PASS, 1, PRODUCTION, ""), FIRST, FAIL)
    await run.pass_time(agent, MINUTE)
    bad = [
        verdict(Status.FAIL, n, Release("m", "1", role), baseline)
        for n, (role, baseline) in enumerate(
            [(Role.PRODUCTION, ""), (Role.CANARY, "2"), (Role.PRODUCTION, "2")], 10
        )
    ]
    if not run.guarded:  # nobody knows any more that it was rolled back from "2"
        run.world.kafka.data.clear()
        agent = run.world.started()
    run.target.running = "1"
    run.chance.shuffle(bad)
    await run.give(agent, *bad)
    await run.pass_time(agent, 5 * MINUTE)
    if run.guarded and not any(p.severity is Severity.CRITICAL for p in run.pager.pages):
        raise AssertionError("nobody was called")


async def old_data_afterwards(run: Run) -> None:
    agent = run.world.started()
    await run.give(agent, FIRST, FAIL)
    await run.pass_time(agent, MINUTE)
    if not run.guarded:
        run.world.kafka.data.clear()
        agent = run.world.started()
    for n in range(3, 3 + run.chance.randrange(2, 12)):
        await run.give(agent, verdict(Status.FAIL, n))
        await run.pass_time(agent, run.chance.choice((1_000, MINUTE)), 1_000)


async def flood(run: Run) -> None:
    """Three hundred other releases fail at once, half of them before the one that rolls back."""
    others = [verdict(Status.FAIL, 5, Release("m", f"s{n}", Role.SHADOW)) for n in range(300)]
    run.target.after = run.chance.randrange(3)
    agent = run.world.started()
    await run.give(agent, FIRST)
    half = run.chance.randrange(100, 200)
    await asyncio.gather(
        *(run.give(agent, each) for each in (*others[:half], FAIL, *others[half:]))
    )
    await run.pass_time(agent, 5 * MINUTE)
    pages = Counter(page.incident_key for page in run.pager.pages)
    if pages and max(pages.values()) > 1:
        raise AssertionError(f"{max(pages.values())} pages for one incident")


def only(*statuses: Status) -> Play:
    """Nothing but these, in any order; without the guard each is taken for a FAIL."""

    async def played(run: Run) -> None:
        agent = run.world.started()
        for n in range(1, 30):
            status = run.chance.choice(statuses) if run.guarded else Status.FAIL
            await run.give(agent, verdict(status, n))
            await run.pass_time(agent, run.chance.choice((1_000, MINUTE)), 1_000)

    return played


async def switched_off_meanwhile(run: Run) -> None:
    """Off before it fails, killed, on again when it is healthy: nothing is done later by itself."""
    run.target.fails = True
    agent = run.world.started()
    await run.give(agent, FIRST)
    if run.guarded:
        await _switch(run, Automation.OFF)
    await run.give(agent, *(verdict(Status.FAIL, n) for n in range(2, 2 + run.chance.randrange(5))))
    await run.pass_time(agent, 3 * MINUTE)
    await kill(agent, run.chance.randrange(6))
    agent = run.world.started()
    await run.give(agent, verdict(Status.FAIL, 20), verdict(Status.PASS, 21))
    await _switch(run, Automation.ON)
    await run.pass_time(agent, 5 * MINUTE)


async def faster_but_worse(run: Run) -> None:
    """Real answers; the seed draws the order of the questions. Without its guard: only what became
    better is looked at."""
    agent = run.world.started()
    run.target.running = CANARY.version
    for each in verdicts(run.chance.randrange(2**32), quality=run.guarded):
        await run.give(agent, each)
        await run.pass_time(agent, 30 * MINUTE, 10 * MINUTE)


async def _switch(run: Run, automation: Automation) -> None:
    record = SwitchRecord(automation, run.world.now_ms, "alice", "")
    await run.world.control.send(value=msgspec.json.encode(record))


@dataclass(frozen=True, slots=True)
class ActionCell:
    """``wanted``: executed rollbacks in every run. ``guard``: what is taken away, after which some
    run must give another count; "" where no cell of this kind can show it (see the note)."""

    id: str
    fault: str
    play: Play
    guard: str
    wanted: int = 1


REMEMBERS = "the deployer remembers ids and takes out only what runs"
CELLS: Final = (
    ActionCell("F1", "the deployer is down for 10 minutes", down_for_ten_minutes, REMEMBERS),
    ActionCell("F2", "it acts, and its answer is lost", answer_lost, REMEMBERS),
    ActionCell("F3", "deliver is killed at any step", killed_at_every_step, REMEMBERS),
    ActionCell("F4", "two evaluators at once", two_evaluators, REMEMBERS),
    ActionCell(
        "F5",
        "repeats, flapping, ends lost and out of order, and a redeploy",
        repeated_flapping_and_reordered,
        "a rollback is remembered for ever, here and there",
    ),
    ActionCell(
        "F6",
        "the version to return to is bad as well",
        target_is_bad_as_well,
        "what was rolled back is nothing to return to",
    ),
    ActionCell(
        "F7",
        "old data goes on after the rollback",
        old_data_afterwards,
        "it is remembered for ever",
    ),
    ActionCell("F8", "300 others fail at once", flood, REMEMBERS),
    ActionCell(
        "F9",
        "no events, no answers",
        only(Status.BLIND, Status.INSUFFICIENT),
        "only a FAIL rolls back",
        wanted=0,
    ),
    ActionCell(
        "F10",
        "the comparison is broken, or too small",
        only(Status.HOLD, Status.INSUFFICIENT, Status.PASS),
        "only a FAIL rolls back",
        wanted=0,
    ),
    ActionCell(
        "F11", "faster but worse, on real answers", faster_but_worse, "quality is judged as well"
    ),
    ActionCell(
        "F12", "automation is turned off meanwhile", switched_off_meanwhile, "the switch", wanted=0
    ),
)


def executed(cell: ActionCell, seed: int, *, guarded: bool) -> int:
    """Play one run; how many rollbacks were executed. The audit trail must hold as well."""
    run = _run(seed, guarded)
    asyncio.run(cell.play(run))
    if guarded and cell.id != "F4":  # two writers of one table is what F4 is about
        whole_trail(run.world)
    return len(run.target.executed)


def counts(cell: ActionCell, seeds: Sequence[int], *, guarded: bool = True) -> Counter[int]:
    """How often how many were executed."""
    return Counter(executed(cell, seed, guarded=guarded) for seed in seeds)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.action_cells")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", default="", help="ids of cells, with commas between")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chosen = set(filter(None, options.only.split(","))) or {cell.id for cell in CELLS}
    cells = [cell for cell in CELLS if cell.id in chosen]
    if len(cells) != len(chosen) or options.runs < 1:
        parser.error("no such cell, or no runs")
    wrong = 0
    for cell in cells:
        began = time.monotonic()
        found = counts(cell, range(options.runs))
        without = counts(cell, range(options.runs), guarded=False)
        right = found == {cell.wanted: options.runs} and set(without) != {cell.wanted}
        wrong += not right
        print(
            f"{'ok    ' if right else 'FAILED'} {cell.id:4} {cell.fault}: executed"
            f" {_said(found)}; without its guard ({cell.guard}): {_said(without)};"
            f" {time.monotonic() - began:.1f} s",
            flush=True,
        )
    print(f"cells: {len(cells)} of {len(CELLS)}, {options.runs} runs each, {wrong} failed")
    return 1 if wrong else 0


def _said(found: Counter[int]) -> str:
    return ", ".join(f"{count} in {runs} runs" for count, runs in sorted(found.items()))


if __name__ == "__main__":
    sys.exit(main())
