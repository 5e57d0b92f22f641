"""``peers``: one million rows of 25 columns against a reference, by driftline and by others.

The same two tables for all. A peer runs in a process and an environment of its own, one after the
other and round after round, so that what is compared was measured side by side; BLAS and OpenMP
have one thread. The figure is the CPU time of the tool's own step, all threads: loading, imports,
compilation and what can be prepared from the reference alone are done before. driftline's step goes
from the table to findings: reading the columns, dictionary coding (where texts are strings),
histograms, moments, every statistic, every finding.

Each peer gets the data as it likes them best, and driftline is measured in the same form: texts as
strings where the peer takes a DataFrame, as codes where it takes arrays. The quick form is one
round of the same.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from rich.progress import Progress

from bench import peers_data, peers_worker
from bench.measure import Spread, figure, report, show
from bench.peers_answers import CHECKS, Both, Check
from bench.peers_environment import ENVIRONMENTS, NotInstalled, prepare_all
from detectors.table import reference_of
from streams.tied_process import tied

ROWS: Final = 1_000_000
"""Of the current data, in the quick form as well: what a table costs once, whatever its rows, is a
part of the ratio, and the gates are for tables of this size."""
_PEER_S = 900
_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Contest:
    """``times``: how many times less CPU driftline has to need than the peer, on data of the same
    form (``ours``). ``rounds``: in how many rounds of the full form the peer runs.
    ``per_value``: the peer takes ``columns`` columns a row only, so it is compared per value."""

    peer: str
    environment: str
    times: float
    goal: float
    ours: str
    rounds: int = 3
    columns: int = len(peers_data.COLUMNS)
    per_value: bool = False


STRINGS: Final = "driftline, strings"
CODES: Final = "driftline, codes"
PLAIN: Final = "driftline, strings, without numba"
OURS: Final = (CODES, STRINGS, PLAIN)
_NUMBERS: Final = len(peers_data.NUMBERS)

CONTESTS: Final = (
    # The first two take a minute a round.
    Contest("evidently PSI", "evidently", 78, 400, STRINGS, rounds=2),
    Contest("whylogs", "whylogs", 95, 500, STRINGS, rounds=2),
    Contest("nannyml JS", "nannyml", 19, 100, STRINGS),
    Contest("scipy KS + chi-square", "", 5, 25, CODES),
    Contest("chDB SQL", "", 3, 18, CODES),
    Contest("frouros PSI", "frouros", 2, 10, CODES, columns=_NUMBERS),
    Contest("alibi-detect TabularDrift", "alibi-detect", 6, 40, CODES),
    Contest("river ADWIN", "river", 50, 100, CODES, columns=_NUMBERS, per_value=True),
)


@dataclass(slots=True)
class Measured:
    """CPU seconds per row of each run, peak memory of each process, and the last answers."""

    cpu_s_per_row: list[float] = field(default_factory=list)
    peak_rss_mb: list[float] = field(default_factory=list)
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    why_not: str = ""


def run(quick: bool) -> str:
    """All peers that can be installed; returns the JSON line."""
    rounds = 1 if quick else 3
    pythons, missing = _pythons()
    measured: dict[str, Measured] = {name: Measured() for name in OURS}
    measured |= {c.peer: Measured(why_not=missing.get(c.environment, "")) for c in CONTESTS}
    with tempfile.TemporaryDirectory(prefix="driftline-peers-") as name:
        folder = Path(name)
        peers_data.write(folder, ROWS // 10, ROWS)
        tables = [_read(folder / file) for file in (peers_data.REFERENCE, peers_data.CURRENT)]
        _write_edges(folder, tables[0])
        turns = [
            (turn, each)
            for turn in range(rounds)
            for each in (*OURS, *(c.peer for c in CONTESTS if turn < c.rounds))
        ]
        with Progress(transient=True) as progress:
            task = progress.add_task("comparing", total=len(turns))
            for _, each in turns:
                progress.update(task, description=each)
                if not measured[each].why_not:
                    _measure(each, pythons.get(each, sys.executable), folder, measured[each])
                progress.advance(task)
        both = Both(tables[0], tables[1], measured[CODES].answers)
        checks = {
            c.peer: CHECKS[c.peer](both, measured[c.peer].answers)
            for c in CONTESTS
            if measured[c.peer].answers and both.ours
        }
    _show(measured, checks)
    return report("peers", "quick" if quick else "full", _fields(measured, checks))


def times_of(contest: Contest, measured: Mapping[str, Measured]) -> float | None:
    """How many times less CPU driftline needs; None if one of both has not run."""
    ours, theirs = measured[contest.ours], measured[contest.peer]
    if not ours.cpu_s_per_row or not theirs.cpu_s_per_row:
        return None
    ratio = Spread.of(theirs.cpu_s_per_row).median / Spread.of(ours.cpu_s_per_row).median
    return ratio * len(peers_data.COLUMNS) / contest.columns if contest.per_value else ratio


def _pythons() -> tuple[dict[str, str], dict[str, str]]:
    """The interpreter of each peer, and why an environment is missing."""
    wanted = {c.environment for c in CONTESTS}
    made = prepare_all(e for e in ENVIRONMENTS if e.name in wanted)
    pythons: dict[str, str] = {}
    missing: dict[str, str] = {}
    for contest in CONTESTS:
        found = made.get(contest.environment)
        if isinstance(found, NotInstalled):
            missing[contest.environment] = found.reason
        elif found is not None:
            pythons[contest.peer] = found.python
    return pythons, missing


def _measure(name: str, python: str, folder: Path, into: Measured) -> None:
    # -P: the folder of the script must not hide modules of the peer's own.
    where = ["-P", peers_worker.__file__] if name in CHECKS else ["-m", "bench.peers_worker"]
    command = tied([python, *where, name, str(folder)])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PEER_S, check=False)
    except subprocess.TimeoutExpired:
        into.why_not = f"it took more than {_PEER_S} s"
        return
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        into.why_not = "".join(last)[:_REASON_CHARS] or f"it ended with {done.returncode}"
        return
    found = json.loads(done.stdout.splitlines()[-1])
    into.cpu_s_per_row += [spent / found["rows"] for spent in found["cpu_s"]]
    into.peak_rss_mb.append(found["peak_rss_mb"])
    into.answers = found["answers"]


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _write_edges(folder: Path, reference: pa.Table) -> None:
    """driftline's bins, for those who count in the same."""
    specs = reference_of(reference).layout.columns
    edges = {spec.name: list(spec.edges) for spec in specs if spec.edges}
    (folder / peers_worker.SQL_EDGES).write_text(json.dumps(edges), "utf-8")


def _show(measured: Mapping[str, Measured], checks: Mapping[str, list[Check]]) -> None:
    contests = {c.peer: c for c in CONTESTS}
    lines = []
    for name, found in measured.items():
        if not found.cpu_s_per_row:
            lines.append([name, "not run", "", "", "", "", found.why_not])
            continue
        contest = contests.get(name)
        ratio = times_of(contest, measured) if contest is not None else None
        agreed = checks.get(name, [])
        lines.append(
            [
                name,
                str(Spread.of(found.cpu_s_per_row).scaled(1e6)),
                str(len(found.cpu_s_per_row)),
                f"{Spread.of(found.peak_rss_mb).median:.0f}",
                f"{ratio:.1f}" if ratio is not None else "",
                f"{contest.times:g}" if contest is not None else "",
                "yes" if agreed and all(c.passed for c in agreed) else "NO" if agreed else "",
            ]
        )
    show(
        f"{ROWS:,} rows of 25 columns against a reference: CPU of the tool's own step",
        ("tool", "µs/row", "runs", "peak MB", "times ours", "gate", "same answers"),
        lines,
    )
    show(
        "The same answers",
        ("what", "columns", "worst difference", "tolerance", "passed"),
        [
            [
                f"{peer}: {c.what}",
                str(c.columns),
                f"{c.worst:.2g}",
                f"{c.tolerance:g}",
                str(c.passed),
            ]
            for peer, found in checks.items()
            for c in found
        ],
    )


def _fields(measured: Mapping[str, Measured], checks: Mapping[str, list[Check]]) -> dict[str, Any]:
    gates: dict[str, Any] = {}
    for contest in CONTESTS:
        ratio = times_of(contest, measured)
        why_not = measured[contest.peer].why_not or measured[contest.ours].why_not
        gates[contest.peer] = {
            "gate": contest.times,
            "goal": contest.goal,
            "against": contest.ours,
            "per": "value" if contest.per_value else "row",
            "times": figure(ratio) if ratio is not None else None,
            # Not run is not passed.
            "passed": ratio is not None and ratio >= contest.times,
        } | ({"not_run": why_not} if ratio is None else {})
    return {
        "rows": ROWS,
        "cpu_us_per_row": {
            name: Spread.of(found.cpu_s_per_row).scaled(1e6).fields()
            for name, found in measured.items()
            if found.cpu_s_per_row
        },
        "runs": {name: len(found.cpu_s_per_row) for name, found in measured.items()},
        "peak_rss_mb": {
            name: Spread.of(found.peak_rss_mb).fields()
            for name, found in measured.items()
            if found.peak_rss_mb
        },
        "gates": gates,
        "same_answers": {peer: all(c.passed for c in found) for peer, found in checks.items()},
        "passed": all(gate["passed"] for gate in gates.values())
        and all(c.passed for found in checks.values() for c in found),
    }
