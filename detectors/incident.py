"""What the policy remembers: incidents, the releases they belong to, and past rollbacks.

Plain values that any encoder can write, as they live in a table between two verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from detectors.action import Exhibit
from detectors.release import Release
from detectors.verdict import Status


class Cause(IntEnum):
    """What an incident's page said last. A page goes out only for a higher one."""

    NOTHING = 0
    HOLD = 1
    BLIND = 2
    FAIL = 3
    ROLLBACK = 4
    STILL_FAILING = 5


@dataclass(frozen=True, slots=True)
class Incident:
    """What is wrong with a release since ``opened_ms``; ``failed`` if a FAIL was part of it."""

    key: str
    opened_ms: int
    paged: Cause
    failed: bool
    reason: str
    evidence: tuple[Exhibit, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of one release: its newest verdict and its open incident, if any."""

    release: Release
    sequence: int
    status: Status
    seen_ms: int
    incident: Incident | None


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A rollback that was requested (or, with ``dry_run``, would have been)."""

    release: Release
    at_ms: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """What the policy remembers of one model. Start with ``ModelPolicy(model)``."""

    model: str
    watched: tuple[Watched, ...] = field(default=())
    rolled_back: tuple[RolledBack, ...] = field(default=())

    def of(self, release: Release) -> Watched | None:
        """What is known of ``release``; None before its first verdict."""
        return next((seen for seen in self.watched if seen.release == release), None)

    def rollback_of(self, version: str, *, dry_run: bool = False) -> RolledBack | None:
        """The rollback of ``version``, if it was requested; with ``dry_run`` the recorded one."""
        return next(
            (
                past
                for past in self.rolled_back
                if past.release.version == version and past.dry_run == dry_run
            ),
            None,
        )
