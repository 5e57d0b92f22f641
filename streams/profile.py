"""``driftline profile``: a reference from data you trust.

The source is a Parquet, CSV or Arrow file (told apart by its first bytes), or ``clickhouse:`` and
a SELECT. Columns that are already named as in events (``features.age``, ``scores.quality``,
``latency_ms``) are taken as they are, nested ones by their dotted path; others when an option
names them. The chosen columns are held in memory (8 bytes for a number), so that bins lie exactly
at the quantiles; what is larger than ``MOST_CELLS`` is refused rather than sampled in silence.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from detectors.arrow_rows import UnusableColumn, kind_of
from detectors.canary_rules import CanarySettings
from detectors.drift_settings import DriftSettings
from detectors.learning import series_of_table, taught
from detectors.learnt import description
from detectors.reference import EmptyReference, Reference, reference_from_table, to_json
from detectors.reference_file import InvalidReference
from sinks.errors import Permanent, Retryable
from streams.codecs.arrow_values import plain, to_times
from streams.errors import UnavailableError, UserError
from streams.timeline import TimeSettings

CLICKHOUSE = "clickhouse:"
_LATEST_MS = 4_102_444_800_000
MOST_CELLS = 250_000_000
_ALL = "*"
_TIME_COLUMNS = ("ts", "timestamp")
_EVENT_PREFIXES = ("features.", "scores.", "prediction.", "outcomes.")
_EVENT_COLUMNS = ("label", "latency_ms", "tokens_in", "tokens_out", "cost")
_NOT_FEATURES = (
    *("ts", "timestamp", "model", "version", "role", "type", "status"),
    *("request_id", "unit_id", "session_id"),
)
_TEXT_FILES = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".txt")
_SAMPLE = "give a sample of the rows, or select fewer columns"
_CODE = re.compile(r"\bCode: (\d+)")
_CODE_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{3,60})\)")
_CSV_ROW = re.compile(r"[Rr]ow #?(\d+)")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which columns of the source become which columns of events.

    ``features``: their names in the source, or ``("*",)`` for all that nothing else names;
    ``latency``: the column of latencies in milliseconds; ``segments``: columns whose values are
    slices of the traffic; ``rename``: any other column, by its name in the source; ``times``: the
    column with the time of each row ("": one called ts or timestamp, if there is any).
    """

    features: tuple[str, ...] = ()
    latency: str = ""
    segments: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    times: str = ""

    @classmethod
    def of(
        cls,
        features: str = "",
        latency: str = "",
        segments: str = "",
        rename: str = "",
        times: str = "",
    ) -> Selection:
        """From the options of the command line, ``a,b`` and ``y=prediction.label,z=label``."""
        pairs: dict[str, str] = {}
        for part in _listed(rename):
            old, equals, new = part.partition("=")
            if not equals or not old.strip() or not new.strip():
                raise UserError(f"{part!r} is not a renaming", "--rename", "write old=new,old=new")
            pairs[old.strip()] = new.strip()
        return cls(_listed(features), latency.strip(), _listed(segments), pairs, times.strip())

    def times_in(self, present: Sequence[str]) -> str | None:
        """The column of times. Raises UserError if the one that was named is not there."""
        if self.times and self.times not in present:
            hint = f"it has: {_shown(present)}"
            raise UserError(f"the source has no column {self.times!r}", "--ts", hint)
        return next((n for n in (self.times, *_TIME_COLUMNS) if n and n in present), None)

    def names(self, present: Sequence[str]) -> dict[str, str]:
        """The columns of the reference: from their names in events to those in the source.

        A segment's column is ``segments.x``; it may be a feature too. Raises UserError for a name
        that is not there, and for two columns of one name."""
        known = (n for n in present if n.startswith(_EVENT_PREFIXES) or n in _EVENT_COLUMNS)
        asked = [(old, old, "") for old in known if old not in self.rename]
        asked += [(old, new, "--rename") for old, new in self.rename.items()]
        if self.latency:
            asked.append((self.latency, "latency_ms", "--latency"))
        asked += [(n, f"features.{n}", "--features") for n in self.features if n != _ALL]
        for name in self.segments:
            label = f"segments.{name.removeprefix('segments.')}"
            asked.append((name if name in present else label, label, "--segments"))
        if _ALL in self.features:
            named = {old for old, _, _ in asked} | set(_NOT_FEATURES)
            rest = (n for n in present if n not in named and not n.startswith("segments."))
            asked += [(name, f"features.{name}", "--features") for name in rest]
        chosen: dict[str, str] = {}
        for old, new, option in asked:
            if old not in present:
                raise UserError(
                    f"the source has no column {old.removeprefix('segments.')!r}",
                    option,
                    f"it has: {_shown(present)}",
                )
            if chosen.setdefault(new, old) != old:
                raise UserError(
                    f"the columns {chosen[new]!r} and {old!r} both become {new!r}",
                    option or "the source",
                    "rename one of them, or leave it out",
                )
        return chosen


class QueryClient(Protocol):
    """What is needed of a ClickHouse client."""

    def query_arrow(self, query: str) -> Any:
        """The result of a query as an Arrow table."""
        ...


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
    said = f"reference {reference.id}: {rows} rows, {columns} columns, {segments} segments"
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
    query = _query_of(source)
    if query is not None:
        where, origin = "the ClickHouse query", "ClickHouse query"
        table = _select(query, connect)
    else:
        where, origin = source, Path(source).name
        table = _read_file(Path(source), selection, console or Console(stderr=True))
    flat = _flat(table)
    table = _chosen(flat, selection, where)
    segments = [name for name in table.schema.names if name.startswith("segments.")]
    try:
        reference = reference_from_table(model, table, origin, segments)
    except (EmptyReference, UnusableColumn, InvalidReference) as error:
        raise UserError(str(error), where, "choose other columns or another source") from error
    times = selection.times_in(flat.schema.names)
    if times is not None:
        teaching = teaching or Teaching()
        ts_ms = _times(flat.column(times), times)
        with _spinner(console or Console(stderr=True), "learning from panes"):
            series = series_of_table(reference, table, ts_ms, teaching.pane_ms)
            reference = taught(reference, series, teaching.drift, teaching.canary)
    if out is not None:
        _write(out, to_json(reference))
    return reference


def _query_of(source: str) -> str | None:
    if source.startswith(CLICKHOUSE):
        return source.removeprefix(CLICKHOUSE).strip()
    return source if re.match(r"\s*(select|with)\s", source, re.IGNORECASE) else None


def _select(query: str, connect: Callable[[], QueryClient] | None) -> Any:
    where = "the ClickHouse query"
    if connect is None:
        raise UserError("no ClickHouse is configured", where, "set store.url")
    try:
        return connect().query_arrow(query)
    except (Retryable, Permanent) as error:
        raise UnavailableError(str(error), where) from error
    except Exception as error:  # the driver raises many types, also urllib3's
        # The server's message may quote data and the driver's the address; their codes do not.
        code, name = _CODE.search(str(error)), _CODE_NAME.search(str(error))
        said = f"code {code[1]}" if code else type(error).__name__
        said += f", {name[1]}" if name else ""
        raise UserError(
            f"ClickHouse refused it ({said})", where, "run it with clickhouse-client to see why"
        ) from error


def _read_file(path: Path, selection: Selection, console: Console) -> Any:
    where = str(path)
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise UserError(
            f"the file cannot be read: {said}", where, "give a Parquet, CSV or Arrow file"
        ) from error
    if not magic:
        raise UserError("the file is empty", where, "give a file with rows")
    if magic.startswith(b"PAR1"):
        kind, read = "Parquet", _read_parquet
    elif magic == b"ARROW1":
        kind, read = "an Arrow file", _read_arrow_file
    elif magic.startswith(b"\xff\xff\xff\xff"):
        kind, read = "an Arrow stream", _read_arrow_stream
    elif path.name.lower().endswith(_TEXT_FILES):
        kind, read = "CSV", _read_csv
    else:
        raise UserError(
            "the file is neither Parquet nor Arrow, and is not called .csv",
            where,
            "give a Parquet, CSV or Arrow file",
        )
    try:
        return read(path, selection, console)
    except (pa.ArrowException, OSError, MemoryError) as error:
        # Arrow's messages quote values; only the row's number is taken from them.
        row = _CSV_ROW.search(str(error)) if kind == "CSV" else None
        spot = f", row {row[1]}" if row else ""
        raise UserError(
            f"the file cannot be read as {kind} ({type(error).__name__}{spot})",
            where,
            "check that it is complete and not damaged",
        ) from error


def _read_parquet(path: Path, selection: Selection, console: Console) -> Any:
    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        wanted = _wanted(schema, selection, str(path))
        _check_size(file.metadata.num_rows, len(wanted), str(path))
        groups = range(file.num_row_groups)
        parts = [
            file.read_row_group(group, columns=wanted)
            for group in _shown_progress(groups, console, "row groups")
        ]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _read_arrow_file(path: Path, selection: Selection, console: Console) -> Any:
    with pyarrow.ipc.open_file(pa.memory_map(str(path))) as file:
        batches = _shown_progress(range(file.num_record_batches), console, "batches")
        return _collect((file.get_batch(i) for i in batches), file.schema, selection, path)


def _read_arrow_stream(path: Path, selection: Selection, console: Console) -> Any:
    with pyarrow.ipc.open_stream(pa.memory_map(str(path))) as stream, _spinner(console):
        return _collect(stream, stream.schema, selection, path)


def _collect(batches: Iterable[Any], schema: Any, selection: Selection, path: Path) -> Any:
    wanted = _wanted(schema, selection, str(path))
    parts, rows = [], 0
    for batch in batches:
        rows += batch.num_rows
        _check_size(rows, len(wanted), str(path))
        parts.append(batch.select(wanted))
    picked = pa.schema([schema.field(name) for name in wanted])
    return pa.Table.from_batches(parts, picked)


def _read_csv(path: Path, selection: Selection, console: Console) -> Any:
    # Texts that are empty and not quoted are missing, as they are for numbers.
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    with _spinner(console):
        table = pyarrow.csv.read_csv(path, convert_options=options)
    wanted = _wanted(table.schema, selection, str(path))
    _check_size(table.num_rows, len(wanted), str(path))
    return table.select(wanted)


def _wanted(schema: Any, selection: Selection, where: str) -> list[str]:
    """The top-level columns to read: those that are chosen, and structs that may hold some."""
    _refuse_twice(schema.names, where)
    flat = _flat(schema.empty_table()).schema.names
    names = selection.names(flat)
    if all(new.startswith("segments.") for new in names):
        raise _none_chosen(flat, where)
    chosen = {*names.values(), selection.times_in(flat)}
    return [
        field.name
        for field in schema
        if field.name in chosen
        or (
            pa.types.is_struct(field.type)
            and any(name.startswith(f"{field.name}.") for name in chosen if name)
        )
    ]


def _flat(table: Any) -> Any:
    """Structs as columns with dotted names, at any depth."""
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def _chosen(table: Any, selection: Selection, where: str) -> Any:
    """The chosen columns under their names in events."""
    if not table.num_rows:
        raise UserError("the table has no rows", where, "give data with rows")
    _refuse_twice(table.schema.names, where)
    names = selection.names(table.schema.names)
    kinds = {new: kind_of(table.schema.field(old).type) for new, old in names.items()}
    # Asked for by name, a column must not vanish; among "*" it may.
    asked = {*selection.features, selection.latency, *selection.rename}
    for new, old in names.items():
        if kinds[new] is None and old in asked:
            raise UserError(f"column {old!r} holds neither numbers nor text", where, "leave it out")
    kept = [new for new in names if kinds[new] is not None or new.startswith("segments.")]
    if all(new.startswith("segments.") for new in kept):
        raise _none_chosen(table.schema.names, where)
    _check_size(table.num_rows, len(kept), where)
    return pa.Table.from_arrays([table.column(names[new]) for new in kept], names=kept)


def _none_chosen(present: Sequence[str], where: str) -> UserError:
    return UserError(
        "no usable column is chosen",
        where,
        f'choose some with --features "a,b" (or "*" for all); it has: {_shown(present)}',
    )


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"column {twice[0]!r} stands more than once", where, "rename it in the source"
        )


def _check_size(rows: int, columns: int, where: str) -> None:
    if rows * columns > MOST_CELLS:
        raise UserError(
            f"{columns} columns of {rows} or more rows are over {MOST_CELLS} values", where, _SAMPLE
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (" and more" if len(names) > 20 else "")


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


def _shown_progress(steps: range, console: Console, unit: str) -> Iterable[int]:
    if not console.is_terminal or len(steps) < 2:
        yield from steps
        return
    columns = TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        yield from progress.track(steps)


def _spinner(console: Console, doing: str = "reading") -> AbstractContextManager[object]:
    return console.status(doing) if console.is_terminal else nullcontext()


def _times(column: Any, name: str) -> NDArray[np.int64]:
    """As int64 ms, by the rules for the ``ts`` of events; -1 where there is no time."""
    ts_ms = to_times(plain(column.combine_chunks()))
    usable = (ts_ms >= 0) & (ts_ms < _LATEST_MS)
    if not usable.any():
        raise UserError(
            f"column {name!r} holds no time", "--ts", "give times as ISO 8601, or s, ms, µs or ns"
        )
    return np.where(usable, ts_ms, -1)
