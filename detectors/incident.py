"""What the policy remembers: incidents, the releases they belong to, and rollbacks.

Plain values that any encoder can write, as they live in a table between two verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from detectors.action import Audience, Exhibit, Severity
from detectors.release import Release
from detectors.rollback_case import RollbackCase
from detectors.verdict import Status


class Cause(IntEnum):
    """What an incident's page said last. A page goes out only for a higher one."""

    NOTHING = 0
    HOLD = 10
    UPSTREAM = 20
    BLIND = 30
    BLIND_FOR_LONG = 40
    FAIL = 50
    FLAPPING = 60
    APPROVAL = 70
    ROLLBACK = 80
    STILL_FAILING = 90


@dataclass(frozen=True, slots=True)
class Incident:
    """What is wrong with a release since ``opened_ms``; ``failed`` if a FAIL was part of it.

    ``group`` is the key that people know it by: its own, or that of another release's incident
    with the same cause, which it has joined ("" while nobody was told). ``told``: which people.
    ``silenced_by``: what keeps its page back. ``severity``: of the last page, None before the
    first; ``pages``: how many went out about this release. ``taken_by``: who has taken it up, ""
    for nobody, and when.
    """

    key: str
    opened_ms: int
    paged: Cause
    failed: bool
    reason: str
    evidence: tuple[Exhibit, ...]
    group: str = ""
    told: tuple[Audience, ...] = ()
    upstream: tuple[str, ...] = ()
    flapping: bool = False
    silenced_by: tuple[str, ...] = ()
    severity: Severity | None = None
    pages: int = 0
    taken_by: str = ""
    taken_ms: int = 0


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of one release: its newest verdict and its open incident, if any.

    ``recent``: the last conclusive answers, newest in the lowest bit, 1 for FAIL. ``failing_ms``:
    since when it fails (None: it does not). ``passes`` in a row. ``opens``: when its last incidents
    began. ``alerts``: fingerprints of other systems' alerts that fire for it. ``baseline``: the
    production version it was last compared with. ``asked_by``: the alerts that asked for a rollback
    before a verdict said what to return to, and when (`detectors.alert.answer`).
    """

    release: Release
    sequence: int
    status: Status
    seen_ms: int
    incident: Incident | None
    recent: int = 0
    failing_ms: int | None = None
    passes: int = 0
    opens: tuple[int, ...] = ()
    alerts: tuple[str, ...] = ()
    baseline: str = ""
    asked_by: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Begun:
    """Somebody said that ``version`` began to be rolled out; ``told``: its silence was paged."""

    version: str
    at_ms: int
    source: str
    told: bool = False


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """What the policy remembers of one model. Start with ``ModelPolicy(model)``."""

    model: str
    watched: tuple[Watched, ...] = field(default=())
    cases: tuple[RollbackCase, ...] = field(default=())
    begun: tuple[Begun, ...] = field(default=())

    def of(self, release: Release) -> Watched | None:
        """What is known of ``release``; None before its first verdict."""
        return next((seen for seen in self.watched if seen.release == release), None)

    def case(self, key: str) -> RollbackCase | None:
        """The rollback with this key."""
        return next((case for case in self.cases if case.key == key), None)

    def case_of(self, version: str, *, dry_run: bool = False) -> RollbackCase | None:
        """The rollback of ``version``, whatever became of it."""
        return next(
            (c for c in self.cases if c.release.version == version and c.dry_run == dry_run), None
        )

    def rollback_of(self, version: str) -> RollbackCase | None:
        """The rollback of ``version``, if it was requested."""
        case = self.case_of(version)
        return case if case is not None and case.requested else None
