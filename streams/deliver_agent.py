"""What the role ``deliver`` does with each verdict, command and moment, apart from Faust.

What was decided is published and remembered before anything is sent; a crash after sending sends
again, under the same key, and receivers know it by that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from detectors.rollback_case import RollbackCase, WaitsFor
from detectors.verdict import Status
from sinks.approvals import ApprovalLinks
from sinks.commands import decode_command
from sinks.control import ControlBoard
from sinks.held_receiver import HeldReceiver
from sinks.receivers import Receiver, routes
from streams import deliver as delivery
from streams.changelog import Changelog, acknowledged
from streams.deliver_topics import DeliverTopics
from streams.failpoints import reached
from streams.faust_app import Superseded, send_rows
from streams.fleet_admission import place_for, record_of
from streams.metrics_verdicts import DeliverMetrics
from streams.outbox import ActionRow, DeliveryState
from streams.outbox import Entry as OutboxEntry
from streams.pacing import Pacer
from streams.wire import Row, Unreadable, decode_verdict, partition_for

if TYPE_CHECKING:
    from streams.config import Config

log = structlog.get_logger()

_ASSIGNING_S = 0.02

_Step = Callable[[delivery.ModelState, delivery.DeliverSettings, int], delivery.Stepped]


class _Moved(Exception):
    """Partitions were assigned anew while something was being written down."""


@dataclass(slots=True)
class _Waiting:
    """A step that waits for its turn; ``done`` when it is written down."""

    step: _Step
    partition: int | None
    done: bool = False


class DeliverAgent:
    """Takes what comes and lets time pass; one step of a model after the other.

    ``lull_s``: how long verdicts that ask for no rollback wait for others to come.
    """

    lull_s = 0.02

    def __init__(
        self,
        config: Config,
        deliveries: Changelog,
        topics: DeliverTopics,
        receivers: Sequence[Receiver],
        clock_ms: Callable[[], int],
        board: ControlBoard,
        metrics: DeliverMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._config = config
        self._deliveries = deliveries
        self._topics = topics
        self._receivers = {receiver.name: HeldReceiver(receiver) for receiver in receivers}
        self._routes = routes(tuple(receivers), config.owners)
        self._clock_ms = clock_ms
        self._board = board
        self._links = ApprovalLinks(config.approvals)
        self._owned: dict[bytes, int] = {}
        self._models: dict[bytes, delivery.ModelState] = {}
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._pacer = Pacer(config.pace)
        self._sending: set[tuple[str, str]] = set()
        self._asking: set[str] = set()
        self._resend: set[bytes] = set()
        self._waiting: dict[bytes, list[_Waiting]] = {}
        self._arrived_s = 0.0
        self._generation = 0
        self._partitions: frozenset[int] | None = None
        self._audited: dict[bytes, list[Awaitable[object]]] = {}
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
        roles = self._settings_of(key).policy.rollback_roles
        if not (verdict.status is Status.FAIL and verdict.release.role in roles):
            await self._lull()
        await self._step(
            key,
            partition,
            lambda before, settings, now_ms: delivery.on_verdict(
                before, verdict, settings, self._routes, now_ms, self._around(now_ms)
            ),
        )
        if self._metrics is not None:
            self._metrics.took()

    async def _lull(self) -> None:
        """Let what may roll back go first: wait until no verdict has come for a moment, but not for
        long. In a flood, what comes for one model meanwhile is one step."""
        clock = asyncio.get_running_loop().time
        self._arrived_s = arrived_s = clock()
        while clock() - self._arrived_s < self.lull_s and clock() - arrived_s < 10 * self.lull_s:
            await asyncio.sleep(self.lull_s)

    async def command(self, partition: int, offset: int, value: bytes | None) -> None:
        """One command: an alert, an approval, a beginning, or something to be noted."""
        if value is None:
            return
        try:
            command = decode_command(value)
        except ValueError as error:
            log.warning("command refused", partition=partition, offset=offset, why=str(error))
            return
        await self._step(
            command.model.encode(),
            partition,
            lambda before, settings, now_ms: delivery.on_command(
                before, command, settings, self._routes, now_ms, self._around(now_ms)
            ),
        )

    async def tick(self) -> None:
        """Time passes: pages that have waited, retries that are due."""
        for key in list(self._owned):
            await self._step(
                key,
                None,
                lambda before, settings, now_ms: delivery.on_tick(
                    before, settings, self._routes, now_ms, self._around(now_ms)
                ),
            )
        if self._metrics is not None:
            models = (self._delivery_state(key) for key in list(self._owned))
            self._metrics.waiting(sum(len(state.outbox.entries) for state in models))

    async def _step(self, key: bytes, partition: int | None, step: _Step) -> None:
        """One step of one model: decide, write it down, and start what is to be sent.

        ``partition``: that of the record that makes us the owner; None if we must be it already.
        What has come for a model while its last step was being written is one step together: a
        thousand verdicts of one model are not a thousand writes.
        """
        mine = _Waiting(step, partition)
        self._waiting.setdefault(key, []).append(mine)
        try:
            await self._turn(key, mine)
        finally:
            if not mine.done:
                self._waiting[key].remove(mine)
        self._send_due(key)
        self._ask_fleet(key)

    async def _turn(self, key: bytes, mine: _Waiting) -> None:
        """Do what waits for the model, ``mine`` among it, unless somebody has done it already.

        While partitions are being assigned it waits, and begins again if they moved meanwhile.
        Raises Superseded if the partition of ``mine`` is another worker's then.
        """
        while True:
            while self._partitions is not None and not self._partitions:
                await asyncio.sleep(_ASSIGNING_S)
            async with self._lock(key):
                if mine.done:
                    return
                partitions = self._partitions
                if partitions is not None and not partitions:
                    continue
                if partitions and mine.partition is not None and mine.partition not in partitions:
                    raise Superseded
                with suppress(_Moved):
                    await self._do(key, list(self._waiting[key]))
                    return

    async def _do(self, key: bytes, batch: list[_Waiting]) -> None:
        """Take the steps of ``batch`` together, and write down what comes of them."""
        for each in batch:
            if each.partition is not None:
                self._owned[key] = each.partition
        if key in self._owned:
            before = after = self._delivery_state(key)
            rows: list[ActionRow] = []
            for each in batch:
                after, more = each.step(after, self._settings_of(key), self._clock_ms())
                rows.extend(more)
            await self._keep(key, before, after, rows)
        for each in batch:
            each.done = True
        del self._waiting[key][: len(batch)]

    def _around(self, now_ms: int) -> delivery.Surroundings:
        answering = frozenset(name for name, each in self._receivers.items() if each.answers)
        return delivery.Surroundings(self._board.orders(now_ms), self._links.link, answering)

    def assigned(self, partitions: set[int]) -> None:
        """Take up the models of our partitions, so that what was decided and not sent goes out
        without waiting for another verdict."""
        self._generation += 1
        self._partitions = frozenset(partitions)
        self._owned.clear()
        self._models.clear()
        self._audited.clear()
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
            self._resend.add(key)
        return self._models[key]

    async def _keep(
        self,
        key: bytes,
        before: delivery.ModelState,
        after: delivery.ModelState,
        rows: Sequence[ActionRow],
    ) -> None:
        """Publish what was decided, then remember it; only then is anything sent."""
        taken_up = key in self._resend
        if after == before and not taken_up:
            return
        reached("deliver.decided")
        generation = self._generation
        as_rows: list[Row] = [msgspec.to_builtins(row) for row in rows]
        await acknowledged(await send_rows(self._topics.actions, as_rows))
        reached("deliver.published")
        await acknowledged(self._audited.pop(key, ()))
        if generation != self._generation:
            raise _Moved
        if after != before:
            stored = self._deliveries.put(self._owned[key], key, delivery.encode_state(after))
            await acknowledged([stored])
        if generation != self._generation:
            raise _Moved
        self._resend.discard(key)
        reached("deliver.kept")
        # From here the audit rows are safe in the state, and what is published of them is exactly
        # that, however often. Nobody waits for it but the next step of the model.
        audit: list[Row] = [msgspec.to_builtins(row) for row in after.unpublished]
        self._audited[key] = await send_rows(self._topics.audit, audit)
        self._models[key] = replace(after, unpublished=())
        if self._metrics is not None:
            self._metrics.kept(rows)
        known = before.policy.cases
        for case in after.policy.cases:
            if taken_up or case not in known:
                self._spawn(self._topics.tell(record_of(case)))

    def _ask_fleet(self, key: bytes) -> None:
        """Ask for a place within the fleet's limit for what waits for one."""
        if key not in self._owned:
            return
        for case in self._delivery_state(key).policy.cases:
            if case.waits_for is WaitsFor.FLEET and case.key not in self._asking:
                self._asking.add(case.key)
                self._spawn(self._admit(key, case))

    async def _admit(self, key: bytes, case: RollbackCase) -> None:
        try:
            granted = await place_for(case, self._board, self._topics.tell, self._clock_ms)
            if granted is None:
                return  # the next tick asks again
            place: bool = granted
            await self._step(
                key,
                None,
                lambda before, settings, now_ms: delivery.on_admission(
                    before,
                    case.key,
                    granted=place,
                    settings=settings,
                    routes=self._routes,
                    now_ms=now_ms,
                    around=self._around(now_ms),
                ),
            )
        finally:
            self._asking.discard(case.key)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # What was to be said is in the state and is said again when the model is taken up.
            log.error("deliver_task_failed", error=type(task.exception()).__name__)

    def _send_due(self, key: bytes) -> None:
        if key not in self._owned:
            return
        state = self._delivery_state(key)
        now_ms = self._clock_ms()
        orders = self._board.orders(now_ms)
        for entry in delivery.due(state, self._settings_of(key), now_ms, orders):
            sending = (entry.action.key, entry.receiver)
            if sending in self._sending:
                continue
            if self._pacer.start(entry.receiver, now_ms, urgent=entry.urgent):
                self._sending.add(sending)
                self._spawn(self._send(key, entry))

    async def _send(self, key: bytes, entry: OutboxEntry) -> None:
        answered = False
        try:
            outcome = await delivery.deliver_entry(entry, self._receivers, self._clock_ms())
            answered = outcome.state is not DeliveryState.RETRY
            reached("deliver.answered")
            # If the partition went away, its new owner sends again under the same key.
            await self._step(
                key,
                None,
                lambda before, settings, now_ms: delivery.on_delivery(
                    before, entry, outcome, settings, self._routes, now_ms
                ),
            )
        finally:
            self._pacer.end(
                entry.receiver, self._clock_ms(), urgent=entry.urgent, answered=answered
            )
            self._sending.discard((entry.action.key, entry.receiver))
