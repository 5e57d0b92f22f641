"""False rollbacks of canaries, seeded, within what alpha and a binomial interval allow; and harm of
a size that matters is found within a stated number of events."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from detectors.binning import QUANTILES
from detectors.canary_bets import TAIL_LEVELS
from detectors.canary_book import write_book
from detectors.canary_cast import RATE, Basis, Part, cast_of
from detectors.canary_cells import tail_cells
from detectors.canary_counts import ArmCounts
from detectors.canary_ledger import BLANK, entered, fitted
from detectors.canary_rules import CanarySettings, Judged, Measure
from detectors.sketch import Sketch, bucket_floor, bucket_of
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
LATENCY = Judged("latency_ms", Measure.TAIL, 0, Direction.UP, 0.0, 0.0, True)
LOG_SD = 0.5
"""Of latencies: they are e to the power of this times a normal score."""
FIRST, LAST = bucket_of(np.exp(LOG_SD * np.array([-4.0, 4.5]))).tolist()
BUCKETS = np.arange(FIRST, LAST, 2, dtype=np.int32)
BUCKET_EDGES = np.log(bucket_floor(BUCKETS[1:])) / LOG_SD
TAIL_SHARES = tuple(np.diff((0.0, *TAIL_LEVELS, 1.0)).tolist())


def law(mean: NDArray[np.float64], edges: NDArray[np.float64] = EDGES) -> NDArray[np.float64]:
    upto = special.ndtr(edges - mean[:, None])
    ends = np.zeros((len(mean), 1)), np.ones((len(mean), 1))
    return np.diff(np.concatenate((ends[0], upto, ends[1]), axis=1))


def sketches(counts: NDArray[np.int64]) -> list[Sketch]:
    return [Sketch(BUCKETS[some > 0], some[some > 0]) for some in counts]


def panes_to_fail(
    what: Judged, settings: CanarySettings, runs: int, harm: float = 0.0, lean: float = 0.0
) -> NDArray[np.float64]:
    """Canaries against production, all moving with the season, side by side as if they were columns
    of one release that each have all of alpha; infinity where none fails. ``harm`` and the
    autoregression of the canary's hosts (standard deviation ``lean``, correlation .8) in normal
    scores."""
    generator = np.random.default_rng(1)
    level = what.measure is Measure.LEVEL
    shrink = np.exp(settings.host_effect * LOG_SD)
    tail = Basis(TAIL_SHARES, shrink=shrink)
    basis = {Measure.LEVEL: Basis(SHARES), Measure.TAIL: tail}.get(what.measure, RATE)
    cast = cast_of(tuple(Part(f"run {i}", what.measure, ALPHA, basis) for i in range(runs)))
    book = write_book(cast, [what] * runs, settings.host_effect)
    ledger = fitted(BLANK, book)
    moments = np.zeros((2, len(cast.levels)))
    found = np.full(runs, np.inf)
    host = generator.normal(0, lean, runs) if lean else np.zeros(runs)
    for t in range(PANES):
        host = 0.8 * host + 0.6 * generator.normal(0, lean, runs) if lean else host
        season = np.sin(2 * np.pi * t / PANES)
        if level:
            ours = generator.multinomial(CANARY, law(0.2 * season - harm - host))
            theirs = generator.multinomial(PRODUCTION, law(np.full(runs, 0.2 * season)))
        elif what.measure is Measure.TAIL:
            slow = generator.multinomial(CANARY, law(0.2 * season + harm + host, BUCKET_EDGES))
            usual = law(np.full(runs, 0.2 * season), BUCKET_EDGES)
            usually = generator.multinomial(PRODUCTION, usual)
            ours, theirs = tail_cells(sketches(slow), sketches(usually), shrink)
        else:
            usual = 0.02 * (1 + 0.3 * season)
            failed = generator.binomial(CANARY, special.ndtr(special.ndtri(usual) + harm + host))
            failing = generator.binomial(PRODUCTION, usual, runs)
            ours = np.stack((CANARY - failed, failed), axis=1)
            theirs = np.stack((PRODUCTION - failing, failing), axis=1)
        cells = np.stack((ours.ravel(), theirs.ravel()))
        arms = ArmCounts(cells, moments.astype(np.int64), moments, moments)
        ready = np.ones(runs, np.bool_)
        ledger = entered(ledger, book, settings, t * 1000, 1000, arms, ready)
        failed = ledger.wealth.peak >= cast.needed
        found = np.where(failed & np.isinf(found), t + 1.0, found)
    return found


def false_rollbacks(what: Judged, settings: CanarySettings, lean: float = 0.0) -> int:
    return int(np.isfinite(panes_to_fail(what, settings, RUNS, lean=lean)).sum())


@pytest.mark.parametrize("what", [SCORE, ERROR, LATENCY], ids=["score", "errors", "latency"])
def test_a_sound_canary_is_failed_at_most_as_often_as_alpha_says(what: Judged) -> None:
    assert false_rollbacks(what, SHARP) <= MOST


@pytest.mark.parametrize("what", [SCORE, ERROR, LATENCY], ids=["score", "errors", "latency"])
def test_hosts_that_lean_do_not_fail_a_canary_at_the_shipped_defaults(what: Judged) -> None:
    assert false_rollbacks(what, SHIPPED, lean=0.1) <= MOST


def test_without_its_tolerance_a_canary_on_leaning_hosts_would_be_failed() -> None:
    """The test above can fail: hosts that lean are what it says they are."""
    assert false_rollbacks(SCORE, SHARP, lean=0.1) > MOST


@pytest.mark.parametrize(
    ("what", "harm", "most_events"),
    [
        (SCORE, 0.1, 2.7 * 599),
        (SCORE, 0.2, 1000),
        (ERROR, 0.3, 2500),
        (LATENCY, 0.1, 2.3 * 599),
        (LATENCY, 0.2, 2.3 * 150),
    ],
    ids=["score .1 sd", "score .2 sd", "errors 2% to 4%", "latency +5%", "latency +11%"],
)
def test_real_harm_is_found_within_the_promised_events(
    what: Judged, harm: float, most_events: float
) -> None:
    """599 and 150 are ln(1/alpha) over Kullback-Leibler divergences, of shifts by .1 and .2 sd."""
    found = panes_to_fail(what, SHARP, 40, harm)
    assert np.isfinite(found).all()
    assert CANARY * found.mean() <= most_events
