"""What drift of one (reference, segment) is watched with: made once, and kept while it is used."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from detectors.cells import Cells, cells_of, count
from detectors.drift_settings import DriftSettings
from detectors.payoffs import Dictionary, Normal, Payoffs, normal_without_panes, payoffs
from detectors.payoffs import dictionary_of as bets_on
from detectors.reference import Reference
from detectors.release import ALL
from detectors.season import slot_of

MOST_KEPT = 256
"""Of (reference, segment), and of slots of the season of these."""


@dataclass(frozen=True, slots=True, eq=False)
class Watching:
    """The bets on the cells of a reference's segment, and what they pay in each slot."""

    reference: str
    normal: Normal

    @property
    def dictionary(self) -> Dictionary:
        return self.normal.dictionary

    @property
    def cells(self) -> Cells:
        return self.normal.dictionary.cells

    def payoffs(self, start_ms: int, settings: DriftSettings) -> Payoffs:
        """What the bets pay in the pane that starts at ``start_ms``."""
        slot = slot_of(settings.season, start_ms, settings.utc_offset_ms)
        return _payoffs(self, slot, settings)


@lru_cache(maxsize=MOST_KEPT)
def watching(reference: Reference, segment: str, settings: DriftSettings) -> Watching | None:
    """What a (release, segment) is watched with; None if the reference does not know the segment.
    A reference is one object as long as it is in use, and the cache goes by that."""
    summaries = reference.summaries if segment == ALL else reference.segments.get(segment)
    if summaries is None:
        return None
    dictionary = bets_on(cells_of(summaries))
    normal = None
    if segment == ALL and reference.learnt is not None:
        normal = reference.learnt.normal(dictionary, settings)
    if normal is None:
        normal = normal_without_panes(dictionary, count(dictionary.cells, summaries))
    return Watching(reference.id, normal)


@lru_cache(maxsize=MOST_KEPT)
def _payoffs(watched: Watching, slot: int, settings: DriftSettings) -> Payoffs:
    return payoffs(watched.normal, slot, settings)
