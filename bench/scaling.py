"""``scaling``: what an event costs as releases, segments, events, partitions and columns grow.

All sizes of a series are measured in turns, round after round, in one process, so that what is
compared was measured side by side. Two worker processes against one are measured on the embedded
broker, in CPU time of the workers alone: the broker's own work is not theirs.
"""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.progress import Progress

from bench.hotpath import PARTITIONS, Run, fill, measure
from bench.hotpath_case import CASES, Reader
from bench.measure import Spread, figure, report, show
from bench.scaling_case import Bench, Series, all_series
from streams import embedded_broker
from streams.codecs.speculative.loading import load
from streams.internal_topics import topic_specs
from streams.kafka import KafkaSettings

MOST_FOR_TWO = 1.15
"""How much more an event may cost with two workers at once than with one."""


def run(quick: bool) -> str:
    """All series; returns the JSON line."""
    if load() is None:
        sys.exit("there are no compiled kernels here: pip install driftline[fast]")
    rounds = 3 if quick else 7
    gc.collect()
    gc.freeze()
    gc.disable()
    fields: dict[str, Any] = {"rounds": rounds}
    rows: list[list[str]] = []
    passed = True
    with Progress(transient=True) as progress:
        todo = progress.add_task("measuring", total=len(all_series(quick)) + 1)
        for series in all_series(quick):
            costs = _measure(series, rounds)
            ratio = _growth(series, costs)
            passed &= ratio <= series.most
            fields[series.name] = {
                "us_per_event": {str(n): cost.fields() for n, cost in costs.items()},
                "growth": figure(ratio),
                "most": series.most,
            }
            rows += [[f"{n:,} {series.name}", str(cost), ""] for n, cost in costs.items()]
            rows[-1][2] = f"{ratio:.2f} (at most {series.most})"
            progress.advance(todo)
        fields["workers"] = two = _two_workers(rounds, 3 if quick else 1)
        progress.advance(todo)
    passed &= two["growth"] <= MOST_FOR_TWO
    for name in ("one", "two"):
        spread = two["us_per_event"][name]
        rows.append(
            [f"{name} workers", f"{spread['median']} ({spread['low']} to {spread['high']})", ""]
        )
    rows[-1][2] = f"{two['growth']:.2f} (at most {MOST_FOR_TWO})"
    show(
        "CPU of an event as something grows, median (lowest to highest)",
        ("", "µs/event", "last / first"),
        rows,
    )
    return report("scaling", "quick" if quick else "full", {**fields, "passed": bool(passed)})


def _measure(series: Series, rounds: int) -> dict[int, Spread]:
    benches = {series.of(size): Bench(size) for size in series.sizes}
    found: dict[int, list[float]] = {n: [] for n in benches}
    for _ in range(rounds):
        for n, bench in benches.items():
            # Short runs are repeated, or the clock would be most of what is measured.
            events = bench.size.events
            times = max(1, 20_000 // events) if events < 20_000 else 1
            rare = events > 2_000_000 and found[n]
            if not rare:
                spent = sum(bench.run() for _ in range(times))
                found[n].append(spent / times / events * 1e6)
    gc.collect()
    return {n: Spread.of(costs) for n, costs in found.items()}


def _growth(series: Series, costs: dict[int, Spread]) -> float:
    """The cost at the largest size over that at the smallest, per what it may grow with."""
    first, last = series.sizes[0], series.sizes[-1]
    each = [costs[series.of(size)].median / series.per(size) for size in (first, last)]
    return each[1] / each[0]


def _two_workers(rounds: int, share: int) -> dict[str, Any]:
    """Each worker reads the whole topic, in a consumer group of its own."""
    case = CASES[0]
    kafka = KafkaSettings()
    topics = {case.topic: PARTITIONS}
    topics |= {name: spec.partitions for name, spec in topic_specs(kafka).items()}
    one: list[float] = []
    two: list[float] = []
    wall: list[float] = []
    each = Run(case, Reader.DRIFTLINE)
    with embedded_broker.running(topics) as address, ThreadPoolExecutor(2) as pool:
        events = sum(fill(address, case, share))
        for number in range(max(2, rounds // 2)):
            alone = measure(address, each, events, f"alone-{number}")
            groups = [f"both-{number}-{i}" for i in range(2)]
            both = list(pool.map(lambda group: measure(address, each, events, group), groups))
            one.append(alone["cpu_s"] / events * 1e6)
            two.append(sum(found["cpu_s"] for found in both) / 2 / events * 1e6)
            wall.append(2 * alone["wall_s"] / max(found["wall_s"] for found in both))
    spreads = {"one": Spread.of(one), "two": Spread.of(two)}
    return {
        "us_per_event": {name: spread.fields() for name, spread in spreads.items()},
        "growth": figure(spreads["two"].median / spreads["one"].median),
        "most": MOST_FOR_TWO,
        "times_on_the_wall": Spread.of(wall).fields(),
    }
