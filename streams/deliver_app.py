"""The role ``deliver``: verdicts and commands in, actions out: pages, and rollbacks that happen
once.

A Faust app of its own, so that nothing the judge computes can delay a rollback; what it does is in
`streams.deliver_agent`. Orders for the whole fleet (the switch, silences, the limit of rollbacks)
are in the topic ``control``, which every deliver reads whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import confluent_kafka
import faust

from sinks.control import ControlBoard
from sinks.deployers.receiver import build_deployers
from sinks.receivers import build_receivers
from streams.clock import wall_ms
from streams.control_reader import control_reader
from streams.deliver_agent import DeliverAgent
from streams.deliver_topics import DeliverTopics
from streams.faust_app import at_once, make_app, on_assignment, run_app, table, topic
from streams.internal_topics import (
    ACTIONS,
    AUDIT,
    COMMANDS,
    CONTROL,
    DELIVER,
    DELIVERIES,
    VERDICTS,
    topic_specs,
)
from streams.kafka import whole_topic_consumer
from streams.kafka_topics import ensure_topics
from streams.lease import Lease
from streams.metrics_port import metrics_port, new_registry
from streams.metrics_verdicts import DeliverMetrics

if TYPE_CHECKING:
    from streams.config import Config

_TICK_S = 0.25


def build(config: Config, board: ControlBoard, metrics: DeliverMetrics | None = None) -> faust.App:
    """The app, ready to run. ``board``: what is read of ``control``."""
    kafka = config.kafka
    app = make_app(kafka, DELIVER)
    agent = DeliverAgent(
        config,
        table(app, kafka, DELIVERIES, Lease.watched()),
        DeliverTopics(*(topic(app, kafka, name) for name in (ACTIONS, AUDIT, CONTROL))),
        (
            *build_receivers(config.receivers, config.egress),
            *build_deployers(config.deployers, config.egress),
        ),
        wall_ms,
        board,
        metrics,
    )
    on_assignment(app, agent.assigned)

    @app.agent(topic(app, kafka, VERDICTS), name="deliver")
    async def deliver(stream: Any) -> None:
        await at_once(app, stream, agent.take)

    @app.agent(topic(app, kafka, COMMANDS), name="commands")
    async def commands(stream: Any) -> None:
        await at_once(app, stream, agent.command)

    @app.timer(interval=_TICK_S)  # type: ignore[untyped-decorator]
    async def tick() -> None:
        await agent.tick()

    return app


def run(config: Config) -> int:
    """Run until SIGTERM. Returns the exit code."""
    ensure_topics(config.kafka, topic_specs(config.kafka))
    board = ControlBoard(config.fleet.max_rollbacks_per_hour, config.policy.automation)

    def make_consumer() -> confluent_kafka.Consumer:
        return confluent_kafka.Consumer(whole_topic_consumer(config.kafka, "control"))

    registry = new_registry()
    with (
        control_reader(make_consumer, board, config.kafka.topic(CONTROL)) as reader,
        metrics_port(config.metrics, registry),
    ):
        reader.wait_read()
        return run_app(build(config, board, DeliverMetrics(registry)))
