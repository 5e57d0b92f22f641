"""The steps of the hot path alone: decoding and summarising in this process, and two kernels."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import numpy as np

from bench.events import START_MS, generate
from bench.hotpath_case import CASES, MODEL, Case, reference
from bench.measure import Spread, cpu_seconds
from detectors.fixed_point import grid_for
from detectors.kernels import group_sketches, histogram
from detectors.layout import Kind
from detectors.reference import spec_for
from streams.accumulate import Accumulator, Kept
from streams.cardinality import Limits
from streams.codecs import make_codec
from streams.event import Bounds, EventBatch
from streams.timeline import TimeSettings
from streams.wire import encode

BATCH = 500
_FLUSH_ROWS = 65_536
_BOUNDS = Bounds(START_MS - 1, START_MS + 10**9)


def steps(quick: bool) -> dict[str, Spread]:
    """Figures by name; the name says the unit."""
    rounds = 3 if quick else 7
    found: dict[str, Spread] = {}
    gc.collect()
    gc.freeze()
    for case in CASES:
        rows = 20_000 if quick else 60_000
        batches, found[f"decode, {case.name} (µs/row)"] = _decode(case, rows, rounds)
        if case is CASES[0]:
            found["summarise, to wire records (µs/row)"] = _summarise(batches, rounds)
    found |= _kernels(rounds)
    return found


def _decode(case: Case, rows: int, rounds: int) -> tuple[list[EventBatch], Spread]:
    messages = case.write(generate(rows, 1, case.shape))
    codec = make_codec(case.codec)
    size = BATCH if case.rows_per_message == 1 else max(1, 2_000 // case.rows_per_message)
    kept: list[EventBatch] = []

    def decode() -> None:
        kept.clear()
        for at in range(0, len(messages), size):
            kept.extend(codec.decode(messages[at : at + size], None, _BOUNDS).batches)

    decode()  # what a codec learns of the shape of messages it learns once
    spread = Spread.of([cpu_seconds(decode) / rows * 1e6 for _ in range(rounds)])
    return kept, spread


def _summarise(batches: Sequence[EventBatch], rounds: int) -> Spread:
    known = reference()
    accumulator = Accumulator(
        TimeSettings(), Limits(), lambda model: known if model == MODEL else None
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

    work: dict[str, Callable[[], object]] = {
        f"histogram, {len(edges) + 1} bins (ns/value)": lambda: histogram(values, starts, edges),
        "histogram, 10 bins (ns/value)": lambda: histogram(values, starts, deciles),
        "moments, exact (ns/value)": moments,
        "quantile sketch (ns/value)": lambda: group_sketches(values, starts),
    }
    return {name: _per_value(each, len(values), rounds) for name, each in work.items()}


def _per_value(work: Callable[[], object], values: int, rounds: int) -> Spread:
    repeats = 10

    def repeated() -> None:
        for _ in range(repeats):
            work()

    repeated()
    return Spread.of([cpu_seconds(repeated) / values / repeats * 1e9 for _ in range(rounds)])
