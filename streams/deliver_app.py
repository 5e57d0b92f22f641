"""The role ``deliver``: verdicts in, actions out: pages, and rollbacks that happen once.

A Faust app of its own, so that nothing the judge computes can delay a rollback. What was decided
is published and remembered before anything is sent; a crash after sending sends again, under the
same key, and receivers know it by that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import faust
import msgspec
import structlog

from sinks.receivers import Receiver, build_receivers, routes
from streams import deliver as delivery
from streams.changelog import Changelog, acknowledged
from streams.clock import wall_ms
from streams.faust_app import (
    crash_on_failure,
    make_app,
    on_assignment,
    run_app,
    send_rows,
    table,
    topic,
)
from streams.internal_topics import ACTIONS, DELIVER, DELIVERIES, VERDICTS, topic_specs
from streams.kafka_topics import ensure_topics
from streams.outbox import ActionRow, Entry
from streams.wire import Row, Unreadable, decode_verdict, partition_for

if TYPE_CHECKING:
    from streams.config import Config

log = structlog.get_logger()

_TICK_S = 0.25


class DeliverAgent:
    """What the agent and its timer do, apart from Faust."""

    def __init__(
        self,
        config: Config,
        deliveries: Changelog,
        actions: Any,
        receivers: Sequence[Receiver],
        clock_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._deliveries = deliveries
        self._actions = actions
        self._receivers = {receiver.name: receiver for receiver in receivers}
        self._routes = routes(tuple(receivers))
        self._clock_ms = clock_ms
        self._owned: dict[bytes, int] = {}
        self._models: dict[bytes, delivery.ModelState] = {}
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._sending: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, partition: int, offset: int, value: bytes | None) -> None:
        """One verdict."""
        if value is None:
            return
        try:
            verdict = decode_verdict(value)
        except Unreadable as error:
            log.warning("verdict refused", partition=partition, offset=offset, why=str(error))
            return
        key = verdict.release.model.encode()
        self._owned[key] = partition
        async with self._lock(key):
            before = self._delivery_state(key)
            after, rows = delivery.on_verdict(
                before, verdict, self._settings_of(key), self._routes, self._clock_ms()
            )
            await self._keep(key, before, after, rows)
        self._send_due(key)

    async def tick(self) -> None:
        """Time passes: pages that have waited, retries that are due."""
        for key in list(self._owned):
            async with self._lock(key):
                if key not in self._owned:
                    continue
                before = self._delivery_state(key)
                after, rows = delivery.on_tick(
                    before, self._settings_of(key), self._routes, self._clock_ms()
                )
                await self._keep(key, before, after, rows)
            self._send_due(key)

    def assigned(self, partitions: set[int]) -> None:
        """Take up the models of our partitions, so that what was decided and not sent goes out
        without waiting for another verdict."""
        self._owned.clear()
        self._models.clear()
        for key in self._deliveries:
            partition = partition_for(key.decode(), self._config.kafka.partitions)
            if partition in partitions:
                self._owned[key] = partition

    def _lock(self, key: bytes) -> asyncio.Lock:
        """Verdicts, ticks and outcomes change one model's state: one after the other."""
        return self._locks.setdefault(key, asyncio.Lock())

    def _settings_of(self, key: bytes) -> delivery.DeliverSettings:
        return delivery.DeliverSettings(
            self._config.model(key.decode()).policy, self._config.outbox
        )

    def _delivery_state(self, key: bytes) -> delivery.ModelState:
        if key not in self._models:
            stored = self._deliveries.get(key)
            self._models[key] = (
                delivery.decode_state(stored) if stored else delivery.new_state(key.decode())
            )
        return self._models[key]

    async def _keep(
        self,
        key: bytes,
        before: delivery.ModelState,
        after: delivery.ModelState,
        rows: Sequence[ActionRow],
    ) -> None:
        """Publish what was decided, then remember it; only then is anything sent."""
        if after == before:
            return
        as_rows: list[Row] = [msgspec.to_builtins(row) for row in rows]
        await acknowledged(await send_rows(self._actions, as_rows))
        self._models[key] = after
        stored = self._deliveries.put(self._owned[key], key, delivery.encode_state(after))
        await acknowledged([stored])

    def _send_due(self, key: bytes) -> None:
        state = self._delivery_state(key)
        for entry in delivery.due(state, self._settings_of(key), self._clock_ms()):
            sending = (entry.action.key, entry.receiver)
            if sending not in self._sending:
                self._sending.add(sending)
                task = asyncio.create_task(self._send(key, entry))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _send(self, key: bytes, entry: Entry) -> None:
        try:
            outcome = await delivery.deliver_entry(entry, self._receivers, self._clock_ms())
            async with self._lock(key):
                if key not in self._owned:
                    return  # the partition went away: its new owner sends again, same key
                before = self._delivery_state(key)
                after, rows = delivery.on_delivery(
                    before, entry, outcome, self._settings_of(key), self._routes, self._clock_ms()
                )
                await self._keep(key, before, after, rows)
        finally:
            self._sending.discard((entry.action.key, entry.receiver))


def build(config: Config) -> faust.App:
    """The app, ready to run."""
    kafka = config.kafka
    app = make_app(kafka, DELIVER)
    agent = DeliverAgent(
        config,
        table(app, kafka, DELIVERIES),
        topic(app, kafka, ACTIONS),
        build_receivers(config.receivers, config.egress),
        wall_ms,
    )
    on_assignment(app, agent.assigned)

    @app.agent(topic(app, kafka, VERDICTS), name="deliver")
    async def deliver(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            work = agent.take(message.partition, message.offset, message.value)
            await crash_on_failure(app, work)

    @app.timer(interval=_TICK_S)  # type: ignore[untyped-decorator]
    async def tick() -> None:
        await agent.tick()

    return app


def run(config: Config) -> int:
    """Run until SIGTERM. Returns the exit code."""
    ensure_topics(config.kafka, topic_specs(config.kafka))
    return run_app(build(config))
