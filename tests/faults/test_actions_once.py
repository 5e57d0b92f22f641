"""Exactly one execution, whatever is repeated, lost, reordered or killed: twenty seeded runs.

The deliver agent runs with a table and topics in memory. A run plays a script of verdicts, alerts,
approvals and kills in an order drawn by its seed; a kill forgets everything that was not yet in the
table, and what was read and not acknowledged is read again.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import msgspec
import pytest

from detectors.action import Action
from detectors.policy import Approval, Automation
from detectors.verdict import Status
from sinks.commands import Command
from sinks.control import SwitchRecord
from streams.deliver import decode_state
from tests.faults.action_cells import CELLS, ActionCell, counts
from tests.faults.action_world import (
    NOW,
    Deployer,
    World,
    alert,
    config,
    decision,
    play,
    verdict,
    whole_trail,
)

SEEDS = range(20)
FEW = range(3)


def script(chance: random.Random, approval: Approval) -> list[bytes | Command]:
    """A canary that fails, with everything around it repeated and out of order."""
    first = [verdict(Status.INSUFFICIENT, 1), verdict(Status.FAIL, 2)]
    rest: list[bytes | Command] = [
        *(verdict(chance.choice(tuple(Status)), n) for n in range(3, 12)),
        *(alert(begun, firing=True) for begun in range(3)),
        *(alert(begun, firing=False) for begun in range(3)),
    ]
    chance.shuffle(rest)
    last: list[bytes | Command] = [verdict(Status.FAIL, 50), verdict(Status.FAIL, 51)]
    if approval is Approval.PERSON:
        approvals = [decision(revision) for revision in range(1, 12)]
        rest += approvals[:3]
        last = [verdict(Status.FAIL, 50), *approvals, verdict(Status.FAIL, 51)]
    return [*first, *rest, *last]


@pytest.mark.parametrize("approval", Approval)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_failing_canary_is_rolled_back_exactly_once(seed: int, approval: Approval) -> None:
    chance = random.Random(seed)
    world = World(config(approval), Deployer(chance))
    asyncio.run(play(world, script(chance, approval), chance))
    assert world.deployer.executed == ["2 to 1"]
    state = decode_state(world.kafka.data[b"m"])
    assert state.outbox.entries == ()
    whole_trail(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_executed_while_the_switch_is_off(seed: int) -> None:
    chance = random.Random(seed)
    world = World(config(Approval.AUTOMATIC), Deployer(chance))
    off = SwitchRecord(Automation.OFF, NOW, "alice", "")
    world.control.records.append(msgspec.json.encode(off))
    asyncio.run(play(world, script(chance, Approval.AUTOMATIC), chance))
    assert world.deployer.asked == 0
    whole_trail(world)


def test_without_the_id_the_same_runs_execute_twice() -> None:
    """With the guard (the key of the action) taken away at the deployer, repeats are executed."""

    @dataclass
    class Careless(Deployer):
        async def deliver(self, action: Action, now_ms: int) -> str:
            self.ids.clear()
            return await super().deliver(action, now_ms)

    most = 0
    for seed in SEEDS:
        chance = random.Random(seed)
        world = World(config(Approval.AUTOMATIC), Careless(chance))
        asyncio.run(play(world, script(chance, Approval.AUTOMATIC), chance))
        most = max(most, len(world.deployer.executed))
    assert most > 1


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_every_cell_gives_its_count_and_another_without_its_guard(cell: ActionCell) -> None:
    """With few seeds here; ``python -m tests.faults.action_cells`` plays twenty of each."""
    assert counts(cell, FEW) == {cell.wanted: len(FEW)}
    assert set(counts(cell, FEW, guarded=False)) != {cell.wanted}


def test_no_cell_was_taken_away() -> None:
    assert [cell.id for cell in CELLS] == [f"F{n}" for n in range(1, 13)]
