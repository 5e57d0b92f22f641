"""A finding: what one detector says of one column of one release over one window."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from detectors.release import Release


class Outcome(StrEnum):
    """What a finding says. There is no "unknown": no answer is INSUFFICIENT, with a reason."""

    PASS = "pass"
    INSUFFICIENT = "insufficient"
    FAIL = "fail"


class Evidence(StrEnum):
    """How much of its window a finding rests on. There is one answer: a window is judged when it
    has closed, and what comes late makes another revision."""

    FINAL = "final"


# Not a dataclass: a window makes some ten of these a column, and a frozen dataclass takes over
# twenty times as long to make. None can be part of a cycle, so the collector need not look at them.
class Finding(msgspec.Struct, frozen=True, gc=False):
    """The outcome for one (release, segment, column, window, detector).

    ``against`` names what the release was compared with: ``reference:<id>``,
    ``production:<version>``, or ``""`` where a plain limit was applied. ``statistic`` is NaN if it
    could not be computed, and then ``outcome`` is INSUFFICIENT and ``reason`` says why.
    ``threshold`` is NaN where the statistic is only shown and decides nothing (``decides`` False).
    ``revision`` counts corrections of the same window by late rows; the highest one is valid.

    Of what accumulates evidence also: ``effect``, the size of the difference in the detector's
    units, with its interval ``effect_low`` to ``effect_high`` (NaN where there is none);
    ``direction`` in words; ``onset_ms``, when the change began (0: no change is shown).
    """

    release: Release
    segment: str
    column: str
    window_ms: int
    window_start_ms: int
    revision: int
    detector: str
    against: str
    statistic: float
    threshold: float
    n: int
    n_against: int
    outcome: Outcome
    reason: str
    decides: bool
    critical: bool
    evidence: Evidence = Evidence.FINAL
    effect: float = math.nan
    effect_low: float = math.nan
    effect_high: float = math.nan
    direction: str = ""
    onset_ms: int = 0

    @property
    def window_end_ms(self) -> int:
        return self.window_start_ms + self.window_ms
