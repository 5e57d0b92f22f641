"""What people and other systems may do through the API, apart from asking: its parts and limits."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio
import structlog
from anyio import to_thread
from fastapi import Request
from fastapi.responses import JSONResponse

from sinks.approvals import ApprovalLinks
from sinks.commands import Command
from sinks.control import ControlBoard, ControlRecord
from sinks.errors import Retryable
from sinks.grants import Grant
from sinks.hooks import HookSettings
from sinks.http_guard import BY

log = structlog.get_logger()

PUBLISH_TIMEOUT_S: Final = 8.0
_AT_ONCE: Final = 16


class Publisher(Protocol):
    """Writes to Kafka. Returns when Kafka has it; raises Retryable if it has not."""

    def command(self, command: Command) -> None: ...

    def control(self, record: ControlRecord) -> None: ...


@dataclass(frozen=True, slots=True)
class Operations:
    """``board`` is what is in force, ``read`` whether all of it has been read."""

    board: ControlBoard
    read: Callable[[], bool]
    publish: Publisher
    approvals: ApprovalLinks
    grants: tuple[Grant, ...] = ()
    hooks: HookSettings = field(default_factory=HookSettings)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


def publishing() -> Callable[[Callable[[], None]], Awaitable[bool]]:
    """What runs a publication in a thread; False if Kafka did not take it. One for each group of
    routes, as Kafka being away must not take all threads."""
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def run(publish: Callable[[], None]) -> bool:
        try:
            with anyio.fail_after(PUBLISH_TIMEOUT_S):
                await to_thread.run_sync(publish, limiter=limiter, abandon_on_cancel=True)
        except (Retryable, TimeoutError) as error:
            log.warning("not_published", error=type(error).__name__)
            return False
        return True

    return run


def who(request: Request) -> str:
    """The name of the token of this request."""
    return str(request.scope.get(BY, "")) or "somebody"


def not_now() -> JSONResponse:
    """What is answered while Kafka does not take records: nothing has been done."""
    body = {"error": "Kafka does not take it now", "hint": "nothing was done; try again"}
    return JSONResponse(body, 503, headers={"retry-after": "5"})
