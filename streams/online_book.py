"""The online detectors of one model: a state for each (release, segment), kept with its evidence.

Their findings are shown, and decide only where settings say so (:mod:`detectors.online`). As all
evidence they are a fold over closed panes: :class:`streams.evidence.Evidence` calls it in order,
and stores what it encodes.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from detectors import online, online_bytes
from detectors.budget import Stream
from detectors.finding import Finding
from detectors.online import OnlineState
from detectors.online_rules import OnlineSettings
from detectors.reference import Reference
from detectors.release import ALL, Role
from detectors.summary import Summaries
from detectors.thresholds import Place

log = structlog.get_logger()


class OnlineBook:
    """States by stream. Nothing is kept, and nothing said, without watches in the settings."""

    def __init__(
        self,
        settings: OnlineSettings,
        reference_by_id: Callable[[str], Reference | None],
        pane_ms: int,
    ) -> None:
        self._settings = settings
        self._reference_by_id = reference_by_id
        self._pane_ms = pane_ms
        self._states: dict[Stream, OnlineState] = {}

    @property
    def enabled(self) -> bool:
        return bool(self._settings.watches)

    def restore(self, stream: Stream, data: bytes) -> None:
        """Go on from what was stored; what cannot be read starts again."""
        try:
            self._states[stream] = online_bytes.from_bytes(data)
        except online_bytes.UnreadableState as error:
            log.warning("online evidence starts again", why=str(error))

    def fold(self, stream: Stream, pane: Summaries, start_ms: int) -> bool:
        """Take in a pane; False if there is nothing to be kept of it."""
        normal = self._normal(stream, pane)
        if not self.enabled or normal is None:
            return False
        before = self._states.get(stream) or OnlineState()
        after = online.step(before, pane, normal, start_ms, self._pane_ms, self._settings)
        self._states[stream] = after
        return after is not before

    def findings(self, stream: Stream, window: Summaries, place: Place) -> list[Finding]:
        """What each detector says at the end of a window, told with the window's events."""
        normal = self._normal(stream, window)
        state = self._states.get(stream)
        if not self.enabled or normal is None or state is None:
            return []
        if state.reference != window.layout.reference:
            return []
        return online.findings_of(state, window, normal, place, self._settings)

    def encoded(self, stream: Stream) -> tuple[int, str, bytes]:
        """What is to be stored: up to when it was folded, on which reference, and the state."""
        state = self._states[stream]
        return state.upto_ms, state.reference, online_bytes.to_bytes(state)

    def forget(self, version: str, role: Role) -> list[Stream]:
        """A release has ended. Returns the streams whose entries are to be removed."""
        gone = [s for s in self._states if (s.version, s.role) == (version, role)]
        for stream in gone:
            del self._states[stream]
        return gone

    def _normal(self, stream: Stream, part: Summaries) -> Summaries | None:
        """The reference's summaries for a segment; None where it has none."""
        if not part.layout.reference:
            return None
        known = self._reference_by_id(part.layout.reference)
        if known is None:
            return None
        return known.summaries if stream.segment == ALL else known.segments.get(stream.segment)
