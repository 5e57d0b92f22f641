"""What one model's evidence adds up to, pane by pane: drift of every release, harm by every canary.

Evidence is a fold over closed panes in the order of time and over nothing else: which reference a
pane stands on and which production version it is compared with are read from the pane itself. So
what is stored (``checkpoint``) may lag behind: panes are kept until a checkpoint has taken them in,
and after a restart those since the last one are folded again, to the same bits.

Entries are written before the budget. The budget's end says up to where panes may be forgotten; an
entry that a crash left newer than the budget refuses what it has had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from detectors import budget as budgets
from detectors.budget import Budget, Stream
from detectors.canary_rules import CanarySettings
from detectors.canary_verdict import CanaryVerdict
from detectors.drift_settings import DriftSettings
from detectors.finding import Finding
from detectors.online_rules import OnlineSettings
from detectors.paired_evidence import PairedSettings
from detectors.reference import Reference
from detectors.release import ALL, OTHER, Release, Role
from detectors.summary import Summaries
from detectors.thresholds import Place
from streams.evidence_canary import Canaries
from streams.evidence_drift import Drifts
from streams.evidence_entry import (
    BUDGET_KEY,
    Entry,
    EvidenceKey,
    Part,
    budget_entry,
    budget_of,
    key_of,
)
from streams.evidence_kernels import EvidenceKernels, no_kernels
from streams.model_state import Interval
from streams.online_book import OnlineBook


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """What is judged by evidence."""

    drift: DriftSettings = field(default_factory=DriftSettings)
    canary: CanarySettings = field(default_factory=CanarySettings)
    paired: PairedSettings = field(default_factory=PairedSettings)
    online: OnlineSettings = field(default_factory=OnlineSettings)


class Evidence:
    """Of one model. ``entries``: as they were stored; ``checkpoint_ms``: event time between two
    checkpoints, and so what may have to be folded again after a restart; ``kernels``: see
    :mod:`streams.evidence_kernels`."""

    def __init__(
        self,
        entries: Mapping[EvidenceKey, Entry],
        settings: EvidenceSettings,
        reference_by_id: Callable[[str], Reference | None],
        pane_ms: int,
        checkpoint_ms: int,
        kernels: Callable[[], EvidenceKernels | None] = no_kernels,
    ) -> None:
        self._settings = settings
        self._pane_ms = pane_ms
        self._checkpoint_ms = checkpoint_ms
        stored: dict[Part, dict[Stream, Entry]] = {part: {} for part in Part}
        for key, entry in entries.items():
            stored[key.part][key.stream] = entry
        self._drift = Drifts(settings.drift, reference_by_id, pane_ms, stored[Part.DRIFT], kernels)
        self._canaries = Canaries(
            settings.canary,
            reference_by_id,
            pane_ms,
            stored[Part.CANARY],
            self._drift.movements,
            kernels,
        )
        self._online = OnlineBook(settings.online, reference_by_id, pane_ms)
        for stream, entry in stored[Part.ONLINE].items():
            self._online.restore(stream, entry.data)
        self._changed: set[EvidenceKey] = set()
        self._removed: set[EvidenceKey] = set()
        last = entries.get(BUDGET_KEY)
        self._budget = budget_of(last) if last else Budget()
        self.upto_ms = last.upto_ms if last else 0
        """End of the newest pane folded in."""
        self.saved_ms = self.upto_ms
        """Up to here, panes are in a checkpoint that was taken."""

    # --- the fold ----------------------------------------------------------------------------

    def fold(self, start_ms: int, panes: Mapping[Stream, Interval], production: str | None) -> None:
        """Take in all panes that start at ``start_ms``; those that are in already are refused.
        ``production``: the version that others are compared with in them."""
        end_ms = start_ms + self._pane_ms
        if start_ms < self.upto_ms:
            return
        self.upto_ms = end_ms
        drift_on, canary_on = self._settings.drift.enabled, self._settings.canary.enabled
        if not drift_on and not canary_on and not self._online.enabled:
            self.saved_ms = end_ms
            return
        idle_after_ms = self._settings.drift.idle_after_ms
        judged = {stream: panes[stream] for stream in sorted(panes) if stream.version != OTHER}
        whole = {stream: pane for stream, pane in judged.items() if stream.segment == ALL}
        seen = set(whole)
        if drift_on:
            seen |= self._fold_drift(start_ms, judged)
        if self._online.enabled:
            self._fold_online(start_ms, judged)
        if canary_on:
            known = {stream for stream, _ in self._budget.seen}
            for stream in self._canaries.fold(start_ms, whole, production, known):
                self._changed.add(key_of(Part.CANARY, stream))
        self._budget = budgets.observe(self._budget, seen, end_ms, idle_after_ms)

    def _fold_drift(self, start_ms: int, panes: Mapping[Stream, Interval]) -> set[Stream]:
        """Returns the streams that are watched."""
        settings = self._settings.drift
        shares = budgets.weights(self._budget, start_ms, settings.idle_after_ms)
        watched: set[Stream] = set()
        for stream, pane in panes.items():
            block = _referenced(pane) if stream.role in settings.roles else None
            weight = shares.get(stream, 0.0)
            if block is not None and self._drift.fold(stream, block, weight, start_ms):
                self._changed.add(key_of(Part.DRIFT, stream))
                watched.add(stream)
        return watched

    def _fold_online(self, start_ms: int, panes: Mapping[Stream, Interval]) -> None:
        for stream, pane in panes.items():
            block = _referenced(pane)
            if block is not None and self._online.fold(stream, block, start_ms):
                self._changed.add(key_of(Part.ONLINE, stream))

    # --- what it says ------------------------------------------------------------------------

    def drift_findings(
        self, release: Release, segment: str, window: Interval, place: Place
    ) -> list[Finding]:
        """Of one (release, segment); see :meth:`streams.evidence_drift.Drifts.findings`."""
        block = _referenced(window)
        if not self._settings.drift.enabled or block is None:
            return []
        return self._drift.findings(Stream(release.version, release.role, segment), block, place)

    def online_findings(self, stream: Stream, window: Interval, place: Place) -> list[Finding]:
        """What the online detectors say, which keep no budget; nothing unless they are set."""
        block = _referenced(window) if self._online.enabled else None
        return self._online.findings(stream, block, place) if block is not None else []

    def canary_verdict(self, version: str, role: Role) -> CanaryVerdict | None:
        """What is to be thought of a release that is not production; None if that is not judged
        by evidence."""
        if not self._settings.canary.enabled or role is Role.PRODUCTION:
            return None
        return self._canaries.verdict(Stream(version, role, ALL))

    def proven(self, version: str, role: Role) -> bool:
        """Whether the evidence against a release, or against its split, is complete. Costs no more
        than a look; what is to be done about it is in the verdict."""
        if not self._settings.canary.enabled or role is Role.PRODUCTION:
            return False
        return self._canaries.proven(Stream(version, role, ALL))

    def canary_findings(self, version: str, role: Role, place: Place) -> list[Finding]:
        """A finding for each measure of the last verdict."""
        return self._canaries.findings(Stream(version, role, ALL), place)

    def rest(self) -> None:
        """After a record: forget what can be worked out again."""
        self._canaries.rest()

    # --- storing -----------------------------------------------------------------------------

    def due(self) -> bool:
        """Whether a checkpoint should be taken."""
        unsaved_ms = self.upto_ms - self.saved_ms
        return (unsaved_ms > 0 and unsaved_ms >= self._checkpoint_ms) or bool(self._removed)

    def checkpoint(self) -> tuple[dict[EvidenceKey, Entry], set[EvidenceKey]]:
        """What has changed since the last one, the budget last; and what is to be removed. The
        caller writes all of it, in order, before it forgets panes."""
        entries = {key: self._entry(key) for key in sorted(self._changed)}
        removed = self._removed - entries.keys()
        if entries or removed or self.upto_ms > self.saved_ms:
            entries[BUDGET_KEY] = budget_entry(self._budget, self.upto_ms)
        self._changed, self._removed = set(), set()
        self.saved_ms = self.upto_ms
        return entries, removed

    def _entry(self, key: EvidenceKey) -> Entry:
        if key.part is Part.DRIFT:
            return self._drift.entry(key.stream)
        if key.part is Part.ONLINE:
            return Entry(*self._online.encoded(key.stream))
        return self._canaries.entry(key.stream)

    def forget(self, version: str, role: Role) -> None:
        """A release has ended: its evidence goes."""
        for stream in self._drift.forget(version, role):
            self._removed.add(key_of(Part.DRIFT, stream))
        for stream in self._online.forget(version, role):
            self._removed.add(key_of(Part.ONLINE, stream))
        whole = Stream(version, role, ALL)
        if self._canaries.forget(whole):
            self._removed.add(key_of(Part.CANARY, whole))
        self._changed -= self._removed


def _referenced(pane: Interval) -> Summaries | None:
    """The summaries that stand on a reference: of several, those with most events."""
    blocks = [block for reference, block in pane.blocks.items() if reference]
    if len(blocks) < 2:
        return blocks[0] if blocks else None
    return max(blocks, key=lambda block: (block.events, block.layout.reference))
