"""What a pane costs the judge: counting the cells of a release's summaries and settling bets."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from bench.measure import Spread, figure, show
from detectors.cells import cells_of, count
from detectors.drift import step
from detectors.drift_settings import DriftSettings
from detectors.drift_state import empty_state, to_bytes
from detectors.kernels import Codes, Rows, summarize
from detectors.layout import HEADERS
from detectors.payoffs import dictionary_of, normal_without_panes, payoffs
from detectors.reference import reference_from_table

_ROWS = 1_000
_PANE_MS = 10_000


def cost(quick: bool) -> dict[str, Any]:
    """Goal 6: microseconds per watch (values, or presence, of a column) and pane, in one process,
    for a release of 20 numeric and 5 text columns."""
    rng = np.random.default_rng(7)
    numeric = {f"features.n{i}": rng.normal(size=20_000) for i in range(19)}
    numeric["latency_ms"] = rng.lognormal(5, 1, size=20_000)
    names = [f"v{i}" for i in range(12)]
    texts = {f"features.t{i}": rng.choice(names, size=20_000) for i in range(5)}
    reference = reference_from_table("cost", pa.table({**numeric, **texts}), "seeded")
    cells = cells_of(reference.summaries)
    dictionary = dictionary_of(cells)
    settings = DriftSettings()
    began = time.perf_counter()
    paid = payoffs(normal_without_panes(dictionary, count(cells, reference.summaries)), 0, settings)
    set_up = time.perf_counter() - began
    headers = np.zeros((1, len(HEADERS)), np.int64)
    headers[0, 0] = _ROWS
    rows = Rows(
        np.array([0, _ROWS]),
        headers,
        {name: values[:_ROWS] for name, values in numeric.items()},
        {
            name: Codes(np.array([names.index(v) for v in values[:_ROWS]], np.int32), names)
            for name, values in texts.items()
        },
        {},
    )
    (pane,) = summarize(rows, reference.layout)
    state = empty_state(dictionary)
    rounds, panes = (5, 200) if quick else (15, 1000)
    figures: list[float] = []
    at = 0
    for _ in range(rounds):
        cpu = time.process_time()
        for _ in range(panes):
            took = step(state, paid, count(cells, pane), 0.5, at, _PANE_MS, settings)
            state, at = took.state, at + _PANE_MS
        figures.append((time.process_time() - cpu) / panes * 1e6)
    watches, columns = len(cells.watches), len(numeric) + len(texts)
    spread = Spread.of(figures)
    size = len(to_bytes(state, dictionary))
    show(
        "What a pane costs",
        ("release of 25 columns", "figure"),
        [
            ["per release and pane", f"{spread} us"],
            [f"per watch and pane ({watches} watches)", f"{spread.scaled(1 / watches)} us"],
            [f"per column and pane ({columns} columns)", f"{spread.scaled(1 / columns)} us"],
            ["set-up of the bets, once a slot", f"{set_up * 1e3:.1f} ms"],
            ["state", f"{size / 1000:.1f} kB"],
        ],
    )
    return {
        "watches": watches,
        "columns": columns,
        "us_per_watch_pane": spread.scaled(1 / watches).fields(),
        "us_per_column_pane": spread.scaled(1 / columns).fields(),
        "set_up_ms": figure(set_up * 1e3),
        "state_bytes": size,
    }
