"""A codec without guards: what stands in a message is believed.

It is what a consumer is that somebody writes in an hour. A batch is read by Python's and Arrow's
own parsers, and whatever they raise ends the batch. Numbers are what ``float`` and int64 make of
them; every name is a name (made harmless for a page by changing it); nothing is too long, too old
or too much; every message is a prediction. The cells that are about reading run with it in place of
the codecs, and must then fail.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.release import Role
from streams.event import Bounds, Categorical, Decoded, EventBatch, EventKind

Row = Mapping[str, Any]


def naive_codec(name: str, keep_request_ids: bool = False) -> Naive:
    """In the place of ``make_codec``."""
    del keep_request_ids
    return Naive(name)


class Naive:
    """Reads JSON objects; with the name ``arrow`` Arrow streams."""

    def __init__(self, name: str) -> None:
        self.name = name

    def decode(
        self, values: Sequence[bytes | None], kafka_ts_ms: Sequence[int] | None, bounds: Bounds
    ) -> Decoded:
        del kafka_ts_ms, bounds
        read = _arrow if self.name == "arrow" else _json
        try:
            rows = [(at, row) for at, value in enumerate(values) for row in read(value or b"")]
            by_model: dict[str, list[tuple[int, Row]]] = {}
            for at, row in rows:
                by_model.setdefault(html.escape(row["model"]), []).append((at, row))
            batches = tuple(_batch(model, some) for model, some in by_model.items())
        except (
            LookupError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
            OSError,
            pa.ArrowException,
        ):
            return Decoded((), (), np.ones(len(values), np.int64))
        seen = np.bincount([at for at, _ in rows], minlength=len(values)).astype(np.int64)
        return Decoded(batches, (), seen)


def _json(value: bytes) -> list[Row]:
    found = json.loads(value, object_pairs_hook=_once)
    if not isinstance(found, dict):
        raise TypeError(type(found).__name__)
    return [found]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _arrow(value: bytes) -> list[Row]:
    with pa.ipc.open_stream(value) as stream:
        table = stream.read_all()
    names = table.column("model").to_pylist()
    others = [name for name in table.column_names if name != "model"]
    columns = {name: table.column(name).to_pylist() for name in others}
    return [
        {"model": model, **{name: column[i] for name, column in columns.items()}}
        for i, model in enumerate(names)
    ]


def _batch(model: str, found: list[tuple[int, Row]]) -> EventBatch:
    rows = [row for _, row in found]
    releases = sorted({str(row["version"]) for row in rows})
    codes = [releases.index(str(row["version"])) for row in rows]
    numbers: dict[str, list[Any]] = {}
    texts: dict[str, list[str | None]] = {}
    for i, row in enumerate(rows):
        for name, value in _columns(row):
            if isinstance(value, str) and not name.startswith("latency"):
                texts.setdefault(name, [None] * len(rows))[i] = value
            else:
                numbers.setdefault(name, [float("nan")] * len(rows))[i] = _number(value)
    segments: dict[str, list[str | None]] = {}
    for i, row in enumerate(rows):
        for key, value in dict(row.get("segments", {})).items():
            segments.setdefault(key, [None] * len(rows))[i] = value
    return EventBatch(
        model=model,
        kind=EventKind.PREDICTION,
        rows=len(rows),
        ts_ms=np.array([_time(row["ts"]) for row in rows], np.int64),
        source=np.array([at for at, _ in found], np.int64),
        releases=tuple((version, Role.PRODUCTION) for version in releases),
        release=np.array(codes, np.int32),
        failed=np.zeros(len(rows), np.bool_),
        segments={key: _coded(column) for key, column in segments.items()},
        numeric={name: np.array(column, np.float64) for name, column in numbers.items()},
        categorical={name: _coded(column) for name, column in texts.items()},
    )


def _columns(row: Row) -> list[tuple[str, Any]]:
    found = [(f"features.{name}", value) for name, value in row.get("features", {}).items()]
    if "prediction" in row:
        found.append(("prediction.label", row["prediction"]))
    if "latency_ms" in row:
        found.append(("latency_ms", row["latency_ms"]))
    return found


def _number(value: Any) -> float:
    return float(np.int64(value)) if isinstance(value, int) else float(value)


def _time(value: Any) -> int:
    if isinstance(value, str):
        return int(datetime.fromisoformat(value).timestamp() * 1000)
    return int(value)


def _coded(column: Sequence[str | None]) -> Categorical:
    known = {value: code for code, value in enumerate(dict.fromkeys(filter(None, column)))}
    codes = [-1 if not value else known[value] for value in column]
    return Categorical(np.array(codes, np.int32), tuple(known))
