"""The outbox of one model: which action still has to reach which receiver, and when to try next.

Pure: sending is in `streams.deliver`. An action waits here from the moment it is decided until a
receiver acknowledges it, refuses it for good, or its horizon ends. Its key is the same on every
try. Rollbacks come before everything else; within one incident a receiver gets the page before
its end. When a rollback is refused, expires, has no receiver or stays unacknowledged for too
long, one page says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from detectors.action import Action, ActionKind
from detectors.trouble import (
    Trouble,
    TroubleKind,
    end_of,
    page_of,
    receiver_gone,
    undelivered,
)
from sinks.receivers import NO_DEPLOYER, NO_RECEIVER, Routes
from streams.outbox_settings import OutboxSettings

MAX_DETAIL_CHARS = 300


class DeliveryState(StrEnum):
    """What came of one try."""

    ACKNOWLEDGED = "acknowledged"
    DRY_RUN = "dry_run"
    """The receiver checked it and changed nothing, as it is set to."""
    RETRY = "retry"
    REFUSED = "refused"
    GONE = "gone"
    """Refused, and it wants no more calls."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The outcome of one try. ``retry_after_ms``: the wait the receiver asked for, or None."""

    state: DeliveryState
    detail: str
    retry_after_ms: int | None = None


class ActionState(StrEnum):
    """A step in the life of an action at one receiver."""

    PENDING = "pending"
    RETRYING = "retrying"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    EXPIRED = "expired"
    DROPPED = "dropped"
    DRY_RUN = "dry_run"
    UNROUTED = "unrouted"


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One row of table ``actions`` (fields as in sinks.schema.ACTIONS; ``at`` in epoch ms).

    (action_key, receiver, step) is the identity of a row: writing it again changes nothing.
    """

    action_key: str
    step: int
    kind: ActionKind
    model: str
    version: str
    role: str
    return_to: str
    receiver: str
    state: ActionState
    attempt: int
    reason: str
    detail: str
    at: int
    revision: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One action on its way to one receiver. ``warned``: its page about being late is out.
    ``since_ms``: when it was decided to wait until ``next_try_ms``."""

    action: Action
    receiver: str
    attempt: int
    step: int
    next_try_ms: int
    warned: bool
    since_ms: int = 0

    @property
    def urgent(self) -> bool:
        return self.action.kind is ActionKind.ROLLBACK

    def due(self, now_ms: int) -> bool:
        """Whether its wait is over. A clock that shows less than when the wait began was set back:
        nobody knows how long is left, and a try too early does less harm than one hours late."""
        return self.next_try_ms <= now_ms or now_ms < self.since_ms


@dataclass(frozen=True, slots=True)
class Outbox:
    """Everything of one model that is still to be delivered, oldest first, and the open incidents
    that deliveries have led to."""

    entries: tuple[Entry, ...] = field(default=())
    troubles: tuple[Trouble, ...] = field(default=())

    def find(self, key: str, receiver: str) -> Entry | None:
        return next(
            (e for e in self.entries if e.action.key == key and e.receiver == receiver), None
        )

    def due(self, now_ms: int, *, rollbacks: bool = True) -> tuple[Entry, ...]:
        """What may be sent now, in order: rollbacks first, then what has waited longest.

        ``rollbacks=False`` (automation is not on) withholds them. An entry waits for an earlier
        one of the same incident at the same receiver: an end must not overtake its beginning.
        """
        ready: list[Entry] = []
        waiting: set[tuple[str, str]] = set()
        for entry in self.entries:
            line = (entry.receiver, entry.action.incident_key)
            if entry.urgent:
                if rollbacks and entry.due(now_ms):
                    ready.append(entry)
                continue
            if entry.due(now_ms) and line not in waiting:
                ready.append(entry)
            waiting.add(line)
        ready.sort(key=lambda entry: (not entry.urgent, entry.action.created_ms))
        return tuple(ready)

    def next_try_ms(self) -> int | None:
        """When there may be something to do next; None if the outbox is empty."""
        return min((entry.next_try_ms for entry in self.entries), default=None)


def add(
    outbox: Outbox,
    actions: tuple[Action, ...],
    routes: Routes,
    settings: OutboxSettings,
    now_ms: int,
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """Put actions in, one entry for each receiver. An action that waits already is not doubled."""
    rows: list[ActionRow] = []
    for action in actions:
        receivers = routes.takers(action)
        if action.dry_run or not receivers:
            rollback = action.kind is ActionKind.ROLLBACK
            nobody = NO_DEPLOYER if rollback else f"no receiver takes a {action.kind} of this model"
            state, detail = (
                (ActionState.DRY_RUN, action.note)
                if action.dry_run
                else (ActionState.UNROUTED, nobody)
            )
            bare = Entry(action, NO_RECEIVER, 0, 0, now_ms, warned=False)
            rows.append(_row(bare, state, detail, now_ms))
            if rollback and not action.dry_run:
                outbox, more = _not_reached(outbox, action, NO_DEPLOYER, routes, settings, now_ms)
                rows.extend(more)
            continue
        if action.kind is ActionKind.ROLLBACK and routes.dry_run.issuperset(receivers):
            # The incident's page says that a rollback was requested; nobody will carry it out.
            detail = f"{', '.join(receivers)}: set to dry run"
            outbox, more = _not_reached(outbox, action, detail, routes, settings, now_ms)
            rows.extend(more)
        for receiver in receivers:
            if outbox.find(action.key, receiver) is not None:
                continue
            entry = Entry(action, receiver, 0, 0, now_ms, warned=False)
            # Only pages give way: an outbox this full has nothing new to tell, but a rollback is
            # never dropped (there is one per version, so they cannot fill it).
            if len(outbox.entries) >= settings.max_entries and not entry.urgent:
                rows.append(_row(entry, ActionState.DROPPED, "the outbox is full", now_ms))
                continue
            outbox = replace(outbox, entries=(*outbox.entries, entry))
            rows.append(_row(entry, ActionState.PENDING, "", now_ms))
    return outbox, tuple(rows)


def record(
    outbox: Outbox,
    key: str,
    receiver: str,
    delivery: Delivery,
    routes: Routes,
    settings: OutboxSettings,
    now_ms: int,
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """Note the outcome of one try. For an entry that is gone already it does nothing."""
    entry = outbox.find(key, receiver)
    if entry is None:
        return outbox, ()
    tried = replace(entry, attempt=entry.attempt + 1, step=entry.step + 1)
    match delivery.state:
        case DeliveryState.ACKNOWLEDGED:
            row = _row(tried, ActionState.ACKNOWLEDGED, delivery.detail, now_ms)
            outbox = _without(outbox, entry)
            outbox, more = _answered(outbox, entry, routes, settings, now_ms)
            return outbox, (row, *more)
        case DeliveryState.DRY_RUN:
            row = _row(tried, ActionState.DRY_RUN, delivery.detail, now_ms)
            return _without(outbox, entry), (row,)
        case DeliveryState.REFUSED | DeliveryState.GONE:
            row = _row(tried, ActionState.REFUSED, delivery.detail, now_ms)
            outbox, rows = _give_up(outbox, entry, row, delivery.detail, routes, settings, now_ms)
            if delivery.state is DeliveryState.REFUSED or entry.urgent:
                return outbox, rows
            outbox, more = _gone(outbox, entry, routes, settings, now_ms)
            return outbox, (*rows, *more)
        case DeliveryState.RETRY:
            wait_ms = max(wait_before(tried, settings), delivery.retry_after_ms or 0)
            again = replace(tried, next_try_ms=now_ms + wait_ms, since_ms=now_ms)
            row = _row(again, ActionState.RETRYING, delivery.detail, now_ms)
            after = replace(
                outbox, entries=tuple(again if e is entry else e for e in outbox.entries)
            )
            swept, more = sweep(after, routes, settings, now_ms)
            return swept, (row, *more)
        case _:
            assert_never(delivery.state)


def sweep(
    outbox: Outbox, routes: Routes, settings: OutboxSettings, now_ms: int
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """End what is past its horizon and page for rollbacks that wait too long. Call it about once
    a second; it is also what makes a silent receiver visible while nothing else happens."""
    rows: list[ActionRow] = []
    for entry in outbox.entries:
        age_ms = now_ms - entry.action.created_ms
        if age_ms >= settings.horizon_ms:
            ended = replace(entry, step=entry.step + 1)
            detail = f"given up after {entry.attempt} tries in {age_ms // 1000} s"
            row = _row(ended, ActionState.EXPIRED, detail, now_ms)
            outbox, more = _give_up(outbox, entry, row, detail, routes, settings, now_ms)
            rows.extend(more)
        elif (
            entry.urgent
            and not entry.warned
            and age_ms >= settings.page_unacknowledged_rollback_after_ms
        ):
            warned = replace(entry, warned=True)
            outbox = replace(
                outbox, entries=tuple(warned if e is entry else e for e in outbox.entries)
            )
            detail = f"{entry.receiver}, {entry.attempt} tries in {age_ms // 1000} s, still trying"
            outbox, more = _not_reached(outbox, entry.action, detail, routes, settings, now_ms)
            rows.extend(more)
    return outbox, tuple(rows)


def wait_before(entry: Entry, settings: OutboxSettings) -> int:
    """Milliseconds before the try after ``entry.attempt``: doubling, capped, jittered.

    The jitter is a hash of the entry, not a random number, so that a replay waits as long.
    """
    cap = settings.rollback_max_wait_ms if entry.urgent else settings.max_wait_ms
    full = min(cap, settings.first_wait_ms * 2 ** min(entry.attempt - 1, 30))
    seed = f"{entry.action.key}/{entry.receiver}/{entry.attempt}".encode()
    share = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big") / 2**32
    return max(1, int(full * (0.5 + 0.5 * share)))


def _give_up(
    outbox: Outbox,
    entry: Entry,
    row: ActionRow,
    detail: str,
    routes: Routes,
    settings: OutboxSettings,
    now_ms: int,
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """Remove an entry for good. Only rollbacks are worth a page: a page about a page that could
    not be sent would go the same way."""
    outbox = _without(outbox, entry)
    if not entry.urgent or entry.warned:
        return outbox, (row,)
    why = f"{entry.receiver}: {detail}"
    outbox, more = _not_reached(outbox, entry.action, why, routes, settings, now_ms)
    return outbox, (row, *more)


def _not_reached(
    outbox: Outbox,
    action: Action,
    detail: str,
    routes: Routes,
    settings: OutboxSettings,
    now_ms: int,
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """Open the incident of a rollback that does not reach its deployer, once."""
    trouble = undelivered(action, detail, now_ms)
    if any(known.key == trouble.key for known in outbox.troubles):
        return outbox, ()
    outbox = replace(outbox, troubles=(*outbox.troubles, trouble))
    note = "check the deployer; roll back by hand if the release still runs"
    page = page_of(trouble, note, now_ms, return_to=action.return_to, evidence=action.evidence)
    return add(outbox, (page,), routes, settings, now_ms)


def _gone(
    outbox: Outbox, entry: Entry, routes: Routes, settings: OutboxSettings, now_ms: int
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """Open the incident of a receiver that is gone, and tell the others; once while it is so."""
    name = entry.receiver
    if any(
        known.kind is TroubleKind.RECEIVER_GONE and known.about == name for known in outbox.troubles
    ):
        return outbox, ()
    trouble = receiver_gone(entry.action, name, now_ms)
    outbox = replace(outbox, troubles=(*outbox.troubles, trouble))
    page = page_of(trouble, "replace or remove it, and start deliver again", now_ms)
    return add(outbox, (page,), routes.without(name), settings, now_ms)


def _answered(
    outbox: Outbox, entry: Entry, routes: Routes, settings: OutboxSettings, now_ms: int
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """End what an acknowledgement ends: that a receiver is gone, and that a rollback was late, as
    soon as no other deployer still has to answer."""
    rows: tuple[ActionRow, ...] = ()
    awaited = any(left.action.key == entry.action.key for left in outbox.entries)
    for trouble in outbox.troubles:
        late = trouble.about == entry.action.key and entry.warned and not awaited
        match trouble.kind:
            case TroubleKind.UNDELIVERED if late:
                reason = f"rollback to {entry.action.return_to} is acknowledged"
                note = "the deployer answers again"
            case TroubleKind.RECEIVER_GONE if trouble.about == entry.receiver:
                reason, note = f"receiver {entry.receiver} takes messages again", "it answers again"
            case _:
                continue
        outbox, more = end_trouble(outbox, trouble, reason, note, routes, settings, now_ms)
        rows += more
    return outbox, rows


def end_trouble(
    outbox: Outbox,
    trouble: Trouble,
    reason: str,
    note: str,
    routes: Routes,
    settings: OutboxSettings,
    now_ms: int,
) -> tuple[Outbox, tuple[ActionRow, ...]]:
    """Close an incident that deliveries have led to, and tell those who were told of it."""
    outbox = replace(outbox, troubles=tuple(t for t in outbox.troubles if t is not trouble))
    end = end_of(trouble, reason, note, now_ms)
    told = routes.without(trouble.about) if trouble.kind is TroubleKind.RECEIVER_GONE else routes
    return add(outbox, (end,), told, settings, now_ms)


def _without(outbox: Outbox, entry: Entry) -> Outbox:
    return replace(outbox, entries=tuple(e for e in outbox.entries if e is not entry))


def _row(entry: Entry, state: ActionState, detail: str, now_ms: int) -> ActionRow:
    action = entry.action
    return ActionRow(
        action_key=action.key,
        step=entry.step,
        kind=action.kind,
        model=action.release.model,
        version=action.release.version,
        role=action.release.role.value,
        return_to=action.return_to,
        receiver=entry.receiver,
        state=state,
        attempt=entry.attempt,
        reason=action.reason,
        detail=detail[:MAX_DETAIL_CHARS],
        at=now_ms,
        revision=now_ms,
    )
