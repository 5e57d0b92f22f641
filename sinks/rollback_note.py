"""What a rollback adds to the answer on its release.

A release that was rolled back falls silent, and its next verdict is BLIND. Whoever looks then must
read that this is what was wanted, not that something broke.
"""

from __future__ import annotations

from dataclasses import replace

from detectors.action import printable
from detectors.rollback_case import RollbackState
from sinks.control import CaseRecord
from sinks.finding_history import iso
from sinks.verdict_board import Answer


def with_rollback(answer: Answer, case: CaseRecord | None) -> Answer:
    """``answer`` with the rollback of its release as the first reason, if there is one."""
    if case is None or (answer.role and case.role.value != answer.role):
        return answer
    back, at = printable(case.return_to, 100), iso(case.changed_ms)
    match case.state:
        case RollbackState.VERIFIED:
            said = f"rolled back to {back} at {at}: that it has no events any more is right"
        case RollbackState.APPROVED | RollbackState.SENT:
            said = f"a rollback to {back} is under way since {at}"
        case RollbackState.ACKNOWLEDGED:
            said = f"rolled back to {back}, acknowledged at {at}: it is expected to fall silent"
        case RollbackState.PROPOSED:
            said = f"a rollback to {back} is proposed since {at} and not approved yet"
        case RollbackState.EXPIRED if case.requested:
            said = f"a rollback to {back} was asked for and nobody carried it out by {at}"
        case _:
            return answer
    return replace(answer, reasons=(said, *answer.reasons))
