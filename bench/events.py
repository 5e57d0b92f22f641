"""Seeded events for the benchmarks: the same seed gives the same bytes on every machine.

The standard event is a prediction with 25 columns: 20 numbers (``latency_ms`` and 19 features) with
four decimals, of which one is null in 10 % of the events, and 5 texts (``prediction.label`` and 4
features). As compact JSON it has about 610 bytes; with full-precision floats about 850.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.reference import Reference, reference_from_table
from detectors.release import Role

START_MS = 1_780_000_000_000
"""Event time of the first event, fixed so that the bytes are too (28 May 2026)."""
NULL_SHARE = 0.1
_TEXTS = (
    ("approve", "decline", "review"),
    ("alpha", "beta", "gamma", "delta"),
    ("north", "south", "east", "west"),
    tuple(f"merchant-{i:02d}" for i in range(30)),
    ("web", "app", "phone"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What an event holds: ``numeric`` and ``text`` columns (at least one of each), and the
    ``decimals`` of numbers; None writes all 17 digits."""

    numeric: int = 20
    text: int = 5
    decimals: int | None = 4

    @property
    def columns(self) -> int:
        return self.numeric + self.text


@dataclass(frozen=True, slots=True)
class Source:
    """One release that sends events."""

    model: str = "fraud"
    version: str = "7"
    role: Role = Role.PRODUCTION


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """``ts_ms``: int64 [rows], increasing; ``sources``: int64 [rows], index into ``known``;
    ``numbers``: float64 [rows, numeric], NaN for null; ``texts``: int64 [rows, text], index into
    the values of :func:`text_values`. The first number is the latency, the first text the label."""

    shape: Shape
    known: Sequence[Source]
    ts_ms: NDArray[np.int64]
    sources: NDArray[np.int64]
    numbers: NDArray[np.float64]
    texts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ts_ms)


def generate(
    rows: int,
    seed: int,
    shape: Shape | None = None,
    known: Sequence[Source] = (Source(),),
    start_ms: int = START_MS,
    per_second: float = 10_000.0,
) -> Events:
    """``rows`` events, evenly spread over event time, each from one of ``known`` by chance."""
    shape = shape or Shape()
    random = np.random.default_rng(seed)
    numbers = random.normal(size=(rows, shape.numeric))
    numbers[:, 0] = random.lognormal(4.0, 0.5, rows)
    if shape.decimals is not None:
        numbers = np.round(numbers, shape.decimals)
    numbers += 0.0  # no -0.0, which would be written differently by each format
    nulls = np.flatnonzero(random.random(rows) < NULL_SHARE)
    if shape.numeric > 1:
        numbers[nulls, random.integers(1, shape.numeric, len(nulls))] = np.nan
    sizes = [len(text_values(column)) for column in range(shape.text)]
    return Events(
        shape,
        known,
        start_ms + (np.arange(rows) * (1000.0 / per_second)).astype(np.int64),
        random.integers(0, len(known), rows),
        numbers,
        np.stack([random.integers(0, size, rows) for size in sizes], axis=1),
    )


def text_values(column: int) -> tuple[str, ...]:
    """The values of a text column, by its number."""
    return _TEXTS[column % len(_TEXTS)]


def json_messages(events: Events) -> list[bytes]:
    """One compact JSON event a message."""
    return list(_lines(events))


def ndjson_messages(events: Events, lines: int = 100) -> list[bytes]:
    """``lines`` events a message, one a line."""
    every = json_messages(events)
    return [b"\n".join(every[at : at + lines]) for at in range(0, len(every), lines)]


def arrow_messages(events: Events, rows: int = 1_000) -> list[bytes]:
    """One Arrow IPC stream a message, with dotted column names."""
    table = arrow_table(events)
    return [_stream(table.slice(at, rows)) for at in range(0, len(events), rows)]


def arrow_table(events: Events) -> Any:
    """All events as one Arrow table, with dotted column names and dictionary-coded texts."""
    known = events.known
    columns: dict[str, Any] = {
        "ts": pa.array(events.ts_ms, pa.timestamp("ms", "UTC")),
        "model": _dictionary(events.sources, [source.model for source in known]),
        "version": _dictionary(events.sources, [source.version for source in known]),
        "role": _dictionary(events.sources, [source.role.value for source in known]),
    }
    columns |= _values(events)
    return pa.table(columns)


def reference_of(events: Events, model: str) -> Reference:
    """A reference on the values of these events."""
    return reference_from_table(model, pa.table(_values(events)), "generated")


def _values(events: Events) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: pa.array(values, from_pandas=True)  # NaN becomes null, as it is in JSON
        for name, values in zip(_number_names(events.shape), events.numbers.T, strict=True)
    }
    for column, codes in enumerate(events.texts.T):
        name = _text_names(events.shape)[column]
        columns[name] = _dictionary(codes, list(text_values(column)))
    return columns


def _number_names(shape: Shape) -> list[str]:
    return ["latency_ms", *(f"features.amount_{i:02d}" for i in range(1, shape.numeric))]


def _text_names(shape: Shape) -> list[str]:
    return ["prediction.label", *(f"features.txt_{i}" for i in range(1, shape.text))]


def _dictionary(codes: NDArray[np.int64], values: Sequence[str]) -> Any:
    names = list(dict.fromkeys(values))  # a dictionary names nothing twice
    place = np.array([names.index(value) for value in values], np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(place[codes]), pa.array(names))


def _stream(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def _lines(events: Events) -> Iterator[bytes]:
    templates = [_template(events.shape, null) for null in range(-1, events.shape.numeric)]
    times = np.datetime_as_string(events.ts_ms.astype("datetime64[ms]")).tolist()
    values = [text_values(column) for column in range(events.shape.text)]
    missing = np.isnan(events.numbers)
    null_at = np.where(missing.any(axis=1), missing.argmax(axis=1), -1).tolist()
    heads = [(source.model, source.version, source.role.value) for source in events.known]
    for i, (ts, source, numbers, codes, null) in enumerate(
        zip(
            times,
            events.sources.tolist(),
            events.numbers.tolist(),
            events.texts.tolist(),
            null_at,
            strict=True,
        )
    ):
        label, *texts = (values[column][code] for column, code in enumerate(codes))
        if null >= 0:
            del numbers[null]
        filled = templates[null + 1] % (ts, *heads[source], i, *numbers, *texts, label)
        yield filled.encode()


def _template(shape: Shape, null: int) -> str:
    """The JSON text of an event, to be filled in with %; the number ``null`` (-1: none) is null.
    The label, the first text, stands last."""
    form = "%r" if shape.decimals is None else f"%.{shape.decimals}f"
    number = ["null" if i == null else form for i in range(shape.numeric)]
    features = [f'"amount_{i:02d}":{number[i]}' for i in range(1, shape.numeric)]
    features += [f'"txt_{i}":"%s"' for i in range(1, shape.text)]
    return (
        '{"ts":"%sZ","model":"%s","version":"%s","role":"%s","request_id":"q-%08d",'
        f'"latency_ms":{number[0]},"features":{{{",".join(features)}}},'
        '"prediction":{"label":"%s"}}'
    )
