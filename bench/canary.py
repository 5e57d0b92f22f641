"""A canary at 2% of the traffic, judged every minute for a day: false rollbacks, how many canary
events it takes to find real harm, beside what repeated classical tests do on the same traffic.

Panes of 200 canary and 9,800 production events; error rate, latency and level of the score move
with the time of day. *Sharp*: no margin and no host effects, one measure with all of alpha, so that
events to detection can be held against ln(1/alpha)/KL. *Shipped*: the default settings, all three
measures share alpha, and the canary's hosts differ by an autoregression of .1 standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from bench.canary_cost import cost
from bench.canary_traffic import (
    ERRORS,
    MEASURES,
    SCORES,
    TAIL,
    Harm,
    Traffic,
    basis_of,
    divergence,
    p99_by_minute,
)
from bench.measure import Spread, figure, report, show
from detectors.canary_book import write_book
from detectors.canary_cast import Part, cast_of
from detectors.canary_counts import ArmCounts
from detectors.canary_ledger import BLANK, entered, fitted
from detectors.canary_rules import CanarySettings, Judged, first_alphas, judged

Floats = NDArray[np.float64]

ALPHA = 0.05
PANES = 1440
PANE_MS = 60_000
SHIPPED = CanarySettings(alpha=ALPHA)
SHARP = replace(
    SHIPPED,
    host_effect=0.0,
    rules=tuple(replace(rule, margin=0.0, floor=0.0) for rule in SHIPPED.rules),
)
SIZES = ((10, 200, 9800), (23, 200, 9800), (23, 5000, 5000), (48, 200, 9800))
"""Columns, and events of a canary and of production in a pane, of which the cost is measured."""
GOAL = 2.7
FEWEST_EVENTS = 400
"""Below this bound a pane or two is all there is, and no ratio means anything."""


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of harm, named for people."""

    name: str
    measure: int
    harm: Harm


CASES = (
    Case("errors 1% to 1.2%", ERRORS, Harm(errors=1.2)),
    Case("errors 1% to 1.5%", ERRORS, Harm(errors=1.5)),
    Case("errors 1% to 2%", ERRORS, Harm(errors=2.0)),
    Case("all latencies +5%", TAIL, Harm(slower=1.05)),
    Case("all latencies +10%", TAIL, Harm(slower=1.10)),
    Case("slow events 1% to 1.5%", TAIL, Harm(slow_share=0.015)),
    Case("slow events 1% to 2%", TAIL, Harm(slow_share=0.02)),
    Case("slow events 1% to 4%", TAIL, Harm(slow_share=0.04)),
    Case("score -.05 sd", SCORES, Harm(lower=0.05)),
    Case("score -.1 sd", SCORES, Harm(lower=0.1)),
)
LARGE = (
    Case("errors 1% to 2%", ERRORS, Harm(errors=2.0)),
    Case("slow events 1% to 4%", TAIL, Harm(slow_share=0.04)),
    Case("score -.2 sd", SCORES, Harm(lower=0.2)),
)
NAMES = ("error rate", "p99 latency", "mean score")
_COLUMNS = ("error", "latency_ms", "scores.quality")


def run(quick: bool) -> str:
    """All tables; the last line as JSON."""
    repeats = 60 if quick else 400
    sharp = _sharp_nulls(repeats)
    shipped = _shipped_nulls(repeats)
    found = [_detection(case, 120 if quick else 400) for case in CASES]
    large = [_shipped_detection(case, 20 if quick else 100) for case in LARGE]
    peers = _peers(repeats)
    costs = [cost(*size, 10 if quick else 30) for size in SIZES]
    _show(repeats, sharp, shipped, found, large, peers)
    _show_costs(costs)
    worst = max(one["ratio"] for one in found if one["bound"] >= FEWEST_EVENTS)
    return report(
        "canary",
        "quick" if quick else "full",
        {
            "alpha": ALPHA,
            "panes": PANES,
            "repeats": repeats,
            "false_rollbacks_sharp": dict(zip(NAMES, sharp, strict=True)),
            "false_rollbacks_shipped": shipped,
            "detection": found,
            "detection_shipped": large,
            "worst_ratio": worst,
            "goal_ratio": GOAL,
            "peers_false_rollbacks": peers,
            "costs": [
                {name: v.fields() if isinstance(v, Spread) else v for name, v in one.items()}
                for one in costs
            ],
        },
    )


def _rule(settings: CanarySettings, measure: int) -> Judged:
    kind = (ERRORS, TAIL, SCORES)[measure]
    what = judged(settings, _COLUMNS[measure], MEASURES[kind])
    assert what is not None, "the default rules judge all three"
    return what


def _until(
    settings: CanarySettings,
    measures: tuple[int, ...],
    seed: int,
    runs: int,
    harm: Harm,
    lean: float = 0.0,
) -> Floats:
    """After how many panes each of the runs is failed by one of the measures, which share alpha;
    infinity if it is not within a day."""
    rules = [_rule(settings, measure) for measure in measures]
    alphas = [ALPHA] if len(rules) == 1 else first_alphas(settings, rules)
    found = np.full(runs, np.inf)
    for measure, what, alpha in zip(measures, rules, alphas, strict=True):
        failed = _panes_to_fail(
            settings, what, alpha, Traffic(measure, runs, seed, lean), harm, found
        )
        found = np.minimum(found, failed)
    return found


def _panes_to_fail(
    settings: CanarySettings,
    what: Judged,
    alpha: float,
    traffic: Traffic,
    harm: Harm,
    known: Floats,
) -> Floats:
    """All runs side by side, as if they were columns of one release; each has all of ``alpha``.
    Stops when every run is failed, here or (``known``) by another measure before."""
    runs = len(known)
    basis = basis_of(what, settings)
    cast = cast_of(tuple(Part(f"run {i}", what.measure, alpha, basis) for i in range(runs)))
    book = write_book(cast, [what] * runs, settings.host_effect)
    ledger = fitted(BLANK, book)
    levels = np.zeros((2, len(cast.levels)))
    ready = np.ones(runs, np.bool_)
    found = np.full(runs, np.inf)
    for t in range(PANES):
        cells = np.stack([counts.ravel() for counts in traffic.pane(t, harm, basis)])
        arms = ArmCounts(cells, levels.astype(np.int64), levels, levels)
        ledger = entered(ledger, book, settings, t * PANE_MS, PANE_MS, arms, ready)
        failed = ledger.wealth.peak >= cast.needed
        found = np.where(failed & np.isinf(found), t + 1.0, found)
        if (np.minimum(found, known) <= t + 1).all():
            break
    return found


def _sharp_nulls(repeats: int) -> list[float]:
    """Share of false rollbacks, by measure."""
    return [
        _share(_until(SHARP, (measure,), 1000, repeats, Harm()))
        for measure in (ERRORS, TAIL, SCORES)
    ]


def _shipped_nulls(repeats: int) -> dict[str, float]:
    """Share of false rollbacks of whole releases, without and with host effects."""
    everything = (ERRORS, TAIL, SCORES)
    return {
        name: _share(_until(SHIPPED, everything, 9000, repeats, Harm(), lean))
        for name, lean in (("no host effects", 0.0), ("host effects .1 sd", 0.1))
    }


def _detection(case: Case, repeats: int) -> dict[str, Any]:
    """Canary events to detection at sharp settings, and the bound."""
    hits = _until(SHARP, (case.measure,), 500, repeats, case.harm)
    bound = -math.log(ALPHA) / divergence(case.measure, case.harm)
    return {
        "case": case.name,
        "found": _share(hits),
        "events": _events(hits),
        "bound": figure(bound),
        "ratio": figure(_events(hits) / bound),
    }


def _shipped_detection(case: Case, repeats: int) -> dict[str, Any]:
    """The same with the whole release at the defaults, hosts leaning."""
    hits = _until(SHIPPED, (ERRORS, TAIL, SCORES), 500, repeats, case.harm, 0.1)
    return {"case": case.name, "found": _share(hits), "events": _events(hits)}


def _share(hits: Floats) -> float:
    return figure(float(np.isfinite(hits).mean()))


def _events(hits: Floats) -> float:
    return figure(float(np.minimum(hits, PANES).mean()) * Traffic.CANARY)


def _peers(repeats: int) -> dict[str, float]:
    """Share of false rollbacks of tests that are repeated as if each were the only one."""
    return {
        "z-test of error rates every 5 min, p < .05": _peeking(_error_scores, repeats),
        "t-test of mean scores every 5 min, p < .05": _peeking(_score_scores, repeats),
        "Mann-Whitney on p99 by minute, p < .02, same-size baseline": _mann_whitney(
            Traffic.CANARY, min(repeats, 60)
        ),
        "Mann-Whitney on p99 by minute, p < .02, all of production": _mann_whitney(
            Traffic.PRODUCTION, min(repeats, 60)
        ),
    }


def _peeking(scores: Callable[[np.random.Generator], NDArray[np.float64]], repeats: int) -> float:
    limit = float(special.ndtri(1 - 0.05 / 2))
    hits = 0
    for i in range(repeats):
        every_five = scores(np.random.default_rng(7000 + i))[4::5]
        hits += bool((np.abs(every_five) >= limit).any())
    return figure(hits / repeats)


def _error_scores(generator: np.random.Generator) -> NDArray[np.float64]:
    rate = 0.01 * (1 + 0.3 * np.sin(2 * np.pi * np.arange(PANES) / PANES))
    ours = np.cumsum(generator.binomial(Traffic.CANARY, rate))
    theirs = np.cumsum(generator.binomial(Traffic.PRODUCTION, rate))
    panes = np.arange(1, PANES + 1)
    n, m = panes * Traffic.CANARY, panes * Traffic.PRODUCTION
    pooled = (ours + theirs) / (n + m)
    gap = ours / n - theirs / m
    found: NDArray[np.float64] = gap / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return found


def _score_scores(generator: np.random.Generator) -> NDArray[np.float64]:
    """Of unit variance and many values the t-test is the z-test."""
    each = 1 / Traffic.CANARY + 1 / Traffic.PRODUCTION
    gaps = np.cumsum(generator.normal(0, math.sqrt(each), PANES))
    found: NDArray[np.float64] = gaps / np.sqrt(each * np.arange(1, PANES + 1))
    return found


def _mann_whitney(baseline: int, repeats: int) -> float:
    hits = 0
    for i in range(repeats):
        ours = p99_by_minute(8000 + 2 * i, Traffic.CANARY, PANES)
        theirs = p99_by_minute(8001 + 2 * i, baseline, PANES)
        hits += any(
            stats.mannwhitneyu(ours[:t], theirs[:t], method="asymptotic").pvalue < 0.02
            for t in range(20, PANES + 1, 10)
        )
    return figure(hits / repeats)


def _show(
    repeats: int,
    sharp: list[float],
    shipped: dict[str, float],
    found: list[dict[str, Any]],
    large: list[dict[str, Any]],
    peers: dict[str, float],
) -> None:
    rows = [
        *((f"driftline, {name} alone", share) for name, share in zip(NAMES, sharp, strict=True)),
        *((f"driftline, shipped, {name}", share) for name, share in shipped.items()),
        *peers.items(),
    ]
    show(
        f"False rollbacks in a day of {PANES} peeks, alpha {ALPHA}, {repeats} runs",
        ("judge", "share"),
        [(name, f"{share:.1%}") for name, share in rows],
    )
    show(
        "Canary events to detection (no margin, no host effects)",
        ("change", "found", "events", "ln(1/alpha)/KL", "ratio"),
        [
            (
                one["case"],
                f"{one['found']:.0%}",
                f"{one['events']:.0f}",
                f"{one['bound']:.0f}",
                f"{one['ratio']:.2f}",
            )
            for one in found
        ],
    )
    show(
        "Canary events to detection at the shipped defaults, hosts leaning by .1 sd",
        ("change", "found", "events"),
        [(one["case"], f"{one['found']:.0%}", f"{one['events']:.0f}") for one in large],
    )


def _show_costs(costs: list[dict[str, Any]]) -> None:
    show(
        "CPU microseconds per measure, and per state",
        ("columns", "measures", "share", "step", "verdict, findings", "bytes", "to and from bytes"),
        [
            (
                str(one["columns"]),
                str(one["measures"]),
                f"{one['share']:.0%}",
                str(one["step"]),
                str(one["verdict"]),
                str(one["bytes"]),
                str(one["bytes_us"]),
            )
            for one in costs
        ],
    )
