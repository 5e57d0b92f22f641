"""What one model's evidence adds up to, pane by pane: drift of every release, harm by every canary.

Evidence is a fold over closed panes in the order of time and over nothing else: which reference a
pane stands on and which production version it is compared with are read from the pane itself. So
what is stored (``checkpoint``) may lag behind: panes are kept until a checkpoint has taken them in,
and after a restart those since the last one are folded again, to the same bits.

Entries are written before the budget. The budget's end says up to where panes may be forgotten; an
entry that a crash left newer than the budget refuses what it has had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from detectors import budget as budgets
from detectors import canary as canaries
from detectors import canary_bytes, drift, drift_state
from detectors.budget import Budget, Stream
from detectors.canary import CanaryState, CanaryVerdict
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import CanarySettings
from detectors.cells import count, rows_of
from detectors.drift_evidence import finding_of, ranked, readings
from detectors.drift_settings import DriftSettings
from detectors.drift_state import DriftState, empty_state
from detectors.finding import Finding
from detectors.layout import Kind, Layout
from detectors.movement import movements
from detectors.online_rules import OnlineSettings
from detectors.paired_evidence import PairedSettings
from detectors.reference import Reference, layout_for
from detectors.release import ALL, OTHER, Release, Role
from detectors.summary import Summaries
from detectors.thresholds import Place
from detectors.upstream import Movement
from detectors.watching import Watching, watching
from streams.comparing import common_blocks
from streams.model_state import Interval, decode_interval, encode_interval
from streams.online_book import OnlineBook

log = structlog.get_logger()


class Part(StrEnum):
    """What an entry holds."""

    DRIFT = "drift"
    CANARY = "canary"
    ONLINE = "online"
    BUDGET = "budget"


class EvidenceKey(msgspec.Struct, array_like=True, frozen=True, order=True):
    """An entry of one model; the budget's has no release."""

    part: Part
    version: str = ""
    role: Role = Role.PRODUCTION
    segment: str = ALL


BUDGET_KEY: Final = EvidenceKey(Part.BUDGET)


class Entry(msgspec.Struct, array_like=True):
    """``upto_ms``: end of the last pane taken in; ``against``: the reference that drift stands on,
    the production version that a canary was last compared with; ``data``: the state in bytes;
    ``before``: an interval in bytes, see `_Canary`."""

    upto_ms: int
    against: str
    data: bytes
    before: bytes = b""


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """What is judged by evidence."""

    drift: DriftSettings = field(default_factory=DriftSettings)
    canary: CanarySettings = field(default_factory=CanarySettings)
    paired: PairedSettings = field(default_factory=PairedSettings)
    online: OnlineSettings = field(default_factory=OnlineSettings)


@dataclass(slots=True)
class _Drift:
    """A state, and what it is watched with."""

    state: DriftState
    watched: Watching


@dataclass(slots=True)
class _Canary:
    """``production``: the version it was last compared with; ``before``: both arms together, as
    long as there are measures that wait for enough values to fix their cells; ``verdict``: computed
    when it is asked for."""

    state: CanaryState
    upto_ms: int
    production: str = ""
    before: Interval | None = None
    verdict: CanaryVerdict | None = None


class Evidence:
    """Of one model. ``entries``: as they were stored; ``checkpoint_ms``: event time between two
    checkpoints, and so what may have to be folded again after a restart."""

    def __init__(
        self,
        entries: Mapping[EvidenceKey, Entry],
        settings: EvidenceSettings,
        reference_by_id: Callable[[str], Reference | None],
        pane_ms: int,
        checkpoint_ms: int,
    ) -> None:
        self._settings = settings
        self._reference_by_id = reference_by_id
        self._pane_ms = pane_ms
        self._checkpoint_ms = checkpoint_ms
        self._stored = {key: entry for key, entry in entries.items() if key != BUDGET_KEY}
        self._drift: dict[Stream, _Drift] = {}
        self._canaries: dict[tuple[str, Role], _Canary] = {}
        self._online = OnlineBook(settings.online, reference_by_id, pane_ms)
        for key in [key for key in self._stored if key.part is Part.ONLINE]:
            stream = Stream(key.version, key.role, key.segment)
            self._online.restore(stream, self._stored.pop(key).data)
        self._changed: set[EvidenceKey] = set()
        self._removed: set[EvidenceKey] = set()
        stored = entries.get(BUDGET_KEY)
        self._budget = _budget_of(stored.data) if stored else Budget()
        self.upto_ms = stored.upto_ms if stored else 0
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
        judged = {stream: pane for stream, pane in panes.items() if stream.version != OTHER}
        seen = {stream for stream in judged if stream.segment == ALL}
        if drift_on:
            shares = budgets.weights(self._budget, start_ms, idle_after_ms)
            for stream, pane in sorted(judged.items()):
                if stream.role not in self._settings.drift.roles:
                    continue
                if self._fold_drift(stream, pane, shares.get(stream, 0.0), start_ms):
                    seen.add(stream)
        for stream, pane in sorted(judged.items()):
            block = _referenced(pane)
            if block is not None and self._online.fold(stream, block, start_ms):
                key = EvidenceKey(Part.ONLINE, stream.version, stream.role, stream.segment)
                self._changed.add(key)
        if canary_on:
            self._fold_canaries(start_ms, judged, production)
        self._budget = budgets.observe(self._budget, seen, end_ms, idle_after_ms)

    def _fold_drift(self, stream: Stream, pane: Interval, weight: float, start_ms: int) -> bool:
        """Settle a pane of one stream; False if there is nothing to watch it with."""
        block = _referenced(pane)
        held = self._watched(stream, block.layout.reference) if block is not None else None
        if block is None or held is None:
            return False
        settings = self._settings.drift
        paid = held.watched.payoffs(start_ms, settings)
        counts = count(held.watched.cells, block)
        settled = drift.step(held.state, paid, counts, weight, start_ms, self._pane_ms, settings)
        held.state = settled.state
        self._changed.add(EvidenceKey(Part.DRIFT, stream.version, stream.role, stream.segment))
        return True

    def _watched(self, stream: Stream, reference: str) -> _Drift | None:
        """The state of a stream on a reference; a fresh one where it stood on another. None if
        the reference has nothing for this segment."""
        held = self._held(stream, reference)
        if held is not None:
            return held
        watched = self._watching(stream, reference)
        if watched is None:
            return None
        self._drift[stream] = held = _Drift(empty_state(watched.dictionary), watched)
        return held

    def _held(self, stream: Stream, reference: str = "") -> _Drift | None:
        """The state that there is of a stream; with ``reference`` only if it stands on that."""
        key = EvidenceKey(Part.DRIFT, stream.version, stream.role, stream.segment)
        entry = self._stored.pop(key, None)
        if entry is not None:
            known = self._reference_by_id(entry.against) is not None
            watched = self._watching(stream, entry.against) if known else None
            try:
                if watched is not None:
                    state = drift_state.from_bytes(entry.data, watched.dictionary)
                    self._drift[stream] = _Drift(state, watched)
            except drift_state.UnreadableState as error:
                # Another version of driftline chose other bets: evidence starts again.
                log.warning("drift evidence starts again", why=str(error))
        held = self._drift.get(stream)
        if held is None or reference not in ("", held.watched.reference):
            return None
        return held

    def _watching(self, stream: Stream, reference: str) -> Watching | None:
        known = self._reference_by_id(reference)
        if known is None:
            raise LookupError(f"reference {reference} is not known here")
        return watching(known, stream.segment, self._settings.drift)

    def _fold_canaries(
        self, start_ms: int, panes: Mapping[Stream, Interval], production: str | None
    ) -> None:
        settings = self._settings.canary
        whole = {stream: pane for stream, pane in panes.items() if stream.segment == ALL}
        known = {stream for stream, _ in self._budget.seen}
        counts: dict[Role, int] = {}
        # Shares mean something only while the releases stay the same.
        if whole.keys() <= known:
            for stream, pane in whole.items():
                counts[stream.role] = counts.get(stream.role, 0) + pane.events()
            counts.pop(Role.SHADOW, None)
        twin = whole.get(Stream(production, Role.PRODUCTION, ALL)) if production else None
        for stream, pane in sorted(whole.items()):
            if stream.role is Role.PRODUCTION:
                continue
            held = self._canary_of(stream.version, stream.role)
            arms = self._arms(start_ms, pane, twin, held)
            if arms is None or start_ms < held.upto_ms:
                continue
            held.state = canaries.step(held.state, settings, arms, counts)
            if held.state.settled:
                held.before = None
            else:
                held.before = held.before or Interval()
                held.before.add(arms.canary)
                held.before.add(arms.production)
            held.upto_ms = start_ms + self._pane_ms
            held.production = production or held.production
            held.verdict = None
            self._changed.add(EvidenceKey(Part.CANARY, stream.version, stream.role))
        for held in self._canaries.values():
            if held.state.failed:
                held.verdict = None  # what production does may be the cause, and has moved on

    def _arms(
        self, start_ms: int, pane: Interval, twin: Interval | None, held: _Canary
    ) -> ArmsPane | None:
        if twin is None:
            mine = max(pane.blocks.values(), key=lambda b: (b.events, b.layout.reference))
            return ArmsPane(start_ms, self._pane_ms, mine, Summaries.empty(mine.layout))
        pair = common_blocks(pane, twin)
        if pair is None:
            return None
        reference = pair[0].layout.reference
        normal = held.before.blocks.get(reference) if held.before is not None else None
        known = self._reference_by_id(reference) if reference else None
        if known is None:
            return ArmsPane(start_ms, self._pane_ms, *pair, normal)
        if not held.state.panes:
            normal = known.summaries
        variance = known.learnt.arms if known.learnt is not None else None
        return ArmsPane(start_ms, self._pane_ms, *pair, normal, variance)

    def _canary_of(self, version: str, role: Role) -> _Canary:
        held = self._canaries.get((version, role))
        if held is not None:
            return held
        entry = self._stored.pop(EvidenceKey(Part.CANARY, version, role), None)
        state, upto_ms, production, before = CanaryState(), 0, "", None
        if entry is not None:
            try:
                state = canary_bytes.from_bytes(entry.data)
                upto_ms, production = entry.upto_ms, entry.against
                before = decode_interval(entry.before, self._layout) if entry.before else None
            except canary_bytes.UnreadableState as error:
                log.warning("canary evidence starts again", why=str(error))
        held = self._canaries[version, role] = _Canary(state, upto_ms, production, before)
        return held

    # --- what it says ------------------------------------------------------------------------

    def drift_findings(
        self, release: Release, segment: str, window: Interval, place: Place
    ) -> list[Finding]:
        """Of one (release, segment): a finding for each watch, the most telling first. ``window``:
        the summaries of the window that they are told of. They decide for production only:
        every other release is held against production, which the same data reaches."""
        settings = self._settings.drift
        block = _referenced(window)
        if not settings.enabled or block is None:
            return []
        held = self._held(Stream(release.version, release.role, segment), block.layout.reference)
        if held is None:
            return []
        rows = rows_of(held.watched.cells, count(held.watched.cells, block))
        start_ms = held.state.upto_ms - self._pane_ms
        paid = held.watched.payoffs(start_ms, settings)
        found = readings(held.state, paid, rows, held.state.upto_ms, settings)
        decides = release.role is Role.PRODUCTION
        against = f"reference:{block.layout.reference}"
        return [finding_of(reading, place, against, decides) for reading in ranked(found)]

    def online_findings(self, stream: Stream, window: Interval, place: Place) -> list[Finding]:
        """What the online detectors say, which keep no budget; nothing unless they are set."""
        block = _referenced(window)
        return self._online.findings(stream, block, place) if block is not None else []

    def canary_verdict(self, version: str, role: Role) -> CanaryVerdict | None:
        """What is to be thought of a release that is not production; None if that is not judged
        by evidence."""
        settings = self._settings.canary
        if not settings.enabled or role is Role.PRODUCTION:
            return None
        held = self._canary_of(version, role)
        if held.verdict is None:
            # What production itself does may be the cause.
            moved = self._movements(held.production) if held.state.failed else []
            held.verdict = canaries.verdict(held.state, settings, moved)
        return held.verdict

    def proven(self, version: str, role: Role) -> bool:
        """Whether the evidence against a release, or against its split, is complete. Costs no more
        than a look; what is to be done about it is in the verdict."""
        if not self._settings.canary.enabled or role is Role.PRODUCTION:
            return False
        state = self._canary_of(version, role).state
        return state.failed or state.split.broken is not None

    def canary_findings(self, version: str, role: Role, place: Place) -> list[Finding]:
        """A finding for each measure of the last verdict."""
        held = self._canaries.get((version, role))
        if held is None or held.verdict is None:
            return []
        return canaries.findings_of(held.verdict, place, f"production:{held.production}")

    def _movements(self, production: str) -> Sequence[Movement]:
        held = self._held(Stream(production, Role.PRODUCTION, ALL))
        if held is None or not self._settings.drift.enabled:
            return []
        settings = self._settings.drift
        paid = held.watched.payoffs(held.state.upto_ms - self._pane_ms, settings)
        return movements(held.state, paid, held.state.upto_ms, settings)

    def rest(self) -> None:
        """After a record: forget verdicts, which are large and can be worked out again."""
        for held in self._canaries.values():
            held.verdict = None

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
            entries[BUDGET_KEY] = Entry(self.upto_ms, "", _budget_bytes(self._budget))
        self._changed, self._removed = set(), set()
        self.saved_ms = self.upto_ms
        return entries, removed

    def _entry(self, key: EvidenceKey) -> Entry:
        if key.part is Part.DRIFT:
            held = self._drift[Stream(key.version, key.role, key.segment)]
            data = drift_state.to_bytes(held.state, held.watched.dictionary)
            return Entry(held.state.upto_ms, held.watched.reference, data)
        if key.part is Part.ONLINE:
            stream = Stream(key.version, key.role, key.segment)
            return Entry(*self._online.encoded(stream))
        canary = self._canaries[key.version, key.role]
        before = encode_interval(canary.before) if canary.before is not None else b""
        data = canary_bytes.to_bytes(canary.state)
        return Entry(canary.upto_ms, canary.production, data, before)

    def _layout(self, reference: str, columns: tuple[tuple[str, Kind], ...]) -> Layout:
        known = self._reference_by_id(reference) if reference else None
        if reference and known is None:
            raise canary_bytes.UnreadableState(f"reference {reference} is not known any more")
        return layout_for(known, columns)

    def forget(self, version: str, role: Role) -> None:
        """A release has ended: its evidence goes."""
        for stream in [s for s in self._drift if (s.version, s.role) == (version, role)]:
            del self._drift[stream]
            self._removed.add(EvidenceKey(Part.DRIFT, version, role, stream.segment))
        for stream in self._online.forget(version, role):
            self._removed.add(EvidenceKey(Part.ONLINE, version, role, stream.segment))
        if self._canaries.pop((version, role), None) is not None:
            self._removed.add(EvidenceKey(Part.CANARY, version, role))
        for key in [k for k in self._stored if (k.version, k.role) == (version, role)]:
            del self._stored[key]
            self._removed.add(key)
        self._changed -= self._removed


def _referenced(pane: Interval) -> Summaries | None:
    """The summaries that stand on a reference: of several, those with most events."""
    blocks = [block for reference, block in pane.blocks.items() if reference]
    if not blocks:
        return None
    return max(blocks, key=lambda block: (block.events, block.layout.reference))


def _budget_bytes(budget: Budget) -> bytes:
    return msgspec.msgpack.encode([(s.version, s.role, s.segment, at) for s, at in budget.seen])


def _budget_of(data: bytes) -> Budget:
    rows = msgspec.msgpack.decode(data, type=list[tuple[str, Role, str, int]])
    return Budget(tuple(sorted((Stream(v, r, s), at) for v, r, s, at in rows)))


def encode_evidence_key(model: str, key: EvidenceKey) -> bytes:
    return msgspec.msgpack.encode((model, key))


def decode_evidence_key(value: bytes) -> tuple[str, EvidenceKey]:
    return msgspec.msgpack.decode(value, type=tuple[str, EvidenceKey])


def encode_entry(entry: Entry) -> bytes:
    return msgspec.msgpack.encode(entry)


def decode_entry(value: bytes) -> Entry:
    return msgspec.msgpack.decode(value, type=Entry)
