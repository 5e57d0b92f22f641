"""What a rollback adds to the answer on its release.

A release that was rolled back falls silent, and its next verdict is BLIND. Whoever looks then must
read that this is what was wanted, not that something broke.
"""

from __future__ import annotations

from typing import Final

from detectors.action import printable
from detectors.rollback_case import RollbackState
from sinks.control import CaseRecord
from sinks.finding_history import iso
from sinks.receivers import NO_DEPLOYER, NO_RECEIVER

_DONE: Final = frozenset({RollbackState.ACKNOWLEDGED, RollbackState.VERIFIED})


def is_rolled_back(case: CaseRecord) -> bool:
    """Whether a deployer has carried it out: from then on silence is what everybody expects."""
    return case.state in _DONE


def rollback_note(case: CaseRecord) -> str:
    """Where the rollback stands, as a sentence; "" if it came to nothing."""
    back, at = printable(case.return_to, 100), iso(case.changed_ms)
    match case.state:
        case RollbackState.VERIFIED:
            return f"rolled back to {back} at {at}: that it has no events any more is right"
        case RollbackState.APPROVED | RollbackState.SENT:
            return f"a rollback to {back} is under way since {at}"
        case RollbackState.ACKNOWLEDGED:
            return f"rolled back to {back}, acknowledged at {at}: it is expected to fall silent"
        case RollbackState.PROPOSED:
            return f"a rollback to {back} is proposed since {at} and not approved yet"
        case RollbackState.EXPIRED if case.requested and case.by == NO_RECEIVER:
            return f"a rollback to {back} was asked for at {at}, and {NO_DEPLOYER}"
        case RollbackState.EXPIRED if case.requested:
            return f"a rollback to {back} was asked for and nobody carried it out by {at}"
        case _:
            return ""
