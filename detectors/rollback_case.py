"""The life of one rollback, from its proposal to the proof that it helped.

    proposed -> approved -> sent -> acknowledged -> verified
        |           \\___________\\______________\\-> expired (nobody carried it out, or no proof)
        \\-> rejected, withdrawn (healthy again), expired (nobody approved)

A case belongs to (model, version) and is remembered for ever: one version is rolled back once.
Every change raises ``revision``; whoever approves names the revision that he saw, so that an old
link or a click that comes late changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from detectors.action import Exhibit
from detectors.release import Release


class RollbackState(StrEnum):
    """A step in the life of a rollback."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    VERIFIED = "verified"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    DRY_RUN = "dry_run"


class WaitsFor(StrEnum):
    """What a proposal needs before it is approved."""

    NOTHING = ""
    FLEET = "fleet"
    PERSON = "person"


UNDER_WAY = frozenset({RollbackState.APPROVED, RollbackState.SENT})
AWAITED = UNDER_WAY | {RollbackState.PROPOSED, RollbackState.ACKNOWLEDGED}
"""Neither proven nor given up: what is known of the release is still needed."""


@dataclass(frozen=True, slots=True)
class RollbackCase:
    """``approved_ms`` is None until it is approved. ``sequence``: the verdict it was proposed for.
    ``events`` is the newest count of the release's events, ``grew_ms`` when it grew last, and
    ``other_ms`` when another release of the model was last heard of, both on the clock."""

    key: str
    release: Release
    return_to: str
    state: RollbackState
    revision: int
    waits_for: WaitsFor
    by: str
    reason: str
    incident_key: str
    evidence: tuple[Exhibit, ...]
    sequence: int
    proposed_ms: int
    changed_ms: int
    approved_ms: int | None = None
    events: int = 0
    grew_ms: int = 0
    other_ms: int = 0
    escalated: bool = False

    @property
    def requested(self) -> bool:
        """True once it was asked for: from then on there is no second one."""
        return self.approved_ms is not None

    @property
    def dry_run(self) -> bool:
        return self.state is RollbackState.DRY_RUN

    @property
    def awaits_silence(self) -> bool:
        """True if its release should fall silent: a deployer has acknowledged it, or, as none has,
        somebody does it by hand."""
        given_up = self.requested and self.state is RollbackState.EXPIRED
        return given_up or self.state is RollbackState.ACKNOWLEDGED

    def to(
        self,
        state: RollbackState,
        now_ms: int,
        by: str = "",
        waits_for: WaitsFor = WaitsFor.NOTHING,
    ) -> RollbackCase:
        """The next step, by whom (or by the same as before)."""
        return replace(
            self,
            state=state,
            revision=self.revision + 1,
            waits_for=waits_for,
            by=by or self.by,
            changed_ms=now_ms,
            approved_ms=now_ms if state is RollbackState.APPROVED else self.approved_ms,
        )

    def heard(self, release: Release, events: int, now_ms: int) -> RollbackCase:
        """Note a verdict of the model: whether the release still has new events, and whether
        somebody else's arrive, so that silence of all is not taken for success."""
        if release == self.release:
            if events == self.events:
                return self
            return replace(self, events=events, grew_ms=now_ms)
        return replace(self, other_ms=now_ms) if self.awaits_silence else self

    def silent_since(self, now_ms: int, quiet_ms: int) -> bool:
        """True if the release has had no events for ``quiet_ms`` since the acknowledgement (or the
        end of all tries) while others of its model were heard of."""
        return now_ms - self.last_sign_ms >= quiet_ms and self.other_ms > self.last_sign_ms

    @property
    def last_sign_ms(self) -> int:
        """When the release had new events last, or the rollback its newest state."""
        return max(self.changed_ms, self.grew_ms)
