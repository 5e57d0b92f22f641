"""Incidents that no verdict opened: a rollback that does not reach its deployer, a receiver that is
gone, a release that began and logs nothing.

Each is an incident of its own, with a page, an end and a row like those of releases: a page under
the key of the release's incident would be merged into one that somebody may have acknowledged
already.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from detectors.action import Action, ActionKind, Exhibit, Severity, action_key, printable
from detectors.release import Release


class TroubleKind(StrEnum):
    """What is wrong; the cause in the row of the incident."""

    UNDELIVERED = "undelivered"
    RECEIVER_GONE = "receiver_gone"
    BEGUN_SILENT = "begun_silent"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One that is open. ``about``: the key of the rollback, the name of the receiver, or who said
    that the release began."""

    kind: TroubleKind
    key: str
    release: Release
    about: str
    reason: str
    severity: Severity
    opened_ms: int

    @property
    def group(self) -> str:
        """The key that people know it by. That a receiver is gone is the same for all models."""
        if self.kind is TroubleKind.RECEIVER_GONE:
            return action_key("incident", "gone", self.about)
        return self.key


def undelivered(action: Action, detail: str, now_ms: int) -> Trouble:
    """``action`` (a rollback) does not reach its deployer."""
    return Trouble(
        TroubleKind.UNDELIVERED,
        action_key("incident", "undelivered", action.key),
        action.release,
        action.key,
        printable(f"rollback to {action.return_to} is not acknowledged: {detail}"),
        Severity.CRITICAL,
        now_ms,
    )


def receiver_gone(action: Action, receiver: str, now_ms: int) -> Trouble:
    """``receiver`` answered to ``action`` that it is gone for good."""
    return Trouble(
        TroubleKind.RECEIVER_GONE,
        action_key("incident", "gone", receiver, action.key),
        action.release,
        receiver,
        printable(f"receiver {receiver} answered that it is gone; it gets no more messages"),
        Severity.ERROR,
        now_ms,
    )


def page_of(
    trouble: Trouble,
    note: str,
    now_ms: int,
    *,
    reason: str = "",
    return_to: str = "",
    evidence: tuple[Exhibit, ...] = (),
) -> Action:
    """The page that opens the incident. ``reason``: what it says if not the trouble's own."""
    return Action(
        key=action_key(ActionKind.PAGE, trouble.key),
        kind=ActionKind.PAGE,
        release=trouble.release,
        return_to=return_to,
        reason=printable(reason) or trouble.reason,
        note=note,
        evidence=evidence,
        severity=trouble.severity,
        incident_key=trouble.group,
        created_ms=now_ms,
    )


def end_of(trouble: Trouble, reason: str, note: str, now_ms: int) -> Action:
    """The end of the incident."""
    return Action(
        key=action_key(ActionKind.RESOLVE, trouble.key),
        kind=ActionKind.RESOLVE,
        release=trouble.release,
        return_to="",
        reason=printable(reason),
        note=note,
        evidence=(),
        severity=Severity.INFO,
        incident_key=trouble.group,
        created_ms=now_ms,
    )
