"""``driftline profile``: a reference from data you trust.

The source is a Parquet, Arrow, CSV or NDJSON file, or ``clickhouse:`` and a SELECT. Columns that
are already named as in events (``features.age``, ``scores.quality``, ``latency_ms``) are taken as
they are, nested ones by their dotted path; others when an option names them. The chosen columns are
held in memory (8 bytes for a number), so that bins lie exactly at the quantiles; what is larger
than ``MOST_CELLS`` is refused rather than sampled in silence.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from detectors.arrow_rows import UnusableColumn
from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.learning import series_of_table, taught
from detectors.learnt import description
from detectors.plural import plural
from detectors.reference import EmptyReference, Reference, reference_from_table, to_json
from detectors.reference_file import InvalidReference
from streams.codecs.arrow_values import plain, to_times
from streams.errors import UserError
from streams.profile_selection import Selection, chosen, flat
from streams.profile_source import QueryClient, query_of, read_file, select, spinner
from streams.timeline import TimeSettings

_LATEST_MS = 4_102_444_800_000


class _Settings(Protocol):
    @property
    def store(self) -> Any: ...
    @property
    def time(self) -> TimeSettings: ...
    def model(self, name: str) -> _ModelSettings: ...


class _ModelSettings(Protocol):
    @property
    def drift(self) -> DriftSettings: ...
    @property
    def canary(self) -> CanarySettings: ...


def run(
    settings: _Settings,
    source: str,
    model: str,
    out: Path | None = None,
    selection: Selection | None = None,
) -> int:
    """The command: write the reference to ``out``, or to the standard output without one."""

    def connect() -> QueryClient:
        from sinks import clickhouse

        client: QueryClient = clickhouse.connect(settings.store)
        return client

    own = settings.model(model)
    teaching = Teaching(own.drift, own.canary, settings.time.pane_ms)
    reference = profile(
        source, model, selection or Selection(), out, teaching=teaching, connect=connect
    )
    if out is None:
        sys.stdout.buffer.write(to_json(reference))
        sys.stdout.buffer.flush()
    rows = reference.summaries.events
    columns, segments = len(reference.layout.columns), len(reference.segments)
    counts = (plural(rows, "row"), plural(columns, "column"), plural(segments, "segment"))
    said = f"reference {reference.id}: {', '.join(counts)}"
    console = Console(stderr=True, highlight=False)
    console.print(said, markup=False, soft_wrap=True)
    console.print(f"drift: {description(reference.learnt)}", markup=False, soft_wrap=True)
    return 0


@dataclass(frozen=True, slots=True)
class Teaching:
    """What panes are to teach the reference: for which settings, in how long panes."""

    drift: DriftSettings = field(default_factory=DriftSettings)
    canary: CanarySettings = field(default_factory=CanarySettings)
    pane_ms: int = TimeSettings().pane_ms


def profile(
    source: str,
    model: str,
    selection: Selection,
    out: Path | None = None,
    *,
    teaching: Teaching | None = None,
    connect: Callable[[], QueryClient] | None = None,
    console: Console | None = None,
) -> Reference:
    """Make a reference and write its file (whole or not at all). Raises UserError.

    Where the rows have times, it also learns from their panes what drift needs to know: seasons,
    and how far rows depend on one another.
    """
    if not model.strip():
        raise UserError("the model has no name", "--model", "name it as its events do")
    query = query_of(source)
    if query is not None:
        where, origin = "the ClickHouse query", "ClickHouse query"
        table = select(query, connect)
    else:
        where, origin = source, Path(source).name
        table = read_file(Path(source), selection, console or Console(stderr=True))
    present = flat(table)
    table = chosen(present, selection, where)
    segments = [name for name in table.schema.names if name.startswith("segments.")]
    try:
        reference = reference_from_table(model, table, origin, segments)
    except (EmptyReference, UnusableColumn, InvalidReference) as error:
        raise UserError(str(error), where, "choose other columns or another source") from error
    times = selection.times_in(present.schema.names)
    if times is not None:
        teaching = teaching or Teaching()
        ts_ms = _times(present.column(times), times)
        with spinner(console or Console(stderr=True), "learning from panes"):
            series = series_of_table(reference, table, ts_ms, teaching.pane_ms)
            reference = taught(reference, series, teaching.drift, teaching.canary)
    if out is not None:
        _write(out, to_json(reference))
    return reference


def _times(column: Any, name: str) -> NDArray[np.int64]:
    """As int64 ms, by the rules for the ``ts`` of events; -1 where there is no time."""
    ts_ms = to_times(plain(column.combine_chunks()))
    usable = (ts_ms >= 0) & (ts_ms < _LATEST_MS)
    if not usable.any():
        raise UserError(
            f"column {name!r} holds no time", "--ts", "give times as ISO 8601, or s, ms, µs or ns"
        )
    return np.where(usable, ts_ms, -1)


def _write(out: Path, data: bytes) -> None:
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(out)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise UserError(
            f"the reference cannot be written: {said}", str(out), "give another --out"
        ) from error
    finally:
        part.unlink(missing_ok=True)
