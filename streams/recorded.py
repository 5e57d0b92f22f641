"""Recorded events, in the order of their times: what ``driftline backtest`` reads.

A recording is one or several files (Parquet, Arrow, lines of JSON, plain or gzipped) or the
partitions of a topic. Each is read block by block, so memory holds one block of each file whose
times overlap those of another, however long the recording is. The events are handed on as
messages in the format that producers send, so that the same codecs read them.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from streams.codecs import make_codec
from streams.codecs.arrow_rows import read_batch
from streams.errors import UserError, some_of
from streams.event import Bounds, Codec
from streams.inputs import InputFormat, InputSettings
from streams.recorded_lines import read_lines
from streams.timeline import NEVER, aligned

TOPIC: Final = "recorded"
"""The topic that events of files are taken to come from."""
ROWS_AT_ONCE: Final = 8_192
MOST_FILES: Final = 10_000
_SUFFIXES: Final = (
    ".parquet",
    ".arrow",
    ".arrows",
    ".feather",
    ".ndjson",
    ".jsonl",
    ".json",
    ".gz",
)
_NEEDED: Final = ("ts", "model", "version")


@dataclass(frozen=True, slots=True)
class Written:
    """A message of a recording. ``kafka_ms``: the timestamp Kafka gave it, 0 if it had none."""

    value: bytes | None
    kafka_ms: int = 0
    headers: Sequence[tuple[str, bytes]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some events in the order of recording: rows of a table, lines, or messages.

    ``clock_ms``: int64, newest event time up to and with each of them, NEVER before the first that
    has one; never decreasing. ``written(low, high)``: messages that hold the events low to high.
    ``size``: in the unit of :attr:`Recording.size`.
    """

    clock_ms: NDArray[np.int64]
    written: Callable[[int, int], list[Written]]
    size: int = 0

    def part(self, low: int, high: int) -> Block:
        """The events from ``low`` up to ``high``; the block's size goes to its last part."""
        last = high == len(self.clock_ms)
        return Block(
            self.clock_ms[low:high],
            lambda start, end: self.written(low + start, low + end),
            self.size if last else 0,
        )


@dataclass(frozen=True, slots=True)
class Stream:
    """One file or partition: its name, and how to read it from its beginning."""

    name: str
    read: Callable[[], Generator[Block]]


@dataclass(frozen=True, slots=True)
class Recording:
    """``input``: how its messages are written; ``size``: of all of it, to show progress."""

    name: str
    input: InputSettings
    streams: tuple[Stream, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Columns:
    """How a table that is not quite in the form of events becomes one: ``rename`` from the name in
    the file to the one in events, ``constants`` for columns that are the same in every row. They
    apply to Parquet and Arrow files."""

    rename: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)


def open_files(path: Path, columns: Columns, latest_ms: int) -> Recording:
    """A file, or all files below a folder. Raises UserError for what cannot be read.

    ``latest_ms``: no event can be later than this (a little after now).
    """
    files = _files(path)
    bounds = Bounds(min_ts_ms=0, max_ts_ms=latest_ms)
    formats = {_format_of(file) for file in files}
    if len(formats) > 1:
        raise UserError(
            "holds tables and lines of JSON", str(path), "replay one kind after the other"
        )
    (format_,) = formats
    if format_ is InputFormat.NDJSON and (columns.rename or columns.constants):
        raise UserError(
            "lines of JSON are taken as they are", str(path), "leave out --rename and --set"
        )

    def stream(file: Path) -> Stream:
        if format_ is InputFormat.NDJSON:
            return Stream(str(file), lambda: _lines(file, bounds))
        return Stream(str(file), lambda: _tables(file, columns, bounds))

    return Recording(
        str(path),
        InputSettings(topic=TOPIC, format=format_),
        tuple(stream(file) for file in files),
        sum(file.stat().st_size for file in files),
    )


def in_order(recording: Recording, grain_ms: int) -> Iterator[Block]:
    """The events of all streams merged by their times, to within ``grain_ms``: no event comes
    after one of another stream that lies in a later interval of that length. Within a stream the
    order is that of recording. A stream is open only while it has its turn."""
    heads = [(_first_ms(stream), index) for index, stream in enumerate(recording.streams)]
    heapq.heapify(heads)
    turns: dict[int, _Turn] = {}
    while heads:
        _, index = heapq.heappop(heads)
        if index not in turns:
            turns[index] = _Turn(recording.streams[index].read())
        until = aligned(heads[0][0], grain_ms) + grain_ms if heads else None
        yield from turns[index].up_to(until)
        head_ms = turns[index].head_ms
        if head_ms is None:
            del turns[index]
        else:
            heapq.heappush(heads, (head_ms, index))


class _Turn:
    """Where the reading of one stream stands."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        self._blocks = blocks
        self._block = next(blocks, None)
        self._at = 0

    @property
    def head_ms(self) -> int | None:
        """The clock at the next event; None at the end."""
        return None if self._block is None else int(self._block.clock_ms[self._at])

    def up_to(self, until_ms: int | None) -> Iterator[Block]:
        """The next events, as long as their clock is before ``until_ms`` (None: all of them)."""
        while self._block is not None:
            clock = self._block.clock_ms
            end = len(clock) if until_ms is None else int(np.searchsorted(clock, until_ms))
            if end > self._at:
                yield self._block.part(self._at, end)
                self._at = end
            if end < len(clock):
                return
            newest = int(clock[-1])
            self._block, self._at = next(self._blocks, None), 0
            if self._block is not None:
                np.maximum(self._block.clock_ms, newest, out=self._block.clock_ms)


def _first_ms(stream: Stream) -> int:
    with closing(stream.read()) as blocks:
        block = next(blocks, None)
    return NEVER if block is None else int(block.clock_ms[0])


# --- files ---------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        files = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and file.suffix in _SUFFIXES and file.name[0] not in "._"
        )
    except OSError as error:
        raise _unreadable(path, error) from None
    if not files:
        raise UserError(
            "no recorded events here", str(path), f"give files that end in {', '.join(_SUFFIXES)}"
        )
    if len(files) > MOST_FILES:
        raise UserError(f"holds more than {MOST_FILES} files", str(path), "give a part of them")
    return files


def _format_of(path: Path) -> InputFormat:
    """By the first bytes: names lie."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise _unreadable(path, error) from None
    if head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        return InputFormat.ARROW
    if head.startswith(b"\x1f\x8b") or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return InputFormat.NDJSON
    raise UserError(
        "neither Parquet nor Arrow nor lines of JSON objects" if head else "the file is empty",
        str(path),
        "convert it to one of these, one event a row or line",
    )


def _unreadable(path: Path, error: Exception) -> UserError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return UserError(f"cannot be read: {why}", str(path), "is the file whole, and may you read it?")


def _lines(path: Path, bounds: Bounds) -> Generator[Block]:
    """Lines of JSON. Where one cannot be read, the clock stands."""
    codec = make_codec(InputFormat.JSON.value)
    size = path.stat().st_size
    read = 0
    try:
        for lines, position in read_lines(path, bounds.max_message_bytes):
            done, read = position - read, position
            clock = message_clock(codec, lines, None, bounds)
            yield Block(clock, _joined(lines), min(done, size))
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from None


def _joined(lines: list[bytes]) -> Callable[[int, int], list[Written]]:
    return lambda low, high: [Written(b"\n".join(lines[low:high]))]


def message_clock(
    codec: Codec, values: Sequence[bytes | None], kafka_ms: Sequence[int] | None, bounds: Bounds
) -> NDArray[np.int64]:
    """Newest event time up to each message, int64 [messages], as in :class:`Block`."""
    newest = np.full(len(values), NEVER, np.int64)
    for batch in codec.decode(values, kafka_ms, bounds).batches:
        np.maximum.at(newest, batch.source, batch.ts_ms)
    return np.maximum.accumulate(newest)


def _tables(path: Path, columns: Columns, bounds: Bounds) -> Generator[Block]:
    """Record batches of a Parquet or Arrow file, ``ROWS_AT_ONCE`` rows each."""
    size = path.stat().st_size
    try:
        checked = False
        total, batches = _batches(path)
        for large in batches:
            for at in range(0, large.num_rows, ROWS_AT_ONCE):
                batch = _as_events(large.slice(at, ROWS_AT_ONCE), columns, path)
                if not checked:
                    _check_columns(batch.schema.names, path)
                    checked = True
                share = size * batch.num_rows // total if total else 0
                yield Block(_row_clock(batch, bounds, path), _as_stream(batch), share)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _batches(path: Path) -> tuple[int, Iterator[Any]]:
    """How many rows a file has (0: not known beforehand), and its record batches."""
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"PAR1"):
        parquet = pyarrow.parquet.ParquetFile(path)
        return parquet.metadata.num_rows, parquet.iter_batches(ROWS_AT_ONCE)
    source = pa.memory_map(str(path))
    if head.startswith(b"ARROW1"):
        reader = pa.ipc.open_file(source)
        return 0, (reader.get_batch(i) for i in range(reader.num_record_batches))
    return 0, iter(pa.ipc.open_stream(source))


def _as_events(batch: Any, columns: Columns, path: Path) -> Any:
    names = batch.schema.names
    missing = sorted(set(columns.rename) - set(names))
    if missing:
        raise UserError(f"has no column {missing[0]!r}", str(path), f"it has: {some_of(names)}")
    renamed = [columns.rename.get(name, name) for name in names]
    arrays = dict(zip(renamed, batch.columns, strict=True))
    for name, text in columns.constants.items():
        arrays[name] = pa.repeat(pa.scalar(text), batch.num_rows)
    if len(set(renamed)) < len(renamed):
        raise UserError("two columns get the same name", "--rename", "rename one of them otherwise")
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _check_columns(names: Sequence[str], path: Path) -> None:
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UserError(
            f"events need {' and '.join(missing)}, and the file has no such column",
            str(path),
            f"name them: --rename COLUMN={missing[0]} or, the same for all, --set"
            f" {missing[-1]}=VALUE; it has: {some_of(names)}",
        )


def _row_clock(batch: Any, bounds: Bounds, path: Path) -> NDArray[np.int64]:
    """As :attr:`Block.clock_ms`, from the times alone; the other columns are read later, once."""
    try:
        ts = read_batch(batch.select(["ts"]), None, bounds, request_ids=False).ts_ms
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"the column ts is of type {batch.schema.field('ts').type}",
            str(path),
            "give timestamps, epoch numbers or ISO 8601 text",
        ) from None
    usable = (ts >= bounds.min_ts_ms) & (ts <= bounds.max_ts_ms)
    return np.maximum.accumulate(np.where(usable, ts, NEVER))


def _as_stream(batch: Any) -> Callable[[int, int], list[Written]]:
    def written(low: int, high: int) -> list[Written]:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch.slice(low, high - low))
        return [Written(sink.getvalue().to_pybytes())]

    return written
