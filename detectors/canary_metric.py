"""One measure of one column of a canary, as it stands: a look at the state, made when asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.arm_variance import ArmVariance
from detectors.canary_cast import Basis
from detectors.canary_ledger import Ledger
from detectors.canary_rules import Measure
from detectors.confidence_sequence import DifferenceSequence
from detectors.summary import Summaries

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tally:
    """Events of both arms in all panes that had both."""

    n: int = 0
    n_against: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Of the bets: ``panes`` that were bet on; ``evidence`` now and its ``peak``, as natural
    logarithms; ``peak_onset_ms``, ``leading_since_ms``: when the bet that led at the peak, and the
    one that leads now, began to win."""

    panes: int
    evidence: float
    peak: float
    peak_onset_ms: int
    leading_since_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class CanaryMetric:
    """``alpha``: its part of the release's, fixed before its first bet; ``basis``: None until its
    cells are fixed; ``factor``: by what evidence is divided; ``sequence``: of a level the
    difference of means, of others the variance per unit; ``unmatched``: events in panes that lacked
    the other arm; ``first_ms``, ``last_ms``: of the panes that had both arms; ``needed``: the
    logarithm of the evidence that proves harm."""

    column: str
    measure: Measure
    alpha: float
    basis: Basis | None
    wealth: Standing
    factor: float
    sequence: DifferenceSequence
    tally: Tally
    unmatched: int
    first_ms: int
    last_ms: int
    needed: float

    @property
    def failed(self) -> bool:
        """Proven once is proven: later evidence does not take it back (Ville)."""
        return self.wealth.peak >= self.needed


@dataclass(frozen=True, slots=True, eq=False)
class ArmsPane:
    """Both arms over one pane; ``normal``: what was known before it (a reference), if any;
    ``variance``: what an A/A period before it taught, if there was one."""

    start_ms: int
    length_ms: int
    canary: Summaries
    production: Summaries
    normal: Summaries | None = None
    variance: ArmVariance | None = None


def metrics_of(ledger: Ledger, factor: Floats) -> tuple[CanaryMetric, ...]:
    """All measures, in the order of the cast; ``factor``: as of :class:`CanaryMetric`, [M]."""
    cast, tallies, wealth = ledger.cast, ledger.tallies, ledger.wealth
    found = []
    rows = zip(
        cast.parts,
        factor.tolist(),
        ledger.sequences.each(),
        cast.needed.tolist(),
        wealth.leading_since(ledger.bets).tolist(),
        wealth.panes.tolist(),
        wealth.evidence.tolist(),
        wealth.peak.tolist(),
        wealth.peak_onset_ms.tolist(),
        zip(
            tallies.n.tolist(),
            tallies.n_against.tolist(),
            strict=True,
        ),
        tallies.unmatched.tolist(),
        tallies.first_ms.tolist(),
        tallies.last_ms.tolist(),
        strict=True,
    )
    for part, by, sequence, needed, since, panes, evidence, peak, onset, *more in rows:
        tally, unmatched, first_ms, last_ms = more
        found.append(
            CanaryMetric(
                part.column,
                part.measure,
                part.alpha,
                part.basis,
                Standing(
                    panes,
                    evidence,
                    peak,
                    onset,
                    since,
                ),
                by,
                sequence,
                Tally(*tally),
                unmatched,
                first_ms,
                last_ms,
                needed,
            )
        )
    return tuple(found)
