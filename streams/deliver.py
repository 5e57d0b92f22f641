"""Deliver: from a model's verdicts to acknowledged actions. Everything but Kafka.

One `ModelState` per model holds the policy's memory and the outbox, so that deciding an action
and promising to send it are one write. A caller keeps it in a table, as `encode_state` bytes:

1. a verdict arrives: `on_verdict`, write the state, publish the rows;
2. about once a second: `on_tick`, the same;
3. `due` names what to send; `deliver_once` tries; `on_delivery` notes the outcome.

Crashes are harmless in every order of these: what was sent and not noted is sent again under the
same key, which the receiver knows; what was decided and not written is decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import msgspec
import structlog

from detectors import policy
from detectors.action import Action
from detectors.incident import ModelPolicy
from detectors.policy import Automation, PolicySettings
from detectors.verdict import Verdict
from sinks.egress import RetryLater
from sinks.errors import Permanent, Retryable
from sinks.receivers import Receiver, Routes
from streams import outbox as outboxes
from streams.outbox import ActionRow, Delivery, DeliveryState, Entry, Outbox, OutboxSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeliverSettings:
    """When to act and how long to try."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    policy: PolicySettings = field(default_factory=PolicySettings)
    outbox: OutboxSettings = field(default_factory=OutboxSettings)


@dataclass(frozen=True, slots=True)
class ModelState:
    """What deliver remembers of one model. Start with ``new_state(model)``."""

    policy: ModelPolicy
    outbox: Outbox


Stepped = tuple[ModelState, tuple[ActionRow, ...]]
"""The state to keep, and the rows to publish for table ``actions``."""


def new_state(model: str) -> ModelState:
    """The state of a model nobody has heard of."""
    return ModelState(ModelPolicy(model), Outbox())


def on_verdict(
    state: ModelState, verdict: Verdict, settings: DeliverSettings, routes: Routes, now_ms: int
) -> Stepped:
    """Take one verdict; see `detectors.policy.step`."""
    after, actions = policy.step(state.policy, verdict, settings.policy, now_ms)
    box, rows = outboxes.add(state.outbox, actions, routes, settings.outbox, now_ms)
    return ModelState(after, box), rows


def on_tick(state: ModelState, settings: DeliverSettings, routes: Routes, now_ms: int) -> Stepped:
    """Let time pass: pages that have waited, actions that expire."""
    after, actions = policy.tick(state.policy, settings.policy, now_ms)
    box, rows = outboxes.add(state.outbox, actions, routes, settings.outbox, now_ms)
    box, more = outboxes.sweep(box, routes, settings.outbox, now_ms)
    return ModelState(after, box), (*rows, *more)


def due(state: ModelState, settings: DeliverSettings, now_ms: int) -> tuple[Entry, ...]:
    """What to send now, in this order. Rollbacks are withheld unless automation is on."""
    return state.outbox.due(now_ms, rollbacks=settings.policy.automation is Automation.ON)


def on_delivery(
    state: ModelState,
    entry: Entry,
    delivery: Delivery,
    settings: DeliverSettings,
    routes: Routes,
    now_ms: int,
) -> Stepped:
    """Note the outcome of one try of ``entry``."""
    box, rows = outboxes.record(
        state.outbox, entry.action.key, entry.receiver, delivery, routes, settings.outbox, now_ms
    )
    return replace(state, outbox=box), rows


async def deliver_once(action: Action, receiver: Receiver, now_ms: int) -> Delivery:
    """Try once. Never raises for what a receiver does; this is where errors become outcomes.

    An error of an unknown type is tried again: a fault of ours must not lose a rollback, and the
    horizon bounds it.
    """
    try:
        detail = await receiver.deliver(action, now_ms)
        delivery = Delivery(DeliveryState.ACKNOWLEDGED, detail)
    except Retryable as error:
        wait_ms = error.retry_after_ms if isinstance(error, RetryLater) else None
        delivery = Delivery(DeliveryState.RETRY, str(error), wait_ms)
    except Permanent as error:
        delivery = Delivery(DeliveryState.REFUSED, str(error))
    except Exception as error:
        # The type only: the text of an unknown error may quote what was sent.
        delivery = Delivery(DeliveryState.RETRY, f"internal error {type(error).__name__}")
    write = log.info if delivery.state is DeliveryState.ACKNOWLEDGED else log.warning
    write(
        "action_delivery",
        state=delivery.state.value,
        kind=action.kind.value,
        model=action.release.model,
        version=action.release.version,
        receiver=receiver.name,
        action_key=action.key,
        detail=delivery.detail,
    )
    return delivery


async def deliver_entry(entry: Entry, receivers: Mapping[str, Receiver], now_ms: int) -> Delivery:
    """`deliver_once` for an entry. A receiver that is no longer configured refuses."""
    receiver = receivers.get(entry.receiver)
    if receiver is None or entry.action.kind not in receiver.kinds:
        return Delivery(
            DeliveryState.REFUSED, f"receiver {entry.receiver!r} is no longer configured"
        )
    return await deliver_once(entry.action, receiver, now_ms)


_STATE_DECODER = msgspec.msgpack.Decoder(ModelState)
_ROW_DECODER = msgspec.msgpack.Decoder(ActionRow)


def encode_state(state: ModelState) -> bytes:
    """The state for a table, in MessagePack (which keeps NaN)."""
    return msgspec.msgpack.encode(state)


def decode_state(data: bytes) -> ModelState:
    """The inverse of `encode_state`. Raises msgspec.ValidationError for anything else."""
    return _STATE_DECODER.decode(data)


def encode_row(row: ActionRow) -> bytes:
    """A row of table ``actions`` for its topic, in MessagePack."""
    return msgspec.msgpack.encode(row)


def decode_row(data: bytes) -> ActionRow:
    """The inverse of `encode_row`. Raises msgspec.ValidationError for anything else."""
    return _ROW_DECODER.decode(data)
