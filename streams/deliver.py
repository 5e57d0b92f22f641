"""Deliver: from a model's verdicts to acknowledged actions. Everything but Kafka.

One `ModelState` per model holds the policy's memory and the outbox, so that deciding an action
and promising to send it are one write. A caller keeps it in a table, as `encode_state` bytes:

1. a verdict or a command arrives: `on_verdict`, `on_command`; publish the rows, write the state;
2. about once a second: `on_tick`, the same;
3. `due` names what to send; `deliver_once` tries; `on_delivery` notes the outcome.

What the audit trail is to say of a step is in the state that the step leaves (``unpublished``), so
that after a crash the very same rows are published again and the chain of hashes does not fork.

Crashes are harmless in every order of these: what was sent and not noted is sent again under the
same key, which the receiver knows; what was decided and not written is decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, assert_never

import msgspec
import structlog

from detectors import policy
from detectors.action import Action, ActionKind, ActionLink
from detectors.alert import Alert, alert
from detectors.incident import ModelPolicy
from detectors.policy import NO_ORDERS, Automation, FleetOrders, PolicySettings
from detectors.release import Release
from detectors.rollback_case import RollbackState
from detectors.rollback_policy import admit, decide, progress
from detectors.starting import begin, troubles
from detectors.verdict import Verdict
from sinks.audit import AuditRow, Chain, Entry, append
from sinks.commands import (
    AlertCommand,
    BeginCommand,
    Command,
    DecisionCommand,
    NoteCommand,
)
from sinks.egress import RetryLater
from sinks.errors import Gone, Permanent, Retryable
from sinks.owners import owner_of
from sinks.receivers import Receiver, Routes
from streams import audit_entries
from streams import outbox as outboxes
from streams.outbox import ActionRow, ActionState, Delivery, DeliveryState, Outbox
from streams.outbox import Entry as OutboxEntry
from streams.outbox_settings import OutboxSettings
from streams.outbox_troubles import end_over

log = structlog.get_logger()

REMEMBER_COMMANDS_MS = 7 * 24 * 3_600_000
"""Ids of commands are kept for longer than any hook repeats itself or Kafka keeps the record."""
MOST_COMMANDS = 2_000
APPROVE = "Approve or reject"


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
    chain: Chain = field(default_factory=Chain)
    unpublished: tuple[AuditRow, ...] = ()
    commands: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step needs to know beside the model. ``approve_link`` gives the address at which a
    person decides on (key of a rollback, revision, end in epoch ms), "" for none. ``answering``:
    the receivers that take messages, as far as this process knows."""

    orders: FleetOrders = NO_ORDERS
    approve_link: Callable[[str, int, int], str] = lambda _key, _revision, _expires_ms: ""
    answering: frozenset[str] = frozenset()


ALONE = Surroundings()

Stepped = tuple[ModelState, tuple[ActionRow, ...]]
"""The state to keep, and the rows to publish for table ``actions``."""


def new_state(model: str) -> ModelState:
    """The state of a model nobody has heard of."""
    return ModelState(ModelPolicy(model), Outbox())


def on_verdict(
    state: ModelState,
    verdict: Verdict,
    settings: DeliverSettings,
    routes: Routes,
    now_ms: int,
    around: Surroundings = ALONE,
) -> Stepped:
    """Take one verdict; see `detectors.policy.step`."""
    after, actions = policy.step(state.policy, verdict, settings.policy, now_ms, around.orders)
    if after == state.policy:
        return state, ()
    first = (audit_entries.of_verdict(verdict),)
    return _acted(state, after, actions, first, settings, routes, now_ms, around)


def on_command(
    state: ModelState,
    command: Command,
    settings: DeliverSettings,
    routes: Routes,
    now_ms: int,
    around: Surroundings = ALONE,
) -> Stepped:
    """Take one command. One that was taken before, or is older than what is remembered of them,
    does nothing."""
    oldest_ms = now_ms - REMEMBER_COMMANDS_MS
    if command.at_ms < oldest_ms or any(known == command.id for known, _ in state.commands):
        return state, ()
    kept = [(known, at_ms) for known, at_ms in state.commands if at_ms >= oldest_ms]
    commands = (*kept[1 - MOST_COMMANDS :], (command.id, command.at_ms))
    known, limits, orders = state.policy, settings.policy, around.orders
    actions: tuple[Action, ...] = ()
    why_not = ""
    match command:
        case AlertCommand() if command.firing and any(i == command.ended for i, _ in kept):
            after, why_not = known, "it is over already"
        case AlertCommand():
            given = Alert(
                Release(command.model, command.version, command.role),
                command.fingerprint,
                command.firing,
                command.reason,
                command.source,
                command.roll_back,
            )
            after, actions = alert(known, given, limits, now_ms, orders)
        case DecisionCommand():
            after, actions, why_not = decide(
                known,
                command.key,
                command.revision,
                approved=command.approved,
                by=command.by,
                settings=limits,
                orders=orders,
                now_ms=now_ms,
            )
        case BeginCommand():
            after, actions = begin(known, command.version, command.source, now_ms)
        case NoteCommand():
            after = known
    entry = audit_entries.of_command(command, why_not)
    # A decision that could not be carried out may be made again when what was in its way is gone.
    refused = isinstance(command, DecisionCommand) and bool(why_not)
    stepped = state if refused else replace(state, commands=commands)
    return _acted(stepped, after, actions, (entry,), settings, routes, now_ms, around)


def on_admission(
    state: ModelState,
    key: str,
    *,
    granted: bool,
    settings: DeliverSettings,
    routes: Routes,
    now_ms: int,
    around: Surroundings = ALONE,
) -> Stepped:
    """The fleet's limit has a place for the rollback ``key``, or not."""
    after, actions = admit(
        state.policy,
        key,
        granted=granted,
        settings=settings.policy,
        orders=around.orders,
        now_ms=now_ms,
    )
    return _acted(state, after, actions, (), settings, routes, now_ms, around)


def on_tick(
    state: ModelState,
    settings: DeliverSettings,
    routes: Routes,
    now_ms: int,
    around: Surroundings = ALONE,
) -> Stepped:
    """Let time pass: pages that have waited, rollbacks that wait for proof, actions that expire."""
    after, actions = policy.tick(state.policy, settings.policy, now_ms, around.orders)
    stepped, rows = _acted(state, after, actions, (), settings, routes, now_ms, around)
    box, swept_rows = outboxes.sweep(stepped.outbox, routes, settings.outbox, now_ms)
    box, ended_rows = end_over(box, after, around.answering, routes, settings.outbox, now_ms)
    more = (*swept_rows, *ended_rows)
    after = _progressed(after, box, more, now_ms)
    return _written(stepped, box, after, (), more, (), routes, now_ms), (*rows, *more)


def due(
    state: ModelState,
    settings: DeliverSettings,
    now_ms: int,
    orders: FleetOrders = NO_ORDERS,
) -> tuple[OutboxEntry, ...]:
    """What to send now, in this order. Rollbacks are withheld unless automation is on."""
    automation = orders.automation_of(settings.policy)
    return state.outbox.due(now_ms, rollbacks=automation is Automation.ON)


def on_delivery(
    state: ModelState,
    entry: OutboxEntry,
    delivery: Delivery,
    settings: DeliverSettings,
    routes: Routes,
    now_ms: int,
) -> Stepped:
    """Note the outcome of one try of ``entry``."""
    box, rows = outboxes.record(
        state.outbox, entry.action.key, entry.receiver, delivery, routes, settings.outbox, now_ms
    )
    after = _progressed(state.policy, box, rows, now_ms)
    return _written(state, box, after, (), rows, (), routes, now_ms), rows


def _acted(
    state: ModelState,
    after: ModelPolicy,
    actions: tuple[Action, ...],
    first: tuple[Entry, ...],
    settings: DeliverSettings,
    routes: Routes,
    now_ms: int,
    around: Surroundings,
) -> Stepped:
    """Put what was decided into the outbox, and all of it into the audit trail."""
    expires_ms = now_ms + settings.policy.approval_expires_ms
    linked = tuple(_with_link(action, around, expires_ms) for action in actions)
    box, rows = outboxes.add(state.outbox, linked, routes, settings.outbox, now_ms)
    # In two steps, so that the trail also has what was approved and could not be sent.
    decided = _written(state, box, after, linked, rows, first, routes, now_ms)
    after = _progressed(after, box, rows, now_ms)
    return _written(decided, box, after, (), (), (), routes, now_ms), rows


def _with_link(action: Action, around: Surroundings, expires_ms: int) -> Action:
    if action.approves is None:
        return action
    href = around.approve_link(*action.approves, expires_ms)
    return replace(action, links=(ActionLink(APPROVE, href),)) if href else action


def _written(
    state: ModelState,
    box: Outbox,
    after: ModelPolicy,
    actions: tuple[Action, ...],
    rows: tuple[ActionRow, ...],
    first: tuple[Entry, ...],
    routes: Routes,
    now_ms: int,
) -> ModelState:
    owner = owner_of(after.model, routes.owners)
    team = "" if owner is None else owner.team
    changes = audit_entries.of_change(state.policy, after, actions, rows, team)
    troubled = audit_entries.of_troubles(
        (*state.outbox.troubles, *troubles(state.policy)), (*box.troubles, *troubles(after)), team
    )
    chain, written = append(state.chain, after.model, (*first, *troubled, *changes), now_ms)
    unpublished = (*state.unpublished, *written)
    return replace(state, policy=after, outbox=box, chain=chain, unpublished=unpublished)


def _progressed(
    known: ModelPolicy, box: Outbox, rows: Iterable[ActionRow], now_ms: int
) -> ModelPolicy:
    """What deliveries say about rollbacks: sent, acknowledged, or that nobody will do it."""
    for row in rows:
        if row.kind is not ActionKind.ROLLBACK:
            continue
        left = any(entry.action.key == row.action_key for entry in box.entries)
        match row.state:
            case ActionState.ACKNOWLEDGED:
                known = progress(
                    known, row.action_key, RollbackState.ACKNOWLEDGED, row.receiver, now_ms
                )
            case ActionState.RETRYING:
                known = progress(known, row.action_key, RollbackState.SENT, row.receiver, now_ms)
            case (
                ActionState.UNROUTED
                | ActionState.REFUSED
                | ActionState.EXPIRED
                | ActionState.DRY_RUN
            ):
                if not left:
                    known = progress(
                        known, row.action_key, RollbackState.EXPIRED, row.receiver, now_ms
                    )
            case ActionState.PENDING | ActionState.DROPPED:
                pass
            case _:
                assert_never(row.state)
    return known


async def deliver_once(action: Action, receiver: Receiver, now_ms: int) -> Delivery:
    """Try once. Never raises for what a receiver does; this is where errors become outcomes.

    An error of an unknown type is tried again: a fault of ours must not lose a rollback, and the
    horizon bounds it.
    """
    try:
        detail = await receiver.deliver(action, now_ms)
        state = DeliveryState.DRY_RUN if receiver.dry_run else DeliveryState.ACKNOWLEDGED
        delivery = Delivery(state, detail)
    except Retryable as error:
        wait_ms = error.retry_after_ms if isinstance(error, RetryLater) else None
        delivery = Delivery(DeliveryState.RETRY, str(error), wait_ms)
    except Gone as error:
        delivery = Delivery(DeliveryState.GONE, str(error))
    except Permanent as error:
        delivery = Delivery(DeliveryState.REFUSED, str(error))
    except Exception as error:
        # The type only: the text of an unknown error may quote what was sent.
        delivery = Delivery(DeliveryState.RETRY, f"internal error {type(error).__name__}")
    good = (DeliveryState.ACKNOWLEDGED, DeliveryState.DRY_RUN)
    write = log.info if delivery.state in good else log.warning
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


async def deliver_entry(
    entry: OutboxEntry, receivers: Mapping[str, Receiver], now_ms: int
) -> Delivery:
    """`deliver_once` for an entry. A receiver that is no longer configured refuses."""
    receiver = receivers.get(entry.receiver)
    if receiver is None or entry.action.kind not in receiver.kinds:
        return Delivery(
            DeliveryState.REFUSED, f"receiver {entry.receiver!r} is no longer configured"
        )
    return await deliver_once(entry.action, receiver, now_ms)


_STATE_DECODER = msgspec.msgpack.Decoder(ModelState)


def encode_state(state: ModelState) -> bytes:
    """The state for a table, in MessagePack (which keeps NaN)."""
    return msgspec.msgpack.encode(state)


def decode_state(data: bytes) -> ModelState:
    """The inverse of `encode_state`. Raises msgspec.ValidationError for anything else."""
    return _STATE_DECODER.decode(data)
