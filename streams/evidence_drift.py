"""Drift of each (release, segment) of one model, as states that panes are settled in.

Panes wait, as counts, until somebody asks: when a window closes, a checkpoint is taken or a canary
fails. What a pane does to the evidence depends on the panes before it and on nothing else, so
nobody can tell. But settled together panes cost a fraction of what they do one by one, each among
all else that its pane brings, which leaves nothing of theirs in the processor's caches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import structlog

from detectors import drift, drift_state
from detectors.budget import Stream
from detectors.cells import count, rows_of
from detectors.drift import WaitingPane
from detectors.drift_evidence import finding_of, ranked, readings
from detectors.drift_settings import DriftSettings
from detectors.drift_state import DriftState, empty_state
from detectors.finding import Finding
from detectors.movement import movements
from detectors.reference import Reference
from detectors.release import ALL, Role
from detectors.summary import Summaries
from detectors.thresholds import Place
from detectors.upstream import Movement
from detectors.watching import Watching, watching
from streams.evidence_entry import Entry
from streams.evidence_kernels import EvidenceKernels, no_kernels

log = structlog.get_logger()

MOST_WAITING = 16
"""Panes of a stream that wait at most: a window of the shortest length has six, as a rule."""


@dataclass(slots=True)
class _Drift:
    """A state, and what it is watched with. ``waiting``: the panes that are still to be settled in
    it."""

    state: DriftState
    watched: Watching
    waiting: list[WaitingPane] = field(default_factory=list)


class Drifts:
    """States by stream; ``stored``: entries, read when they are asked for; ``kernels``: asked for
    whenever panes are settled."""

    def __init__(
        self,
        settings: DriftSettings,
        reference_by_id: Callable[[str], Reference | None],
        pane_ms: int,
        stored: Mapping[Stream, Entry],
        kernels: Callable[[], EvidenceKernels | None] = no_kernels,
    ) -> None:
        self._kernels = kernels
        self._settings = settings
        self._reference_by_id = reference_by_id
        self._pane_ms = pane_ms
        self._stored = dict(stored)
        self._states: dict[Stream, _Drift] = {}

    def fold(self, stream: Stream, pane: Summaries, weight: float, start_ms: int) -> bool:
        """Take in a pane of one stream; False if there is nothing to watch it with."""
        held = self._watched(stream, pane.layout.reference)
        if held is None:
            return False
        ready = self._kernels()
        kernel = ready.drift.count if ready is not None else None
        counts = count(held.watched.cells, pane, kernel)
        held.waiting.append(WaitingPane(counts, weight, start_ms))
        if len(held.waiting) >= MOST_WAITING:
            self._settle(held)
        return True

    def _settle(self, held: _Drift) -> DriftState:
        """The state after all panes so far."""
        ready = self._kernels()
        kernels = ready.drift if ready is not None else None
        # Together as long as the season, and with it what the bets pay, stays the same.
        for paid, panes in groupby(
            held.waiting, lambda pane: held.watched.payoffs(pane.start_ms, self._settings)
        ):
            held.state = drift.steps(
                held.state, paid, list(panes), self._pane_ms, self._settings, kernels
            )
        held.waiting.clear()
        return held.state

    def findings(self, stream: Stream, window: Summaries, place: Place) -> list[Finding]:
        """A finding for each watch, the most telling first. ``window``: the summaries of the window
        that they are told of. They decide for production only: every other release is held against
        production, which the same data reaches."""
        held = self._held(stream, window.layout.reference)
        if held is None:
            return []
        state = self._settle(held)
        rows = rows_of(held.watched.cells, count(held.watched.cells, window))
        paid = held.watched.payoffs(state.upto_ms - self._pane_ms, self._settings)
        found = readings(state, paid, rows, state.upto_ms, self._settings)
        decides = stream.role is Role.PRODUCTION
        against = f"reference:{window.layout.reference}"
        return [finding_of(reading, place, against, decides) for reading in ranked(found)]

    def movements(self, production: str) -> Sequence[Movement]:
        """Where the evidence of a production version points."""
        held = self._held(Stream(production, Role.PRODUCTION, ALL))
        if held is None or not self._settings.enabled:
            return []
        state = self._settle(held)
        paid = held.watched.payoffs(state.upto_ms - self._pane_ms, self._settings)
        return movements(state, paid, state.upto_ms, self._settings)

    def entry(self, stream: Stream) -> Entry:
        """What is to be stored."""
        held = self._states[stream]
        state = self._settle(held)
        data = drift_state.to_bytes(state, held.watched.dictionary)
        return Entry(state.upto_ms, held.watched.reference, data)

    def forget(self, version: str, role: Role) -> list[Stream]:
        """A release has ended. Returns the streams whose entries are to be removed."""
        known = {*self._states, *self._stored}
        gone = [s for s in known if (s.version, s.role) == (version, role)]
        for stream in gone:
            self._states.pop(stream, None)
            self._stored.pop(stream, None)
        return gone

    def _watched(self, stream: Stream, reference: str) -> _Drift | None:
        """The state of a stream on a reference; a fresh one where it stood on another. None if
        the reference has nothing for this segment."""
        held = self._held(stream, reference)
        if held is not None:
            return held
        watched = self._watching(stream, reference)
        if watched is None:
            return None
        self._states[stream] = held = _Drift(empty_state(watched.dictionary), watched)
        return held

    def _held(self, stream: Stream, reference: str = "") -> _Drift | None:
        """The state that there is of a stream; with ``reference`` only if it stands on that."""
        entry = self._stored.pop(stream, None)
        if entry is not None:
            known = self._reference_by_id(entry.against) is not None
            watched = self._watching(stream, entry.against) if known else None
            try:
                if watched is not None:
                    state = drift_state.from_bytes(entry.data, watched.dictionary)
                    self._states[stream] = _Drift(state, watched)
            except drift_state.UnreadableState as error:
                # Another version of driftline chose other bets: evidence starts again.
                log.warning("drift evidence starts again", why=str(error))
        held = self._states.get(stream)
        if held is None or reference not in ("", held.watched.reference):
            return None
        return held

    def _watching(self, stream: Stream, reference: str) -> Watching | None:
        known = self._reference_by_id(reference)
        if known is None:
            raise LookupError(f"reference {reference} is not known here")
        return watching(known, stream.segment, self._settings)
