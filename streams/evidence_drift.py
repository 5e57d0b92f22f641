"""Drift of each (release, segment) of one model, as states that panes are settled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from detectors import drift, drift_state
from detectors.budget import Stream
from detectors.cells import count, rows_of
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

log = structlog.get_logger()


@dataclass(slots=True)
class _Drift:
    """A state, and what it is watched with."""

    state: DriftState
    watched: Watching


class Drifts:
    """States by stream; ``stored``: entries, read when they are asked for."""

    def __init__(
        self,
        settings: DriftSettings,
        reference_by_id: Callable[[str], Reference | None],
        pane_ms: int,
        stored: Mapping[Stream, Entry],
    ) -> None:
        self._settings = settings
        self._reference_by_id = reference_by_id
        self._pane_ms = pane_ms
        self._stored = dict(stored)
        self._states: dict[Stream, _Drift] = {}

    def fold(self, stream: Stream, pane: Summaries, weight: float, start_ms: int) -> bool:
        """Settle a pane of one stream; False if there is nothing to watch it with."""
        held = self._watched(stream, pane.layout.reference)
        if held is None:
            return False
        paid = held.watched.payoffs(start_ms, self._settings)
        counts = count(held.watched.cells, pane)
        settled = drift.step(
            held.state, paid, counts, weight, start_ms, self._pane_ms, self._settings
        )
        held.state = settled.state
        return True

    def findings(self, stream: Stream, window: Summaries, place: Place) -> list[Finding]:
        """A finding for each watch, the most telling first. ``window``: the summaries of the window
        that they are told of. They decide for production only: every other release is held against
        production, which the same data reaches."""
        held = self._held(stream, window.layout.reference)
        if held is None:
            return []
        rows = rows_of(held.watched.cells, count(held.watched.cells, window))
        start_ms = held.state.upto_ms - self._pane_ms
        paid = held.watched.payoffs(start_ms, self._settings)
        found = readings(held.state, paid, rows, held.state.upto_ms, self._settings)
        decides = stream.role is Role.PRODUCTION
        against = f"reference:{window.layout.reference}"
        return [finding_of(reading, place, against, decides) for reading in ranked(found)]

    def movements(self, production: str) -> Sequence[Movement]:
        """Where the evidence of a production version points."""
        held = self._held(Stream(production, Role.PRODUCTION, ALL))
        if held is None or not self._settings.enabled:
            return []
        paid = held.watched.payoffs(held.state.upto_ms - self._pane_ms, self._settings)
        return movements(held.state, paid, held.state.upto_ms, self._settings)

    def entry(self, stream: Stream) -> Entry:
        """What is to be stored."""
        held = self._states[stream]
        data = drift_state.to_bytes(held.state, held.watched.dictionary)
        return Entry(held.state.upto_ms, held.watched.reference, data)

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
