"""Every release of one model that is not production, held against production's traffic.

All that had events in a pane are stepped together, and asked for their verdicts together: as rows
of the same arrays they cost a fraction of what they would one by one, and come to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from detectors import canary as canaries
from detectors import canary_bytes
from detectors.budget import Stream
from detectors.canary import CanaryState
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import CanarySettings
from detectors.canary_verdict import CanaryVerdict, findings_of
from detectors.finding import Finding
from detectors.layout import Kind, Layout
from detectors.reference import Reference, layout_for
from detectors.release import ALL, Role
from detectors.summary import Summaries
from detectors.thresholds import Place
from detectors.upstream import Movement
from streams.comparing import common_blocks
from streams.evidence_entry import Entry
from streams.evidence_kernels import EvidenceKernels, no_kernels
from streams.model_state import Interval, decode_interval, encode_interval

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Canary:
    """``production``: the version it was last compared with; ``before``: both arms together, as
    long as there are measures that wait for enough values to fix their cells; ``verdict``: computed
    when it is asked for; ``news``: whether there was a pane since; ``proven``: as of
    `Canaries.proven`."""

    state: CanaryState
    upto_ms: int
    production: str = ""
    before: Interval | None = None
    verdict: CanaryVerdict | None = None
    news: bool = False
    proven: bool = False


class Canaries:
    """States by stream; ``stored``: entries, read when they are asked for; ``moved``: what drifts
    in a production version itself; ``kernels``: asked for at every pane and window."""

    def __init__(
        self,
        settings: CanarySettings,
        reference_by_id: Callable[[str], Reference | None],
        pane_ms: int,
        stored: Mapping[Stream, Entry],
        moved: Callable[[str], Sequence[Movement]],
        kernels: Callable[[], EvidenceKernels | None] = no_kernels,
    ) -> None:
        self._settings = settings
        self._reference_by_id = reference_by_id
        self._pane_ms = pane_ms
        self._stored = dict(stored)
        self._moved = moved
        self._kernels = kernels
        self._states: dict[Stream, _Canary] = {}

    def fold(
        self,
        start_ms: int,
        panes: Mapping[Stream, Interval],
        production: str | None,
        known: set[Stream],
    ) -> list[Stream]:
        """Take in the panes of whole releases that start at ``start_ms``; returns which changed.
        ``production``: the version that they are compared with; ``known``: releases that were seen
        before."""
        twin = panes.get(Stream(production, Role.PRODUCTION, ALL)) if production else None
        found: dict[Stream, tuple[_Canary, ArmsPane]] = {}
        for stream, pane in panes.items():
            if stream.role is Role.PRODUCTION:
                continue
            held = self._held(stream)
            arms = self._arms(start_ms, pane, twin, held)
            if arms is not None and start_ms >= held.upto_ms:
                found[stream] = held, arms
        kernels = self._kernels()
        states = canaries.step_all(
            [held.state for held, _ in found.values()],
            self._settings,
            [arms for _, arms in found.values()],
            self._counts(panes, known),
            kernels.canary if kernels is not None else None,
        )
        for (held, arms), state in zip(found.values(), states, strict=True):
            held.state = state
            if state.settled:
                held.before = None
            else:
                held.before = held.before or Interval()
                held.before.add(arms.canary)
                held.before.add(arms.production)
            held.upto_ms = start_ms + self._pane_ms
            held.production = production or held.production
            held.verdict, held.news = None, True
            held.proven = state.proven
        for stream, held in self._states.items():
            if held.proven:
                held.verdict = None  # what production does may be the cause, and has moved on
            if stream not in found:
                held.state = held.state.alone()
        return list(found)

    def _counts(self, panes: Mapping[Stream, Interval], known: set[Stream]) -> dict[Role, int]:
        """Events by role, for the split."""
        counts: dict[Role, int] = {}
        # Shares mean something only while the releases stay the same.
        if self._settings.split.shares and panes.keys() <= known:
            for stream, pane in panes.items():
                counts[stream.role] = counts.get(stream.role, 0) + pane.events()
            counts.pop(Role.SHADOW, None)
        return counts

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

    def _held(self, stream: Stream) -> _Canary:
        held = self._states.get(stream)
        if held is not None:
            return held
        entry = self._stored.pop(stream, None)
        held = self._states[stream] = self._read(entry) or _Canary(CanaryState(), 0)
        return held

    def _read(self, entry: Entry | None) -> _Canary | None:
        if entry is None:
            return None
        try:
            state = canary_bytes.from_bytes(entry.data)
            before = decode_interval(entry.before, self._layout) if entry.before else None
        except canary_bytes.UnreadableState as error:
            log.warning("canary evidence starts again", why=str(error))
            return None
        return _Canary(state, entry.upto_ms, entry.against, before, proven=state.proven)

    def _layout(self, reference: str, columns: tuple[tuple[str, Kind], ...]) -> Layout:
        known = self._reference_by_id(reference) if reference else None
        if reference and known is None:
            raise canary_bytes.UnreadableState(f"reference {reference} is not known any more")
        return layout_for(known, columns)

    # --- what they say -----------------------------------------------------------------------

    def verdict(self, stream: Stream) -> CanaryVerdict:
        """What is to be thought of a release. All that had a pane since they were asked last are
        asked with it, as they will be too when a window closes."""
        held = self._held(stream)
        if held.verdict is not None:
            return held.verdict
        asked = [one for one in self._states.values() if one.news or one is held]
        # What production itself does may be the cause.
        moved = [self._moved(one.production) if one.state.failed else () for one in asked]
        kernels = self._kernels()
        found = canaries.verdict_all(
            [one.state for one in asked],
            self._settings,
            moved,
            kernels.canary if kernels is not None else None,
        )
        for one, said in zip(asked, found, strict=True):
            one.verdict, one.news = said, False
        return found[asked.index(held)]

    def proven(self, stream: Stream) -> bool:
        """Whether the evidence against a release, or against its split, is complete."""
        return self._held(stream).proven

    def findings(self, stream: Stream, place: Place) -> list[Finding]:
        """A finding for each measure of the last verdict."""
        held = self._states.get(stream)
        if held is None or held.verdict is None:
            return []
        return findings_of(held.verdict, place, f"production:{held.production}")

    def rest(self) -> None:
        """Forget verdicts, which are large and can be worked out again."""
        for held in self._states.values():
            held.verdict = None

    # --- storing -----------------------------------------------------------------------------

    def entry(self, stream: Stream) -> Entry:
        """What is to be stored."""
        held = self._states[stream]
        before = encode_interval(held.before) if held.before is not None else b""
        return Entry(held.upto_ms, held.production, canary_bytes.to_bytes(held.state), before)

    def forget(self, stream: Stream) -> bool:
        """A release has ended; whether there was an entry to be removed."""
        held, stored = self._states.pop(stream, None), self._stored.pop(stream, None)
        return held is not None or stored is not None
