"""``python -m bench.scale [--write]``: docs/scale.md, computed from figures in bench/RESULTS.md.

Nothing is measured here but what `DISK` says, and nothing is guessed without a name in `Load` or
`Margin`: run it again when the results change, or with loads of your own.
"""

from __future__ import annotations

import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

Each = TypeVar("Each")

REPOSITORY: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = REPOSITORY / "bench" / "RESULTS.md"
DOCUMENT: Final = REPOSITORY / "docs" / "scale.md"

DISK: Final = {"findings": 33.0, "windows": 84.0}
"""Bytes a row on disk, all indexes included: a million rows of bench/boards_rows.py in chDB 26.9,
after a merge. Synthetic rows; texts that repeat less take more."""


class FigureMissing(Exception):
    """bench/RESULTS.md has no such row any more: correct the label here."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, in the units of bench/RESULTS.md. Of a range the worse end is taken."""

    json_us: float
    ndjson_us: float
    arrow_us: float
    consume_us: float
    many_models_us: float
    judge_us: float
    summary_bytes: float
    judge_mb: float
    store_us: float
    engine_us: float
    finding_bytes: float


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in. ``bytes_each``: of an event in its message, before compression. ``flush_s`` is
    `summarize.flush_interval`."""

    name: str
    per_minute: float
    models: int
    releases: int
    segments: int
    columns: int
    flush_s: float
    bytes_each: int = 600
    findings_each: int = 10
    """Findings of a release, segment and column in each window of a minute."""

    @property
    def per_second(self) -> float:
        return self.per_minute / 60

    @property
    def cells(self) -> int:
        """(release, segment, column): what the judge keeps apart."""
        return self.releases * self.segments * self.columns


@dataclass(frozen=True, slots=True)
class Margin:
    """What is left free, and what Kafka is asked for."""

    use: float = 0.6
    """Of a core, at most: the rest is for peaks and for reading on after a stop."""
    partition_bytes_s: float = 5e6
    """Through one partition, at most: far below what a broker takes, and quickly read again."""
    replicas: int = 3
    input_hours: int = 24
    result_days: int = 7
    pane_s: int = 10


LOADS: Final = (
    Load("1M a minute", 1e6, models=20, releases=60, segments=5, columns=25, flush_s=1),
    Load("100M a minute", 1e8, models=200, releases=600, segments=5, columns=25, flush_s=5),
)


def measured(text: str) -> Measured:
    """The figures in the text of bench/RESULTS.md. Raises `FigureMissing`."""
    return Measured(
        json_us=_figure(text, "JSON, 1 event a message"),
        ndjson_us=_figure(text, "NDJSON, 100 lines a message"),
        arrow_us=_figure(text, "Arrow, 1,000 rows a message"),
        consume_us=_figure(text, "*yardstick:* consume only"),
        many_models_us=_figure(text, "summarize, CPU per event, 250 models, 50 columns"),
        judge_us=_figure(text, "judge, CPU per release, column and pane"),
        summary_bytes=_figure(text, "summaries, bytes per release and flush, 50 columns") / 50,
        judge_mb=_number(r"the judge would come to some ([\d.]+) GB", text) * 1000 / (1000 * 50),
        store_us=_figure(text, "client together"),
        engine_us=_figure(text, "engine: insert, its sorting and HTTP included"),
        finding_bytes=_number(r"26 columns, (\d+) bytes a row as JSON", text),
    )


def _figure(text: str, label: str) -> float:
    """The figure of the first row of a table with this label, the larger one of ``A to B``."""
    found = re.search(rf"^\| {re.escape(label)} \| ([^|]+) \|", text, flags=re.MULTILINE)
    if found is None:
        raise FigureMissing(f"no row {label!r}")
    head = found[1].split("(")[0]
    numbers = re.match(r"\W*([\d,.]+)(?: to ([\d,.]+))?", head)
    if numbers is None:
        raise FigureMissing(f"no figure in row {label!r}")
    return float((numbers[2] or numbers[1]).replace(",", ""))


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, flags=re.MULTILINE)
    if found is None:
        raise FigureMissing(f"nothing like {pattern!r}")
    return float(found[1].replace(",", ""))


@dataclass(frozen=True, slots=True)
class Need:
    """What a load needs. Cores are full ones, workers are processes of one core each."""

    summarize_cores: float
    workers: int
    input_partitions: int
    input_mb_s: float
    input_disk_gb: float
    summaries_mb_s: float
    judge_cores: float
    judges: int
    judge_gb: float
    rows_s: float
    store_cores: float
    result_kafka_gb: float
    disk_gb_day: float


def need(load: Load, m: Measured, event_us: float, margin: Margin | None = None) -> Need:
    """What ``load`` needs if an event costs summarize ``event_us``."""
    margin = margin or Margin()
    cores = load.per_second * event_us / 1e6
    workers = max(2, math.ceil(cores / margin.use))
    bytes_s = load.per_second * load.bytes_each
    # Each worker sees each model, and says so each flush; no more often than it has seen an event.
    flushes = min(workers / load.flush_s, load.per_second / load.releases)
    summaries_s = load.cells * m.summary_bytes * flushes
    judge_cores = load.cells / margin.pane_s * m.judge_us / 1e6
    windows_s, findings_s = load.cells / 60, load.cells / 60 * load.findings_each
    rows_s = windows_s + findings_s
    disk_s = windows_s * DISK["windows"] + findings_s * DISK["findings"]
    return Need(
        summarize_cores=cores,
        workers=workers,
        input_partitions=max(2 * workers, math.ceil(bytes_s / margin.partition_bytes_s)),
        input_mb_s=bytes_s / 1e6,
        input_disk_gb=bytes_s * 3600 * margin.input_hours * margin.replicas / 1e9,
        summaries_mb_s=summaries_s / 1e6,
        judge_cores=judge_cores,
        judges=max(2, math.ceil(judge_cores / margin.use)),
        judge_gb=load.cells * m.judge_mb / 1000,
        rows_s=rows_s,
        store_cores=rows_s * (m.store_us + m.engine_us) / 1e6,
        result_kafka_gb=rows_s
        * m.finding_bytes
        * 86_400
        * margin.result_days
        * margin.replicas
        / 1e9,
        disk_gb_day=disk_s * 86_400 / 1e9,
    )


def document(m: Measured, loads: tuple[Load, ...] = LOADS, margin: Margin | None = None) -> str:
    """The text of docs/scale.md."""
    margin = margin or Margin()
    encodings = (
        ("JSON, one event a message", m.json_us),
        ("NDJSON, 100 lines a message", m.ndjson_us),
        ("Arrow, 1,000 rows a message", m.arrow_us),
    )
    lines = [
        "# How large",
        "",
        "Made by `python -m bench.scale --write` from the figures in [bench/RESULTS.md]"
        "(../bench/RESULTS.md); change the loads in [bench/scale.py](../bench/scale.py) and run it"
        " again. These are sums, not runs: nothing of this size has been run. The figures come"
        " from a"
        " shared machine of 2 cores, summarize's without segments; each segment that an event"
        " belongs to"
        " besides `all` costs some 0.5 µs more.",
        "",
        *_table(
            "assumed",
            loads,
            loads,
            (
                ("events a second", lambda load: f"{load.per_second:,.0f}"),
                ("models, releases", lambda load: f"{load.models:,}, {load.releases:,}"),
                ("segments, columns", lambda load: f"{load.segments}, {load.columns}"),
                ("cells: release x segment x column", lambda load: f"{load.cells:,}"),
                ("bytes an event, before compression", lambda load: f"{load.bytes_each}"),
                ("`summarize.flush_interval`", lambda load: f"{load.flush_s:g} s"),
            ),
        ),
        "",
        f"Cores are used to {margin.use:.0%}; the input is kept {margin.input_hours} h and results"
        f" {margin.result_days} days in Kafka, {margin.replicas} copies each; a window of a minute"
        f" gives {loads[0].findings_each} findings a cell.",
        "",
        "## summarize, by encoding",
        "",
        "| encoding | µs an event | "
        + " | ".join(f"{load.name}: cores" for load in loads)
        + " | "
        + " | ".join("processes, partitions" for _ in loads)
        + " |",
        "|---|---|" + "---|" * (2 * len(loads)),
    ]
    for name, event_us in encodings:
        needs = [need(load, m, event_us, margin) for load in loads]
        lines.append(
            f"| {name} | {event_us:.2f} | "
            + " | ".join(f"{each.summarize_cores:.2f}" for each in needs)
            + " | "
            + " | ".join(f"{each.workers}, {each.input_partitions}" for each in needs)
            + " |"
        )
    needs = [need(load, m, m.json_us, margin) for load in loads]
    lines += [
        "",
        f"With 250 small models in one worker an event cost {m.many_models_us:.0f} µs, because"
        " few of"
        " a model come together: "
        + ", ".join(
            f"{load.per_second * m.many_models_us / 1e6:,.1f} cores for {load.name}"
            for load in loads
        )
        + ". Give groups of models topics and Deployments of their own before that.",
        "",
        "## The rest, with JSON",
        "",
        *_table(
            "",
            loads,
            needs,
            (
                ("input, MB/s", lambda each: f"{each.input_mb_s:,.0f}"),
                ("input on Kafka's disks, GB", lambda each: f"{each.input_disk_gb:,.0f}"),
                ("`driftline.summaries`, MB/s", lambda each: f"{each.summaries_mb_s:,.1f}"),
                ("judge, cores", lambda each: f"{each.judge_cores:.2f}"),
                ("judge, processes", lambda each: f"{each.judges}"),
                ("judge, memory of all together, GB", lambda each: f"{each.judge_gb:.1f}"),
                ("rows stored a second", lambda each: f"{each.rows_s:,.0f}"),
                ("store and engine, cores", lambda each: f"{each.store_cores:.1g}"),
                ("results on Kafka's disks, GB", lambda each: f"{each.result_kafka_gb:,.0f}"),
                ("ClickHouse, GB a day and replica", lambda each: f"{each.disk_gb_day:,.1f}"),
                ("the same for 400 days, TB", lambda each: f"{each.disk_gb_day * 0.4:,.1f}"),
            ),
        ),
        "",
        "How each is computed:",
        "",
        "- *cores of summarize* = events a second x µs an event. *Processes* = cores / "
        f"{margin.use:g}, two at least; *partitions* = twice as many, so that the group can"
        " double, or as many as"
        f" keep each below {margin.partition_bytes_s / 1e6:g} MB/s.",
        f"- *summaries* = cells x {m.summary_bytes:.0f} bytes x processes / flush interval: every"
        " worker"
        " sees every model. It grows with the number of workers and shrinks with the flush"
        " interval,"
        " which is why the larger load has a longer one; a verdict is later by as much.",
        f"- *judge* = cells / {margin.pane_s} s x {m.judge_us:g} µs, its writes included, and"
        f" {m.judge_mb * 1000:.1f} kB a cell. It was measured with the deltas of one worker; what"
        " merging"
        " those of many adds has not been measured. `kafka.partitions` bounds the processes and"
        " cannot"
        " be changed later: take four times what you need now.",
        f"- *store* = rows x ({m.store_us:g} + {m.engine_us:g}) µs; on disk {DISK['findings']:g}"
        " bytes a"
        f" finding and {DISK['windows']:g} a window, in Kafka {m.finding_bytes:g} bytes as JSON"
        " before"
        " compression.",
        f"- Consuming alone costs {m.consume_us:g} µs of the {m.json_us:g} µs of JSON: no monitor"
        " that"
        " looks at every message gets below that.",
        "",
        "**What to change first** when it does not fit: send Arrow or NDJSON (summarize); fewer"
        " segments"
        " (judge, store and summaries together); a longer `flush_interval` (summaries); shorter"
        " retention (disks).",
    ]
    return "\n".join(_wrapped(line) for line in lines) + "\n"


def _wrapped(line: str) -> str:
    """Paragraphs and items in lines of a hundred characters; tables and headings as they are."""
    if line.startswith(("|", "#")):
        return line
    return textwrap.fill(
        line, 100, subsequent_indent="  " if line.startswith("- ") else "", break_long_words=False
    )


def _table(
    corner: str,
    loads: Iterable[Load],
    columns: Sequence[Each],
    rows: Iterable[tuple[str, Callable[[Each], str]]],
) -> Iterator[str]:
    """The lines of a table: a column a load, a row a figure of what stands in ``columns``."""
    yield " ".join(
        ["|", *([corner] if corner else []), "|", " | ".join(load.name for load in loads), "|"]
    )
    yield "|---|" + "---|" * len(columns)
    for label, show in rows:
        yield f"| {label} | " + " | ".join(show(each) for each in columns) + " |"


def main() -> int:
    """Print the document, or write it."""
    text = document(measured(RESULTS.read_text(encoding="utf-8")))
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(text, encoding="utf-8")
        print(f"wrote {DOCUMENT.relative_to(REPOSITORY)}")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
