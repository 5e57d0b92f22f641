"""``boards``: how long every query of the boards and of the alert rules takes on a large store.

The engine (chDB) makes the rows itself, in the order in which a line would store them; then each
query runs as Grafana would send it: macros expanded, variables filled in, over the time that its
board shows by default, on a handle of its own and read-only. Each runs once unmeasured and then
``REPEATS`` times; the median counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from bench.boards_rows import DETECTORS, MINUTE_MS, Fleet, fill
from bench.measure import figure, report, show
from dashboards.boards import BOARDS, board_json
from dashboards.every_query import Query, queries_of, queries_of_rules
from dashboards.macros import Range, expand, interpolate
from dashboards.rules import rule_group
from dashboards.settings import GrafanaSettings
from sinks.embedded_store import EmbeddedStore
from sinks.migrations import migrate
from sinks.schema import DATABASE
from sinks.statement import read_statement

GOAL_MS = 200
REPEATS = 5
_SETTLE_S = 120
_POINTS = 1_000
"""Of a panel's width, about: what Grafana derives the interval from, if the panel does not say."""
_VALUES = {
    "model": "model-007",
    "version": "2",
    "role": "canary",
    "segment": "all",
    "window": str(MINUTE_MS),
    "column": "features.f010",
    "filter": "",
}


@dataclass(frozen=True, slots=True)
class Timed:
    """One query, the medians of its time and of the CPU time of all threads, and its answer."""

    query: Query
    ms: float
    cpu_ms: float
    rows_out: int
    bytes_out: int


def run(quick: bool) -> str:
    """Returns the JSON line."""
    now_ms = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS
    fleet = Fleet(findings=5_000_000 if quick else 100_000_000, end_ms=now_ms)
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder:
        with EmbeddedStore(folder) as store, Progress(transient=True) as progress:
            migrate(store.client)
            task = progress.add_task("storing findings", total=fleet.findings)
            began = time.perf_counter()
            fill(store.client, fleet, lambda rows: progress.update(task, advance=rows))
            filled_s = time.perf_counter() - began
            _settle(store)
            task = progress.add_task("asking", total=None)
            timed = []
            for query, hours in _all_queries():
                timed.append(_time(store, query, hours, now_ms))
                progress.update(task, description=query.name[:60])
        size_mb = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
    return _report(quick, fleet, timed, filled_s, size_mb)


def _settle(store: EmbeddedStore) -> None:
    """Wait until the engine has merged what it wants to merge, as it has where rows come evenly."""
    until = time.monotonic() + _SETTLE_S
    while time.monotonic() < until:
        if not store.client.query("SELECT count() FROM system.merges").result_rows[0][0]:
            return
        time.sleep(0.5)


def _all_queries() -> list[tuple[Query, float]]:
    found = []
    for name in BOARDS:
        board = board_json(name, DATABASE)
        hours = float(board["time"]["from"].removeprefix("now-").removesuffix("h"))
        found += [(query, hours) for query in queries_of(board)]
    group = rule_group(GrafanaSettings(), DATABASE)
    return found + [(query, 0.25) for query in queries_of_rules(group)]


def _time(store: EmbeddedStore, query: Query, hours: float, now_ms: int) -> Timed:
    length_ms = int(hours * 3_600_000)
    points = int(query.shown.get("maxDataPoints", _POINTS))
    seen = Range(now_ms - length_ms, now_ms, max(length_ms // points, 1_000))
    text = expand(interpolate(query.sql, _VALUES), seen)
    statement = read_statement(text.encode(), read_only=True, outward_names=store.outward)
    taken, worked, answer = [], [], None
    for _ in range(REPEATS + 1):
        began, cpu = time.perf_counter(), time.process_time()
        answer = store.run(statement, default_format="Native", database=DATABASE, read_only=True)
        taken.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - cpu) * 1000)
    assert answer is not None
    return Timed(
        query,
        statistics.median(taken[1:]),
        statistics.median(worked[1:]),
        answer.rows_read,
        len(answer.data),
    )


def _report(
    quick: bool,
    fleet: Fleet,
    timed: list[Timed],
    filled_s: float,
    size_mb: float,
) -> str:
    slowest = sorted(timed, key=lambda one: -one.ms)
    show(
        f"{fleet.findings:,} findings: {fleet.releases} releases x {fleet.segments} segments x"
        f" {fleet.columns} columns x {len(DETECTORS)} detectors, {fleet.windows:,} windows",
        ("query", "ms (median)", "CPU ms", "rows", "bytes"),
        [
            [
                one.query.name,
                f"{one.ms:.0f}",
                f"{one.cpu_ms:.0f}",
                f"{one.rows_out:,}",
                f"{one.bytes_out:,}",
            ]
            for one in slowest[:25]
        ],
    )
    slow = [one for one in timed if one.ms > GOAL_MS]
    return report(
        "boards",
        "quick" if quick else "full",
        {
            "findings": fleet.findings,
            "filled_s": figure(filled_s),
            "stored_mb": figure(size_mb),
            "queries": len(timed),
            "median_ms": figure(statistics.median(one.ms for one in timed)),
            "slowest_ms": figure(slowest[0].ms),
            "most_cpu_ms": figure(max(one.cpu_ms for one in timed)),
            "slowest": slowest[0].query.name,
            "slower_than_goal": [one.query.name for one in slow],
            "goal_ms": GOAL_MS,
            "passed": not slow,
        },
    )
