"""Deliver in a world of its own: the agent with a table and topics in memory, and a deployer.

Processes come and go; a kill forgets everything that was not yet in the table, and what was read
and not acknowledged is read again.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from math import nan
from typing import Any

import msgspec

from detectors.action import Action, ActionKind, rollback_key
from detectors.policy import Approval, Automation, PolicySettings
from detectors.release import Release, Role
from detectors.verdict import Status, Verdict
from sinks.audit import AuditRow, verify
from sinks.commands import AlertCommand, Command, DecisionCommand, command_id, encode_command
from sinks.control import ControlBoard, decode_control
from sinks.egress import RetryLater
from sinks.receivers import Receiver
from streams.changelog import Changelog
from streams.config import Config
from streams.deliver import decode_state
from streams.deliver_agent import DeliverAgent
from streams.deliver_topics import DeliverTopics
from streams.wire import encode_verdict, partition_for

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
    """The topic ``control``, read by the boards of all processes."""

    records: list[bytes] = field(default_factory=list)
    boards: list[ControlBoard] = field(default_factory=list)

    async def send(self, *, value: bytes, key: bytes | None = None) -> Any:
        await asyncio.sleep(0)
        self.records.append(value)
        for board in self.boards:
            board.take(decode_control(value))
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


def verdict(status: Status, sequence: int, release: Release = CANARY, baseline: str = "1") -> bytes:
    return encode_verdict(
        Verdict(
            release, status, "bad", sequence, 0, 0, 0, baseline, sequence, nan, nan, (), sequence
        )
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
    also: tuple[Receiver, ...] = ()

    def started(self) -> DeliverAgent:
        board = ControlBoard(max_rollbacks_per_hour=5)
        for record in self.control.records:
            board.take(decode_control(record))
        self.control.boards.append(board)
        agent = DeliverAgent(
            self.config,
            Changelog(Kafka(dict(self.kafka.data))),
            DeliverTopics(self.actions, self.audit, self.control),
            (self.deployer, *self.also),
            lambda: self.now_ms,
            board,
        )
        agent._deliveries._table.data = self.kafka.data
        agent.lull_s = 0
        agent.assigned({partition_of(self.config)})
        return agent


def partition_of(config: Config) -> int:
    return partition_for("m", config.kafka.partitions)


async def settle(agent: DeliverAgent) -> None:
    while agent._tasks:
        await asyncio.gather(*agent._tasks, return_exceptions=True)


async def kill(agent: DeliverAgent, after: int) -> None:
    """Let ``after`` turns of the loop pass, then drop whatever still runs."""
    for _ in range(after):
        await asyncio.sleep(0)
    for task in list(agent._tasks):
        task.cancel()
    await asyncio.gather(*agent._tasks, return_exceptions=True)


async def play(world: World, script: list[bytes | Command], chance: random.Random) -> None:
    agent = world.started()
    partition = partition_of(world.config)
    unacknowledged: list[bytes | Command] = []
    for offset, given in enumerate(script):
        world.now_ms += chance.choice((0, 10, 1_000, 40_000))
        unacknowledged.append(given)
        if chance.random() < 0.3:
            # Killed in the middle of the step: read again by the next process.
            step = asyncio.ensure_future(take(agent, partition, offset, given))
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
            await kill(agent, 0)
            agent = world.started()
            for again in unacknowledged:
                await take(agent, partition, offset, again)
        for _ in range(chance.choice((1, 1, 2))):
            await take(agent, partition, offset, given)
        if chance.random() < 0.3:
            await settle(agent)
            unacknowledged.clear()
        if chance.random() < 0.4:
            await kill(agent, chance.randrange(12))
            agent = world.started()
            for again in unacknowledged:
                await take(agent, partition, offset, again)
    for _ in range(60):
        await settle(agent)
        world.now_ms += 40_000
        await agent.tick()
    await settle(agent)


async def take(agent: DeliverAgent, partition: int, offset: int, given: bytes | Command) -> None:
    if isinstance(given, bytes):
        await agent.take(partition, offset, given)
    else:
        await agent.command(partition, offset, encode_command(given))


def config(approval: Approval, automation: Automation = Automation.ON) -> Config:
    policy = PolicySettings(
        approval=approval, automation=automation, approval_expires_ms=30 * 24 * 3_600_000
    )
    return Config(policy=policy)


def whole_trail(world: World) -> None:
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
