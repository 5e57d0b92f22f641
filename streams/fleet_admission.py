"""A place within the fleet's limit of rollbacks, asked for through the log.

Deliver runs on several machines, each with models of its own. Whoever wants to roll back writes a
record to ``control`` and waits until it comes back: everybody judges it by the records before it,
so the limit holds exactly, whoever asks at the same moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from detectors.rollback_case import RollbackCase
from sinks.control import CaseRecord, ClaimRecord, ControlBoard, ControlRecord

log = structlog.get_logger()

_ANSWER_S: Final = 10.0
_LOOK_S: Final = 0.005

Tell = Callable[[ControlRecord], Awaitable[None]]
"""Publishes a control record; done when Kafka has it."""


async def place_for(
    case: RollbackCase, board: ControlBoard, tell: Tell, clock_ms: Callable[[], int]
) -> bool | None:
    """Whether ``case`` has a place; None if no answer came, and it may be asked again."""
    granted = board.admitted(case.key)
    if granted is not None:
        return granted
    await tell(ClaimRecord(case.key, case.release.model, case.release.version, clock_ms()))
    end_s = time.monotonic() + _ANSWER_S
    while (granted := board.admitted(case.key)) is None and time.monotonic() < end_s:
        await asyncio.sleep(_LOOK_S)
    if granted is None:
        log.warning("fleet_limit_not_answered", hint="is the topic control readable?")
    return granted


def record_of(case: RollbackCase) -> CaseRecord:
    """Where a rollback stands, for everybody to know."""
    return CaseRecord(
        case.key,
        case.release.model,
        case.release.version,
        case.release.role,
        case.return_to,
        case.state,
        case.revision,
        case.by,
        case.reason,
        case.requested,
        case.proposed_ms,
        case.changed_ms,
    )
