"""The switch, silences and rollbacks, for people with a token of scope operate.

What is ordered here is written to the topic ``control`` first, where it takes effect at once, and
then to ``commands``, from where it goes into the audit trail. If the second fails the caller is
told to try again; the order stands, and saying it again changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from detectors.action import printable
from detectors.policy_settings import Automation
from detectors.silence import MAX_SILENCE_MS, Silence
from sinks.api_document import NOT_NOW, OPERATORS, ORDERS, Refusal, Responses, refusals
from sinks.audit import FLEET
from sinks.commands import DecisionCommand, NoteCommand, command_id
from sinks.control import CaseRecord, SilenceRecord, SwitchRecord
from sinks.finding_history import iso
from sinks.operations import Operations, not_now, publishing, who

MAX_TEXT: Final = 300
MOST_LISTED: Final = 1_000
Reason = Annotated[str, Field(max_length=MAX_TEXT)]
Pattern = Annotated[str, Field(min_length=1, max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SwitchOrder(_Body):
    """What automation is to be from now on."""

    automation: Automation
    reason: Reason = ""


class SilenceOrder(_Body):
    """A silence from now on (or from ``starts_in_seconds``) for ``seconds``."""

    model: Pattern = "*"
    version: Pattern = "*"
    seconds: Annotated[int, Field(ge=1, le=MAX_SILENCE_MS // 1000)]
    starts_in_seconds: Annotated[int, Field(ge=0, le=MAX_SILENCE_MS // 1000)] = 0
    reason: Reason
    hold_rollbacks: bool = False


class Decision(_Body):
    """``revision``: that of the proposal that the caller has seen."""

    revision: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class SwitchBody:
    """The switch as it stands."""

    automation: Automation
    by: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class RollbackBody:
    """Where a rollback stands. ``requested``: it was approved, and there is no second one."""

    key: str
    model: str
    version: str
    role: str
    return_to: str
    state: str
    revision: int
    by: str
    reason: str
    requested: bool
    proposed_at: str
    changed_at: str


@dataclass(frozen=True, slots=True)
class SilenceBody:
    """A silence. Times are ISO 8601 UTC."""

    id: str
    model: str
    version: str
    starts_at: str
    ends_at: str
    by: str
    reason: str
    hold_rollbacks: bool


@dataclass(frozen=True, slots=True)
class DecisionBody:
    """The decision is written down; what comes of it, `GET /v1/rollbacks` tells."""

    taken: bool
    key: str
    revision: int


def rollback_body(case: CaseRecord) -> RollbackBody:
    """A rollback as the API shows it."""
    return RollbackBody(
        case.key,
        case.model,
        case.version,
        case.role.value,
        case.return_to,
        case.state.value,
        case.revision,
        case.by,
        case.reason,
        case.requested,
        iso(case.proposed_ms),
        iso(case.changed_ms),
    )


class _Orders:
    """The endpoints; the guard has asked for the token."""

    def __init__(self, operations: Operations, now_ms: Callable[[], int]) -> None:
        self._operations = operations
        self._board = operations.board
        self._now_ms = now_ms
        self._publish = publishing()

    async def automation(self) -> SwitchBody:
        """The switch for rollbacks over the whole fleet."""
        return _switch(self._board.switch())

    async def turn(self, order: SwitchOrder, request: Request) -> Any:
        """Turn automation on, off, or to dry run, for every model, at once."""
        at_ms = self._now_ms()
        record = SwitchRecord(order.automation, at_ms, who(request), printable(order.reason))

        def say() -> None:
            self._operations.publish.control(record)
            body = {"automation": record.automation.value, "reason": record.reason}
            self._note("switch", "automation", record.by, body, at_ms)

        return _switch(record) if await self._publish(say) else not_now()

    async def silences(self) -> list[SilenceBody]:
        """Those that are not over."""
        return [_silence(each) for each in self._board.silences(self._now_ms())]

    async def silence(self, order: SilenceOrder, request: Request) -> JSONResponse:
        """Mute pages for a time; what is muted is told when it ends, if it still holds."""
        starts_ms = self._now_ms() + 1000 * order.starts_in_seconds
        made = Silence(
            uuid.uuid4().hex[:12],
            order.model,
            order.version,
            starts_ms,
            starts_ms + 1000 * order.seconds,
            who(request),
            printable(order.reason),
            order.hold_rollbacks,
        )
        if not await self._publish(lambda: self._put(made, "silence")):
            return not_now()
        return JSONResponse(asdict(_silence(made)), 201)

    async def end_silence(self, silence_id: str, request: Request) -> JSONResponse:
        """End a silence now."""
        found = self._board.silence(silence_id)
        if found is None:
            return JSONResponse({"error": "there is no such silence"}, 404)
        ended = replace(found, ends_ms=min(found.ends_ms, self._now_ms()), by=who(request))
        if not await self._publish(lambda: self._put(ended, "silence ended")):
            return not_now()
        return JSONResponse(asdict(_silence(ended)))

    async def rollbacks(self) -> list[RollbackBody]:
        """Every rollback, the one that changed last first."""
        return [rollback_body(case) for case in self._board.cases()[:MOST_LISTED]]

    async def approve(self, key: str, decision: Decision, request: Request) -> JSONResponse:
        """Approve a proposed rollback, as of the revision that was seen."""
        return await self._decide(key, decision.revision, approved=True, by=who(request))

    async def reject(self, key: str, decision: Decision, request: Request) -> JSONResponse:
        """Reject a proposed rollback."""
        return await self._decide(key, decision.revision, approved=False, by=who(request))

    async def _decide(self, key: str, revision: int, *, approved: bool, by: str) -> JSONResponse:
        case = self._board.case(key)
        if case is None:
            return JSONResponse({"error": "there is no such rollback"}, 404)
        if case.revision != revision:
            error = {"error": f"it is {case.state.value} since, as of revision {case.revision}"}
            return JSONResponse(error, 409)
        now_ms = self._now_ms()
        command = decision_command(case, revision, approved=approved, by=by, now_ms=now_ms)
        if not await self._publish(lambda: self._operations.publish.command(command)):
            return not_now()
        return JSONResponse(asdict(DecisionBody(True, key, revision)), 202)

    def _put(self, made: Silence, kind: str) -> None:
        self._operations.publish.control(SilenceRecord(made))
        self._note(kind, made.id, made.by, asdict(made), made.ends_ms)

    def _note(self, kind: str, subject: str, by: str, body: dict[str, Any], said: int) -> None:
        note = NoteCommand(
            id=command_id(kind, subject, said),
            model=FLEET,
            at_ms=self._now_ms(),
            by=by,
            kind=kind,
            subject=subject,
            body=body,
        )
        self._operations.publish.command(note)


def operator_routes(operations: Operations, now_ms: Callable[[], int]) -> APIRouter:
    """The routes, to be included in the API."""
    router = APIRouter()
    orders = _Orders(operations, now_ms)

    def route(
        method: str, path: str, endpoint: Callable[..., Any], answers: Any, **more: Any
    ) -> None:
        changes = OPERATORS | NOT_NOW if method != "GET" else {}
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_model=answers,
            responses=changes | more.pop("responses", {}),
            tags=[ORDERS],
            **more,
        )

    route("GET", "/v1/automation", orders.automation, SwitchBody)
    route("PUT", "/v1/automation", orders.turn, SwitchBody)
    route("GET", "/v1/silences", orders.silences, list[SilenceBody])
    route("POST", "/v1/silences", orders.silence, SilenceBody, status_code=201)
    unknown = refusals(s404="There is none with this name.")
    route("DELETE", "/v1/silences/{silence_id}", orders.end_silence, SilenceBody, responses=unknown)
    route("GET", "/v1/rollbacks", orders.rollbacks, list[RollbackBody])
    changed: Responses = {409: {"model": Refusal, "description": "It has changed since."}}
    for name, endpoint in (("approve", orders.approve), ("reject", orders.reject)):
        path = f"/v1/rollbacks/{{key}}/{name}"
        route("POST", path, endpoint, DecisionBody, status_code=202, responses=unknown | changed)
    return router


def _switch(record: SwitchRecord) -> SwitchBody:
    at = iso(record.at_ms) if record.at_ms else ""
    return SwitchBody(record.automation, record.by, record.reason, at)


def decision_command(
    case: CaseRecord, revision: int, *, approved: bool, by: str, now_ms: int
) -> DecisionCommand:
    """The command for a decision; the same decision on the same revision is the same command."""
    return DecisionCommand(
        id=command_id("decision", case.key, revision, str(approved)),
        model=case.model,
        at_ms=now_ms,
        by=by,
        key=case.key,
        revision=revision,
        approved=approved,
    )


def _silence(silence: Silence) -> SilenceBody:
    return SilenceBody(
        silence.id,
        silence.model,
        silence.version,
        iso(silence.starts_ms),
        iso(silence.ends_ms),
        silence.by,
        silence.reason,
        silence.hold_rollbacks,
    )
