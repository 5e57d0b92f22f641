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

from bench.canary_traffic import ERRORS, SCORES, TAIL, Harm, Traffic, divergence
from bench.measure import figure, report, show
from detectors.canary_metric import CanaryMetric, step_cells
from detectors.canary_rules import CanarySettings, Judged, first_alphas, judged

ALPHA = 0.05
PANES = 1440
PANE_MS = 60_000
SHIPPED = CanarySettings(alpha=ALPHA)
SHARP = replace(
    SHIPPED,
    host_effect=0.0,
    rules=tuple(replace(rule, margin=0.0, floor=0.0) for rule in SHIPPED.rules),
)
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
    _show(repeats, sharp, shipped, found, large, peers)
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
        },
    )


def _rule(settings: CanarySettings, measure: int) -> Judged:
    kind = (ERRORS, TAIL, SCORES)[measure]
    what = judged(settings, _COLUMNS[measure], Traffic.MEASURES[kind])
    assert what is not None, "the default rules judge all three"
    return what


def _until(
    settings: CanarySettings,
    measures: tuple[int, ...],
    traffic: Traffic,
    harm: Harm,
) -> int | None:
    """The number of panes until a measure fails; None if none does within a day."""
    rules = [_rule(settings, measure) for measure in measures]
    alphas = first_alphas(settings, rules) if len(measures) > 1 else [settings.alpha]
    metrics = [
        replace(
            CanaryMetric.start(what.column, what.measure, alpha),
            basis=traffic.basis(what, settings),
        )
        for what, alpha in zip(rules, alphas, strict=True)
    ]
    for t in range(PANES):
        panes = traffic.pane(t, measures, harm, [one.basis for one in metrics])
        metrics = [
            step_cells(one, what, settings, t * PANE_MS, PANE_MS, cells)
            for one, what, cells in zip(metrics, rules, panes, strict=True)
        ]
        if any(one.failed for one in metrics):
            return t + 1
    return None


def _sharp_nulls(repeats: int) -> list[float]:
    """Share of false rollbacks, by measure."""
    shares = []
    for measure in (ERRORS, TAIL, SCORES):
        hits = [
            _until(SHARP, (measure,), Traffic(1000 * measure + i), Harm()) for i in range(repeats)
        ]
        shares.append(figure(sum(hit is not None for hit in hits) / repeats))
    return shares


def _shipped_nulls(repeats: int) -> dict[str, float]:
    """Share of false rollbacks of whole releases, without and with host effects."""
    found = {}
    for name, lean in (("no host effects", 0.0), ("host effects .1 sd", 0.1)):
        hits = [
            _until(SHIPPED, (ERRORS, TAIL, SCORES), Traffic(9000 + i, lean), Harm())
            for i in range(repeats)
        ]
        found[name] = figure(sum(hit is not None for hit in hits) / repeats)
    return found


def _detection(case: Case, repeats: int) -> dict[str, Any]:
    """Canary events to detection at sharp settings, and the bound."""
    hits = [_until(SHARP, (case.measure,), Traffic(500 + i), case.harm) for i in range(repeats)]
    events = [Traffic.CANARY * (PANES if hit is None else hit) for hit in hits]
    bound = -math.log(ALPHA) / divergence(case.measure, case.harm)
    return {
        "case": case.name,
        "found": figure(sum(hit is not None for hit in hits) / repeats),
        "events": figure(float(np.mean(events))),
        "bound": figure(bound),
        "ratio": figure(float(np.mean(events)) / bound),
    }


def _shipped_detection(case: Case, repeats: int) -> dict[str, Any]:
    """The same with the whole release at the defaults, hosts leaning."""
    hits = [
        _until(SHIPPED, (ERRORS, TAIL, SCORES), Traffic(500 + i, 0.1), case.harm)
        for i in range(repeats)
    ]
    events = [Traffic.CANARY * (PANES if hit is None else hit) for hit in hits]
    return {
        "case": case.name,
        "found": figure(sum(hit is not None for hit in hits) / repeats),
        "events": figure(float(np.mean(events))),
    }


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
        traffic = Traffic(8000 + i)
        ours = traffic.p99_by_minute(Traffic.CANARY, PANES)
        theirs = traffic.p99_by_minute(baseline, PANES)
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
