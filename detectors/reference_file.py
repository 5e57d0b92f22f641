"""How a reference is written down: JSON that reads well, and the id that its content has.

**Guarantee.** The id is the BLAKE2b-128 of the canonical JSON of everything else: keys sorted,
columns sorted, no spaces, shortest decimal form of each double. It depends neither on the order of
columns nor on the platform, and reading refuses a file whose content does not hash to its id.
Reading refuses too whatever is too large, not finite or does not add up.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated, Any

import msgspec
import numpy as np

from detectors.categories import CategoryCounts
from detectors.fixed_point import Grid
from detectors.layout import CLIPPED_FIRST, ERRORS, HEADERS, ColumnSpec, Kind, Layout, N
from detectors.learnt import Learnt, LearntFile, from_file, written
from detectors.sketch import MANTISSA_BITS, Sketch
from detectors.summary import Summaries, no_extremes

FORMAT = "driftline-reference-1"
MOST_BYTES = 64 * 1024 * 1024
MOST_SEGMENTS = 1000
MOST_COLUMNS = 5000
MOST_NAME_CHARS = 1000
_MOST_EDGES = 1000
_HIGHEST_KEY = 2047 << MANTISSA_BITS

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_NAME_CHARS)]
_Moments = Annotated[list[int], msgspec.Meta(min_length=6, max_length=6)]


class InvalidReference(ValueError):
    """A reference file cannot be used. The text says what is wrong with it."""


class _NumericSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="numeric", tag_field="kind"
):
    name: _Name
    edges: Annotated[list[float], msgspec.Meta(max_length=_MOST_EDGES)]
    center: float
    scale: Annotated[float, msgspec.Meta(gt=0)]
    sketch: bool


class _CategoricalSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="categorical", tag_field="kind"
):
    name: _Name
    categories: Annotated[list[str], msgspec.Meta(max_length=_MOST_EDGES)]


class _Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One column's figures; ``moments`` are the slots from CLIPPED_FIRST to SECOND_LOW."""

    name: str
    n: _Count
    errors: _Count
    bins: Annotated[list[_Count], msgspec.Meta(max_length=_MOST_EDGES + 1)]
    moments: _Moments | None = None
    min: float | None = None
    max: float | None = None
    buckets: list[int] | None = None
    counts: list[_Count] | None = None
    rest: dict[str, _Count] | None = None
    other: _Count | None = None
    cap: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class _Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    events: Annotated[list[_Count], msgspec.Meta(min_length=len(HEADERS), max_length=len(HEADERS))]
    columns: Annotated[list[_Column], msgspec.Meta(max_length=MOST_COLUMNS)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    id: str
    model: _Name
    origin: str
    layout: Annotated[list[_NumericSpec | _CategoricalSpec], msgspec.Meta(max_length=MOST_COLUMNS)]
    all: _Counted
    segments: dict[str, _Counted]
    learnt: LearntFile | None = None


def content_of(
    model: str,
    origin: str,
    summaries: Summaries,
    segments: Mapping[str, Summaries],
    learnt: Learnt | None = None,
) -> dict[str, Any]:
    """Everything that makes a reference, without its id, as plain JSON values.

    Raises :class:`InvalidReference` for what :func:`read` would refuse as too large."""
    layout = summaries.layout
    if len(layout.columns) > MOST_COLUMNS or len(segments) > MOST_SEGMENTS:
        raise InvalidReference(
            f"it has {len(layout.columns)} columns and {len(segments)} segments; "
            f"the limits are {MOST_COLUMNS} and {MOST_SEGMENTS}"
        )
    if any(not 0 < len(name) <= MOST_NAME_CHARS for name in (model, *_names(layout))):
        raise InvalidReference(f"a name is empty or longer than {MOST_NAME_CHARS} characters")
    content = {
        "format": FORMAT,
        "model": model,
        "origin": origin,
        "layout": [_spec_out(spec) for spec in layout.columns],
        "all": _counted_out(summaries),
        "segments": {name: _counted_out(segments[name]) for name in sorted(segments)},
    }
    return content if learnt is None else {**content, "learnt": written(learnt)}


def content_id(content: Mapping[str, Any]) -> str:
    """The id that belongs to a content: 32 hexadecimal digits."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return blake2b(canonical.encode(), digest_size=16).hexdigest()


def write(content: Mapping[str, Any], id_: str) -> bytes:
    """The file: one line for each column, so that people and ``diff`` can read it."""
    head = {"format": content["format"], "id": id_}
    head |= {key: content[key] for key in ("model", "origin")}
    lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    lines.append(f'"layout": {_lines(content["layout"], "  ")}')
    lines.append(f'"all": {_counted_text(content["all"], "  ")}')
    segments = [
        f"{json.dumps(name)}: {_counted_text(counted, '    ')}"
        for name, counted in content["segments"].items()
    ]
    inner = ",\n    ".join(segments)
    lines.append('"segments": {' + (f"\n    {inner}\n  " if segments else "") + "}")
    if "learnt" in content:
        lines.append(f'"learnt": {json.dumps(content["learnt"])}')
    return ("{\n  " + ",\n  ".join(lines) + "\n}\n").encode()


def read(
    data: bytes,
) -> tuple[str, str, str, Summaries, dict[str, Summaries], Learnt | None]:
    """Id, model, origin, summaries, segments and what was learnt, of a file;
    :class:`InvalidReference` if it is damaged, was changed by hand, or is of another format."""
    if len(data) > MOST_BYTES:
        raise InvalidReference(f"it is {len(data)} bytes long; the limit is {MOST_BYTES}")
    try:
        file = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidReference(f"it is not a reference file: {error}") from error
    if file.format != FORMAT:
        raise InvalidReference("it is of another format; write it again with this version")
    if len(file.segments) > MOST_SEGMENTS:
        raise InvalidReference(f"it has more than {MOST_SEGMENTS} segments")
    try:
        layout = Layout.of(file.id, [_spec_in(spec) for spec in file.layout])
        learnt = from_file(file.learnt) if file.learnt is not None else None
    except ValueError as error:
        raise InvalidReference(str(error)) from error
    summaries = _counted_in(file.all, layout)
    segments = {name: _counted_in(counted, layout) for name, counted in file.segments.items()}
    found = content_id(content_of(file.model, file.origin, summaries, segments, learnt))
    if found != file.id:
        raise InvalidReference(
            "its content does not match its id, so it was changed after it was written; "
            "make a new reference instead"
        )
    return file.id, file.model, file.origin, summaries, segments, learnt


def _names(layout: Layout) -> list[str]:
    return [spec.name for spec in layout.columns]


def _spec_out(spec: ColumnSpec) -> dict[str, Any]:
    if spec.kind is Kind.CATEGORICAL:
        return {"kind": "categorical", "name": spec.name, "categories": list(spec.categories)}
    return {
        "kind": "numeric",
        "name": spec.name,
        "edges": list(spec.edges),
        "center": spec.grid.center,
        "scale": spec.grid.scale,
        "sketch": spec.sketch,
    }


def _spec_in(spec: _NumericSpec | _CategoricalSpec) -> ColumnSpec:
    if isinstance(spec, _CategoricalSpec):
        if len(set(spec.categories)) != len(spec.categories):
            raise InvalidReference(f"column {spec.name!r} has a category twice")
        return ColumnSpec(spec.name, Kind.CATEGORICAL, categories=tuple(spec.categories))
    edges = tuple(spec.edges)
    if not all(map(math.isfinite, (*edges, spec.center, spec.scale))):
        raise InvalidReference(f"column {spec.name!r} has an edge or a grid that is not finite")
    if any(a >= b for a, b in pairwise(edges)):
        raise InvalidReference(f"the edges of column {spec.name!r} do not increase")
    grid = Grid(spec.center, spec.scale)
    return ColumnSpec(spec.name, Kind.NUMERIC, edges, grid, spec.sketch)


def _counted_out(summaries: Summaries) -> dict[str, Any]:
    columns = []
    for index, spec in enumerate(summaries.layout.columns):
        start = summaries.layout.starts[spec.key]
        slots = summaries.vector[start : start + spec.width].tolist()
        out = {
            "name": spec.name,
            "n": slots[N],
            "errors": slots[ERRORS],
            "bins": slots[spec.first_bin :],
        }
        if spec.kind is Kind.NUMERIC:
            out["moments"] = slots[CLIPPED_FIRST : spec.first_bin]
            if slots[N]:
                out["min"], out["max"] = summaries.extremes[:, index].tolist()
            sketch = summaries.sketches.get(spec.name)
            if sketch is not None:
                out["buckets"], out["counts"] = sketch.keys.tolist(), sketch.counts.tolist()
        else:
            rest = summaries.categories.get(spec.name)
            if rest is not None:
                out["rest"] = dict(sorted(rest.counts.items()))
                out["other"], out["cap"] = rest.other, rest.cap
        columns.append(out)
    return {"events": summaries.vector[: len(HEADERS)].tolist(), "columns": columns}


def _counted_in(counted: _Counted, layout: Layout) -> Summaries:
    if [column.name for column in counted.columns] != _names(layout):
        raise InvalidReference("its columns are not those of its layout, in the same order")
    vector = np.zeros(layout.width, np.int64)
    vector[: len(HEADERS)] = counted.events
    extremes = no_extremes(len(layout.columns))
    sketches: dict[str, Sketch] = {}
    categories: dict[str, CategoryCounts] = {}
    for index, (spec, column) in enumerate(zip(layout.columns, counted.columns, strict=True)):
        slots = vector[layout.starts[spec.key] :][: spec.width]
        slots[N], slots[ERRORS] = column.n, column.errors
        if len(column.bins) != spec.bins:
            raise InvalidReference(f"column {spec.name!r} has another number of bins than edges")
        slots[spec.first_bin :] = column.bins
        if spec.kind is Kind.NUMERIC:
            _numeric_in(column, spec, slots, extremes[:, index], sketches)
        elif column.rest is not None:
            categories[spec.name] = CategoryCounts(column.rest, column.other or 0, column.cap or 1)
        counted_n = sum(column.bins)
        if spec.kind is Kind.CATEGORICAL and spec.name in categories:
            counted_n += categories[spec.name].total
        if counted_n != column.n and (spec.bins or spec.kind is Kind.CATEGORICAL):
            raise InvalidReference(f"the counts of column {spec.name!r} do not add up to its n")
    return Summaries(layout, vector, extremes, sketches, categories)


def _numeric_in(
    column: _Column,
    spec: ColumnSpec,
    slots: Any,
    extremes: Any,
    sketches: dict[str, Sketch],
) -> None:
    moments = column.moments
    if moments is None or any(not -(1 << 62) <= word <= 1 << 62 for word in moments):
        raise InvalidReference(f"column {spec.name!r} has no moments, or they are out of range")
    slots[CLIPPED_FIRST : spec.first_bin] = moments
    if column.n:
        low, high = column.min, column.max
        if low is None or high is None or not math.isfinite(low) or not low <= high < math.inf:
            raise InvalidReference(f"column {spec.name!r} has no finite minimum and maximum")
        extremes[:] = low, high
    if column.buckets is None:
        return
    keys, counts = column.buckets, column.counts or []
    ordered = all(a < b for a, b in pairwise(keys))
    if len(keys) != len(counts) or not ordered or not all(counts) or sum(counts) != column.n:
        raise InvalidReference(f"the sketch of column {spec.name!r} does not add up to its n")
    if keys and max(-keys[0], keys[-1]) >= _HIGHEST_KEY:
        raise InvalidReference(f"the sketch of column {spec.name!r} has a bucket out of range")
    sketches[spec.name] = Sketch(np.array(keys, np.int32), np.array(counts, np.int64))


def _lines(items: list[Any], indent: str) -> str:
    if not items:
        return "[]"
    inner = f",\n{indent}  ".join(json.dumps(item) for item in items)
    return f"[\n{indent}  {inner}\n{indent}]"


def _counted_text(counted: Mapping[str, Any], indent: str) -> str:
    columns = _lines(counted["columns"], indent)
    return f'{{"events": {json.dumps(counted["events"])}, "columns": {columns}}}'
