"""The steps of the hot path alone: decoding and summarising in this process, and two kernels."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from bench.events import START_MS, generate
from bench.hotpath_case import CASES, MODEL, Case, reference
from bench.measure import Spread, cpu_seconds, figure
from detectors.fixed_point import grid_for
from detectors.kernels import Rows, Workshop, group_sketches, histogram, summarize
from detectors.layout import HEADERS, ColumnSpec, Kind, Layout
from detectors.reference import spec_for
from streams.accumulate import Accumulator
from streams.cardinality import Limits
from streams.codecs import make_codec
from streams.codecs.speculative.loading import Kernels, load
from streams.event import Bounds, EventBatch
from streams.kept_rows import Kept
from streams.summarizer import FEWEST_ROWS, ROWS_AT_ONCE
from streams.timeline import TimeSettings
from streams.wire import encode

_FLUSH_ROWS = 65_536
_BOUNDS = Bounds(START_MS - 1, START_MS + 10**9)


DECODE = f"decode, {CASES[0].name} (µs/row)"
MOMENTS = "histogram and moments (ns/value)"
ALL_THREE = "histogram, moments and sketch (ns/value)"
DECODE_GATE, DECODE_GOAL = 450_000, 1_200_000
"""Rows a second and core."""
MOMENTS_GATE, MOMENTS_GOAL = 15.0, 3.0
SKETCH_GATE, SKETCH_GOAL = 4.0, 1.0
"""Nanoseconds a value; of the sketch, on top of histogram and moments."""

Given = Callable[[], Kernels | None]


def steps(quick: bool) -> dict[str, Spread]:
    """Figures by name; the name says the unit."""
    rounds = 3 if quick else 7
    found: dict[str, Spread] = {}
    gc.collect()
    gc.freeze()
    rows = 20_000 if quick else 60_000
    for case in CASES:
        messages = case.write(generate(rows, 1, case.shape))
        for kernels in (load, without):
            name = case.name if kernels is load else f"{case.name}, no kernels"
            batches, found[f"decode, {name} (µs/row)"] = _decode(
                case, messages, rows, rounds, kernels
            )
            if case is CASES[0]:
                also = "" if kernels is load else ", no kernels"
                found[f"summarise, to wire records{also} (µs/row)"] = _summarise(
                    batches, rounds, kernels
                )
    found |= _kernels(rounds)
    return found


def gates(found: Mapping[str, Spread]) -> dict[str, dict[str, float | bool]]:
    """What the steps of the compiled path must reach, and whether they do."""
    rows = 1e6 / found[DECODE].median
    moments, sketch = found[MOMENTS].median, found[ALL_THREE].median - found[MOMENTS].median
    return {
        "decode JSON to columns, rows/s": {
            "gate": DECODE_GATE,
            "goal": DECODE_GOAL,
            "figure": figure(rows),
            "passed": rows >= DECODE_GATE,
        },
        "histogram and moments, ns/value": {
            "gate": MOMENTS_GATE,
            "goal": MOMENTS_GOAL,
            "figure": figure(moments),
            "passed": moments <= MOMENTS_GATE,
        },
        "quantile sketch, ns/value more": {
            "gate": SKETCH_GATE,
            "goal": SKETCH_GOAL,
            "figure": figure(sketch),
            "passed": sketch <= SKETCH_GATE,
        },
    }


def without() -> Kernels | None:
    """As if numba were not installed."""
    return None


def _decode(
    case: Case, messages: Sequence[bytes], rows: int, rounds: int, kernels: Given
) -> tuple[list[EventBatch], Spread]:
    codec = make_codec(case.codec, kernels=kernels)
    size = (
        FEWEST_ROWS if case.rows_per_message == 1 else max(1, ROWS_AT_ONCE // case.rows_per_message)
    )
    kept: list[EventBatch] = []

    def decode() -> None:
        kept.clear()
        for at in range(0, len(messages), size):
            kept.extend(codec.decode(messages[at : at + size], None, _BOUNDS).batches)

    decode()  # what a codec learns of the shape of messages it learns once
    spread = Spread.of([cpu_seconds(decode) / rows * 1e6 for _ in range(rounds)])
    return kept, spread


def _summarise(batches: Sequence[EventBatch], rounds: int, kernels: Given) -> Spread:
    known = reference()
    accumulator = Accumulator(
        TimeSettings(), Limits(), lambda model: known if model == MODEL else None, kernels
    )
    whole = [Kept(batch, np.arange(batch.rows), "json") for batch in batches]
    rows = sum(batch.rows for batch in batches)

    def summarise() -> None:
        for kept in whole:
            accumulator.add(kept)
            if accumulator.buffered >= _FLUSH_ROWS:
                drain()
        drain()

    def drain() -> None:
        for delta in accumulator.drain("bench", 0):
            encode(delta)

    return Spread.of([cpu_seconds(summarise) / rows * 1e6 for _ in range(rounds)])


def _kernels(rounds: int) -> dict[str, Spread]:
    """On one group of a full flush."""
    values = np.random.default_rng(5).lognormal(4.0, 0.5, _FLUSH_ROWS)
    starts = np.array([0, len(values)])
    edges = np.array(spec_for(reference(), "latency_ms", Kind.NUMERIC).edges)
    deciles = np.quantile(values, np.arange(1, 10) / 10)
    grid = grid_for(55.0, 30.0)

    def moments() -> None:
        first, second, _, _ = grid.steps(values)
        first.sum(), second.sum(), values.min(), values.max()

    workshop = _workshop()
    rows = Rows(starts, np.zeros((1, len(HEADERS)), np.int64), {"x": values}, {}, {})
    parts = {
        MOMENTS: ColumnSpec("x", Kind.NUMERIC, tuple(deciles.tolist()), grid, sketch=False),
        "moments (ns/value)": ColumnSpec("x", Kind.NUMERIC, (), grid, sketch=False),
        ALL_THREE: ColumnSpec("x", Kind.NUMERIC, tuple(deciles.tolist()), grid),
    }
    layouts = {name: Layout.of("", (spec,)) for name, spec in parts.items()}
    work: dict[str, Callable[[], object]] = {
        f"histogram, {len(edges) + 1} bins, no kernels (ns/value)": lambda: histogram(
            values, starts, edges
        ),
        "histogram, 10 bins, no kernels (ns/value)": lambda: histogram(values, starts, deciles),
        "moments, exact, no kernels (ns/value)": moments,
        "quantile sketch, no kernels (ns/value)": lambda: group_sketches(values, starts),
    }
    for name, layout in layouts.items():
        work[name] = partial(summarize, rows, layout, workshop)
    return {name: _per_value(each, len(values), rounds) for name, each in work.items()}


def _per_value(work: Callable[[], object], values: int, rounds: int) -> Spread:
    repeats = 10

    def repeated() -> None:
        for _ in range(repeats):
            work()

    repeated()
    return Spread.of([cpu_seconds(repeated) / values / repeats * 1e9 for _ in range(rounds)])


def _workshop() -> Workshop:
    kernels = load()
    if kernels is None:
        raise RuntimeError("there are no compiled kernels here: pip install driftline[fast]")
    return Workshop(kernels.columns)
