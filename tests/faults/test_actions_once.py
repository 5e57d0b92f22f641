"""Exactly one execution, whatever is repeated, lost, reordered or killed: twenty seeded runs.

The deliver agent runs with a table and topics in memory. A run plays a script of verdicts, alerts,
approvals and kills in an order drawn by its seed; a kill forgets everything that was not yet in the
table, and what was read and not acknowledged is read again.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from math import nan
from typing import Any

import msgspec
import pytest

from detectors.action import Action, ActionKind, rollback_key
from detectors.policy import Approval, Automation, PolicySettings
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.audit import AuditRow, verify
from sinks.commands import AlertCommand, Command, DecisionCommand, command_id, encode_command
from sinks.control import ControlBoard, SwitchRecord, decode_control
from sinks.egress import RetryLater
from streams.changelog import Changelog
from streams.config import Config
from streams.deliver import decode_state
from streams.deliver_agent import DeliverAgent
from streams.deliver_topics import DeliverTopics
from streams.wire import encode_verdict

SEEDS = range(20)
NOW = 1_800_000_000_000
CANARY = Release("m", "2", Role.CANARY)


@dataclass
class Kafka:
    """What survives a kill: the table, and the topics as lists of rows."""

    data: dict[bytes, bytes] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def send_changelog(self, *_: Any, **__: Any) -> Any:
        return asyncio.ensure_future(asyncio.sleep(0))

    async def send(self, *, value: bytes, key: bytes | None = None) -> Any:
        await asyncio.sleep(0)
        self.rows += msgspec.json.decode(value)["rows"]
        return _done()


@dataclass
class Control:
    """The topic ``control``, read by the board of whoever is alive."""

    records: list[bytes] = field(default_factory=list)
    board: ControlBoard | None = None

    async def send(self, *, value: bytes, key: bytes | None = None) -> Any:
        await asyncio.sleep(0)
        self.records.append(value)
        if self.board is not None:
            self.board.take(decode_control(value))
        return _done()


def _done() -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.set_result(None)
    return done


@dataclass
class Deployer:
    """Executes once for an id, as every deployer must; its log is the truth. Each try may fail
    before or after it acted."""

    chance: random.Random
    ids: set[str] = field(default_factory=set)
    executed: list[str] = field(default_factory=list)
    asked: int = 0
    name: str = "deployer"
    kinds: frozenset[ActionKind] = frozenset({ActionKind.ROLLBACK})
    models: tuple[str, ...] = ("*",)
    dry_run: bool = False

    async def deliver(self, action: Action, now_ms: int) -> str:
        self.asked += 1
        fate = self.chance.random()
        if fate < 0.3:
            raise RetryLater("before it acted")
        if action.key not in self.ids:
            self.ids.add(action.key)
            self.executed.append(f"{action.release.version} to {action.return_to}")
        if fate < 0.5:
            raise RetryLater("after it acted")
        return "done"


def verdict(status: Status, sequence: int) -> bytes:
    return encode_verdict(
        Verdict(CANARY, status, "bad", sequence, 0, 0, 0, "1", sequence, nan, nan, (), sequence)
    )


def alert(begun: int, *, firing: bool) -> AlertCommand:
    return AlertCommand(
        id=command_id("G", begun, str(firing)),
        model="m",
        at_ms=NOW,
        by="grafana",
        version="2",
        role=Role.CANARY,
        fingerprint="f",
        firing=firing,
        reason="precision fell",
        source="Grafana",
        roll_back=True,
        ended=command_id("G", begun, "False"),
    )


def decision(revision: int) -> DecisionCommand:
    key = rollback_key("m", "2")
    return DecisionCommand(
        id=command_id("decision", key, revision, "True"),
        model="m",
        at_ms=NOW,
        by="alice",
        key=key,
        revision=revision,
        approved=True,
    )


@dataclass
class World:
    """Processes come and go; Kafka, the clock and the deployer stay."""

    config: Config
    deployer: Deployer
    kafka: Kafka = field(default_factory=Kafka)
    actions: Kafka = field(default_factory=Kafka)
    audit: Kafka = field(default_factory=Kafka)
    control: Control = field(default_factory=Control)
    now_ms: int = NOW

    def started(self) -> DeliverAgent:
        board = ControlBoard(max_rollbacks_per_hour=5)
        for record in self.control.records:
            board.take(decode_control(record))
        self.control.board = board
        agent = DeliverAgent(
            self.config,
            Changelog(Kafka(dict(self.kafka.data))),
            DeliverTopics(self.actions, self.audit, self.control),
            (self.deployer,),
            lambda: self.now_ms,
            board,
        )
        agent._deliveries._table.data = self.kafka.data
        agent.lull_s = 0
        agent.assigned({_partition(self.config)})
        return agent


def _partition(config: Config) -> int:
    from streams.wire import partition_for

    return partition_for("m", config.kafka.partitions)


async def _settle(agent: DeliverAgent) -> None:
    while agent._tasks:
        await asyncio.gather(*agent._tasks, return_exceptions=True)


async def _kill(agent: DeliverAgent, after: int) -> None:
    """Let ``after`` turns of the loop pass, then drop whatever still runs."""
    for _ in range(after):
        await asyncio.sleep(0)
    for task in list(agent._tasks):
        task.cancel()
    await asyncio.gather(*agent._tasks, return_exceptions=True)


async def play(world: World, script: list[bytes | Command], chance: random.Random) -> None:
    agent = world.started()
    partition = _partition(world.config)
    unacknowledged: list[bytes | Command] = []
    for offset, given in enumerate(script):
        world.now_ms += chance.choice((0, 10, 1_000, 40_000))
        unacknowledged.append(given)
        if chance.random() < 0.3:
            # Killed in the middle of the step: read again by the next process.
            step = asyncio.ensure_future(_take(agent, partition, offset, given))
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
            await _kill(agent, 0)
            agent = world.started()
            for again in unacknowledged:
                await _take(agent, partition, offset, again)
        for _ in range(chance.choice((1, 1, 2))):
            await _take(agent, partition, offset, given)
        if chance.random() < 0.3:
            await _settle(agent)
            unacknowledged.clear()
        if chance.random() < 0.4:
            await _kill(agent, chance.randrange(12))
            agent = world.started()
            for again in unacknowledged:
                await _take(agent, partition, offset, again)
    for _ in range(60):
        await _settle(agent)
        world.now_ms += 40_000
        await agent.tick()
    await _settle(agent)


async def _take(agent: DeliverAgent, partition: int, offset: int, given: bytes | Command) -> None:
    if isinstance(given, bytes):
        await agent.take(partition, offset, given)
    else:
        await agent.command(partition, offset, encode_command(given))


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


def config(approval: Approval, automation: Automation = Automation.ON) -> Config:
    policy = PolicySettings(
        approval=approval, automation=automation, approval_expires_ms=30 * 24 * 3_600_000
    )
    return Config(policy=policy)


@pytest.mark.parametrize("approval", Approval)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_failing_canary_is_rolled_back_exactly_once(seed: int, approval: Approval) -> None:
    chance = random.Random(seed)
    world = World(config(approval), Deployer(chance))
    asyncio.run(play(world, script(chance, approval), chance))
    assert world.deployer.executed == ["2 to 1"]
    state = decode_state(world.kafka.data[b"m"])
    assert state.outbox.entries == ()
    _whole_trail(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_executed_while_the_switch_is_off(seed: int) -> None:
    chance = random.Random(seed)
    world = World(config(Approval.AUTOMATIC), Deployer(chance))
    off = SwitchRecord(Automation.OFF, NOW, "alice", "")
    world.control.records.append(msgspec.json.encode(off))
    asyncio.run(play(world, script(chance, Approval.AUTOMATIC), chance))
    assert world.deployer.asked == 0
    _whole_trail(world)


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


def _whole_trail(world: World) -> None:
    """The audit trail holds although processes were killed in the middle of writing it, and every
    repeated row is the same row."""
    rows: dict[int, AuditRow] = {}
    for body in world.audit.rows:
        row = AuditRow(**body)
        assert rows.setdefault(row.sequence, row) == row, "the chain forked"
    ordered = [rows[sequence] for sequence in sorted(rows)]
    assert verify(ordered).breaks == ()
    state = decode_state(world.kafka.data[b"m"])
    assert (ordered[-1].sequence, ordered[-1].hash) == (state.chain.sequence, state.chain.hash)
