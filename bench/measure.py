"""What the benchmarks measure with, and how figures are shown."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        return cls(statistics.median(figures), min(figures), max(figures))

    def scaled(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"

    def fields(self) -> dict[str, float]:
        return {"median": figure(self.median), "low": figure(self.low), "high": figure(self.high)}


def figure(value: float) -> float:
    """Four significant digits: what a noisy machine can say."""
    return float(f"{value:.4g}")


def percentile(figures: Sequence[float], share: float) -> float:
    """The smallest figure that at least ``share`` of them do not exceed."""
    ordered = sorted(figures)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time that ``work`` costs this process, all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def cpu_s_of(pid: int) -> float:
    """CPU time of another process so far, all its threads, in ticks of 10 ms; its children's is
    apart."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int | str = "self", peak: bool = False) -> float:
    """Resident memory of a process (or the most it ever had), from /proc, in MB of 10**6 bytes."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024 / MB
    raise ProcessLookupError(f"/proc/{pid}/status has no {wanted}")


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on; the load tells whether the machine was busy before."""
    model = platform.machine()
    memory = 0
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout. The first column is text, the others are figures."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    # A figure cut off says nothing: a narrow terminal, or a file, gets long lines instead.
    Console(width=max(console.width, 140)).print(table)


def report(benchmark: str, form: str, figures: Mapping[str, Any]) -> str:
    """The last line of a benchmark: one JSON object."""
    return json.dumps(
        {"benchmark": benchmark, "form": form, "machine": machine(), **figures},
        allow_nan=False,
    )
