"""``memory``: what 1,000 releases of 50 columns cost to hold, and to judge.

250 models with a production, a canary, a shadow and a variant each send events over some minutes of
event time. One summarize worker and one judge take all of it, each in a process of its own; their
resident memory is read from /proc. The judge keeps open panes, and windows until late events can no
longer correct them (10 minutes), so its memory grows with the first windows and then stays: where
it will stay is carried forward from its growth, and it is that which is held against the goal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bench.measure import figure, report, show
from bench.memory_scene import Scene, write_messages, write_references
from streams.tied_process import tied
from streams.timeline import TimeSettings

GOAL_MB = 1_000
"""Both processes together (the design's gate)."""
_PART_S = 900


def run(quick: bool) -> str:
    """Returns the JSON line."""
    scene = Scene(panes=7, models=60) if quick else Scene(panes=19)
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as name:
        folder = Path(name)
        with Progress(transient=True) as progress:
            task = progress.add_task("writing events", total=3)
            write_references(scene, folder)
            write_messages(scene, folder)
            progress.update(task, advance=1, description="summarising")
            summarize = _part("summarize", folder, scene)
            progress.update(task, advance=1, description="judging")
            judge = _part("judge", folder, scene)
    lasting = _lasting_mb(judge)
    total = summarize["peak_mb"] + lasting
    held = scene.releases * scene.columns
    _show(scene, summarize, judge, held, lasting)
    return report(
        "memory",
        "quick" if quick else "full",
        {
            "releases": scene.releases,
            "columns": scene.columns,
            "panes": scene.panes,
            "events": scene.releases * scene.rows * scene.panes,
            "summarize": _rounded(summarize),
            "judge": _rounded(judge),
            "judge_lasting_mb": figure(lasting),
            "lasting_mb_together": figure(total),
            "goal_mb": GOAL_MB,
            "passed": total <= GOAL_MB,
        },
    )


def _part(part: str, folder: Path, scene: Scene) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.memory_part", part, str(folder)]
    command += [str(scene.panes), str(scene.models)]
    done = subprocess.run(
        tied(command), capture_output=True, text=True, timeout=_PART_S, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{part}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _lasting_mb(judge: dict[str, Any]) -> float:
    """The judge's memory once it holds as many windows as it ever will, from its growth a window
    so far; with one window closed there is no growth yet, and its peak is all that is known."""
    seen: list[float] = judge["after_windows_mb"]
    time = TimeSettings()
    held = time.allowed_lateness_ms // time.windows_ms[0] + 1
    if len(seen) < 2:
        return float(judge["peak_mb"])
    growth = (seen[-1] - seen[0]) / (len(seen) - 1)
    return float(judge["peak_mb"]) + growth * max(held - len(seen), 0)


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [figure(each) for each in value] if isinstance(value, list) else figure(value)
        for name, value in figures.items()
    }


def _show(
    scene: Scene, summarize: dict[str, Any], judge: dict[str, Any], held: int, lasting: float
) -> None:
    rows = [
        [
            name,
            f"{part['idle_mb']:.0f}",
            f"{part['resident_mb'][-1]:.0f}",
            f"{part['peak_mb']:.0f}",
            f"{(part['peak_mb'] - part['idle_mb']) * 1e6 / held:,.0f}",
        ]
        for name, part in (("summarize", summarize), ("judge", judge))
    ]
    show(
        f"{scene.releases:,} releases x {scene.columns} columns, {scene.panes} panes of 10 s",
        ("process", "MB before", "MB after", "MB at most", "bytes per release and column"),
        rows,
    )
    show(
        "What it costs to run",
        ("figure", "value"),
        [
            ["summarize, µs CPU per event", f"{summarize['cpu_us_per_event']:.1f}"],
            [
                "summaries, bytes per release and flush",
                f"{summarize['bytes_per_release_and_flush']:,.0f}",
            ],
            [
                "judge, µs CPU per release, column and pane",
                f"{judge['cpu_us_per_release_column_pane']:.1f}",
            ],
            [
                "judge, the same of each later minute",
                ", ".join(f"{us:.1f}" for us in judge["cpu_us_per_release_column_pane_by_window"]),
            ],
            ["judge, MB once all windows are held (carried forward)", f"{lasting:.0f}"],
            ["judge, longest record, s", f"{judge['slowest_record_s']:.2f}"],
            ["judge, intervals held", f"{judge['intervals']:,.0f}"],
            ["judge, table of intervals, MB", f"{judge['intervals_table_mb']:.0f}"],
            ["judge, table of models, MB", f"{judge['models_table_mb']:.1f}"],
        ],
    )
