"""What judging a canary costs: CPU time of one pane and of one verdict, by how many measures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from bench.measure import Spread, cpu_seconds
from detectors.canary import CanaryState, step, verdict
from detectors.canary_bytes import from_bytes, to_bytes
from detectors.canary_metric import ArmsPane
from detectors.canary_rules import CanarySettings
from detectors.canary_verdict import findings_of
from detectors.layout import HEADERS, Header, Layout
from detectors.release import Release, Role
from detectors.summary import Summaries
from detectors.table import reference_of, summarize_table
from detectors.thresholds import Place

SETTINGS = CanarySettings()
PANE_MS = 10_000
_PANES = 12
_MICRO = 1e6


def cost(columns: int, canary: int, production: int, rounds: int) -> dict[str, Any]:
    """Per measure and pane, microseconds. A quarter of the columns are texts of ten values; beside
    them a score and the latency. ``canary``, ``production``: events of a pane of 10 s."""
    generator = np.random.default_rng(1)
    reference = reference_of(_table(generator, columns, 20_000))
    layouts: dict[Any, Layout] = {}

    def arm(n: int) -> Summaries:
        found = summarize_table(_table(generator, columns, n), reference)
        vector = found.vector.copy()
        vector[HEADERS.index(Header.FAILED)] = generator.binomial(n, 0.01)
        # As the judge does: equal layouts are one object.
        layout = layouts.setdefault(found.layout.columns, found.layout)
        return replace(found, vector=vector, layout=layout)

    panes = [
        ArmsPane(t * PANE_MS, PANE_MS, arm(canary), arm(production), reference.summaries)
        for t in range(_PANES)
    ]
    state = CanaryState()
    for pane in panes:
        state = step(state, SETTINGS, pane)
    measures = len(state.metrics)
    place = Place(Release("m", "2", Role.CANARY), "all", PANE_MS, 0, 0)

    def replay() -> None:
        now = state
        for pane in panes:
            now = step(now, SETTINGS, pane)

    def findings() -> None:
        findings_of(verdict(state, SETTINGS), place, "production:1")

    def restored() -> None:
        from_bytes(to_bytes(state))

    per_pane = [cpu_seconds(replay) / _PANES for _ in range(rounds)]
    per_verdict = [cpu_seconds(findings) for _ in range(rounds)]
    per_restart = [cpu_seconds(restored) for _ in range(rounds)]
    return {
        "columns": columns + 2,
        "measures": measures,
        "share": round(canary / (canary + production), 3),
        "step": Spread.of(per_pane).scaled(_MICRO / measures),
        "verdict": Spread.of(per_verdict).scaled(_MICRO / measures),
        "bytes": len(to_bytes(state)),
        "bytes_us": Spread.of(per_restart).scaled(_MICRO),
    }


def _table(generator: np.random.Generator, columns: int, n: int) -> pa.Table:
    texts = columns // 4
    table: dict[str, Any] = {
        f"features.f{i}": generator.normal(0, 1, n) for i in range(columns - texts)
    }
    for i in range(texts):
        table[f"features.t{i}"] = pa.array(generator.choice(list("abcdefghij"), n))
    table["latency_ms"] = np.exp(generator.normal(5, 0.5, n))
    table["scores.quality"] = generator.normal(0, 1, n)
    return pa.table(table)
