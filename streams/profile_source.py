"""Tables that a reference is made of: a SELECT or a file. Parquet and Arrow are told by their first
bytes, CSV and lines of JSON by the name of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sinks.errors import Permanent, Retryable
from streams.errors import UnavailableError, UserError
from streams.profile_selection import Selection, check_size, wanted

CLICKHOUSE = "clickhouse:"
_TEXT_FILES = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".txt")
_LINES_FILES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
_GIVE = "give a Parquet, Arrow or CSV file, or lines of JSON"
_CODE = re.compile(r"\bCode: (\d+)")
_CODE_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{3,60})\)")
_CSV_ROW = re.compile(r"[Rr]ow #?(\d+)")


class QueryClient(Protocol):
    """What is needed of a ClickHouse client."""

    def query_arrow(self, query: str) -> Any:
        """The result of a query as an Arrow table."""
        ...


def query_of(source: str) -> str | None:
    if source.startswith(CLICKHOUSE):
        return source.removeprefix(CLICKHOUSE).strip()
    return source if re.match(r"\s*(select|with)\s", source, re.IGNORECASE) else None


def select(query: str, connect: Callable[[], QueryClient] | None) -> Any:
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


def read_file(path: Path, selection: Selection, console: Console) -> Any:
    where = str(path)
    try:
        with path.open("rb") as file:
            magic = file.read(6)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise UserError(f"the file cannot be read: {said}", where, _GIVE) from error
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
    elif path.name.lower().endswith(_LINES_FILES):
        kind, read = "lines of JSON", _read_lines
    else:
        raise UserError(
            "the file is neither Parquet nor Arrow, and is not called .csv or .ndjson", where, _GIVE
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
        names = wanted(schema, selection, str(path))
        check_size(file.metadata.num_rows, len(names), str(path))
        groups = range(file.num_row_groups)
        parts = [
            file.read_row_group(group, columns=names)
            for group in _shown_progress(groups, console, "row groups")
        ]
    return pa.concat_tables(parts) if parts else schema.empty_table()


def _read_arrow_file(path: Path, selection: Selection, console: Console) -> Any:
    with pyarrow.ipc.open_file(pa.memory_map(str(path))) as file:
        batches = _shown_progress(range(file.num_record_batches), console, "batches")
        return _collect((file.get_batch(i) for i in batches), file.schema, selection, path)


def _read_arrow_stream(path: Path, selection: Selection, console: Console) -> Any:
    with pyarrow.ipc.open_stream(pa.memory_map(str(path))) as stream, spinner(console):
        return _collect(stream, stream.schema, selection, path)


def _collect(batches: Iterable[Any], schema: Any, selection: Selection, path: Path) -> Any:
    names = wanted(schema, selection, str(path))
    parts, rows = [], 0
    for batch in batches:
        rows += batch.num_rows
        check_size(rows, len(names), str(path))
        parts.append(batch.select(names))
    picked = pa.schema([schema.field(name) for name in names])
    return pa.Table.from_batches(parts, picked)


def _read_csv(path: Path, selection: Selection, console: Console) -> Any:
    # Texts that are empty and not quoted are missing, as they are for numbers.
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
    with spinner(console):
        table = pyarrow.csv.read_csv(path, convert_options=options)
    return _picked(table, selection, path)


def _read_lines(path: Path, selection: Selection, console: Console) -> Any:
    with spinner(console):
        table = pyarrow.json.read_json(str(path))
    return _picked(table, selection, path)


def _picked(table: Any, selection: Selection, path: Path) -> Any:
    names = wanted(table.schema, selection, str(path))
    check_size(table.num_rows, len(names), str(path))
    return table.select(names)


def _shown_progress(steps: range, console: Console, unit: str) -> Iterable[int]:
    if not console.is_terminal or len(steps) < 2:
        yield from steps
        return
    columns = TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TextColumn(unit)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        yield from progress.track(steps)


def spinner(console: Console, doing: str = "reading") -> AbstractContextManager[object]:
    return console.status(doing) if console.is_terminal else nullcontext()
