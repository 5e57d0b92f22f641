"""False rollbacks of canaries, seeded, within what alpha and a binomial interval allow; and harm of
a size that matters is found within a stated number of events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from detectors.binning import QUANTILES
from detectors.canary_cells import RATE, Basis, Cells
from detectors.canary_metric import CanaryMetric, step_cells
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.upstream import Direction

ALPHA = 0.05
CANARY, PRODUCTION = 40, 1960
PANES, RUNS = 240, 120
MOST = int(stats.binom.isf(1e-3, RUNS, ALPHA))
"""False rollbacks in RUNS that an alpha of .05 exceeds once in a thousand times."""
SHARP = CanarySettings(host_effect=0.0)
SHIPPED = CanarySettings()
EDGES = special.ndtri(np.array(QUANTILES))
SHARES = tuple(np.diff(np.array((0.0, *QUANTILES, 1.0))).tolist())
SCORE = Judged("scores.a", Measure.LEVEL, 0, Direction.DOWN, 0.0, 0.0, True)
ERROR = Judged("error", Measure.ERRORS, 0, Direction.UP, 0.0, 0.0, True)


def law(mean: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    upto = special.ndtr(EDGES - mean)
    return np.diff(np.concatenate(((0.0,), upto, (1.0,))))


def panes_to_fail(
    what: Judged, settings: CanarySettings, seed: int, harm: float = 0.0, lean: float = 0.0
) -> int | None:
    """One canary against production, both moving with the season; ``harm`` and the autoregression
    of the canary's hosts (standard deviation ``lean``, correlation .8) in normal scores."""
    generator = np.random.default_rng(seed)
    metric = CanaryMetric.start(what.column, what.measure, ALPHA)
    level = what.measure is Measure.LEVEL
    metric = replace(metric, basis=Basis(SHARES) if level else RATE)
    host = generator.normal(0, lean) if lean else 0.0
    for t in range(PANES):
        host = 0.8 * host + 0.6 * generator.normal(0, lean) if lean else 0.0
        season = np.sin(2 * np.pi * t / PANES)
        if level:
            ours = generator.multinomial(CANARY, law(0.2 * season - harm - host))
            theirs = generator.multinomial(PRODUCTION, law(0.2 * season))
        else:
            usual = 0.02 * (1 + 0.3 * season)
            failed = generator.binomial(CANARY, special.ndtr(special.ndtri(usual) + harm + host))
            failing = generator.binomial(PRODUCTION, usual)
            ours = np.array((CANARY - failed, failed))
            theirs = np.array((PRODUCTION - failing, failing))
        metric = step_cells(metric, what, settings, t * 1000, 1000, Cells(ours, theirs))
        if metric.failed:
            return t + 1
    return None


def false_rollbacks(what: Judged, settings: CanarySettings, lean: float = 0.0) -> int:
    hits = [panes_to_fail(what, settings, seed, lean=lean) for seed in range(RUNS)]
    return sum(hit is not None for hit in hits)


@pytest.mark.parametrize("what", [SCORE, ERROR], ids=["score", "errors"])
def test_a_sound_canary_is_failed_at_most_as_often_as_alpha_says(what: Judged) -> None:
    assert false_rollbacks(what, SHARP) <= MOST


@pytest.mark.parametrize("what", [SCORE, ERROR], ids=["score", "errors"])
def test_hosts_that_lean_do_not_fail_a_canary_at_the_shipped_defaults(what: Judged) -> None:
    assert false_rollbacks(what, SHIPPED, lean=0.1) <= MOST


def test_without_its_tolerance_a_canary_on_leaning_hosts_would_be_failed() -> None:
    """The test above can fail: hosts that lean are what it says they are."""
    assert false_rollbacks(SCORE, SHARP, lean=0.1) > MOST


@pytest.mark.parametrize(
    ("what", "harm", "most_events"),
    [(SCORE, 0.1, 2.7 * 599), (SCORE, 0.2, 1000), (ERROR, 0.3, 2500)],
    ids=["score .1 sd", "score .2 sd", "errors 2% to 4%"],
)
def test_real_harm_is_found_within_the_promised_events(
    what: Judged, harm: float, most_events: float
) -> None:
    """599 is ln(1/alpha) over the Kullback-Leibler divergence of a shift of .1 sd."""
    found = [panes_to_fail(what, SHARP, seed, harm) for seed in range(40)]
    assert None not in found
    assert CANARY * float(np.mean([panes for panes in found if panes])) <= most_events
